/* QUIC-LB configurations of services: from a file as `glb get quic POOL/BACKEND -o json` prints it, to the map that the programs read. */
#include <bpf/bpf.h>
#include <errno.h>
#include <glb/quic.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tool.h"

enum {
	LENGTH_MAX = 19, /* bytes of server id and nonce */
	NONCE_MIN = 4,
};

/* `len` bytes of hexadecimal digits, exactly. */
static bool read_hex(const char *text, uint8_t *to, size_t len)
{
	if (!text || strlen(text) != 2 * len || strspn(text, "0123456789abcdefABCDEF") != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++)
		sscanf(text + 2 * i, "%2hhx", &to[i]);
	return true;
}

/* A configuration, but for whose it is. NULL, or what is wrong with it. */
static const char *read_value(const json_t *configuration, struct quic *quic)
{
	const char *id = json_string_value(json_object_get(configuration, "server_id"));
	const json_int_t nonce = json_integer_value(json_object_get(configuration, "nonce_length"));
	const size_t len = id ? strlen(id) / 2 : 0;
	struct glb_redirect_quic *value = &quic->value;
	uint8_t key[16];

	if (len < 1 || len > LENGTH_MAX - NONCE_MIN || !read_hex(id, value->server_id, len))
		return "server_id must be 1 to 15 bytes of hexadecimal digits";
	if (nonce < NONCE_MIN || (size_t)nonce + len > LENGTH_MAX)
		return "nonce_length must be at least 4, and 19 at most together with the server id";
	value->server_id_len = quic->how.server_id_len = (uint8_t)len;
	memset(value->mask, 0xff, len);
	value->nonce_len = quic->how.nonce_len = (uint8_t)nonce;
	quic->how.encrypted = json_is_true(json_object_get(configuration, "encrypted"));
	if (!quic->how.encrypted)
		return NULL;
	if (!read_hex(json_string_value(json_object_get(configuration, "key")), key, sizeof(key)))
		return "key must be 32 hexadecimal digits";
	glb_quic_expand_key(key, quic->how.keys);
	return NULL;
}

static int push(struct quics *quics, const struct quic *quic)
{
	void *items = realloc(quics->items, (quics->count + 1) * sizeof(*quics->items));

	if (!items)
		return -ENOMEM;
	quics->items = items;
	quics->items[quics->count++] = *quic;
	return 0;
}

/* Makes a service QUIC's, beside what else holds for it. */
static int mark_service(struct services *services, const struct glb_redirect_service_key *key)
{
	const struct service service = {.key = *key, .service = {.flags = GLB_REDIRECT_SERVICE_QUIC}};
	struct service *known = services_find(services, key);

	if (!known)
		return services_push(services, &service);
	known->service.flags |= GLB_REDIRECT_SERVICE_QUIC;
	return 0;
}

/* One VIP with one port. NULL, or what is wrong. */
static const char *add(struct quics *quics, struct services *services, const json_t *vip, const json_t *port, struct quic *quic)
{
	struct glb_redirect_service_key *key = &quic->key.service;

	*key = (struct glb_redirect_service_key){.protocol = GLB_IPPROTO_UDP};
	if (!json_is_string(vip) || address_parse(json_string_value(vip), &key->family, key->addr))
		return "vips must be single addresses";
	if (!json_is_integer(port) || json_integer_value(port) < 1 || json_integer_value(port) > UINT16_MAX)
		return "ports must be single numbers";
	key->port = glb_be16_put((uint16_t)json_integer_value(port));
	if (quics_find(quics, &quic->key))
		return "there are two of this VIP, port and config_id";
	return push(quics, quic) || mark_service(services, key) ? "out of memory" : NULL;
}

static const char *add_configuration(struct quics *quics, struct services *services, const json_t *configuration)
{
	const json_t *id = json_object_get(configuration, "config_id"), *vip, *port;
	struct quic quic = {.key = {.config_id = (uint8_t)json_integer_value(id)}};
	const json_t *vips = json_object_get(configuration, "vips"), *ports = json_object_get(configuration, "ports");
	const char *wrong = read_value(configuration, &quic);
	size_t i, j;

	if (wrong)
		return wrong;
	if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= GLB_REDIRECT_QUIC_CONFIGS)
		return "config_id must be 0 to 6";
	if (!json_array_size(vips) || !json_array_size(ports))
		return "vips and ports are needed";
	json_array_foreach(vips, i, vip)
		json_array_foreach(ports, j, port)
			if (!wrong)
				wrong = add(quics, services, vip, port, &quic);
	return wrong;
}

int quics_load(struct quics *quics, struct services *services, const char *path)
{
	json_error_t error;
	json_t *whole = json_load_file(path, 0, &error), *configuration;
	const json_t *configurations = json_object_get(whole, "configurations");
	int status = EXIT_DONE;
	size_t i;

	if (!whole)
		return fail("--quic %s: %s", path, error.text);
	if (!json_is_array(configurations))
		status = fail("--quic %s: not what `glb get quic POOL/BACKEND -o json` prints: configurations is missing", path);
	json_array_foreach(configurations, i, configuration) {
		const char *wrong = status ? NULL : add_configuration(quics, services, configuration);

		if (wrong)
			status = fail("--quic %s: configurations[%zu]: %s", path, i, wrong);
	}
	json_decref(whole);
	return status;
}

const struct quic *quics_find(const struct quics *quics, const struct glb_redirect_quic_key *key)
{
	for (size_t i = 0; i < quics->count; i++)
		if (!memcmp(&quics->items[i].key, key, sizeof(*key)))
			return &quics->items[i];
	return NULL;
}

bool quics_encrypted(const struct quics *quics)
{
	for (size_t i = 0; i < quics->count; i++)
		if (quics->items[i].how.encrypted)
			return true;
	return false;
}

void quics_free(struct quics *quics)
{
	free(quics->items);
	*quics = (struct quics){0};
}

/* A key of the map that is not wanted. False: there is none. */
static bool find_unwanted(int fd, const struct quics *wanted, struct glb_redirect_quic_key *key)
{
	const void *previous = NULL;

	while (!bpf_map_get_next_key(fd, previous, key)) {
		if (!quics_find(wanted, key))
			return true;
		previous = key;
	}
	return false;
}

int quics_become(int fd, const struct quics *wanted)
{
	struct glb_redirect_quic_key key;

	for (size_t i = 0; i < wanted->count; i++)
		if (bpf_map_update_elem(fd, &wanted->items[i].key, &wanted->items[i].value, BPF_ANY))
			return -errno;
	while (find_unwanted(fd, wanted, &key))
		if (bpf_map_delete_elem(fd, &key))
			return -errno;
	return 0;
}
