/* The stages on a compiled snapshot: which service, which row and chain, which bytes, and why not. */
#include "check.h"
#include "frames.h"
#include "snapshot_make.h"

#include <glb/gue.h>
#include <glb/path.h>
#include <glb/siphash.h>

#include <errno.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Services on 203.0.113.10 and 2001:db8::10: 0 (TCP 80), 1 (TCP 443, all fields), 2 (UDP 53, with alt fields); 3 is TCP 80 on
 * 198.51.100.0/24 and has no backend. */
struct world {
	struct make make;
	struct glb_buffer buffer;
	struct glb_snapshot snapshot;
	struct glb_director director;
	struct glb_path path;
};

static struct glb_addr vip4(void)
{
	struct glb_addr addr = {.family = GLB_FAMILY_V4};

	memcpy(addr.bytes, frame_vip_v4, 4);
	return addr;
}

static struct glb_addr vip6(void)
{
	struct glb_addr addr = {.family = GLB_FAMILY_V6};

	memcpy(addr.bytes, frame_vip_v6, 16);
	return addr;
}

static void make_services(struct make *make)
{
	make_init(make, 2, 3, 4);
	for (unsigned i = 0; i < 3; i++)
		make->backends[1][i].state = GLB_STATE_INACTIVE;
	make->services[1].pool = make->services[2].pool = 0;
	make->services[1].seed[0] = make->services[2].seed[0] = 9;
	make->services[1].hops = 3;
	make->services[1].hash_fields = 0xf;
	make->services[2].hash_fields = GLB_HASH_SRC_ADDR | GLB_HASH_SRC_PORT;
	make->services[2].alt_hash_fields = GLB_HASH_SRC_ADDR;
	make->services[3].pool = 1;
	for (unsigned i = 0; i < 2; i++) {
		const struct glb_addr vip = i == 0 ? vip4() : vip6();
		const uint8_t bits = i == 0 ? 32 : 128;

		make_bind(make, 0, vip, bits, GLB_IPPROTO_TCP, 80, 80);
		make_bind(make, 1, vip, bits, GLB_IPPROTO_TCP, 443, 443);
		make_bind(make, 2, vip, bits, GLB_IPPROTO_UDP, 53, 53);
	}
	make_bind(make, 3, make_v4(198, 51, 100, 0), 24, GLB_IPPROTO_TCP, 80, 80);
}

static bool world_open(struct world *world)
{
	struct glb_error error = {.code = 0};

	make_services(&world->make);
	world->director = (struct glb_director){
		.outer_source_v4 = make_v4(10, 0, 0, 254), .gateway_mac = {2, 0, 0, 0, 0, 0xfe}, .filter_mac = 1,
	};
	memcpy(world->director.local_mac, frame_director_mac, 6);
	if (make_open(&world->make, &world->buffer, &world->snapshot) &&
	    glb_path_init(&world->path, &world->snapshot, &world->director, &error) == 0)
		return true;
	printf("# %s\n", error.text);
	return false;
}

static void world_close(struct world *world)
{
	glb_buffer_free(&world->buffer);
}

static struct frame ip_frame(unsigned family, uint8_t protocol)
{
	struct frame frame = {.len = 0};

	put_eth(&frame, family == 4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6);
	if (family == 4)
		put_ipv4(&frame, protocol, frame_client_v4, frame_vip_v4, 0);
	else
		put_ipv6(&frame, protocol, frame_client_v6, frame_vip_v6);
	return frame;
}

static struct frame tcp_frame(unsigned family, uint16_t sport, uint16_t dport)
{
	struct frame frame = ip_frame(family, GLB_IPPROTO_TCP);

	put_tcp(&frame, sport, dport);
	frame_close(&frame);
	return frame;
}

static struct frame udp_frame(unsigned family, uint16_t sport, uint16_t dport)
{
	struct frame frame = ip_frame(family, GLB_IPPROTO_UDP);

	put_udp(&frame, sport, dport);
	frame_close(&frame);
	return frame;
}

static struct frame icmp_frame(unsigned family, uint8_t type, uint8_t code)
{
	struct frame frame = ip_frame(family, family == 4 ? GLB_IPPROTO_ICMP : GLB_IPPROTO_ICMPV6);

	put_icmp(&frame, type, code);
	frame_close(&frame);
	return frame;
}

/* A too-big that quotes the first 8 bytes of what `src`, with port `sport`, sent to the client. */
static struct frame too_big_frame(unsigned family, uint8_t protocol, const void *src, uint16_t sport)
{
	struct frame frame = family == 4 ? icmp_frame(4, GLB_ICMP_UNREACHABLE, GLB_ICMP_FRAG_NEEDED)
					 : icmp_frame(6, GLB_ICMPV6_TOO_BIG, 0);

	if (family == 4)
		put_ipv4(&frame, protocol, src, frame_client_v4, 0);
	else
		put_ipv6(&frame, protocol, src, frame_client_v6);
	put_udp(&frame, sport, 40000);
	frame_close(&frame);
	return frame;
}

/* Runs all stages on one frame. The bytes stay valid until the next call. */
static struct glb_packet run(const struct glb_path *path, const struct frame *frame)
{
	static struct frame kept;
	struct glb_packet p;

	kept = *frame;
	p = (struct glb_packet){.data = kept.bytes, .data_len = kept.len, .frame_len = kept.len};
	glb_path_burst(path, &p, 1);
	return p;
}

/* ---- which service ---- */

static void classifies(void)
{
	const uint8_t other_vip[] = {203, 0, 113, 11};
	struct world w;

	CHECK(world_open(&w));
	for (unsigned family = 4; family <= 6; family += 2) {
		const void *vip = family == 4 ? (const void *)frame_vip_v4 : frame_vip_v6;
		struct {
			struct frame frame;
			uint32_t service;
			enum glb_reason reason;
		} cases[] = {
			{tcp_frame(family, 1, 80), 0, GLB_REASON_FORWARDED},
			{tcp_frame(family, 1, 443), 1, GLB_REASON_FORWARDED},
			{udp_frame(family, 1, 53), 2, GLB_REASON_FORWARDED},
			{tcp_frame(family, 1, 53), GLB_INDEX_NONE, GLB_REASON_NO_SERVICE},
			{udp_frame(family, 1, 80), GLB_INDEX_NONE, GLB_REASON_NO_SERVICE},
			{tcp_frame(family, 80, 81), GLB_INDEX_NONE, GLB_REASON_NO_SERVICE},
			{icmp_frame(family, family == 4 ? GLB_ICMP_ECHO : GLB_ICMPV6_ECHO, 0), 0, GLB_REASON_FORWARDED},
			{icmp_frame(family, 3, 1), GLB_INDEX_NONE, GLB_REASON_ICMP_NOT_TAKEN},
			{too_big_frame(family, GLB_IPPROTO_TCP, vip, 80), 0, GLB_REASON_FORWARDED},
			{too_big_frame(family, GLB_IPPROTO_UDP, vip, 53), 2, GLB_REASON_FORWARDED},
			/* the quoted protocol is not compared */
			{too_big_frame(family, GLB_IPPROTO_UDP, vip, 443), 1, GLB_REASON_FORWARDED},
			{too_big_frame(family, GLB_IPPROTO_TCP, vip, 53), 2, GLB_REASON_FORWARDED},
			{too_big_frame(family, GLB_IPPROTO_TCP, vip, 81), GLB_INDEX_NONE, GLB_REASON_ICMP_NOT_OURS},
			{too_big_frame(family, GLB_IPPROTO_ESP, vip, 80), GLB_INDEX_NONE, GLB_REASON_ICMP_NOT_OURS},
			{ip_frame(family, GLB_IPPROTO_ESP), GLB_INDEX_NONE, GLB_REASON_OTHER_PROTOCOL},
		};

		frame_close(&cases[COUNT(cases) - 1].frame);
		for (unsigned i = 0; i < COUNT(cases); i++) {
			const struct glb_packet p = run(&w.path, &cases[i].frame);

			CHECK(p.reason == cases[i].reason && p.verdict == glb_reason_verdict(p.reason));
			CHECK(p.service == cases[i].service);
		}
	}
	{
		struct frame frame = tcp_frame(4, 1, 80);
		struct frame quoting_other = too_big_frame(4, GLB_IPPROTO_TCP, other_vip, 80);

		CHECK(run(&w.path, &quoting_other).reason == GLB_REASON_ICMP_NOT_OURS);
		((struct glb_ipv4 *)(frame.bytes + 14))->fragment = glb_be16_put(5);
		CHECK(run(&w.path, &frame).reason == GLB_REASON_LATER_FRAGMENT);
		frame.bytes[14 + 19] = 11;
		CHECK(run(&w.path, &frame).reason == GLB_REASON_NOT_VIP);
	}
	world_close(&w);
}

static void leaves_echo_to_the_kernel_when_told(void)
{
	const struct frame frame = icmp_frame(4, GLB_ICMP_ECHO, 0);
	struct world w;

	CHECK(world_open(&w));
	w.path.director.punt_echo = 1;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_ICMP_NOT_TAKEN);
	world_close(&w);
}

static void filters_by_mac(void)
{
	struct frame frame = tcp_frame(4, 1, 80);
	struct world w;

	CHECK(world_open(&w));
	frame.bytes[5] ^= 1;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_OTHER_MAC);
	frame.bytes[0] |= 1; /* a group address */
	CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
	memcpy(frame.bytes + 6, frame_director_mac, 6);
	CHECK(run(&w.path, &frame).reason == GLB_REASON_OWN_MAC);
	w.path.director.filter_mac = 0;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
	frame.len = 13;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_ETH_TRUNCATED);
	w.path.director.filter_mac = 1;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_ETH_TRUNCATED);
	world_close(&w);
}

/* ---- which row and chain ---- */

/* The row table's backends for a row, as indices into the snapshot. */
static unsigned row_of(const struct world *w, uint32_t table, uint32_t row, uint32_t out[GLB_HOPS_MAX])
{
	const uint16_t *hops = glb_snapshot_row(&w->snapshot, table, row);
	unsigned n = 0;

	while (n < w->snapshot.tables[table].hops && hops[n] != GLB_HOP_NONE) {
		out[n] = w->snapshot.tables[table].backend_base + hops[n];
		n++;
	}
	return n;
}

static void hashes_the_fields_in_order(void)
{
	struct world w;

	CHECK(world_open(&w));
	for (unsigned family = 4; family <= 6; family += 2) {
		const struct frame frame = tcp_frame(family, 0x1234, 443), echo = icmp_frame(family, family == 4 ? 8 : 128, 0);
		const struct glb_service *service = &w.snapshot.services[1];
		const unsigned len = family == 4 ? 4 : 16, at = family == 4 ? 14 + 12 : 14 + 8;
		uint8_t message[36];
		uint32_t row[GLB_HOPS_MAX];
		struct glb_packet p = run(&w.path, &frame);

		memcpy(message, frame.bytes + at, 2 * len); /* both addresses, as on the wire */
		memcpy(message + 2 * len, "\x12\x34\x01\xbb", 4);
		CHECK(p.hash == glb_siphash24(service->hash_key, message, 2 * len + 4));
		CHECK(p.row == (p.hash & 255));
		CHECK(p.chain_len == row_of(&w, service->table, p.row, row) && p.chain_len == 3);
		CHECK(memcmp(p.chain, row, p.chain_len * sizeof(row[0])) == 0);

		p = run(&w.path, &echo); /* service 0: source address only */
		CHECK(p.hash == glb_siphash24(w.snapshot.services[0].hash_key, message, len));
	}
	world_close(&w);
}

static void echo_hashes_ports_as_zero(void)
{
	const struct frame frame = icmp_frame(4, GLB_ICMP_ECHO, 0);
	struct world w;
	uint8_t message[12] = {0};
	struct glb_snapshot snapshot;
	struct glb_buffer buffer;
	struct glb_path path;

	CHECK(world_open(&w));
	w.make.services[0].hash_fields = 0xf;
	CHECK(make_open(&w.make, &buffer, &snapshot));
	CHECK(glb_path_init(&path, &snapshot, &w.director, NULL) == 0);
	memcpy(message, frame.bytes + 14 + 12, 8);
	CHECK(run(&path, &frame).hash == glb_siphash24(snapshot.services[0].hash_key, message, 12));
	glb_buffer_free(&buffer);
	world_close(&w);
}

/* A too-big must reach the backend that has the connection, for every service. */
static void too_big_follows_its_flow(void)
{
	static const struct {
		uint8_t protocol;
		uint16_t port;
	} flows[] = {{GLB_IPPROTO_TCP, 80}, {GLB_IPPROTO_TCP, 443}, {GLB_IPPROTO_UDP, 53}};
	struct world w;

	CHECK(world_open(&w));
	for (unsigned i = 0; i < 2 * COUNT(flows); i++) {
		const unsigned family = i < COUNT(flows) ? 4 : 6;
		const uint8_t protocol = flows[i % COUNT(flows)].protocol;
		const uint16_t port = flows[i % COUNT(flows)].port;
		const void *vip = family == 4 ? (const void *)frame_vip_v4 : frame_vip_v6;
		const struct frame flow = protocol == GLB_IPPROTO_TCP ? tcp_frame(family, 40000, port)
								      : udp_frame(family, 40000, port);
		const struct frame error = too_big_frame(family, protocol, vip, port);
		const struct glb_packet a = run(&w.path, &flow);
		const struct glb_packet b = run(&w.path, &error);

		CHECK(a.verdict == GLB_VERDICT_FORWARD && b.verdict == GLB_VERDICT_FORWARD);
		CHECK(b.kind == GLB_PACKET_TOO_BIG && a.hash == b.hash && a.hint == b.hint);
		CHECK(a.chain_len == b.chain_len && memcmp(a.chain, b.chain, a.chain_len * 4U) == 0);
	}
	world_close(&w);
}

/* The alt row's hops, once with and once without those that are already there. */
static void appends_the_alt_row(void)
{
	struct world w;
	unsigned longer = 0;

	CHECK(world_open(&w));
	for (uint16_t sport = 1; sport < 200; sport++) {
		const struct frame frame = udp_frame(4, sport, 53);
		struct glb_service *service = (struct glb_service *)(uintptr_t)&w.snapshot.services[2];
		uint32_t expected[GLB_HOPS_MAX], alt[GLB_HOPS_MAX];
		unsigned n, alt_n, without;
		struct glb_packet p;

		service->flags = GLB_SERVICE_KEEP_DUPLICATES;
		p = run(&w.path, &frame);
		CHECK(p.alt_row == (glb_siphash24(service->alt_hash_key, frame_client_v4, 4) & 255));
		n = row_of(&w, service->table, p.row, expected);
		alt_n = row_of(&w, service->alt_table, p.alt_row, alt);
		memcpy(expected + n, alt, alt_n * sizeof(alt[0]));
		CHECK(p.chain_len == n + alt_n && memcmp(p.chain, expected, p.chain_len * 4U) == 0);

		service->flags = 0;
		p = run(&w.path, &frame);
		without = n;
		for (unsigned i = 0; i < alt_n; i++)
			if (alt[i] != expected[0] && alt[i] != expected[1])
				expected[without++] = alt[i];
		CHECK(p.chain_len == without && memcmp(p.chain, expected, without * 4U) == 0);
		longer += without > n;
	}
	CHECK(longer > 0); /* else every alt row was the row itself */
	world_close(&w);
}

/* ---- which bytes ---- */

/* A naive sum over the outer UDP packet with its pseudo header; 0xffff when its checksum is right. */
static uint16_t udp_sum(const uint8_t *packet, uint32_t len)
{
	uint32_t sum = GLB_IPPROTO_UDP + len - 20;

	for (uint32_t i = 12; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)packet[i] << 8 : packet[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint16_t header_sum(const uint8_t *packet)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < 20; i += 2)
		sum += (uint32_t)packet[i] << 8 | packet[i + 1];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The frame that would be sent, in memory of exactly that size. */
static uint8_t *send_frame(const struct glb_path *path, const struct glb_packet *p, uint32_t *len)
{
	uint8_t *out;

	*len = p->header_len + p->l3_len;
	out = malloc(*len);
	if (out == NULL)
		abort();
	glb_path_encap(path, p, out);
	memcpy(out + p->header_len, p->data + p->l3_offset, p->l3_len);
	return out;
}

static void writes_the_outer_header(void)
{
	struct world w;

	CHECK(world_open(&w));
	for (unsigned i = 0; i < 8; i++) {
		const unsigned family = i & 1 ? 4 : 6;
		const bool computed = i & 2, udp = i & 4;
		struct frame frame = udp ? udp_frame(family, 0xabcd, 53) : tcp_frame(family, 40000, 443);
		const struct glb_backend *backends = w.snapshot.backends;
		struct glb_gue_packet gue;
		struct glb_packet p;
		const struct outer {
			struct glb_eth eth;
			struct glb_ipv4 ip;
			struct glb_udp udp;
		} GLB_WIRE *outer;
		uint32_t len;
		uint8_t *out;

		put_zeros(&frame, 7); /* an odd length, cut off as padding */
		w.path.director.outer_checksum = computed;
		p = run(&w.path, &frame);
		CHECK(p.verdict == GLB_VERDICT_FORWARD);
		CHECK(p.header_len == 50 + 4 * (p.chain_len - 1));
		out = send_frame(&w.path, &p, &len);
		outer = (const struct outer *)out;
		CHECK(memcmp(outer->eth.dst, w.director.gateway_mac, 6) == 0);
		CHECK(memcmp(outer->eth.src, w.director.local_mac, 6) == 0);
		CHECK(glb_be16_get(outer->eth.type) == GLB_ETHERTYPE_IPV4);
		CHECK(outer->ip.version_ihl == 0x45 && outer->ip.tos == 0 && glb_be16_get(outer->ip.id) == 0);
		CHECK(glb_be16_get(outer->ip.fragment) == GLB_IPV4_DF && outer->ip.ttl == 64);
		CHECK(glb_be16_get(outer->ip.total_length) == len - 14 && outer->ip.protocol == GLB_IPPROTO_UDP);
		CHECK(header_sum(out + 14) == 0xffff);
		CHECK(memcmp(outer->ip.src, w.director.outer_source_v4.bytes, 4) == 0);
		CHECK(memcmp(outer->ip.dst, backends[p.chain[0]].addr.bytes, 4) == 0);
		CHECK(glb_be16_get(outer->udp.sport) == (0x8000 | ((p.hash ^ (udp ? 0xabcd : 40000)) & 0x7fff)));
		CHECK(glb_be16_get(outer->udp.dport) == GLB_GUE_PORT);
		CHECK(glb_be16_get(outer->udp.length) == len - 34);
		if (computed)
			CHECK(udp_sum(out + 14, len - 14) == 0xffff && glb_be16_get(outer->udp.checksum) != 0);
		else
			CHECK(glb_be16_get(outer->udp.checksum) == 0);
		CHECK(glb_gue_parse(out + 42, len - 42, &gue) == GLB_GUE_OK);
		CHECK(gue.inner_family == family && gue.next_hop == 0 && gue.hop_count == p.chain_len - 1);
		for (unsigned hop = 0; hop < gue.hop_count; hop++)
			CHECK(memcmp(gue.hops[hop], backends[p.chain[hop + 1]].addr.bytes, 4) == 0);
		free(out);
	}
	world_close(&w);
}

/* A computed checksum that comes to zero is sent as ffff: found by trying payloads. */
static void never_sends_a_computed_zero(void)
{
	struct world w;
	unsigned all_ones = 0;

	CHECK(world_open(&w));
	w.path.director.outer_checksum = GLB_OUTER_CHECKSUM_COMPUTED;
	for (unsigned value = 0; value < 65536; value++) {
		struct frame frame = tcp_frame(4, 40000, 80);
		struct glb_packet p;
		uint8_t header[GLB_HEADER_MAX];

		frame.bytes[34 + 14] = (uint8_t)(value >> 8); /* the TCP window */
		frame.bytes[34 + 15] = (uint8_t)value;
		p = run(&w.path, &frame);
		CHECK(p.verdict == GLB_VERDICT_FORWARD);
		glb_path_encap(&w.path, &p, header);
		CHECK(header[40] != 0 || header[41] != 0);
		all_ones += header[40] == 0xff && header[41] == 0xff;
	}
	CHECK(all_ones == 1);
	world_close(&w);
}

/* ---- why not ---- */

static void drops_without_a_backend(void)
{
	struct frame frame = tcp_frame(4, 1, 80);
	struct glb_packet p;
	struct world w;

	CHECK(world_open(&w));
	memcpy(frame.bytes + 14 + 16, (const uint8_t[]){198, 51, 100, 77}, 4);
	p = run(&w.path, &frame);
	CHECK(p.reason == GLB_REASON_NO_BACKEND && p.verdict == GLB_VERDICT_DROP && p.service == 3);
	world_close(&w);
}

static void drops_what_becomes_too_long(void)
{
	static uint8_t bytes[14 + 65535];
	struct frame frame = tcp_frame(4, 1, 80);
	struct glb_packet p = {.data = bytes, .data_len = sizeof(bytes), .frame_len = sizeof(bytes)};
	struct world w;

	CHECK(world_open(&w));
	w.path.director.mtu = 40 + 40; /* TCP without payload, one further hop */
	CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
	w.path.director.mtu = 79;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_TOO_LONG);
	w.path.director.mtu = 0;
	memcpy(bytes, frame.bytes, frame.len);
	for (unsigned length = 65490; length <= 65535; length++) {
		((struct glb_ipv4 *)(bytes + 14))->total_length = glb_be16_put((uint16_t)length);
		p.verdict = GLB_VERDICT_FORWARD;
		glb_path_burst(&w.path, &p, 1);
		CHECK(p.reason == (length <= 65535 - 40 ? GLB_REASON_FORWARDED : GLB_REASON_TOO_LONG));
	}
	world_close(&w);
}

static void works_without_a_snapshot(void)
{
	const struct frame frame = tcp_frame(4, 1, 80);
	const struct glb_director director = {.mtu = 1500};
	struct glb_path path;

	CHECK(glb_path_init(&path, NULL, &director, NULL) == 0);
	CHECK(run(&path, &frame).reason == GLB_REASON_NO_SNAPSHOT);
	CHECK(run(&path, &frame).verdict == GLB_VERDICT_PUNT);
}

static void refuses_what_the_director_cannot_send(void)
{
	struct glb_error error = {.code = 0};
	struct world w;

	CHECK(world_open(&w));
	w.director.outer_source_v4.family = GLB_FAMILY_NONE;
	CHECK(glb_path_init(&w.path, &w.snapshot, &w.director, &error) == -EINVAL);
	CHECK(error.code == -EINVAL && strstr(error.text, "outer_source_v4") != NULL);
	world_close(&w);

	make_services(&w.make);
	w.make.backends[0][1].addr = make_v6(1);
	w.director.outer_source_v4 = make_v4(10, 0, 0, 254);
	CHECK(make_open(&w.make, &w.buffer, &w.snapshot));
	CHECK(glb_path_init(&w.path, &w.snapshot, &w.director, &error) == -EINVAL);
	CHECK(strstr(error.text, "backend1") != NULL && strstr(error.text, "IPv6") != NULL);
	world_close(&w);
}

/* ---- bursts ---- */

/* A full burst of anything gives what each frame gives alone. */
static void bursts_equal_single_packets(void)
{
	static struct frame frames[GLB_BURST_MAX];
	struct glb_packet burst[GLB_BURST_MAX] = {0};
	uint64_t state = 77;
	struct world w;

	CHECK(world_open(&w));
	for (unsigned round = 0; round < 2000; round++) {
		for (unsigned i = 0; i < GLB_BURST_MAX; i++) {
			const unsigned family = test_random(&state) & 1 ? 4 : 6;
			const uint16_t sport = (uint16_t)test_random(&state);
			static const uint16_t ports[] = {53, 80, 443, 81};
			const uint16_t dport = ports[test_random(&state) % 4];

			frames[i] = test_random(&state) & 1 ? tcp_frame(family, sport, dport)
							    : udp_frame(family, sport, dport);
			for (unsigned n = test_random(&state) % 3; n > 0; n--)
				frames[i].bytes[test_random(&state) % frames[i].len] ^= (uint8_t)test_random(&state);
			burst[i].data = frames[i].bytes; /* the rest is of the round before */
			burst[i].data_len = burst[i].frame_len = frames[i].len;
		}
		glb_path_burst(&w.path, burst, GLB_BURST_MAX);
		for (unsigned i = 0; i < GLB_BURST_MAX; i++) {
			const struct glb_packet alone = run(&w.path, &frames[i]);

			CHECK(alone.reason == burst[i].reason && alone.verdict == burst[i].verdict);
			CHECK(alone.hash == burst[i].hash && alone.row == burst[i].row);
			CHECK(alone.service == burst[i].service && alone.header_len == burst[i].header_len);
			CHECK(alone.chain_len == burst[i].chain_len);
			CHECK(memcmp(alone.chain, burst[i].chain, alone.chain_len * 4U) == 0);
		}
	}
	world_close(&w);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"classifies", classifies},
		{"leaves echo to the kernel when told", leaves_echo_to_the_kernel_when_told},
		{"filters by MAC", filters_by_mac},
		{"hashes the fields in order", hashes_the_fields_in_order},
		{"echo hashes ports as zero", echo_hashes_ports_as_zero},
		{"too-big follows its flow", too_big_follows_its_flow},
		{"appends the alt row", appends_the_alt_row},
		{"writes the outer header", writes_the_outer_header},
		{"never sends a computed zero", never_sends_a_computed_zero},
		{"drops without a backend", drops_without_a_backend},
		{"drops what becomes too long", drops_what_becomes_too_long},
		{"works without a snapshot", works_without_a_snapshot},
		{"refuses what the director cannot send", refuses_what_the_director_cannot_send},
		{"bursts equal single packets", bursts_equal_single_packets},
	};

	return check_run(cases, COUNT(cases));
}
