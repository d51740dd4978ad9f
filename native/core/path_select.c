/* The hash and select stages: flow hash → row → chain.
 *
 * Hash prefetches the row that select reads, select the backends that encapsulation reads. docs/wire/hashing.md.
 */
#include <glb/path.h>
#include <glb/siphash.h>
#include <glb/wire.h>

#include "snapshot_layout.h"
#include "verdict.h"

#include <string.h>

enum {
	FLOW_KEY_MAX = 16 + 16 + 2 + 2,
};

static size_t put_addr(uint8_t *out, const struct glb_addr *addr)
{
	const size_t len = glb_addr_len(addr->family);

	memcpy(out, addr->bytes, len);
	return len;
}

static size_t put_port(uint8_t *out, uint16_t port)
{
	const glb_be16 wire = glb_be16_put(port);

	memcpy(out, &wire, sizeof(wire));
	return sizeof(wire);
}

/* What a look-up hashes of a flow, under which key. */
struct lookup {
	const uint8_t *key;
	uint8_t fields;
	uint8_t bits_v4, bits_v6; /* of the source address */
};

static size_t put_source(uint8_t *out, const struct glb_addr *addr, const struct lookup *lookup)
{
	const uint8_t bits = addr->family == GLB_FAMILY_V4 ? lookup->bits_v4 : lookup->bits_v6;
	struct glb_addr masked;

	if (bits == glb_addr_len(addr->family) * 8)
		return put_addr(out, addr);
	glb_addr_mask(addr, bits, &masked);
	return put_addr(out, &masked);
}

/* Hash of the chosen fields of the packet's flow, as they are on the wire; an echo request has ports 0. */
static uint64_t hash_flow(const struct glb_packet *packet, const struct lookup *lookup)
{
	const uint8_t fields = lookup->fields;
	uint8_t message[FLOW_KEY_MAX];
	size_t len = 0;

	if (fields & GLB_HASH_SRC_ADDR)
		len += put_source(message + len, &packet->src, lookup);
	if (fields & GLB_HASH_DST_ADDR)
		len += put_addr(message + len, &packet->dst);
	if (fields & GLB_HASH_SRC_PORT)
		len += put_port(message + len, packet->sport);
	if (fields & GLB_HASH_DST_PORT)
		len += put_port(message + len, packet->dport);
	return glb_siphash24(lookup->key, message, len);
}

/* The low bits of the hash where the number of rows is a power of two, else (maglev) a share of its whole range: a multiplication
 * costs less than a remainder. */
static uint32_t row_of(uint64_t hash, uint32_t rows)
{
	if ((rows & (rows - 1)) == 0)
		return (uint32_t)hash & (rows - 1);
	return (uint32_t)((unsigned __int128)hash * rows >> 64);
}

/* The row of `hash` in a table, which is on its way into the cache. */
static uint32_t find_row(const struct glb_snapshot *snapshot, uint32_t table, uint64_t hash)
{
	const uint32_t row = row_of(hash, snapshot->tables[table].rows);

	__builtin_prefetch(glb_snapshot_row(snapshot, table, row));
	return row;
}

uint8_t glb_path_hash(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	uint8_t flags = 0;

	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];
		const struct glb_service *service;

		if (packet->verdict != GLB_VERDICT_FORWARD)
			continue;
		service = &path->snapshot->services[packet->service];
		flags |= service->flags;
		packet->hash = hash_flow(packet, &(struct lookup){service->hash_key, service->hash_fields,
								  service->source_bits_v4, service->source_bits_v6});
		packet->row = find_row(path->snapshot, service->table, packet->hash);
		if (service->alt_hash_fields != 0)
			packet->alt_row = find_row(path->snapshot, service->alt_table, hash_flow(packet, &(struct lookup){
				service->alt_hash_key, service->alt_hash_fields,
				service->alt_source_bits_v4, service->alt_source_bits_v6}));
	}
	return flags;
}

/* Two rows may be of two pools, so the same server may go by two indices. */
static bool has_backend(const struct glb_snapshot *snapshot, const struct glb_packet *packet, uint32_t backend)
{
	for (unsigned i = 0; i < packet->chain_len; i++)
		if (packet->chain[i] == backend ||
		    glb_addr_equal(&snapshot->backends[packet->chain[i]].addr, &snapshot->backends[backend].addr))
			return true;
	return false;
}

/* Appends a row's hops to the chain, up to GLB_HOPS_MAX in all. */
static void append_row(const struct glb_snapshot *snapshot, struct glb_packet *packet, uint32_t table_index,
		       uint32_t row, bool keep_duplicates)
{
	const struct glb_table *table = &snapshot->tables[table_index];
	const uint16_t *hops = glb_snapshot_row(snapshot, table_index, row);

	for (unsigned i = 0; i < table->hops && hops[i] != GLB_HOP_NONE; i++) {
		const uint32_t backend = table->backend_base + hops[i];

		if (packet->chain_len == GLB_HOPS_MAX)
			return;
		if (!keep_duplicates && has_backend(snapshot, packet, backend))
			continue;
		__builtin_prefetch(&snapshot->backends[backend]);
		packet->chain[packet->chain_len++] = backend;
	}
}

/* A dead hop hides everything behind it, so that of two rows' chains in one the unhealthy members go to the end. */
static void put_unhealthy_last(const struct glb_snapshot *snapshot, struct glb_packet *packet)
{
	uint32_t unhealthy[GLB_HOPS_MAX];
	unsigned kept = 0, late = 0;

	for (unsigned i = 0; i < packet->chain_len; i++) {
		if (snapshot->backends[packet->chain[i]].health == GLB_HEALTH_UNHEALTHY)
			unhealthy[late++] = packet->chain[i];
		else
			packet->chain[kept++] = packet->chain[i];
	}
	memcpy(&packet->chain[kept], unhealthy, late * sizeof(unhealthy[0]));
}

static void append_alt(const struct glb_snapshot *snapshot, struct glb_packet *packet, const struct glb_service *service)
{
	const bool as_glb = service->flags & GLB_SERVICE_KEEP_DUPLICATES;

	append_row(snapshot, packet, service->alt_table, packet->alt_row, as_glb);
	if (!as_glb)
		put_unhealthy_last(snapshot, packet);
}

void glb_path_select(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];
		const struct glb_service *service;

		if (packet->verdict != GLB_VERDICT_FORWARD)
			continue;
		service = &path->snapshot->services[packet->service];
		append_row(path->snapshot, packet, service->table, packet->row, true);
		if (service->alt_hash_fields != 0)
			append_alt(path->snapshot, packet, service);
		if (packet->chain_len == 0)
			verdict_set(packet, GLB_REASON_NO_BACKEND);
	}
}
