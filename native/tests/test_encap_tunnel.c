/* Outer headers of every kind and family: what they say, what they add, and what a kind cannot send. Wrapped packets stay untouched. */
#include "check.h"
#include "encap_world.h"

#include <glb/gue.h>

static const uint8_t *addr_of(const struct world *w, const struct glb_packet *p, unsigned hop)
{
	return w->snapshot.backends[p->chain[hop]].addr.bytes;
}

static struct frame client_frame(unsigned family, uint16_t sport, uint8_t tos)
{
	struct frame frame = tcp_frame(family, sport, 80);

	if (family == 4)
		frame.bytes[15] = tos;
	else
		((struct glb_ipv6 *)(frame.bytes + 14))->version_class_label = glb_be32_put(6U << 28 | (uint32_t)tos << 20);
	return frame;
}

/* The outer IP header at `ip`, in front of `len` bytes in all; `protocol` follows. Returns where it ends, or NULL. */
static const uint8_t *check_ip(const struct world *w, const struct glb_packet *p, const uint8_t *ip, uint32_t len,
			       uint8_t protocol, uint8_t tos)
{
	const struct glb_ipv6 *v6 = (const struct glb_ipv6 *)ip;

	if (p->outer_family == GLB_FAMILY_V4)
		return ip[0] == 0x45 && ip[1] == tos && (ip[2] << 8 | ip[3]) == (int)len && ip[6] == 0x40 && ip[8] == 64 &&
		       ip[9] == protocol && ipv4_sum(ip) == 0xffff && memcmp(ip + 16, addr_of(w, p, 0), 4) == 0 ? ip + 20 : NULL;
	return glb_be32_get(v6->version_class_label) ==
		       (6U << 28 | (uint32_t)tos << 20 | (uint32_t)((p->hash ^ p->hint) & 0xfffff)) &&
	       glb_be16_get(v6->payload_length) == len - 40 && v6->next_header == protocol && v6->hop_limit == 64 &&
	       memcmp(v6->dst, addr_of(w, p, 0), 16) == 0 ? ip + 40 : NULL;
}

/* What follows Ethernet up to the client's packet, of every kind. Returns whether all of it is as documented. */
static bool check_outer(const struct world *w, const struct encap_case *c, const struct glb_packet *p, const uint8_t *ip,
			uint32_t len)
{
	const bool outer_v4 = p->outer_family == GLB_FAMILY_V4;
	const uint8_t inner = c->client == 4 ? GLB_IPPROTO_IPIP : GLB_IPPROTO_IPV6;
	const uint8_t *at;
	struct glb_gue_packet gue;

	if (c->encap == GLB_ENCAP_L2DSR)
		return p->header_len == 14;
	if (c->encap == GLB_ENCAP_GRE) {
		at = check_ip(w, p, ip, len, GLB_IPPROTO_GRE, c->tos);
		return at != NULL && at[0] == (c->keyed ? 0x20 : 0) && at[1] == 0 &&
		       (at[2] << 8 | at[3]) == (c->client == 4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6) &&
		       p->header_len == 14 + (outer_v4 ? 20 : 40) + 4 + (c->keyed ? 4 : 0) &&
		       (!c->keyed || glb_be32_get(*(const glb_be32 *)(at + 4)) == c->value);
	}
	if (c->encap != GLB_ENCAP_GUE)
		return check_ip(w, p, ip, len, inner, c->tos) != NULL && p->header_len == 14 + (outer_v4 ? 20 : 40);
	at = check_ip(w, p, ip, len, GLB_IPPROTO_UDP, c->tos);
	if (at == NULL || transport_sum(ip, (uint32_t)(at - ip), len, GLB_IPPROTO_UDP) != 0xffff || at[0] < 0x80 ||
	    (at[2] << 8 | at[3]) != GLB_GUE_PORT ||
	    glb_gue_parse(p->outer_family, at + 8, len - (uint32_t)(at - ip) - 8, &gue) != GLB_GUE_OK)
		return false;
	for (unsigned hop = 0; hop < gue.hop_count; hop++)
		if (memcmp(gue.hops[hop], addr_of(w, p, hop + 1), outer_v4 ? 4 : 16) != 0)
			return false;
	return gue.hop_count == p->chain_len - 1 && gue.inner_len == p->l3_len;
}

static const struct encap_case cases[] = {
	{GLB_ENCAP_GUE, 4, 4, .hops = 2}, {GLB_ENCAP_GUE, 6, 4, .hops = 2}, {GLB_ENCAP_GUE, 4, 6, .hops = 2},
	{GLB_ENCAP_GUE, 6, 6, .hops = 1}, {GLB_ENCAP_GUE, 6, 6, .hops = 6, .tos = 46 << 2}, {GLB_ENCAP_GUE, 4, 0, .hops = 6},
	{GLB_ENCAP_GRE, 4, 4, .hops = 1}, {GLB_ENCAP_GRE, 6, 4, .hops = 1}, {GLB_ENCAP_GRE, 4, 6, .hops = 1},
	{GLB_ENCAP_GRE, 6, 6, .hops = 1, .keyed = 1, .value = 0xc0ffee01}, {GLB_ENCAP_GRE, 4, 4, .hops = 2, .keyed = 1},
	{GLB_ENCAP_GRE, 6, 0, .hops = 3, .tos = 8}, {GLB_ENCAP_IPIP, 4, 4, .hops = 1}, {GLB_ENCAP_IP6IP6, 6, 6, .hops = 1, .tos = 4},
	{GLB_ENCAP_4IN6, 4, 6, .hops = 1}, {GLB_ENCAP_6IN4, 6, 4, .hops = 2}, {GLB_ENCAP_L2DSR, 4, 4, .hops = 1},
	{GLB_ENCAP_L2DSR, 4, 6, .hops = 1}, {GLB_ENCAP_L2DSR, 6, 0, .hops = 2},
};

enum { CASES = sizeof(cases) / sizeof(cases[0]), FLOWS = 200 };

/* Next hops of the backends themselves, for l2dsr. */
static void put_on_link(struct world *w, uint64_t words[6], struct glb_egress *egress)
{
	for (uint8_t b = 0; b < 6; b++)
		glb_next_hop_store(&words[b], (struct glb_next_hop){{2, 0, 0, 0, 9, b}, 0, GLB_NEXT_HOP_BACKEND});
	*egress = w->path.egress[0];
	glb_path_route(&w->path, words, egress, 1);
}

static void every_kind_says_what_it_should(void)
{
	for (unsigned i = 0; i < CASES; i++) {
		const struct encap_case *c = &cases[i];
		struct glb_egress egress;
		uint64_t words[6];
		struct world w;

		CHECK(encap_open(&w, *c));
		CHECK(w.path.plain == (c->encap == GLB_ENCAP_GUE && c->backend == 4 && c->tos == 0));
		if (c->encap == GLB_ENCAP_L2DSR)
			put_on_link(&w, words, &egress);
		for (uint16_t sport = 1; sport <= FLOWS; sport++) {
			const struct frame frame = client_frame(c->client, sport, 0xb9);
			const struct glb_packet p = run(&w.path, &frame);
			uint8_t *out;
			uint32_t len;

			CHECK(p.verdict == GLB_VERDICT_FORWARD && p.rewrite_len == 0);
			if (w.path.plain) /* there these fields are not set, since nobody reads them */
				continue;
			out = encap_send(&w.path, &p, &len);
			CHECK(memcmp(out, p.next_hop.mac, 6) == 0 && memcmp(out + 6, frame_director_mac, 6) == 0);
			CHECK((out[12] << 8 | out[13]) ==
			      (p.outer_family == GLB_FAMILY_V4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6));
			CHECK(check_outer(&w, c, &p, out + 14, len - 14));
			CHECK(memcmp(out + p.header_len, frame.bytes + 14, frame.len - 14) == 0);
			free(out);
		}
		world_close(&w);
	}
}

/* Addresses of the prefix alone, many of them, and for each flow always the same. */
static void sources_vary_within_the_prefix(void)
{
	for (unsigned bits = 1; bits < 128; bits++) {
		const bool v4 = bits < 32;
		const struct encap_case c = {v4 ? GLB_ENCAP_IPIP : GLB_ENCAP_GRE, 4, v4 ? 4 : 6, .hops = 1};
		const unsigned len = v4 ? 4 : 16, at = v4 ? 14 + 12 : 14 + 8, free_bits = len * 8 - bits;
		struct glb_prefix *prefix;
		unsigned same = 0;
		uint8_t first[16];
		struct world w;

		CHECK(encap_open(&w, c));
		prefix = v4 ? &w.path.director.outer_prefix_v4 : &w.path.director.outer_prefix_v6;
		*prefix = (struct glb_prefix){.addr.family = v4 ? GLB_FAMILY_V4 : GLB_FAMILY_V6, .bits = (uint8_t)bits};
		for (unsigned bit = 0; bit < bits; bit++)
			prefix->addr.bytes[bit / 8] |= (uint8_t)((bit % 3 == 1) << (7 - bit % 8));
		for (uint16_t sport = 1; sport <= FLOWS; sport++) {
			const struct frame frame = client_frame(4, sport, 0);
			uint8_t header[GLB_HEADER_MAX], again[GLB_HEADER_MAX];
			struct glb_packet p = run(&w.path, &frame);

			glb_path_encap(&w.path, &p, header);
			for (unsigned bit = 0; bit < bits; bit++)
				CHECK(((header[at + bit / 8] ^ prefix->addr.bytes[bit / 8]) & 0x80 >> bit % 8) == 0);
			for (unsigned bit = bits; bit + 64 < len * 8; bit++) /* between prefix and hash */
				CHECK((header[at + bit / 8] & 0x80 >> bit % 8) == 0);
			p = run(&w.path, &frame);
			glb_path_encap(&w.path, &p, again);
			CHECK(memcmp(header, again, p.header_len) == 0);
			if (sport == 1)
				memcpy(first, header + at, len);
			same += memcmp(first, header + at, len) == 0;
		}
		CHECK(free_bits < 4 || same < FLOWS / 4);
		world_close(&w);
	}
}

/* Every TOS of a client's packet, with every way of making the outer one. */
static void marks_follow_the_service(void)
{
	static const struct { uint8_t tos, mask; } ways[] = {{0, 0}, {0, 0x03}, {0, 0xfc}, {0, 0xff}, {40, 0}, {40, 0x03}};

	for (unsigned i = 0; i < 24; i++) {
		const struct encap_case c = {i < 12 ? GLB_ENCAP_GUE : GLB_ENCAP_GRE, i % 2 ? 4 : 6, i / 6 % 2 ? 4 : 6, .hops = 2,
					     .tos = ways[i % 6].tos, .tos_mask = ways[i % 6].mask};
		struct world w;

		CHECK(encap_open(&w, c));
		for (unsigned tos = 0; tos < 256; tos++) {
			const struct frame frame = client_frame(c.client, 40000, (uint8_t)tos);
			const struct glb_packet p = run(&w.path, &frame);
			uint8_t header[GLB_HEADER_MAX], outer;

			CHECK(p.verdict == GLB_VERDICT_FORWARD);
			glb_path_encap(&w.path, &p, header);
			outer = c.backend == 4 ? header[15] : (uint8_t)(header[14] << 4 | header[15] >> 4);
			CHECK(outer == ((tos & c.tos_mask) | c.tos));
		}
		world_close(&w);
	}
}

/* While a pool changes family its chains are mixed: hops of another one than the first's do not fit into the header. */
static void hops_are_of_one_family(void)
{
	const struct encap_case c = {GLB_ENCAP_GUE, 4, 0, .hops = 6};
	struct world w;
	unsigned seen[2] = {0, 0};

	CHECK(encap_open(&w, c));
	for (uint16_t sport = 1; sport <= FLOWS; sport++) {
		const struct frame frame = client_frame(4, sport, 0);
		const struct glb_packet p = run(&w.path, &frame);

		CHECK(p.verdict == GLB_VERDICT_FORWARD && p.chain_len == 3); /* half of six */
		for (unsigned hop = 0; hop < p.chain_len; hop++)
			CHECK(w.snapshot.backends[p.chain[hop]].addr.family == p.outer_family);
		seen[p.outer_family == GLB_FAMILY_V6]++;
	}
	CHECK(seen[0] > 20 && seen[1] > 20);
	world_close(&w);
}

/* The same, where the kind itself has one family: what would go to the other is dropped, and says so. */
static void unreachable_families_are_dropped(void)
{
	static const struct encap_case mixed[] = {
		{GLB_ENCAP_IPIP, 4, 0, .hops = 1}, {GLB_ENCAP_IP6IP6, 6, 0, .hops = 1}, {GLB_ENCAP_4IN6, 4, 0, .hops = 1},
		{GLB_ENCAP_6IN4, 6, 0, .hops = 1}, {GLB_ENCAP_L3DSR, 4, 0, .hops = 1, .tos = 4, .tos_mask = 3},
		{GLB_ENCAP_L3DSR, 6, 0, .hops = 1, .tos = 4, .tos_mask = 3}, {GLB_ENCAP_NAT, 4, 0, .hops = 1},
		{GLB_ENCAP_NAT, 6, 0, .hops = 1, .value = 8080},
	};

	for (unsigned i = 0; i < sizeof(mixed) / sizeof(mixed[0]); i++) {
		const struct encap_case *c = &mixed[i];
		const uint8_t reached = c->encap == GLB_ENCAP_IPIP || c->encap == GLB_ENCAP_6IN4 ? GLB_FAMILY_V4
			: c->encap == GLB_ENCAP_IP6IP6 || c->encap == GLB_ENCAP_4IN6 || c->client == 6 ? GLB_FAMILY_V6 : GLB_FAMILY_V4;
		unsigned dropped = 0;
		struct world w;

		CHECK(encap_open(&w, *c));
		for (uint16_t sport = 1; sport <= FLOWS; sport++) {
			const struct frame frame = client_frame(c->client, sport, 0);
			const struct glb_packet p = run(&w.path, &frame);
			const bool fits = w.snapshot.backends[p.chain[0]].addr.family == reached;

			CHECK(p.reason == (fits ? GLB_REASON_FORWARDED : GLB_REASON_NO_BACKEND));
			CHECK(p.verdict == (fits ? GLB_VERDICT_FORWARD : GLB_VERDICT_DROP));
			dropped += !fits;
		}
		CHECK(dropped > 20 && dropped < FLOWS - 20);
		world_close(&w);
	}
}

static void l2dsr_needs_the_backend_itself(void)
{
	const struct encap_case c = {GLB_ENCAP_L2DSR, 4, 4, .hops = 1};
	const struct frame frame = client_frame(4, 1, 0);
	struct glb_error error = {.code = 0};
	struct glb_egress egress;
	struct glb_packet p;
	uint64_t words[6];
	struct world w;

	CHECK(encap_open(&w, c));
	put_on_link(&w, words, &egress);
	p = run(&w.path, &frame);
	CHECK(p.verdict == GLB_VERDICT_FORWARD && p.next_hop.mac[5] == p.chain[0] && p.header_len == 14);
	w.path.egress[0].mtu = 40;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
	w.path.egress[0].mtu = 39;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_OVERSIZE_ANSWERED);
	w.path.egress[0].mtu = 0;
	for (unsigned b = 0; b < 6; b++)
		glb_next_hop_store(&words[b], (struct glb_next_hop){{2, 0, 0, 0, 9, 9}, 0, GLB_NEXT_HOP_ROUTER});
	p = run(&w.path, &frame);
	CHECK(p.reason == GLB_REASON_NOT_ON_LINK && p.verdict == GLB_VERDICT_DROP);
	w.director.gateway_mac[0] = 2;
	CHECK(glb_path_init(&w.path, &w.snapshot, &w.director, &error) != 0);
	CHECK(strstr(error.text, "service0") != NULL && strstr(error.text, "gateway_mac") != NULL);
	world_close(&w);
}

/* A prefix stands in for a source address where there are no ports, and only there. */
static void sources_are_asked_for(void)
{
	static const struct { struct encap_case c; bool v4, v6, prefix, fine; } asked[] = {
		{{GLB_ENCAP_GUE, 4, 6, .hops = 1}, true, false, false, false}, {{GLB_ENCAP_GUE, 4, 6, .hops = 1}, true, false, true, false},
		{{GLB_ENCAP_GUE, 4, 6, .hops = 1}, false, true, false, true}, {{GLB_ENCAP_GRE, 4, 6, .hops = 1}, true, false, true, true},
		{{GLB_ENCAP_GRE, 4, 6, .hops = 1}, true, false, false, false}, {{GLB_ENCAP_IPIP, 4, 4, .hops = 1}, false, true, true, true},
		{{GLB_ENCAP_IPIP, 4, 4, .hops = 1}, false, true, false, false}, {{GLB_ENCAP_GUE, 4, 0, .hops = 1}, true, false, false, false},
		{{GLB_ENCAP_NAT, 4, 4, .hops = 1}, false, true, false, true}, {{GLB_ENCAP_NAT, 6, 6, .hops = 1}, true, false, false, true},
	};

	for (unsigned i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		const struct glb_prefix v4 = {.addr = make_v4(172, 16, 0, 0), .bits = 12}, v6 = {.addr = make_v6(0), .bits = 64};
		struct glb_error error = {.code = 0};
		struct world w;

		CHECK(encap_open(&w, asked[i].c));
		w.director.outer_source_v4.family = asked[i].v4 ? GLB_FAMILY_V4 : GLB_FAMILY_NONE;
		w.director.outer_source_v6.family = asked[i].v6 ? GLB_FAMILY_V6 : GLB_FAMILY_NONE;
		if (asked[i].prefix) {
			w.director.outer_prefix_v4 = v4;
			w.director.outer_prefix_v6 = v6;
		}
		CHECK((glb_path_init(&w.path, &w.snapshot, &w.director, &error) == 0) == asked[i].fine);
		CHECK(asked[i].fine || strstr(error.text, "no outer_source_v") != NULL);
		world_close(&w);
	}
}

/* A port that computes checksums is given what it wants to find: over IPv6 there is UDP's only, and no header's. */
static void devices_complete_the_same_frame(void)
{
	for (unsigned i = 0; i < CASES; i++) {
		struct world w;

		if (cases[i].encap == GLB_ENCAP_L2DSR)
			continue;
		CHECK(encap_open(&w, cases[i]));
		for (uint16_t sport = 1; sport <= FLOWS && !w.path.plain; sport++) {
			const struct frame frame = client_frame(cases[i].client, sport, 0);
			const struct glb_packet p = run(&w.path, &frame);
			const bool v4 = p.outer_family == GLB_FAMILY_V4, gue = p.encap == GLB_ENCAP_GUE;
			uint32_t len;
			uint8_t *wanted = encap_send(&w.path, &p, &len), *given, *ip;
			uint16_t sum;

			CHECK(glb_path_sums_payload(&w.path, &p) == gue);
			w.path.egress[0].offloads = GLB_OFFLOAD_IPV4_CHECKSUM | GLB_OFFLOAD_UDP_CHECKSUM;
			CHECK(!glb_path_sums_payload(&w.path, &p));
			given = encap_send(&w.path, &p, &len);
			w.path.egress[0].offloads = 0;
			ip = given + 14;
			if (v4) {
				sum = (uint16_t)~ipv4_sum(ip);
				CHECK(ip[10] == 0 && ip[11] == 0);
				ip[10] = (uint8_t)(sum >> 8);
				ip[11] = (uint8_t)sum;
			}
			if (gue) { /* what stands in the field is added, too: it is the pseudo header's sum */
				const uint32_t at = v4 ? 20 : 40;

				sum = (uint16_t)~naive_fold(naive_add(0, ip + at, len - 14 - at));
				ip[at + 6] = (uint8_t)(sum >> 8);
				ip[at + 7] = (uint8_t)sum;
			}
			CHECK(memcmp(wanted, given, len) == 0);
			free(wanted);
			free(given);
		}
		world_close(&w);
	}
}

int main(void)
{
	static const struct check_case list[] = {
		{"every kind says what it should", every_kind_says_what_it_should},
		{"sources vary within the prefix", sources_vary_within_the_prefix},
		{"marks follow the service", marks_follow_the_service},
		{"hops are of one family", hops_are_of_one_family},
		{"unreachable families are dropped", unreachable_families_are_dropped},
		{"l2dsr needs the backend itself", l2dsr_needs_the_backend_itself},
		{"sources are asked for", sources_are_asked_for},
		{"devices complete the same frame", devices_complete_the_same_frame},
	};

	return check_run(list, sizeof(list) / sizeof(list[0]));
}
