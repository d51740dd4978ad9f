/* The parse stage, header by header: one field wrong, other protocols, extension headers, fragments, quotes. */
#include "packet_samples.h"

static const uint8_t *const vip4 = frame_vip_v4, *const client4 = frame_client_v4;
static const uint8_t *const vip6 = frame_vip_v6, *const client6 = frame_client_v6;

/* ---- one field wrong ---- */

static void bad_ipv4_fields(void)
{
	struct frame frame = {.len = 0};
	struct glb_ipv4 *ip;

	tcp4(&frame);
	ip = (struct glb_ipv4 *)(frame.bytes + frame.l3);
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
		{4, 0, 0}, {4, GLB_ICMP_ECHO, 1}, {4, 5, 1}, {4, 12, 0}, {4, GLB_ICMPV6_ECHO, 0},
		{6, 129, 0}, {6, GLB_ICMPV6_ECHO, 1}, {6, GLB_ICMPV6_TOO_BIG, 1}, {6, 4, 0}, {6, 135, 0},
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
	struct frame frame = {.len = 0};
	struct glb_ipv4 *ip;
	struct glb_ipv6_extension *extension;

	tcp4(&frame);
	ip = (struct glb_ipv4 *)(frame.bytes + frame.l3);
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

int main(void)
{
	static const struct check_case cases[] = {
		{"wrong IPv4 fields", bad_ipv4_fields},
		{"wrong IPv6 fields", bad_ipv6_fields},
		{"at most eight extension headers", limits_extensions},
		{"what is not IP is punted", punts_what_is_not_ip},
		{"other protocols are named", names_other_protocols},
		{"other ICMP is named", names_other_icmp},
		{"first and later fragments", tells_fragments_apart},
		{"quotes without ports", quotes_without_ports},
	};

	return check_run(cases, COUNT(cases));
}
