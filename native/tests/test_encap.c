/* The outer header: every byte of it, its checksums, and what becomes too long for it. */
#include "check.h"
#include "world.h"

#include <glb/gue.h>

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
		CHECK(glb_gue_parse(GLB_FAMILY_V4, out + 42, len - 42, &gue) == GLB_GUE_OK);
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

static void drops_what_becomes_too_long(void)
{
	static uint8_t bytes[14 + 65535];
	struct frame frame = tcp_frame(4, 1, 80);
	struct glb_packet p = {.data = bytes, .data_len = sizeof(bytes), .frame_len = sizeof(bytes)};
	struct world w;

	CHECK(world_open(&w));
	w.path.egress[0].mtu = 40 + 40; /* TCP without payload, one further hop */
	CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
	w.path.egress[0].mtu = 79;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_OVERSIZE_ANSWERED);
	w.path.egress[0].mtu = 0;
	memcpy(bytes, frame.bytes, frame.len);
	for (unsigned length = 65490; length <= 65535; length++) {
		((struct glb_ipv4 *)(bytes + 14))->total_length = glb_be16_put((uint16_t)length);
		p.verdict = GLB_VERDICT_FORWARD;
		glb_path_burst(&w.path, &p, 1);
		CHECK(p.reason == (length <= 65535 - 40 ? GLB_REASON_FORWARDED : GLB_REASON_TOO_LONG));
	}
	world_close(&w);
}

/* A device that computes checksums, as it is told to: `ip` is the outer header in the frame. */
static void device_fills(uint8_t *ip, uint32_t len, unsigned offloads)
{
	uint32_t sum = 0;

	if (offloads & GLB_OFFLOAD_IPV4_CHECKSUM) {
		uint16_t header = (uint16_t)~header_sum(ip);

		CHECK(ip[10] == 0 && ip[11] == 0);
		ip[10] = (uint8_t)(header >> 8);
		ip[11] = (uint8_t)header;
	}
	if (offloads & GLB_OFFLOAD_UDP_CHECKSUM) {
		for (uint32_t i = 20; i < len; i++) /* what stands in the field is added, too */
			sum += i % 2 == 0 ? (uint32_t)ip[i] << 8 : ip[i];
		while (sum >> 16 != 0)
			sum = (sum & 0xffff) + (sum >> 16);
		sum = sum == 0xffff ? 0xffff : ~sum & 0xffff;
		ip[26] = (uint8_t)(sum >> 8);
		ip[27] = (uint8_t)sum;
	}
}

/* With and without offloads the same bytes leave. */
static void devices_complete_the_same_frame(void)
{
	struct world w;

	CHECK(world_open(&w));
	w.path.director.outer_checksum = GLB_OUTER_CHECKSUM_COMPUTED;
	for (unsigned value = 0; value < 65536; value++) { /* one of them sums to 0 */
		const unsigned offloads = 1 + value % 3;
		const bool udp = value & 4, v6 = value & 8;
		struct frame frame = udp ? udp_frame(v6 ? 6 : 4, 9, 53) : tcp_frame(v6 ? 6 : 4, 40000, 80);
		uint8_t *varies = frame.bytes + 14 + (v6 ? 40 : 20) + (udp ? 6 : 14); /* its checksum, its window */
		uint8_t *wanted, *given;
		struct glb_packet p;
		uint32_t len;

		varies[0] = (uint8_t)(value >> 8);
		varies[1] = (uint8_t)value;
		p = run(&w.path, &frame);
		CHECK(p.verdict == GLB_VERDICT_FORWARD);
		w.path.egress[0].offloads = 0;
		wanted = send_frame(&w.path, &p, &len);
		w.path.egress[0].offloads = (uint8_t)offloads;
		given = send_frame(&w.path, &p, &len);
		CHECK(memcmp(wanted, given, len) != 0);
		device_fills(given + 14, len - 14, offloads);
		CHECK(memcmp(wanted, given, len) == 0);
		free(wanted);
		free(given);
	}
	w.path.director.outer_checksum = GLB_OUTER_CHECKSUM_ZERO;
	w.path.egress[0].offloads = GLB_OFFLOAD_UDP_CHECKSUM;
	{
		struct frame frame = tcp_frame(4, 1, 80);
		uint8_t header[GLB_HEADER_MAX];
		struct glb_packet p = run(&w.path, &frame);

		glb_path_encap(&w.path, &p, header);
		CHECK(header[40] == 0 && header[41] == 0); /* none is wanted */
	}
	world_close(&w);
}

/* A tag is put between MACs and type, and changes nothing else; the MTU does not count it. */
static void tags_what_leaves(void)
{
	struct world w;

	CHECK(world_open(&w));
	for (unsigned i = 0; i < 8; i++) {
		static const uint8_t tag[4] = {0x81, 0x00, 0x0a, 0xbc};
		struct frame frame = i & 1 ? tcp_frame(4, 40000, 443) : udp_frame(6, 9, 53);
		uint8_t *plain, *tagged;
		uint32_t plain_len, len;
		struct glb_packet p;

		w.path.director.outer_checksum = (i & 2) != 0;
		w.path.egress[0].offloads = i & 4 ? 3 : 0;
		w.path.egress[0].vlan = 0;
		w.path.egress[0].mtu = 0;
		p = run(&w.path, &frame);
		plain = send_frame(&w.path, &p, &plain_len);
		w.path.egress[0].vlan = 0xabc;
		w.path.egress[0].mtu = plain_len - 14;
		p = run(&w.path, &frame);
		CHECK(p.verdict == GLB_VERDICT_FORWARD);
		tagged = send_frame(&w.path, &p, &len);
		CHECK(len == plain_len + 4 && memcmp(tagged, plain, 12) == 0 && memcmp(tagged + 12, tag, 4) == 0);
		CHECK(memcmp(tagged + 16, plain + 12, plain_len - 12) == 0);
		w.path.egress[0].mtu--;
		CHECK(run(&w.path, &frame).reason == GLB_REASON_OVERSIZE_ANSWERED);
		free(plain);
		free(tagged);
	}
	world_close(&w);
}

/* With next hops from a table: destination MAC, source MAC and MTU are those of the first backend's next hop and its port. */
static void sends_to_the_next_hop(void)
{
	static const struct glb_egress egress[3] = {
		{.mac = {2, 0, 0, 0, 1, 0}}, {.mac = {2, 0, 0, 0, 1, 1}}, {.mac = {2, 0, 0, 0, 1, 2}, .mtu = 80},
	};
	uint64_t words[8] = {0}, word;
	struct frame frame = tcp_frame(4, 40000, 80);
	uint8_t header[GLB_HEADER_MAX];
	struct glb_next_hop hop;
	struct glb_packet p;
	struct world w;

	CHECK(world_open(&w) && w.snapshot.backend_count <= 8);
	glb_path_route(&w.path, words, egress, 3);
	p = run(&w.path, &frame);
	CHECK(p.reason == GLB_REASON_NO_NEXT_HOP && p.verdict == GLB_VERDICT_DROP && p.chain_len == 2);
	for (uint8_t i = 0; i < 8; i++)
		glb_next_hop_store(&words[i], (struct glb_next_hop){{2, 0, 0, 0, 2, i}, i & 1 ? 1 : 2, 1});
	p = run(&w.path, &frame);
	CHECK(p.verdict == GLB_VERDICT_FORWARD && p.next_hop.port == (p.chain[0] & 1 ? 1 : 2));
	glb_path_encap(&w.path, &p, header);
	CHECK(header[5] == p.chain[0] && header[4] == 2);
	CHECK(memcmp(header + 6, egress[p.next_hop.port].mac, 6) == 0);
	for (uint8_t i = 0; i < 8; i++)
		glb_next_hop_store(&words[i], (struct glb_next_hop){{2, 0, 0, 0, 2, i}, 2, 1});
	put_zeros(&frame, 1);
	CHECK(run(&w.path, &frame).verdict == GLB_VERDICT_FORWARD); /* padding does not count */
	w.path.egress[2].mtu = 79;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_OVERSIZE_ANSWERED);
	w.path.egress[0].mtu = 79;
	w.path.egress[2].mtu = 0;
	CHECK(run(&w.path, &frame).verdict == GLB_VERDICT_FORWARD);
	glb_next_hop_store(&word, (struct glb_next_hop){{1, 2, 3, 4, 5, 6}, 7, 1});
	hop = glb_next_hop_load(&word);
	CHECK(hop.mac[0] == 1 && hop.mac[5] == 6 && hop.port == 7 && hop.kind == 1);
	world_close(&w);
}

/* Whatever is forwarded, a receiver finds well-formed, and the client's packet in it untouched. */
static void receivers_accept_what_is_sent(void)
{
	uint64_t state = 4096;
	unsigned sent = 0;
	struct world w;

	CHECK(world_open(&w));
	w.path.director.outer_checksum = GLB_OUTER_CHECKSUM_COMPUTED;
	for (unsigned round = 0; round < 100000; round++) {
		const unsigned family = test_random(&state) & 1 ? 4 : 6;
		struct frame frame = test_random(&state) & 1 ? tcp_frame(family, 1, 443) : udp_frame(family, 1, 53);
		struct glb_gue_packet gue;
		struct glb_packet p;
		uint32_t len;
		uint8_t *out;

		put_zeros(&frame, test_random(&state) % 5);
		if (test_random(&state) & 1)
			frame.bytes[test_random(&state) % frame.len] = (uint8_t)test_random(&state);
		p = packet_of(&frame, frame.len);
		glb_path_burst(&w.path, &p, 1);
		if (p.verdict == GLB_VERDICT_FORWARD) {
			out = send_frame(&w.path, &p, &len);
			CHECK(glb_gue_parse(GLB_FAMILY_V4, out + 42, len - 42, &gue) == GLB_GUE_OK && gue.inner_len == p.l3_len);
			CHECK(memcmp(out + 42 + gue.inner_offset, p.data + p.l3_offset, p.l3_len) == 0);
			CHECK(udp_sum(out + 14, len - 14) == 0xffff && header_sum(out + 14) == 0xffff);
			free(out);
			sent++;
		}
		packet_free(&p);
	}
	CHECK(sent > 50000);
	world_close(&w);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"writes the outer header", writes_the_outer_header},
		{"never sends a computed zero", never_sends_a_computed_zero},
		{"receivers accept what is sent", receivers_accept_what_is_sent},
		{"drops what becomes too long", drops_what_becomes_too_long},
		{"sends to the next hop", sends_to_the_next_hop},
		{"devices complete the same frame", devices_complete_the_same_frame},
		{"tags what leaves", tags_what_leaves},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
