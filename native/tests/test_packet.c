/* The parse stage: what it reads from good frames, and what it says about bad ones at every length. */
#include "check.h"
#include "frames.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint8_t *const vip4 = frame_vip_v4, *const client4 = frame_client_v4;
static const uint8_t *const vip6 = frame_vip_v6, *const client6 = frame_client_v6;

/* ---- sample frames ---- */

static void tcp4(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(frame, GLB_IPPROTO_TCP, client4, vip4, 0);
	put_tcp(frame, 40000, 80);
	put_zeros(frame, 5);
	frame_close(frame);
}

static void tcp4_options(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(frame, GLB_IPPROTO_TCP, client4, vip4, 10);
	put_tcp(frame, 40000, 80);
	frame_close(frame);
}

static void udp4_two_vlans(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_QINQ);
	put_vlan(frame, GLB_ETHERTYPE_VLAN);
	put_vlan(frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(frame, GLB_IPPROTO_UDP, client4, vip4, 0);
	put_udp(frame, 5353, 53);
	frame_close(frame);
}

static void echo4(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(frame, GLB_IPPROTO_ICMP, client4, vip4, 0);
	put_icmp(frame, GLB_ICMP_ECHO, 0);
	put_zeros(frame, 3);
	frame_close(frame);
}

/* Quotes 8 bytes of a TCP header, as RFC 792 asks for at least. */
static void too_big4(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(frame, GLB_IPPROTO_ICMP, (const uint8_t[]){198, 51, 100, 1}, vip4, 0);
	put_icmp(frame, GLB_ICMP_UNREACHABLE, GLB_ICMP_FRAG_NEEDED);
	put_ipv4(frame, GLB_IPPROTO_TCP, vip4, client4, 1);
	put_tcp(frame, 80, 40000);
	frame->len -= 12;
	frame_close(frame);
}

static void tcp6(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(frame, GLB_IPPROTO_TCP, client6, vip6);
	put_tcp(frame, 40000, 443);
	frame_close(frame);
}

static void udp6_extensions(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(frame, GLB_IPPROTO_HOPOPTS, client6, vip6);
	put_extension(frame, GLB_IPPROTO_DSTOPTS, 0, 8);
	put_extension(frame, GLB_IPPROTO_ROUTING, 1, 16);
	put_extension(frame, GLB_IPPROTO_FRAGMENT, 2, 24);
	put_extension(frame, GLB_IPPROTO_AH, 255, 8)->fragment = glb_be16_put(GLB_IPV6_MF); /* the first fragment */
	put_extension(frame, GLB_IPPROTO_UDP, 4, 24);
	put_udp(frame, 5353, 53);
	frame_close(frame);
}

static void echo6(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(frame, GLB_IPPROTO_ICMPV6, client6, vip6);
	put_icmp(frame, GLB_ICMPV6_ECHO, 0);
	frame_close(frame);
}

static void too_big6(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(frame, GLB_IPPROTO_ICMPV6, (const uint8_t[16]){0x20, 1, 0xd, 0xb8, [15] = 0xfe}, vip6);
	put_icmp(frame, GLB_ICMPV6_TOO_BIG, 0);
	put_ipv6(frame, GLB_IPPROTO_UDP, vip6, client6);
	put_udp(frame, 53, 5353);
	frame_close(frame);
}

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

/* ---- one field wrong ---- */

static struct glb_packet parse_frame(const struct frame *frame)
{
	struct glb_packet p = packet_of(frame, frame->len);

	glb_packet_parse(&p, 1);
	packet_free(&p); /* the results stay */
	return p;
}

static void bad_ipv4_fields(void)
{
	struct frame frame = build(&samples[0]);
	struct glb_ipv4 *ip = (struct glb_ipv4 *)(frame.bytes + frame.l3);

	ip->version_ihl = 0x44;
	CHECK(parse_frame(&frame).reason == GLB_REASON_IPV4_TRUNCATED);
	ip->version_ihl = 0x65;
	CHECK(parse_frame(&frame).reason == GLB_REASON_IPV4_BAD_VERSION);
	ip->version_ihl = 0x4f; /* 60 bytes of header in a packet of 45 */
	CHECK(parse_frame(&frame).reason == GLB_REASON_IPV4_TRUNCATED);
	ip->version_ihl = 0x45;
	ip->total_length = glb_be16_put(19);
	CHECK(parse_frame(&frame).reason == GLB_REASON_IPV4_BAD_LENGTH);
	ip->total_length = glb_be16_put(0);
	CHECK(parse_frame(&frame).reason == GLB_REASON_IPV4_BAD_LENGTH);
	ip->total_length = glb_be16_put(39); /* cuts TCP */
	CHECK(parse_frame(&frame).reason == GLB_REASON_L4_TRUNCATED);
	ip->total_length = glb_be16_put(46);
	CHECK(parse_frame(&frame).reason == GLB_REASON_IPV4_BAD_LENGTH);
	ip->total_length = glb_be16_put(0xffff);
	CHECK(parse_frame(&frame).reason == GLB_REASON_IPV4_BAD_LENGTH);
}

static void bad_ipv6_fields(void)
{
	struct frame frame = {.len = 0};
	struct glb_ipv6 *ip;

	tcp6(&frame);
	ip = (struct glb_ipv6 *)(frame.bytes + frame.l3);
	ip->payload_length = glb_be16_put(21);
	CHECK(parse_frame(&frame).reason == GLB_REASON_IPV6_BAD_LENGTH);
	ip->payload_length = glb_be16_put(0);
	CHECK(parse_frame(&frame).reason == GLB_REASON_L4_TRUNCATED);
	ip->version_class_label = glb_be32_put(0x40000000);
	CHECK(parse_frame(&frame).reason == GLB_REASON_IPV6_BAD_VERSION);
}

static void limits_extensions(void)
{
	for (unsigned count = 0; count <= GLB_EXTENSIONS_MAX + 1; count++) {
		struct frame frame = {.len = 0};
		struct glb_packet p;

		put_eth(&frame, GLB_ETHERTYPE_IPV6);
		put_ipv6(&frame, count == 0 ? GLB_IPPROTO_TCP : GLB_IPPROTO_DSTOPTS, client6, vip6);
		for (unsigned i = 1; i <= count; i++)
			put_extension(&frame, i == count ? GLB_IPPROTO_TCP : GLB_IPPROTO_DSTOPTS, 0, 8);
		put_tcp(&frame, 1, 2);
		frame_close(&frame);
		p = parse_frame(&frame);
		CHECK(p.reason == (count <= GLB_EXTENSIONS_MAX ? GLB_REASON_FORWARDED
							       : GLB_REASON_IPV6_BAD_EXTENSION));
		if (count <= GLB_EXTENSIONS_MAX)
			CHECK(p.kind == GLB_PACKET_TCP && p.l4_offset == 54 + 8 * count);
	}
}

/* ---- what is not TCP, UDP or a known ICMP ---- */

static void punts_what_is_not_ip(void)
{
	struct frame frame = {.len = 0};

	put_eth(&frame, GLB_ETHERTYPE_ARP);
	put_zeros(&frame, 28);
	CHECK(parse_frame(&frame).verdict == GLB_VERDICT_PUNT);
	CHECK(parse_frame(&frame).reason == GLB_REASON_NOT_IP);

	frame = (struct frame){.len = 0}; /* a third tag is not looked into */
	put_eth(&frame, GLB_ETHERTYPE_QINQ);
	put_vlan(&frame, GLB_ETHERTYPE_VLAN);
	put_vlan(&frame, GLB_ETHERTYPE_VLAN);
	put_vlan(&frame, GLB_ETHERTYPE_IPV4);
	CHECK(parse_frame(&frame).reason == GLB_REASON_NOT_IP);
}

static void names_other_protocols(void)
{
	static const uint8_t protocols4[] = {0, 2, 47, 50, 51, 58, 132, 255};
	static const uint8_t protocols6[] = {1, 47, 50, 59, 132, 255};
	struct glb_packet p;

	for (unsigned i = 0; i < sizeof(protocols4); i++) {
		struct frame frame = {.len = 0};

		put_eth(&frame, GLB_ETHERTYPE_IPV4);
		put_ipv4(&frame, protocols4[i], client4, vip4, 0);
		frame_close(&frame);
		p = parse_frame(&frame);
		CHECK(p.verdict == GLB_VERDICT_FORWARD && p.kind == GLB_PACKET_OTHER);
		CHECK(p.protocol == protocols4[i]);
	}
	for (unsigned i = 0; i < sizeof(protocols6); i++) {
		struct frame frame = {.len = 0};

		put_eth(&frame, GLB_ETHERTYPE_IPV6);
		put_ipv6(&frame, protocols6[i], client6, vip6);
		frame_close(&frame);
		p = parse_frame(&frame);
		CHECK(p.verdict == GLB_VERDICT_FORWARD && p.kind == GLB_PACKET_OTHER);
	}
}

static void names_other_icmp(void)
{
	static const struct {
		uint8_t family, type, code;
	} others[] = {
		{4, 0, 0}, {4, GLB_ICMP_ECHO, 1}, {4, GLB_ICMP_UNREACHABLE, 3}, {4, 11, 0}, {4, GLB_ICMPV6_ECHO, 0},
		{6, 129, 0}, {6, GLB_ICMPV6_ECHO, 1}, {6, GLB_ICMPV6_TOO_BIG, 1}, {6, 1, 4}, {6, 135, 0},
		{6, GLB_ICMP_ECHO, 0},
	};

	for (unsigned i = 0; i < COUNT(others); i++) {
		struct frame frame = {.len = 0};
		struct glb_packet p;

		if (others[i].family == 4) {
			put_eth(&frame, GLB_ETHERTYPE_IPV4);
			put_ipv4(&frame, GLB_IPPROTO_ICMP, client4, vip4, 0);
		} else {
			put_eth(&frame, GLB_ETHERTYPE_IPV6);
			put_ipv6(&frame, GLB_IPPROTO_ICMPV6, client6, vip6);
		}
		put_icmp(&frame, others[i].type, others[i].code);
		frame_close(&frame);
		p = parse_frame(&frame);
		CHECK(p.verdict == GLB_VERDICT_FORWARD && p.kind == GLB_PACKET_ICMP);
	}
}

/* ---- fragments ---- */

static void tells_fragments_apart(void)
{
	struct frame frame = build(&samples[0]);
	struct glb_ipv4 *ip = (struct glb_ipv4 *)(frame.bytes + frame.l3);
	struct glb_ipv6_extension *extension;

	ip->fragment = glb_be16_put(GLB_IPV4_MF);
	CHECK(parse_frame(&frame).kind == GLB_PACKET_TCP);
	ip->fragment = glb_be16_put(GLB_IPV4_MF | 1);
	CHECK(parse_frame(&frame).kind == GLB_PACKET_FRAGMENT);
	ip->fragment = glb_be16_put(GLB_IPV4_OFFSET);
	CHECK(parse_frame(&frame).kind == GLB_PACKET_FRAGMENT);
	CHECK(parse_frame(&frame).sport == 0 && parse_frame(&frame).dport == 0);

	frame = (struct frame){.len = 0}; /* the payload of a later fragment is not a header, whatever it says */
	put_eth(&frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(&frame, GLB_IPPROTO_FRAGMENT, client6, vip6);
	extension = put_extension(&frame, GLB_IPPROTO_DSTOPTS, 0, 8);
	extension->fragment = glb_be16_put(8);
	put_zeros(&frame, 3);
	frame_close(&frame);
	CHECK(parse_frame(&frame).verdict == GLB_VERDICT_FORWARD);
	CHECK(parse_frame(&frame).kind == GLB_PACKET_FRAGMENT);
	extension->fragment = glb_be16_put(GLB_IPV6_MF); /* the first one: now its chain is cut off */
	CHECK(parse_frame(&frame).reason == GLB_REASON_IPV6_BAD_EXTENSION);
}

/* ---- quotes ---- */

static void quotes_without_ports(void)
{
	struct frame frame = {.len = 0};
	struct glb_ipv4 *quote;
	struct glb_packet p;

	too_big4(&frame);
	quote = (struct glb_ipv4 *)(frame.bytes + 42);
	quote->protocol = GLB_IPPROTO_ICMP;
	p = parse_frame(&frame);
	CHECK(p.verdict == GLB_VERDICT_FORWARD && p.kind == GLB_PACKET_TOO_BIG && p.dst.family == GLB_FAMILY_NONE);
	CHECK(p.vip.family == GLB_FAMILY_V4);
	quote->protocol = GLB_IPPROTO_TCP;
	quote->fragment = glb_be16_put(1);
	CHECK(parse_frame(&frame).dst.family == GLB_FAMILY_NONE);
	quote->fragment = glb_be16_put(0);
	quote->version_ihl = 0x66;
	p = parse_frame(&frame);
	CHECK(p.verdict == GLB_VERDICT_FORWARD && p.dst.family == GLB_FAMILY_NONE);
	quote->version_ihl = 0x44;
	p = parse_frame(&frame);
	CHECK(p.verdict == GLB_VERDICT_FORWARD && p.dst.family == GLB_FAMILY_NONE);
	quote->version_ihl = 0x46;
	quote->total_length = glb_be16_put(0); /* some senders garble it */
	CHECK(parse_frame(&frame).dport == 80);
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
		{"wrong IPv4 fields", bad_ipv4_fields},
		{"wrong IPv6 fields", bad_ipv6_fields},
		{"at most eight extension headers", limits_extensions},
		{"what is not IP is punted", punts_what_is_not_ip},
		{"other protocols are named", names_other_protocols},
		{"other ICMP is named", names_other_icmp},
		{"first and later fragments", tells_fragments_apart},
		{"quotes without ports", quotes_without_ports},
		{"Ethernet padding is cut off", cuts_padding_off},
		{"other verdicts are left alone", leaves_other_verdicts_alone},
		{"random mutations", random_mutations},
	};

	return check_run(cases, COUNT(cases));
}
