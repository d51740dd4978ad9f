/* QUIC-LB configurations (quic_config.h): into a snapshot in one form only, and held to that form when it is opened. */
#include "quic_config.h"

#include <glb/quic.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REFUSE(...) glb_error_set(error, -EINVAL, "snapshot " __VA_ARGS__)

/* What is wrong with the lengths of server id and nonce, or NULL. Section 5.2 of the draft. */
static const char *lengths_wrong(unsigned server_id_len, unsigned nonce_len)
{
	if (server_id_len < 1 || server_id_len > GLB_QUIC_SERVER_ID_MAX)
		return "server_id_len";
	if (nonce_len < GLB_QUIC_NONCE_MIN || server_id_len + nonce_len >= GLB_QUIC_ID_MAX)
		return "nonce_len";
	return NULL;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(((const struct glb_quic_server *)a)->id, ((const struct glb_quic_server *)b)->id, sizeof(((struct glb_quic_server *)0)->id));
}

static struct glb_quic_server server_of(const struct glb_quic_config *config, uint32_t i, uint32_t backend_base)
{
	struct glb_quic_server server = {.backend = backend_base + config->servers[i].backend};

	memcpy(server.id, config->servers[i].id, config->server_id_len);
	return server;
}

/* No two servers of a configuration may have one id. */
static int check_servers(const struct glb_quic_config *config, uint32_t backends, uint32_t s, uint32_t q, struct glb_error *error)
{
	struct glb_quic_server *sorted = calloc(config->server_count + 1ul, sizeof(*sorted));
	int status = 0;

	if (sorted == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory for %u servers", config->server_count);
	for (uint32_t i = 0; status == 0 && i < config->server_count; i++) {
		if (config->servers[i].backend >= backends)
			status = glb_error_set(error, -EINVAL, "services[%u].quic[%u].servers[%u].backend: there is no backend %u in the pool",
					       s, q, i, config->servers[i].backend);
		sorted[i] = server_of(config, i, 0);
	}
	qsort(sorted, config->server_count, sizeof(*sorted), by_id);
	for (uint32_t i = 1; status == 0 && i < config->server_count; i++)
		if (by_id(&sorted[i - 1], &sorted[i]) == 0)
			status = glb_error_set(error, -EINVAL, "services[%u].quic[%u].servers: backends %u and %u have one server id", s, q,
					       sorted[i - 1].backend, sorted[i].backend);
	free(sorted);
	return status;
}

int quic_config_check(const struct glb_config *config, uint32_t s, struct glb_error *error)
{
	const struct glb_service_config *service = &config->services[s];
	int status = 0;

	for (uint32_t q = 0; status == 0 && q < service->quic_count; q++) {
		const struct glb_quic_config *quic = &service->quic[q];
		const char *wrong = lengths_wrong(quic->server_id_len, quic->nonce_len);

		if (quic->config_id >= GLB_QUIC_CONFIGS_MAX || (q > 0 && quic->config_id <= quic[-1].config_id))
			return glb_error_set(error, -EINVAL, "services[%u].quic[%u].config_id: %u is not below %d, or does not ascend", s, q,
					     quic->config_id, GLB_QUIC_CONFIGS_MAX);
		if (wrong != NULL)
			return glb_error_set(error, -EINVAL, "services[%u].quic[%u].%s: a server id of %u bytes and a nonce of %u: at least 1 and "
					     "%d are needed, and both are at most %d", s, q, wrong, quic->server_id_len,
					     quic->nonce_len, GLB_QUIC_NONCE_MIN, GLB_QUIC_ID_MAX - 1);
		status = check_servers(quic, config->pools[service->pool].backend_count, s, q, error);
	}
	return status;
}

void quic_config_count(const struct glb_service_config *service, uint64_t *configs, uint64_t *servers)
{
	*configs += service->quic_count;
	for (uint32_t q = 0; q < service->quic_count; q++)
		*servers += service->quic[q].server_count;
}

void quic_config_put(const struct glb_service_config *service, uint32_t index, uint32_t backend_base, struct quic_writer *writer)
{
	for (uint32_t q = 0; q < service->quic_count; q++) {
		const struct glb_quic_config *config = &service->quic[q];
		struct glb_quic *out = &writer->quics[writer->quic_count++];
		struct glb_quic_server *servers = &writer->servers[writer->server_count];

		*out = (struct glb_quic){
			.service = index,
			.server_first = writer->server_count,
			.server_count = config->server_count,
			.config_id = config->config_id,
			.server_id_len = config->server_id_len,
			.nonce_len = config->nonce_len,
			.encrypted = config->encrypted != 0,
		};
		if (out->encrypted)
			glb_quic_expand_key(config->key, out->keys);
		for (uint32_t i = 0; i < config->server_count; i++)
			servers[i] = server_of(config, i, backend_base);
		qsort(servers, config->server_count, sizeof(*servers), by_id);
		writer->server_count += config->server_count;
	}
}

/* ---- in a snapshot ---- */

static bool zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

/* Round keys are those of their own beginning, or nothing. */
static bool keys_ok(const struct glb_quic *quic)
{
	uint8_t keys[sizeof(quic->keys)];

	if (!quic->encrypted)
		return zero(quic->keys, sizeof(quic->keys));
	glb_quic_expand_key(quic->keys, keys);
	return memcmp(keys, quic->keys, sizeof(keys)) == 0;
}

static int check_config(const struct glb_snapshot *s, uint32_t q, uint32_t server, struct glb_error *error)
{
	const struct glb_quic *quic = &s->quics[q], *previous = q > 0 ? quic - 1 : NULL;

	if (quic->service >= s->service_count || (s->services[quic->service].flags & GLB_SERVICE_QUIC) == 0)
		return REFUSE("QUIC configuration %u: service %u is none with QUIC", q, quic->service);
	if (quic->config_id >= GLB_QUIC_CONFIGS_MAX || quic->encrypted > 1 || lengths_wrong(quic->server_id_len, quic->nonce_len) != NULL)
		return REFUSE("QUIC configuration %u: id %u, lengths %u and %u, form %u", q, quic->config_id, quic->server_id_len,
			      quic->nonce_len, quic->encrypted);
	if (previous && (previous->service > quic->service ||
			 (previous->service == quic->service && previous->config_id >= quic->config_id)))
		return REFUSE("QUIC configuration %u: out of order", q);
	if (!keys_ok(quic))
		return REFUSE("QUIC configuration %u: its round keys are not those of a key", q);
	if (quic->server_first != server || quic->server_count > s->quic_server_count - server)
		return REFUSE("QUIC configuration %u: servers %u + %u of %u", q, quic->server_first, quic->server_count,
			      s->quic_server_count);
	return 0;
}

static int check_config_servers(const struct glb_snapshot *s, uint32_t q, struct glb_error *error)
{
	const struct glb_quic *quic = &s->quics[q];
	const struct glb_table *table = &s->tables[s->services[quic->service].table];

	for (uint32_t i = quic->server_first; i < quic->server_first + quic->server_count; i++) {
		const struct glb_quic_server *server = &s->quic_servers[i];

		if (server->backend < table->backend_base || server->backend - table->backend_base >= table->backend_count)
			return REFUSE("QUIC server %u: backend %u is not in its service's pool", i, server->backend);
		if (!zero(server->id + quic->server_id_len, sizeof(server->id) - quic->server_id_len))
			return REFUSE("QUIC server %u: its id is too long", i);
		if (i > quic->server_first && by_id(server - 1, server) >= 0)
			return REFUSE("QUIC server %u: out of order", i);
	}
	return 0;
}

int quic_snapshot_check(const struct glb_snapshot *snapshot, struct glb_error *error)
{
	uint32_t server = 0, with = 0, flagged = 0;
	int status = 0;

	for (uint32_t q = 0; status == 0 && q < snapshot->quic_count; q++) {
		status = check_config(snapshot, q, server, error);
		if (status == 0)
			status = check_config_servers(snapshot, q, error);
		server += snapshot->quics[q].server_count;
		with += q == 0 || snapshot->quics[q].service != snapshot->quics[q - 1].service;
	}
	if (status != 0)
		return status;
	for (uint32_t i = 0; i < snapshot->service_count; i++)
		flagged += (snapshot->services[i].flags & GLB_SERVICE_QUIC) != 0;
	if (server != snapshot->quic_server_count || with != flagged)
		return REFUSE("has QUIC servers of no configuration, or a service with QUIC and none");
	return 0;
}
