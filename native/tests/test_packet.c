/* The parse stage: what it reads from good frames, and what it says about bad ones at every length. */
#include "packet_samples.h"

static const uint8_t *const vip4 = frame_vip_v4, *const client4 = frame_client_v4;
static const uint8_t *const vip6 = frame_vip_v6, *const client6 = frame_client_v6;

/* One frame of every kind: where its headers end, and what is read from it. `ends` are offsets at which a frame cut
 * shorter becomes worse: of Ethernet, of the IP header, and (IPv6) of the extension headers; `transport` is where the
 * bytes end that the parser needs (of a quote: its ports). */
struct sample {
	const char *name;
	void (*build)(struct frame *frame);
	uint8_t kind, family, protocol;
	uint16_t l3, ip_end, l4, transport;
	uint16_t sport, dport, hint;
	uint16_t quote; /* from here on a cut is the quote's; 0 = no quote */
};

static const struct sample samples[] = {
	{"TCP over IPv4", tcp4, GLB_PACKET_TCP, 4, 6, 14, 34, 34, 54, 40000, 80, 40000, 0},
	{"IPv4 options", tcp4_options, GLB_PACKET_TCP, 4, 6, 14, 74, 74, 94, 40000, 80, 40000, 0},
	{"UDP in two VLANs", udp4_two_vlans, GLB_PACKET_UDP, 4, 17, 22, 42, 42, 50, 5353, 53, 5353, 0},
	{"echo", echo4, GLB_PACKET_ECHO, 4, 1, 14, 34, 34, 42, 0, 0, 0x1d2e, 0},
	{"frag-needed", too_big4, GLB_PACKET_TOO_BIG, 4, 6, 14, 34, 34, 70, 40000, 80, 40000, 42},
	{"TCP over IPv6", tcp6, GLB_PACKET_TCP, 6, 6, 14, 54, 54, 74, 40000, 443, 40000, 0},
	{"extension headers", udp6_extensions, GLB_PACKET_UDP, 6, 17, 14, 54, 134, 142, 5353, 53, 5353, 0},
	{"ICMPv6 echo", echo6, GLB_PACKET_ECHO, 6, 58, 14, 54, 54, 62, 0, 0, 0xbcde, 0},
	{"packet-too-big", too_big6, GLB_PACKET_TOO_BIG, 6, 17, 14, 54, 54, 106, 5353, 53, 5353, 62},
};

static struct frame build(const struct sample *sample)
{
	struct frame frame = {.len = 0};

	sample->build(&frame);
	return frame;
}

static struct glb_addr addr_of(const struct sample *sample, const uint8_t *v4, const uint8_t *v6)
{
	struct glb_addr addr = {.family = sample->family};

	memcpy(addr.bytes, sample->family == 4 ? v4 : v6, glb_addr_len(sample->family));
	return addr;
}

static void reads_good_frames(void)
{
	for (unsigned i = 0; i < COUNT(samples); i++) {
		const struct sample *s = &samples[i];
		const struct frame frame = build(s);
		struct glb_packet p = packet_of(&frame, frame.len);
		const struct glb_addr client = addr_of(s, client4, client6), vip = addr_of(s, vip4, vip6);

		glb_packet_parse(&p, 1);
		CHECK(p.verdict == GLB_VERDICT_FORWARD && p.reason == GLB_REASON_FORWARDED);
		CHECK(p.kind == s->kind && p.family == s->family && p.protocol == s->protocol);
		CHECK(p.l3_offset == s->l3 && p.l4_offset == s->l4 && p.l3_len == frame.len - s->l3);
		CHECK(p.sport == s->sport && p.dport == s->dport && p.hint == s->hint);
		CHECK(memcmp(&p.vip, &vip, sizeof(vip)) == 0);
		CHECK(memcmp(&p.src, &client, sizeof(client)) == 0 && memcmp(&p.dst, &vip, sizeof(vip)) == 0);
		CHECK(p.tos == 0xb8);
		packet_free(&p);
	}
}

/* ---- cut short ---- */

static enum glb_reason truncated_header(const struct sample *s, uint32_t len)
{
	if (len < s->l3)
		return GLB_REASON_ETH_TRUNCATED;
	return s->family == 4 ? GLB_REASON_IPV4_TRUNCATED : GLB_REASON_IPV6_TRUNCATED;
}

/* The wire lost the end of the frame: its IP length promises more. */
static void cut_frames(void)
{
	for (unsigned i = 0; i < COUNT(samples); i++) {
		const struct sample *s = &samples[i];
		const struct frame frame = build(s);

		for (uint32_t len = 0; len < frame.len; len++) {
			struct glb_packet p = packet_of(&frame, len);
			enum glb_reason expected = len < s->ip_end    ? truncated_header(s, len)
						   : s->family == 4 ? GLB_REASON_IPV4_BAD_LENGTH
								    : GLB_REASON_IPV6_BAD_LENGTH;

			glb_packet_parse(&p, 1);
			CHECK(p.reason == expected);
			CHECK(p.verdict == GLB_VERDICT_DROP);
			packet_free(&p);
		}
	}
}

static enum glb_reason expected_short(const struct sample *s, uint32_t len)
{
	if (len < s->ip_end)
		return truncated_header(s, len);
	if (len < s->l4)
		return GLB_REASON_IPV6_BAD_EXTENSION;
	if (len >= s->transport)
		return GLB_REASON_FORWARDED;
	return s->quote != 0 && len >= s->quote ? GLB_REASON_ICMP_QUOTE_TRUNCATED : GLB_REASON_L4_TRUNCATED;
}

/* The sender made it short: the IP length fits the frame, its headers do not fit the IP length. And the same with
 * a frame whose later bytes are elsewhere (data_len < frame_len). */
static void short_packets(void)
{
	for (unsigned i = 0; i < COUNT(samples); i++) {
		const struct sample *s = &samples[i];
		const struct frame whole = build(s);

		for (uint32_t len = 0; len < whole.len; len++) {
			struct frame frame = whole;
			struct glb_packet p, head = packet_of(&whole, len);

			frame.len = len;
			if (len >= s->ip_end)
				frame_close(&frame);
			p = packet_of(&frame, len);
			glb_packet_parse(&p, 1);
			CHECK(p.reason == expected_short(s, len));
			CHECK(p.verdict == glb_reason_verdict(p.reason));

			head.frame_len = whole.len;
			glb_packet_parse(&head, 1);
			CHECK(head.reason == expected_short(s, len));
			packet_free(&p);
			packet_free(&head);
		}
	}
}

/* ---- the frame around the packet ---- */

static void cuts_padding_off(void)
{
	struct frame frame = build(&samples[0]);
	const uint32_t len = frame.len - frame.l3;
	struct glb_packet p;

	put_zeros(&frame, 9);
	p = parse_frame(&frame);
	CHECK(p.verdict == GLB_VERDICT_FORWARD && p.l3_len == len);
}

static void leaves_other_verdicts_alone(void)
{
	const struct frame frame = build(&samples[0]);
	struct glb_packet burst[2] = {packet_of(&frame, frame.len), packet_of(&frame, frame.len)};

	burst[0].verdict = GLB_VERDICT_PUNT;
	burst[0].reason = GLB_REASON_OTHER_MAC;
	burst[0].kind = GLB_PACKET_TOO_BIG; /* of an earlier frame */
	burst[1].chain_len = 3;
	glb_packet_parse(burst, 2);
	CHECK(burst[0].verdict == GLB_VERDICT_PUNT && burst[0].reason == GLB_REASON_OTHER_MAC);
	CHECK(burst[0].kind == GLB_PACKET_OTHER);
	CHECK(burst[1].verdict == GLB_VERDICT_FORWARD && burst[1].chain_len == 0);
	packet_free(&burst[0]);
	packet_free(&burst[1]);
}

/* ---- random ---- */

/* What must hold for any bytes at all. */
static bool is_sane(const struct glb_packet *p)
{
	if (p->reason >= GLB_REASON_COUNT || p->verdict != glb_reason_verdict(p->reason))
		return false;
	if (p->verdict != GLB_VERDICT_FORWARD)
		return true;
	if (p->l3_offset + p->l3_len > p->frame_len || p->l4_offset > p->data_len || p->l4_offset < p->l3_offset)
		return false;
	if (p->kind != GLB_PACKET_TCP && p->kind != GLB_PACKET_UDP)
		return true;
	return p->sport == (p->data[p->l4_offset] << 8 | p->data[p->l4_offset + 1]) &&
	       p->dport == (p->data[p->l4_offset + 2] << 8 | p->data[p->l4_offset + 3]);
}

static void random_mutations(void)
{
	uint64_t state = 20240611;
	unsigned forwarded = 0;

	for (unsigned round = 0; round < 400000; round++) {
		struct frame frame = build(&samples[test_random(&state) % COUNT(samples)]);
		struct glb_packet p;

		for (unsigned i = test_random(&state) % 4; i > 0; i--)
			frame.bytes[12 + test_random(&state) % (frame.len - 12)] = (uint8_t)test_random(&state);
		if (test_random(&state) % 4 == 0)
			frame.len = (uint32_t)(test_random(&state) % (frame.len + 1));
		p = packet_of(&frame, frame.len);
		glb_packet_parse(&p, 1);
		CHECK(is_sane(&p));
		forwarded += p.verdict == GLB_VERDICT_FORWARD;
		packet_free(&p);
	}
	CHECK(forwarded > 100000); /* else the mutations only ever test the first branch */
}

int main(void)
{
	static const struct check_case cases[] = {
		{"reads every kind of good frame", reads_good_frames},
		{"frames cut on the wire, at every length", cut_frames},
		{"packets made too short, at every length", short_packets},
		{"Ethernet padding is cut off", cuts_padding_off},
		{"other verdicts are left alone", leaves_other_verdicts_alone},
		{"random mutations", random_mutations},
	};

	return check_run(cases, COUNT(cases));
}
