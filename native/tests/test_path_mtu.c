/* Too-bigs about outer packets: which are believed, against a naive reader of the bytes, and what the path makes of what they say. */
#include "check.h"
#include "encap_world.h"

#include <glb/fast.h>
#include <glb/path_mtu.h>

enum { LIMIT = 1500 };

/* Room for what is known of a snapshot's ways. */
struct ways {
	struct glb_path_mtus mtus;
	uint32_t backends[32], tables[8];
};

static void ways_open(struct ways *ways, struct world *w)
{
	ways->mtus = (struct glb_path_mtus){.backends = ways->backends, .tables = ways->tables};
	glb_path_mtus_clear(&ways->mtus, &w->snapshot);
	w->path.mtus = &ways->mtus;
	w->path.egress[0].mtu = w->path.director.mtu = LIMIT;
}

/* What a router says of a packet of `length` bytes. */
struct said {
	unsigned family;
	uint8_t type, code;
	uint32_t mtu;
	const uint8_t *to, *src, *dst; /* whom it is sent to; the quoted packet's addresses */
	uint8_t protocol;
	uint16_t length, sport, dport;
	bool fragment;
	unsigned cut; /* bytes off the end */
};

static struct frame make_said(const struct said *s)
{
	struct frame frame = {.len = 0};
	const uint8_t router[16] = {10, 9, 9, 9};
	struct glb_icmp icmp = {.type = s->type, .code = s->code, .rest = glb_be32_put(s->mtu)};

	put_eth(&frame, s->family == 4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6);
	if (s->family == 4)
		put_ipv4(&frame, GLB_IPPROTO_ICMP, router, s->to, 0);
	else
		put_ipv6(&frame, GLB_IPPROTO_ICMPV6, router, s->to);
	frame_put(&frame, &icmp, sizeof(icmp));
	if (s->family == 4) {
		struct glb_ipv4 *ip = put_ipv4(&frame, s->protocol, s->src, s->dst, 0);

		ip->total_length = glb_be16_put(s->length);
		if (s->fragment)
			ip->fragment = glb_be16_put(GLB_IPV4_MF);
	} else {
		put_ipv6(&frame, s->protocol, s->src, s->dst)->payload_length = glb_be16_put((uint16_t)(s->length - 40));
	}
	put_udp(&frame, s->sport, s->dport);
	frame.len -= s->cut;
	frame_close(&frame);
	return frame;
}

/* A believable one about a packet of GUE. */
static struct said usual(const struct world *w, unsigned family)
{
	const bool v4 = family == 4;
	const uint8_t *from = v4 ? w->director.outer_source_v4.bytes : w->director.outer_source_v6.bytes;

	return (struct said){
		.family = family, .type = v4 ? GLB_ICMP_UNREACHABLE : GLB_ICMPV6_TOO_BIG, .code = v4 ? GLB_ICMP_FRAG_NEEDED : 0,
		.mtu = 1400, .to = from, .src = from, .dst = w->snapshot.backends[0].addr.bytes, .protocol = GLB_IPPROTO_UDP,
		.length = 1500, .sport = 0x8123, .dport = GLB_GUE_PORT,
	};
}

static const uint8_t known_encaps[] = {GLB_ENCAP_GUE, GLB_ENCAP_GRE, GLB_ENCAP_IPIP, GLB_ENCAP_6IN4, GLB_ENCAP_IP6IP6, GLB_ENCAP_4IN6};

/* What glb/path_mtu.h promises, read off the fields that made the packet. */
static enum glb_reason naive(const struct world *w, const struct said *s, uint8_t encap, bool prefixed)
{
	static const uint8_t protocols[GLB_ENCAP_COUNT] = {[GLB_ENCAP_GUE] = 17, [GLB_ENCAP_GRE] = 47, [GLB_ENCAP_IPIP] = 4, [GLB_ENCAP_6IN4] = 41,
							   [GLB_ENCAP_IP6IP6] = 41, [GLB_ENCAP_4IN6] = 4};
	const bool v4 = s->family == 4, outer4 = encap == GLB_ENCAP_IPIP || encap == GLB_ENCAP_6IN4;
	const bool outer6 = encap == GLB_ENCAP_IP6IP6 || encap == GLB_ENCAP_4IN6;
	const size_t len = v4 ? 4 : 16;
	const uint8_t *own = v4 ? w->director.outer_source_v4.bytes : w->director.outer_source_v6.bytes;
	const bool from_own = memcmp(s->src, own, len) == 0;

	if ((s->protocol == 17 || s->protocol == 6) && s->cut > 4) /* ports are a must, whatever it is about */
		return GLB_REASON_ICMP_QUOTE_TRUNCATED;
	if (s->protocol != protocols[encap] || (outer4 && !v4) || (outer6 && v4) || s->fragment)
		return GLB_REASON_NOT_VIP;
	if (encap == GLB_ENCAP_GUE || !prefixed) {
		if (!from_own)
			return GLB_REASON_NOT_VIP;
	} else if (memcmp(s->src, own, len - 1) != 0) { /* a prefix of all but the last byte */
		return GLB_REASON_NOT_VIP;
	}
	if (memcmp(s->src, s->to, len) != 0)
		return GLB_REASON_NOT_VIP;
	if (encap == GLB_ENCAP_GUE && (s->cut != 0 || s->dport != 19523 || s->sport < 32768))
		return GLB_REASON_NOT_VIP;
	if (s->mtu < (v4 ? 576U : 1280U) || s->mtu >= s->length || s->mtu >= LIMIT)
		return GLB_REASON_OUTER_TOO_BIG_IGNORED;
	return GLB_REASON_OUTER_TOO_BIG;
}

static void believes_what_a_naive_reader_does(void)
{
	static const uint16_t lengths[] = {575, 1281, 1401, 1500, 9000};
	static const uint32_t mtus[] = {0, 68, 575, 576, 1279, 1280, 1400, 1499, 1500, 9000};
	static const uint8_t protocols[] = {17, 17, 47, 4, 41, 6, 1};
	unsigned seen[GLB_REASON_COUNT] = {0};
	uint64_t state = 77;

	for (unsigned round = 0; round < 60000; round++) {
		static struct world w;
		static bool prefixed;
		static uint8_t encap;
		uint8_t near[16], far[16];
		struct glb_outer_too_big got = {.mtu = 0};
		struct glb_packet p;
		struct frame frame;
		struct said s;
		enum glb_reason want;

		if (round % 2000 == 0) {
			const struct encap_case c = {.encap = known_encaps[make_random(&state, 6)], .hops = 1};
			const bool to4 = c.encap == GLB_ENCAP_IPIP || c.encap == GLB_ENCAP_6IN4, to6 = c.encap == GLB_ENCAP_IP6IP6 || c.encap == GLB_ENCAP_4IN6;
			const bool c4 = c.encap == GLB_ENCAP_IPIP || c.encap == GLB_ENCAP_4IN6, c6 = c.encap == GLB_ENCAP_IP6IP6 || c.encap == GLB_ENCAP_6IN4;

			world_close(&w);
			encap = c.encap;
			CHECK(encap_open(&w, (struct encap_case){.encap = encap, .hops = 1, .client = c4 ? 4 : c6 ? 6 : 4,
								 .backend = to4 ? 4 : to6 ? 6 : 0}));
			w.path.egress[0].mtu = w.path.director.mtu = LIMIT;
			prefixed = make_random(&state, 2);
			if (prefixed) {
				w.path.director.outer_prefix_v4 = (struct glb_prefix){.addr = make_v4(10, 0, 0, 0), .bits = 24};
				w.path.director.outer_prefix_v6 = (struct glb_prefix){.addr = make_v6(0), .bits = 120};
			}
		}
		s = usual(&w, make_random(&state, 2) ? 4 : 6);
		memcpy(near, s.src, 16);
		near[s.family == 4 ? 3 : 15] ^= 1;
		memcpy(far, s.src, 16);
		far[1] ^= 1;
		s.protocol = make_random(&state, 2) ? (encap == GLB_ENCAP_GUE ? 17 : encap == GLB_ENCAP_GRE ? 47 : s.protocol)
						    : protocols[make_random(&state, 7)];
		s.mtu = make_random(&state, 2) ? s.mtu : mtus[make_random(&state, 10)];
		s.length = make_random(&state, 2) ? s.length : lengths[make_random(&state, 5)];
		s.sport = make_random(&state, 8) ? s.sport : 0x7fff;
		s.dport = make_random(&state, 8) ? s.dport : 19522;
		s.src = make_random(&state, 8) ? s.src : make_random(&state, 2) ? near : far;
		s.to = make_random(&state, 8) ? s.src : usual(&w, s.family).src;
		s.fragment = s.family == 4 && make_random(&state, 16) == 0;
		s.cut = make_random(&state, 8) ? 0 : make_random(&state, 8);
		frame = make_said(&s);
		want = naive(&w, &s, encap, prefixed);
		p = packet_of(&frame, frame.len); /* sanitizers see a read beyond it */
		glb_path_burst(&w.path, &p, 1);
		if (p.reason != want)
			printf("# round %u: %s, not %s\n", round, glb_reason_name(p.reason), glb_reason_name(want));
		CHECK(p.reason == want && p.verdict == glb_reason_verdict(want));
		seen[want]++;
		if (want == GLB_REASON_OUTER_TOO_BIG) {
			CHECK(glb_outer_too_big(&w.path, &p, &got) == want);
			CHECK(got.mtu == s.mtu && got.backend.family == s.family);
			CHECK(memcmp(got.backend.bytes, s.dst, s.family == 4 ? 4 : 16) == 0);
		}
		packet_free(&p);
	}
	CHECK(seen[GLB_REASON_OUTER_TOO_BIG] > 1000 && seen[GLB_REASON_OUTER_TOO_BIG_IGNORED] > 1000);
	CHECK(seen[GLB_REASON_NOT_VIP] > 1000 && seen[GLB_REASON_ICMP_QUOTE_TRUNCATED] > 100);
}

/* Only too-bigs: a port that is unreachable says nothing of an MTU. */
static void other_errors_are_the_kernels(void)
{
	struct world w;
	struct said s;
	struct frame frame;

	CHECK(encap_open(&w, (struct encap_case){.encap = GLB_ENCAP_GUE, .client = 4, .backend = 4, .hops = 2}));
	s = usual(&w, 4);
	s.code = 3;
	frame = make_said(&s);
	CHECK(run(&w.path, &frame).reason == GLB_REASON_NOT_VIP);
	world_close(&w);
}

static struct frame long_frame(unsigned family, uint32_t length)
{
	struct frame frame = tcp_frame(family, 40000, 80);

	put_zeros(&frame, length - (frame.len - frame.l3));
	frame_close(&frame);
	return frame;
}

/* The first hop of all the client's packets, and what else is in the chain. */
static struct glb_packet chain_of(const struct world *w, unsigned family)
{
	struct frame frame = tcp_frame(family, 40000, 80);

	return run(&w->path, &frame);
}

static void too_big_is_what_exceeds_the_own_way(void)
{
	for (unsigned family = 4; family <= 6; family += 2) {
		static struct world w;
		static struct ways ways;
		struct glb_packet p;
		struct frame frame;
		unsigned other = 0;
		bool in_chain;

		CHECK(encap_open(&w, (struct encap_case){.encap = GLB_ENCAP_GUE, .client = (uint8_t)family, .backend = 4, .hops = 2}));
		ways_open(&ways, &w);
		p = chain_of(&w, family);
		CHECK(p.verdict == GLB_VERDICT_FORWARD && p.chain_len == 2);
		do { /* a backend that this client's packets do not go to */
			in_chain = other == p.chain[0] || other == p.chain[1];
		} while (in_chain && ++other < w.snapshot.backend_count);
		CHECK(glb_path_mtus_lower(&ways.mtus, &w.snapshot, &w.snapshot.backends[other].addr, 1400) == 1);
		CHECK(ways.mtus.least == 1400 && ways.tables[0] == 1400);
		frame = long_frame(family, 1460);
		CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED); /* its own way is as before */
		frame = long_frame(family, 1461);
		p = run(&w.path, &frame);
		CHECK(p.reason == GLB_REASON_OVERSIZE_ANSWERED && p.mtu == 1400 - 40); /* but who is told, is told what all ways take */
		CHECK(glb_path_mtus_lower(&ways.mtus, &w.snapshot, &w.snapshot.backends[p.chain[1]].addr, 1450) == 1);
		frame = long_frame(family, 1450 - 40);
		CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
		frame = long_frame(family, 1450 - 39);
		p = run(&w.path, &frame);
		CHECK(p.reason == GLB_REASON_OVERSIZE_ANSWERED && p.mtu == 1400 - 40);
		world_close(&w);
	}
}

/* Who has obeyed is not told again: an IPv6 packet of 1280 bytes is sent, however little a router claims. */
static void what_cannot_be_told_less_is_sent(void)
{
	static struct ways ways;
	struct world w;
	struct glb_packet p;
	struct frame frame;

	CHECK(encap_open(&w, (struct encap_case){.encap = GLB_ENCAP_GUE, .client = 6, .backend = 4, .hops = 1}));
	ways_open(&ways, &w);
	for (unsigned b = 0; b < w.snapshot.backend_count; b++)
		glb_path_mtus_lower(&ways.mtus, &w.snapshot, &w.snapshot.backends[b].addr, 576);
	frame = long_frame(6, 1280);
	CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
	frame = long_frame(6, 1281);
	p = run(&w.path, &frame);
	CHECK(p.reason == GLB_REASON_OVERSIZE_ANSWERED && p.mtu == 1280);
	world_close(&w);
}

static void each_oversize_policy(void)
{
	static struct ways ways;
	struct world w;
	struct glb_packet p;
	struct frame frame = long_frame(4, 1440);

	CHECK(encap_open(&w, (struct encap_case){.encap = GLB_ENCAP_GRE, .client = 4, .backend = 4, .hops = 1}));
	ways_open(&ways, &w);
	for (unsigned b = 0; b < w.snapshot.backend_count; b++)
		glb_path_mtus_lower(&ways.mtus, &w.snapshot, &w.snapshot.backends[b].addr, 1400);
	p = run(&w.path, &frame);
	CHECK(p.reason == GLB_REASON_OVERSIZE_ANSWERED && p.mtu == 1400 - 24);
	((struct glb_service *)(uintptr_t)w.snapshot.services)->oversize = GLB_OVERSIZE_DROP;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_TOO_LONG);
	((struct glb_service *)(uintptr_t)w.snapshot.services)->oversize = GLB_OVERSIZE_FRAGMENT;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_OVERSIZE_ANSWERED); /* DF */
	((struct glb_ipv4 *)(frame.bytes + frame.l3))->fragment = glb_be16_put(0);
	p = run(&w.path, &frame);
	CHECK(p.reason == GLB_REASON_OVERSIZE_FRAGMENTED && p.mtu == 1400 - 24);
	glb_path_mtus_clear(&ways.mtus, &w.snapshot);
	CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
	world_close(&w);
}

/* What is written to the client's packet itself, or to Ethernet alone, has no outer packet that a router could have told about. */
static void no_outer_header_no_way(void)
{
	static struct ways ways;
	struct frame frame = long_frame(4, 1480);
	struct world w;

	CHECK(encap_open(&w, (struct encap_case){.encap = GLB_ENCAP_NAT, .client = 4, .backend = 4, .hops = 1}));
	ways_open(&ways, &w);
	for (unsigned b = 0; b < w.snapshot.backend_count; b++)
		glb_path_mtus_lower(&ways.mtus, &w.snapshot, &w.snapshot.backends[b].addr, 1400);
	CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
	world_close(&w);
}

static void nobodys_address_changes_nothing(void)
{
	static struct ways ways;
	const struct glb_addr stranger = make_v4(192, 0, 2, 99);
	struct world w;

	CHECK(world_open(&w));
	ways_open(&ways, &w);
	CHECK(glb_path_mtus_lower(&ways.mtus, &w.snapshot, &stranger, 1400) == 0);
	CHECK(ways.mtus.least == UINT32_MAX && glb_path_mtus_least(NULL) == UINT32_MAX);
	for (unsigned t = 0; t < w.snapshot.table_count; t++)
		CHECK(ways.tables[t] == UINT32_MAX);
	world_close(&w);
}

/* The straight line takes a packet only where the path would send it: then both send the same. */
static void the_straight_line_agrees(void)
{
	uint64_t state = 5;
	unsigned taken = 0, left = 0;

	for (unsigned round = 0; round < 40; round++) {
		static struct world w;
		static struct ways ways;
		static uint8_t bytes[GLB_FAST_HEADROOM + 2048];
		struct glb_fast fast;
		struct glb_error error;
		const unsigned family = round & 1 ? 4 : 6;

		CHECK(encap_open(&w, (struct encap_case){.encap = round & 2 ? GLB_ENCAP_GUE : family == 4 ? GLB_ENCAP_IPIP : GLB_ENCAP_6IN4,
							 .client = (uint8_t)family, .backend = 4, .hops = round & 2 ? 2 : 1}));
		w.path.director.outer_checksum = GLB_OUTER_CHECKSUM_ZERO;
		ways_open(&ways, &w);
		CHECK(glb_fast_make(&fast, &w.path, 1, &error) == 0 && fast.usable);
		for (unsigned b = 0; b < w.snapshot.backend_count; b++)
			if (make_random(&state, 2))
				glb_path_mtus_lower(&ways.mtus, &w.snapshot, &w.snapshot.backends[b].addr, 1300 + make_random(&state, 200));
		for (unsigned i = 0; i < 400; i++) {
			struct frame frame = tcp_frame(family, (uint16_t)(1024 + make_random(&state, 60000)), 80);
			static struct glb_fast_burst burst;
			struct glb_packet p;

			put_zeros(&frame, 1200 + make_random(&state, 260));
			frame_close(&frame);
			p = run(&w.path, &frame);
			memcpy(bytes + GLB_FAST_HEADROOM, frame.bytes, frame.len);
			burst.data[0] = bytes + GLB_FAST_HEADROOM;
			burst.len[0] = frame.len;
			if (glb_fast_run(&fast, &w.path, &burst, 1) < 0) {
				left++;
				continue;
			}
			taken++;
			CHECK(p.reason == GLB_REASON_FORWARDED);
		}
		glb_fast_free(&fast);
		world_close(&w);
	}
	CHECK(taken > 1000 && left > 1000);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"believes what a naive reader does", believes_what_a_naive_reader_does},
		{"other errors are the kernel's", other_errors_are_the_kernels},
		{"too big is what exceeds the own way", too_big_is_what_exceeds_the_own_way},
		{"what cannot be told less is sent", what_cannot_be_told_less_is_sent},
		{"each oversize policy", each_oversize_policy},
		{"no outer header, no way", no_outer_header_no_way},
		{"nobody's address changes nothing", nobodys_address_changes_nothing},
		{"the straight line agrees", the_straight_line_agrees},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
