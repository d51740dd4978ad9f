/* Packets that are changed instead of wrapped: what changes, what does not, and that checksums are as right, or as wrong, as they
 * were: compared with a naive sum over every byte. */
#include "check.h"
#include "encap_world.h"

enum { ROUNDS = 20000, PORT = 8080, DSCP = 7 };

static const struct encap_case kinds[] = {
	{GLB_ENCAP_L3DSR, 4, 4, .hops = 1, .tos = DSCP << 2, .tos_mask = 3}, {GLB_ENCAP_L3DSR, 6, 6, .hops = 2, .tos = DSCP << 2, .tos_mask = 3},
	{GLB_ENCAP_NAT, 4, 4, .hops = 1, .value = PORT}, {GLB_ENCAP_NAT, 6, 6, .hops = 1, .value = PORT}, {GLB_ENCAP_NAT, 4, 4, .hops = 2},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void put_be16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* Where a transport header's checksum is. */
static uint32_t field_at(uint8_t protocol)
{
	return protocol == GLB_IPPROTO_TCP ? 16 : protocol == GLB_IPPROTO_UDP ? 6 : 2;
}

/* Makes the checksums of the IP packet at `ip` right. */
static void set_sums(uint8_t *ip, uint32_t at, uint32_t len, uint8_t protocol)
{
	uint8_t *field = ip + at + field_at(protocol);
	uint16_t sum;

	put_be16(field, 0);
	sum = (uint16_t)~transport_sum(ip, at, len, protocol);
	put_be16(field, sum == 0 && protocol == GLB_IPPROTO_UDP ? 0xffff : sum);
	if (ip[0] >> 4 == 4) {
		put_be16(ip + 10, 0);
		put_be16(ip + 10, (uint16_t)~ipv4_sum(ip));
	}
}

/* A right packet to the service, or a too-big about one from it; `at`: where its transport header is, behind Ethernet. */
static struct frame draw_frame(uint64_t *state, uint8_t family, bool echo, uint32_t *at, uint8_t *protocol)
{
	const uint8_t icmp = family == 4 ? GLB_IPPROTO_ICMP : GLB_IPPROTO_ICMPV6;
	const unsigned words = family == 4 ? (unsigned)(test_random(state) % 3) : 0;
	const unsigned what = (unsigned)(test_random(state) % (echo ? 4 : 3));
	const uint16_t port = (uint16_t)(1 + test_random(state) % 65535);
	const bool udp = test_random(state) & 1;
	struct frame frame = {.len = 0};

	*protocol = what == 0 ? GLB_IPPROTO_TCP : what == 1 ? GLB_IPPROTO_UDP : icmp;
	if (what == 2) {
		frame = too_big_frame(family, udp ? GLB_IPPROTO_UDP : GLB_IPPROTO_TCP, family == 4 ? frame_vip_v4 : frame_vip_v6,
				      udp ? 53 : 80);
		*at = family == 4 ? 20 : 40;
	} else {
		put_eth(&frame, family == 4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6);
		if (family == 4)
			put_ipv4(&frame, *protocol, frame_client_v4, frame_vip_v4, words);
		else
			put_ipv6(&frame, *protocol, frame_client_v6, frame_vip_v6);
		*at = frame.len - 14;
		if (what == 0)
			put_tcp(&frame, port, 80);
		else if (what == 1)
			put_udp(&frame, port, 53);
		else
			put_icmp(&frame, family == 4 ? GLB_ICMP_ECHO : GLB_ICMPV6_ECHO, 0);
	}
	for (unsigned more = (unsigned)(test_random(state) % 40); more > 0; more--)
		frame.bytes[frame.len++] = (uint8_t)test_random(state);
	frame_close(&frame);
	if (what == 2 && family == 4)
		put_be16(frame.bytes + 14 + *at + 8 + 10, (uint16_t)~ipv4_sum(frame.bytes + 14 + *at + 8));
	set_sums(frame.bytes + 14, *at, frame.len - 14, *protocol);
	return frame;
}

/* What the packet at `ip` is to become, field by field and without checksums; those are taken from `sent`. */
static void expect(const struct encap_case *c, const uint8_t *backend, uint8_t *ip, uint32_t at, uint8_t protocol, const uint8_t *sent)
{
	const bool v4 = c->client == 4, icmp = protocol != GLB_IPPROTO_TCP && protocol != GLB_IPPROTO_UDP;
	const bool too_big = icmp && ip[at] == (v4 ? GLB_ICMP_UNREACHABLE : GLB_ICMPV6_TOO_BIG);
	uint8_t *quote = ip + at + 8;

	memcpy(ip + (v4 ? 16 : 24), backend, v4 ? 4 : 16);
	if (v4)
		memcpy(ip + 10, sent + 10, 2);
	memcpy(ip + at + field_at(protocol), sent + at + field_at(protocol), 2);
	if (c->encap == GLB_ENCAP_L3DSR) {
		if (v4)
			ip[1] = (uint8_t)(DSCP << 2 | (ip[1] & 3));
		else
			put_be16(ip, (uint16_t)((ip[0] << 8 | ip[1]) & 0xf03f) | DSCP << 6);
		return;
	}
	if (too_big) {
		memcpy(quote + (v4 ? 12 : 8), backend, v4 ? 4 : 16);
		if (v4)
			memcpy(quote + 10, sent + at + 8 + 10, 2);
		if (c->value != 0)
			put_be16(quote + (v4 ? 20 : 40), PORT);
	} else if (!icmp && c->value != 0) {
		put_be16(ip + at + 2, PORT);
	}
}

/* Sums are equal when they are 0 and ffff: both are zero in ones' complement. */
static bool same_sum(uint16_t a, uint16_t b)
{
	return a % 0xffff == b % 0xffff;
}

static void only_what_must_changes(void)
{
	uint64_t state = 77;

	for (unsigned k = 0; k < KINDS; k++) {
		const struct encap_case *c = &kinds[k];
		unsigned quotes = 0;
		struct world w;

		CHECK(encap_open(&w, *c));
		for (unsigned round = 0; round < ROUNDS; round++) {
			uint32_t at, len;
			uint8_t protocol;
			struct frame frame = draw_frame(&state, c->client, c->encap == GLB_ENCAP_L3DSR, &at, &protocol);
			const uint32_t inner = frame.len - 14;
			const struct glb_packet p = run(&w.path, &frame);
			const uint8_t *backend = w.snapshot.backends[p.chain[0]].addr.bytes;
			uint8_t *out;

			CHECK(p.verdict == GLB_VERDICT_FORWARD && p.header_len == 14 && p.rewrite_len <= p.l3_len);
			out = encap_send(&w.path, &p, &len);
			CHECK(len == frame.len);
			CHECK(transport_sum(out + 14, at, inner, protocol) == 0xffff);
			CHECK(c->client == 6 || ipv4_sum(out + 14) == 0xffff);
			if (p.kind == GLB_PACKET_TOO_BIG && c->client == 4)
				CHECK(ipv4_sum(out + 14 + at + 8) == 0xffff);
			quotes += p.kind == GLB_PACKET_TOO_BIG;
			expect(c, backend, frame.bytes + 14, at, protocol, out + 14);
			CHECK(memcmp(frame.bytes + 14, out + 14, inner) == 0);
			free(out);
		}
		CHECK(quotes > ROUNDS / 8);
		world_close(&w);
	}
}

static void damage_stays(void)
{
	uint64_t state = 78;
	unsigned damaged = 0;

	for (unsigned k = 0; k < KINDS; k++) {
		const struct encap_case *c = &kinds[k];
		struct world w;

		CHECK(encap_open(&w, *c));
		for (unsigned round = 0; round < ROUNDS; round++) {
			uint32_t at, len;
			uint8_t protocol, *out;
			struct frame frame = draw_frame(&state, c->client, c->encap == GLB_ENCAP_L3DSR, &at, &protocol);
			struct glb_packet p;

			for (unsigned i = (unsigned)(test_random(&state) % 3); i > 0; i--)
				frame.bytes[14 + test_random(&state) % (frame.len - 14)] = (uint8_t)test_random(&state);
			p = run(&w.path, &frame);
			if (p.verdict != GLB_VERDICT_FORWARD || p.l4_offset != p.l3_offset + at || p.l3_len != frame.len - 14 ||
			    p.kind == GLB_PACKET_FRAGMENT || frame.bytes[14 + (c->client == 4 ? 9 : 6)] != protocol)
				continue;
			out = encap_send(&w.path, &p, &len);
			if (p.kind != GLB_PACKET_UDP || frame.bytes[14 + at + 6] != 0 || frame.bytes[14 + at + 7] != 0)
				CHECK(same_sum(transport_sum(frame.bytes + 14, at, p.l3_len, protocol),
					       transport_sum(out + 14, at, p.l3_len, protocol)));
			CHECK(c->client == 6 || same_sum(ipv4_sum(frame.bytes + 14), ipv4_sum(out + 14)));
			damaged += transport_sum(out + 14, at, p.l3_len, protocol) != 0xffff;
			free(out);
		}
		world_close(&w);
	}
	CHECK(damaged > ROUNDS);
}

/* A UDP checksum: 0 is none and stays so; one that comes to 0 is sent as ffff. */
static void udp_zero_is_none(void)
{
	for (unsigned k = 0; k < KINDS; k++) {
		const uint32_t at = kinds[k].client == 4 ? 20 : 40;
		unsigned all_ones = 0;
		struct world w;

		CHECK(encap_open(&w, kinds[k]));
		for (unsigned field = 0; field < 65536; field++) {
			struct frame frame = udp_frame(kinds[k].client, 5353, 53);
			struct glb_packet p;
			uint8_t *out;
			uint32_t len;

			put_be16(frame.bytes + 14 + at + 6, (uint16_t)field);
			p = run(&w.path, &frame);
			CHECK(p.verdict == GLB_VERDICT_FORWARD);
			out = encap_send(&w.path, &p, &len);
			CHECK((field == 0) == (out[14 + at + 6] == 0 && out[14 + at + 7] == 0));
			all_ones += out[14 + at + 6] == 0xff && out[14 + at + 7] == 0xff;
			free(out);
		}
		CHECK(all_ones == 1);
		world_close(&w);
	}
}

/* Of fragments the first is changed as a whole packet is; later ones have no ports. Echo has none either, which nat needs. */
static void what_has_no_ports_is_punted(void)
{
	for (unsigned k = 0; k < KINDS; k++) {
		const uint8_t family = kinds[k].client;
		struct frame first = tcp_frame(family, 9, 80), later, echo = icmp_frame(family, family == 4 ? 8 : 128, 0);
		struct frame extended = ip_frame(6, GLB_IPPROTO_HOPOPTS);
		struct glb_packet p;
		struct world w;

		if (family == 6) {
			first = ip_frame(6, GLB_IPPROTO_FRAGMENT);
			put_extension(&first, GLB_IPPROTO_TCP, 0, 8)->next_header = GLB_IPPROTO_TCP;
			first.bytes[first.len - 5] = 1; /* more follow */
			put_tcp(&first, 9, 80);
			frame_close(&first);
			later = first;
			later.bytes[14 + 40 + 3] = 9;
		} else {
			later = first;
			put_be16(first.bytes + 14 + 6, GLB_IPV4_MF);
			put_be16(later.bytes + 14 + 6, 1);
		}
		CHECK(encap_open(&w, kinds[k]));
		p = run(&w.path, &first);
		CHECK(p.verdict == GLB_VERDICT_FORWARD && p.rewrite_len == (family == 4 ? 40 : 68));
		CHECK(run(&w.path, &later).reason == GLB_REASON_LATER_FRAGMENT);
		p = run(&w.path, &echo);
		CHECK(p.reason == (kinds[k].encap == GLB_ENCAP_NAT ? GLB_REASON_ICMP_NOT_TAKEN : GLB_REASON_FORWARDED));
		put_extension(&extended, GLB_IPPROTO_TCP, 0, 8);
		put_tcp(&extended, 9, 80);
		frame_close(&extended);
		if (family == 6)
			CHECK(run(&w.path, &extended).reason == GLB_REASON_IPV6_EXTENSION);
		world_close(&w);
	}
}

int main(void)
{
	static const struct check_case list[] = {
		{"only what must changes", only_what_must_changes},
		{"damage stays", damage_stays},
		{"a UDP checksum of 0 is none", udp_zero_is_none},
		{"what has no ports is punted", what_has_no_ports_is_punted},
	};

	return check_run(list, sizeof(list) / sizeof(list[0]));
}
