/* Fuzz target: any bytes as a snapshot. What opens must be safe to follow: every look-up is tried, and packets go through it.
 *
 * Length and digest are set right first, since they would stop nearly every input; the checks behind them are what is wanted here.
 */
#include "fuzz.h"
#include "snapshot_layout.h"
#include "world.h"

enum { FILE_MAX = 1 << 16 };

static void fit(uint8_t *bytes, size_t len)
{
	struct glb_snapshot_header *header = (struct glb_snapshot_header *)bytes;

	header->file_bytes = len;
	memset(header->digest, 0, sizeof(header->digest));
	glb_snapshot_digest(bytes, len, header->digest);
}

/* Every VIP is found by its address, and the services of its ports are services. */
static void look_up_vips(const struct glb_snapshot *s)
{
	for (uint32_t v = 0; v < s->vip_count; v++) {
		const struct glb_vip *vip = &s->vips[v];
		const uint32_t found = glb_snapshot_find_vip(s, &vip->addr);

		MUST(found < s->vip_count && vip->echo_service < s->service_count);
		for (uint32_t b = 0; b < vip->bind_count; b++) {
			const struct glb_bind *bind = &s->binds[vip->bind_first + b];

			MUST(glb_snapshot_find_service(s, v, bind->protocol, bind->port_first) == bind->service);
			MUST(glb_snapshot_find_service(s, v, bind->protocol, bind->port_last) == bind->service);
			MUST(bind->service < s->service_count);
		}
		glb_snapshot_find_service(s, v, GLB_IPPROTO_TCP, 65535);
	}
}

static void walk_tables(const struct glb_snapshot *s)
{
	for (uint32_t i = 0; i < s->service_count; i++) {
		MUST(s->services[i].table < s->table_count && s->services[i].alt_table < s->table_count);
		MUST(strlen(s->strings + s->services[i].name) <= GLB_NAME_MAX);
	}
	for (uint32_t t = 0; t < s->table_count; t++) {
		const struct glb_table *table = &s->tables[t];

		for (uint32_t row = 0; row < table->rows; row++) {
			const uint16_t *hops = glb_snapshot_row(s, t, row);

			for (unsigned i = 0; i < table->hops; i++)
				MUST(hops[i] == GLB_HOP_NONE || hops[i] < table->backend_count);
		}
		MUST(table->backend_base + (uint64_t)table->backend_count <= s->backend_count);
	}
}

static void send(const struct glb_snapshot *s, const struct glb_path *path, const struct frame *frame)
{
	const struct glb_packet p = run(path, frame);
	uint8_t header[GLB_HEADER_MAX], ip[sizeof(frame->bytes)];

	MUST(glb_reason_verdict(p.reason) == p.verdict);
	if (p.verdict != GLB_VERDICT_FORWARD)
		return;
	MUST(p.chain_len >= 1 && p.chain_len <= GLB_HOPS_MAX && p.header_len <= GLB_HEADER_MAX);
	for (unsigned i = 0; i < p.chain_len; i++)
		MUST(p.chain[i] < s->backend_count);
	glb_path_encap(path, &p, header);
	memcpy(ip, p.data + p.l3_offset, p.l3_len);
	if (p.rewrite_len != 0)
		glb_path_rewrite(path, &p, ip);
}

/* To each VIP at the first port of each bind, over IPv4 or IPv6 as it is. */
static void send_to_all(const struct glb_snapshot *s, const struct glb_path *path)
{
	for (uint32_t v = 0; v < s->vip_count; v++) {
		const struct glb_vip *vip = &s->vips[v];
		const unsigned family = vip->addr.family == GLB_FAMILY_V4 ? 4 : 6;

		for (uint32_t b = 0; b < vip->bind_count; b++) {
			const struct glb_bind *bind = &s->binds[vip->bind_first + b];
			struct frame frame = bind->protocol == GLB_IPPROTO_UDP ? udp_frame(family, 7, bind->port_first)
									       : tcp_frame(family, 7, bind->port_first);

			memcpy(frame.bytes + 14 + (family == 4 ? 16 : 24), vip->addr.bytes, family == 4 ? 4 : 16);
			send(s, path, &frame);
		}
	}
}

static void use(const struct glb_snapshot *s)
{
	const struct glb_director director = {
		.outer_source_v4 = make_v4(10, 0, 0, 254), .outer_source_v6 = make_v6(254),
	};
	struct glb_backend_ids ids;
	struct glb_path path;
	uint32_t *slots;

	look_up_vips(s);
	walk_tables(s);
	MUST(glb_snapshot_leavers(s, s, NULL, 0) >= 0);
	slots = calloc(glb_backend_ids_slots(s), sizeof(*slots));
	MUST(slots != NULL);
	glb_backend_ids_init(&ids, s, slots);
	for (uint32_t b = 0; b < s->backend_count; b++)
		glb_backend_ids_find(&ids, s, s->backends[b].id);
	free(slots);
	if (glb_path_init(&path, s, &director, NULL) == 0)
		send_to_all(s, &path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct glb_snapshot snapshot;
	struct glb_error error;
	uint8_t *bytes;

	if (len > FILE_MAX)
		return 0;
	bytes = aligned_alloc(8, (len + 8) & ~(size_t)7);
	MUST(bytes != NULL);
	memcpy(bytes, data, len);
	if (len >= sizeof(struct glb_snapshot_header))
		fit(bytes, len);
	if (glb_snapshot_open(bytes, len, &snapshot, &error) == 0)
		use(&snapshot);
	else
		MUST(error.code < 0 && error.text[0] != '\0');
	free(bytes);
	return 0;
}
