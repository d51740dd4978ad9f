/* Compiles a configuration into the bytes of a snapshot: check, plan, lay out, fill in, digest. */
#include <errno.h>
#include <stdlib.h>

#include "config_check.h"
#include "encap_rules.h"
#include "prior.h"
#include "protection.h"
#include "quic_config.h"
#include "snapshot_layout.h"
#include "table_cache.h"
#include "vip_build.h"

/* A row table that some services share. */
struct shared {
	struct glb_table_spec spec;
	uint16_t *rows; /* of one with priors, built already since they decide how wide it is; else NULL */
	uint8_t hops;   /* per row */
};

/* Everything that is decided before the file's size is known. */
struct plan {
	const struct glb_config *config;
	uint32_t *by_id;           /* configuration services, ascending by id */
	uint32_t *order;           /* order[i]: index in the snapshot of configuration service i */
	uint32_t *table_of;        /* of snapshot service i */
	uint32_t *alt_table_of;    /* the same, of its alt look-up, or that of its own */
	struct shared *tables;
	uint32_t *backend_base;    /* of pool p; [pool_count] is the total */
	uint32_t table_count;
	uint64_t row_words;
	uint64_t string_bytes;
	uint64_t udp_timeouts;     /* services, or 0 when none has one */
	uint64_t quics, quic_servers;
	uint32_t protection_count;
	struct glb_vip_build vips;
};

static const struct glb_service_config *service_at(const struct plan *plan, uint32_t index)
{
	return &plan->config->services[plan->by_id[index]];
}

/* Stable insertion by id: configurations come nearly or wholly in order of id. */
static void order_services(struct plan *plan)
{
	const struct glb_config *config = plan->config;

	for (uint32_t s = 0; s < config->service_count; s++) {
		uint32_t at = s;

		for (; at > 0 && config->services[plan->by_id[at - 1]].id > config->services[s].id; at--)
			plan->by_id[at] = plan->by_id[at - 1];
		plan->by_id[at] = s;
	}
	for (uint32_t i = 0; i < config->service_count; i++)
		plan->order[plan->by_id[i]] = i;
}

/* Finds the table of a spec, or adds it. */
static int share_table(struct plan *plan, const struct glb_table_spec *spec, uint32_t *index, struct glb_error *error)
{
	struct shared *table;
	int status = 0;
	uint32_t t = 0;

	while (t < plan->table_count && !glb_spec_equal(spec, &plan->tables[t].spec))
		t++;
	*index = t;
	if (t < plan->table_count)
		return 0;
	table = &plan->tables[plan->table_count++];
	*table = (struct shared){.spec = *spec, .hops = spec->hops};
	if (spec->prior_count > 0)
		status = glb_prior_build(spec, plan->config, &table->rows, &table->hops, error);
	plan->row_words += glb_table_words(spec->rows, table->hops);
	return status;
}

static int share_tables(struct plan *plan, struct glb_error *error)
{
	int status = 0;

	for (uint32_t s = 0; status == 0 && s < plan->config->service_count; s++) {
		const struct glb_service_config *service = service_at(plan, s);
		struct glb_table_spec spec = glb_spec_own(plan->config, service);

		status = share_table(plan, &spec, &plan->table_of[s], error);
		plan->alt_table_of[s] = plan->table_of[s];
		if (status == 0 && service->alt != NULL) {
			spec = glb_spec_alt(plan->config, service->alt);
			status = share_table(plan, &spec, &plan->alt_table_of[s], error);
		}
	}
	return status;
}

static void count_backends_and_strings(struct plan *plan)
{
	const struct glb_config *config = plan->config;

	plan->string_bytes = 1; /* offset 0 is "" */
	for (uint32_t p = 0; p < config->pool_count; p++) {
		const struct glb_pool_config *pool = &config->pools[p];

		plan->backend_base[p + 1] = plan->backend_base[p] + pool->backend_count;
		plan->string_bytes += strlen(pool->name) + 1;
		for (uint32_t b = 0; b < pool->backend_count; b++)
			plan->string_bytes += strlen(pool->backends[b].name) + 1;
	}
	for (uint32_t s = 0; s < config->service_count; s++) {
		plan->string_bytes += strlen(config->services[s].name) + 1 + protection_string_bytes(config->services[s].protection);
		if (config->services[s].udp_timeout != 0)
			plan->udp_timeouts = config->service_count;
		quic_config_count(&config->services[s], &plan->quics, &plan->quic_servers);
		plan->protection_count += config->services[s].protection != NULL;
	}
}

static int plan_init(struct plan *plan, const struct glb_config *config, struct glb_error *error)
{
	size_t n = config->service_count + 1ul;
	int status;

	*plan = (struct plan){.config = config};
	plan->by_id = calloc(n, sizeof(uint32_t));
	plan->order = calloc(n, sizeof(uint32_t));
	plan->table_of = calloc(n, sizeof(uint32_t));
	plan->alt_table_of = calloc(n, sizeof(uint32_t));
	plan->tables = calloc(2 * n, sizeof(*plan->tables));
	plan->backend_base = calloc(config->pool_count + 1ul, sizeof(uint32_t));
	if (!plan->by_id || !plan->order || !plan->table_of || !plan->alt_table_of || !plan->tables || !plan->backend_base)
		return glb_error_set(error, -ENOMEM, "out of memory for %u services", config->service_count);
	order_services(plan);
	status = share_tables(plan, error);
	if (status != 0)
		return status;
	count_backends_and_strings(plan);
	return glb_vip_build(config, plan->order, &plan->vips, error);
}

static void plan_free(struct plan *plan)
{
	glb_vip_build_free(&plan->vips);
	free(plan->by_id);
	free(plan->order);
	free(plan->table_of);
	free(plan->alt_table_of);
	for (uint32_t t = 0; t < plan->table_count; t++)
		free(plan->tables[t].rows);
	free(plan->tables);
	free(plan->backend_base);
}

static void lay_out(const struct plan *plan, struct glb_snapshot_header *header)
{
	const uint64_t counts[GLB_SECTION_COUNT] = {
		[GLB_SECTION_SERVICES] = plan->config->service_count,
		[GLB_SECTION_BACKENDS] = plan->backend_base[plan->config->pool_count],
		[GLB_SECTION_TABLES] = plan->table_count,
		[GLB_SECTION_ROWS] = plan->row_words,
		[GLB_SECTION_PREFIXES] = plan->vips.prefix_count,
		[GLB_SECTION_VIPS] = plan->vips.vip_count,
		[GLB_SECTION_VIP_SLOTS] = plan->vips.slot_count,
		[GLB_SECTION_BINDS] = plan->vips.bind_count,
		[GLB_SECTION_STRINGS] = plan->string_bytes,
		[GLB_SECTION_UDP_TIMEOUTS] = plan->udp_timeouts,
		[GLB_SECTION_QUIC] = plan->quics,
		[GLB_SECTION_QUIC_SERVERS] = plan->quic_servers,
		[GLB_SECTION_PROTECTIONS] = plan->protection_count,
	};
	uint64_t offset = glb_snapshot_align(sizeof(*header));

	*header = (struct glb_snapshot_header){
		.version = GLB_SNAPSHOT_VERSION,
		.header_bytes = sizeof(*header),
		.revision = plan->config->revision,
		.vip_probe_max = plan->vips.probe_max,
	};
	memcpy(header->magic, GLB_SNAPSHOT_MAGIC, sizeof(header->magic));
	for (unsigned kind = 0; kind < GLB_SECTION_COUNT; kind++) {
		header->sections[kind] = (struct glb_section){.offset = offset, .count = counts[kind]};
		offset = glb_snapshot_align(offset + counts[kind] * glb_section_element[kind]);
	}
	header->file_bytes = offset;
}

/* Where filling in is writing to. */
struct writer {
	uint8_t *data;
	const struct glb_section *sections;
	uint32_t string; /* next free byte of the strings */
};

static void *section(const struct writer *writer, enum glb_section_kind kind)
{
	return writer->data + writer->sections[kind].offset;
}

static uint32_t put_string(struct writer *writer, const char *text)
{
	uint32_t at = writer->string;
	size_t bytes = strlen(text) + 1;

	memcpy((char *)section(writer, GLB_SECTION_STRINGS) + at, text, bytes);
	writer->string += (uint32_t)bytes;
	return at;
}

static void put_backends(const struct plan *plan, struct writer *writer)
{
	struct glb_backend *out = section(writer, GLB_SECTION_BACKENDS);

	for (uint32_t p = 0; p < plan->config->pool_count; p++) {
		for (uint32_t b = 0; b < plan->config->pools[p].backend_count; b++) {
			const struct glb_backend_config *backend = &plan->config->pools[p].backends[b];
			uint8_t bits = (uint8_t)(glb_addr_len(backend->addr.family) * 8);

			*out = (struct glb_backend){
				.id = backend->id,
				.name = put_string(writer, backend->name),
				.weight = backend->weight,
				.state = backend->state,
				.health = backend->health,
			};
			glb_addr_mask(&backend->addr, bits, &out++->addr);
		}
	}
}

static int put_rows(const struct plan *plan, const struct shared *shared, uint16_t *rows, struct glb_error *error)
{
	const struct glb_table_spec *spec = &shared->spec;
	struct glb_table_config table = {
		.backends = spec->pool->backends,
		.backend_count = spec->pool->backend_count,
		.rows = spec->rows,
		.hops = spec->hops,
		.policy = spec->policy,
		.algorithm = spec->algorithm,
		.threads = plan->config->threads,
		.cache = plan->config->cache,
	};

	if (shared->rows != NULL) {
		memcpy(rows, shared->rows, (size_t)spec->rows * shared->hops * sizeof(*rows));
		return 0;
	}
	memcpy(table.seed, spec->seed, sizeof(table.seed));
	return glb_table_build(&table, rows, error);
}

static int put_tables(const struct plan *plan, struct writer *writer, const uint32_t *pool_names,
		      struct glb_error *error)
{
	struct glb_table *out = section(writer, GLB_SECTION_TABLES);
	uint16_t *rows = section(writer, GLB_SECTION_ROWS);
	uint64_t row_base = 0;
	int status = 0;

	for (uint32_t t = 0; status == 0 && t < plan->table_count; t++) {
		const struct glb_table_spec *spec = &plan->tables[t].spec;

		out[t] = (struct glb_table){
			.row_base = row_base,
			.rows = spec->rows,
			.backend_base = plan->backend_base[spec->pool_index],
			.backend_count = spec->pool->backend_count,
			.pool_name = pool_names[spec->pool_index],
			.hops = plan->tables[t].hops,
			.policy = spec->policy,
			.algorithm = spec->algorithm,
			.families = encap_families(spec->pool->backends, spec->pool->backend_count),
		};
		status = put_rows(plan, &plan->tables[t], rows + row_base, error);
		row_base += glb_table_words(spec->rows, plan->tables[t].hops);
	}
	return status;
}

/* What the service's second look-up goes by. */
static void put_alt(const struct plan *plan, uint32_t s, struct glb_service *out)
{
	const struct glb_service_config *service = service_at(plan, s);
	const struct glb_alt_config *alt = service->alt;

	out->alt_table = plan->alt_table_of[s];
	out->alt_hash_fields = alt != NULL ? alt->hash_fields : service->alt_hash_fields;
	out->alt_source_bits_v4 = alt == NULL ? out->source_bits_v4 : alt->source_bits_v4 ? alt->source_bits_v4 : 32;
	out->alt_source_bits_v6 = alt == NULL ? out->source_bits_v6 : alt->source_bits_v6 ? alt->source_bits_v6 : 128;
	memcpy(out->alt_hash_key, alt != NULL ? alt->hash_key : service->hash_key, sizeof(out->alt_hash_key));
}

/* 0 for none. */
static uint32_t put_list_name(struct writer *writer, const char *name)
{
	return name != NULL ? put_string(writer, name) : 0;
}

static struct glb_protection make_protection(struct writer *writer, const struct glb_protection_config *config, uint32_t service)
{
	const uint32_t block = put_list_name(writer, config->block);

	return protection_make(config, service, block, put_list_name(writer, config->allow));
}

static void put_services(const struct plan *plan, struct writer *writer)
{
	struct glb_service *out = section(writer, GLB_SECTION_SERVICES);
	uint16_t *udp_timeouts = section(writer, GLB_SECTION_UDP_TIMEOUTS);
	struct quic_writer quic = {section(writer, GLB_SECTION_QUIC), section(writer, GLB_SECTION_QUIC_SERVERS), 0, 0};
	struct glb_protection *protection = section(writer, GLB_SECTION_PROTECTIONS);

	for (uint32_t s = 0; s < plan->config->service_count; s++) {
		const struct glb_service_config *service = service_at(plan, s);

		out[s] = (struct glb_service){
			.id = service->id,
			.name = put_string(writer, service->name),
			.table = plan->table_of[s],
			.hash_fields = service->hash_fields,
			.encap = service->encap,
			.flags = (uint8_t)((service->policy == GLB_POLICY_GLB ? GLB_SERVICE_KEEP_DUPLICATES : 0) |
					   (service->flow_cache ? GLB_SERVICE_FLOW_CACHE : 0) |
					   (service->gre_keyed ? GLB_SERVICE_GRE_KEY : 0) |
					   (service->quic_count > 0 ? GLB_SERVICE_QUIC : 0) |
					   (service->protection != NULL ? GLB_SERVICE_PROTECTED : 0) |
					   (service->fragments ? GLB_SERVICE_FRAGMENTS : 0)),
			.encap_value = service->encap_value,
			.tos = service->tos,
			.tos_mask = service->tos_mask,
			.oversize = service->oversize,
			.source_bits_v4 = service->source_bits_v4 ? service->source_bits_v4 : 32,
			.source_bits_v6 = service->source_bits_v6 ? service->source_bits_v6 : 128,
		};
		memcpy(out[s].hash_key, service->hash_key, sizeof(out[s].hash_key));
		put_alt(plan, s, &out[s]);
		if (plan->udp_timeouts != 0)
			udp_timeouts[s] = service->udp_timeout;
		quic_config_put(service, s, plan->backend_base[service->pool], &quic);
		if (service->protection != NULL)
			*protection++ = make_protection(writer, service->protection, s);
	}
}

static void put_follows(const struct plan *plan, struct glb_vip *out, const struct glb_bind *binds)
{
	for (uint32_t v = 0; v < plan->vips.vip_count; v++)
		for (uint32_t b = 0; b < out[v].bind_count; b++)
			out[v].follows |= service_at(plan, binds[out[v].bind_first + b].service)->fragments != 0;
}

static void put_classifier(const struct plan *plan, struct writer *writer)
{
	const struct glb_vip_build *vips = &plan->vips;

	if (vips->vip_count > 0) {
		memcpy(section(writer, GLB_SECTION_PREFIXES), vips->prefixes,
		       vips->prefix_count * sizeof(*vips->prefixes));
		memcpy(section(writer, GLB_SECTION_VIPS), vips->vips, vips->vip_count * sizeof(*vips->vips));
		memcpy(section(writer, GLB_SECTION_BINDS), vips->binds, vips->bind_count * sizeof(*vips->binds));
		put_follows(plan, section(writer, GLB_SECTION_VIPS), vips->binds);
	}
	memcpy(section(writer, GLB_SECTION_VIP_SLOTS), vips->slots, vips->slot_count * sizeof(*vips->slots));
}

static int fill_in(const struct plan *plan, const struct glb_snapshot_header *header, uint8_t *data,
		   struct glb_error *error)
{
	struct writer writer = {.data = data, .sections = header->sections, .string = 1};
	uint32_t *pool_names = calloc(plan->config->pool_count + 1ul, sizeof(uint32_t));
	int status;

	if (pool_names == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory for %u pools", plan->config->pool_count);
	for (uint32_t p = 0; p < plan->config->pool_count; p++)
		pool_names[p] = put_string(&writer, plan->config->pools[p].name);
	put_backends(plan, &writer);
	put_services(plan, &writer);
	put_classifier(plan, &writer);
	status = put_tables(plan, &writer, pool_names, error);
	free(pool_names);
	if (status != 0)
		return status;
	memcpy(data, header, sizeof(*header));
	glb_snapshot_digest(data, header->file_bytes, ((struct glb_snapshot_header *)data)->digest);
	return 0;
}

int glb_snapshot_compile(const struct glb_config *config, struct glb_buffer *out, struct glb_error *error)
{
	struct glb_snapshot_header header;
	struct plan plan;
	int status;

	*out = (struct glb_buffer){0};
	status = glb_config_check(config, error);
	if (status != 0)
		return status;
	glb_table_cache_begin(config->cache);
	status = plan_init(&plan, config, error);
	if (status == 0) {
		lay_out(&plan, &header);
		out->data = aligned_alloc(GLB_SNAPSHOT_ALIGN, header.file_bytes);
		if (out->data == NULL)
			status = glb_error_set(error, -ENOMEM, "out of memory for a snapshot of %llu bytes",
					       (unsigned long long)header.file_bytes);
	}
	if (status == 0) {
		memset(out->data, 0, header.file_bytes);
		out->len = header.file_bytes;
		status = fill_in(&plan, &header, out->data, error);
		if (status != 0)
			glb_buffer_free(out);
	}
	if (status == 0)
		glb_table_cache_end(config->cache);
	plan_free(&plan);
	return status;
}

void glb_buffer_free(struct glb_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct glb_buffer){0};
}
