/* The parse stage: Ethernet, VLAN tags, then IP (parse_ip.c) and TCP, UDP or ICMP (parse_icmp.c).
 *
 * Every read goes through span_take(), so nothing beyond data_len is ever touched.
 */
#include "parse.h"
#include "verdict.h"

#include <glb/snapshot.h>

enum {
	VLAN_TAGS_MAX = 2,
};

static bool is_vlan(uint16_t type)
{
	return type == GLB_ETHERTYPE_VLAN || type == GLB_ETHERTYPE_QINQ;
}

enum glb_reason ethernet_parse(struct span *bytes, uint8_t *family)
{
	const struct glb_eth *eth = span_take(bytes, sizeof(*eth));
	uint16_t type;

	*family = GLB_FAMILY_NONE;
	if (eth == NULL)
		return GLB_REASON_ETH_TRUNCATED;
	type = glb_be16_get(eth->type);
	for (unsigned tags = 0; is_vlan(type) && tags < VLAN_TAGS_MAX; tags++) {
		const struct glb_vlan *vlan = span_take(bytes, sizeof(*vlan));

		if (vlan == NULL)
			return GLB_REASON_ETH_TRUNCATED;
		type = glb_be16_get(vlan->type);
	}
	if (type == GLB_ETHERTYPE_IPV4)
		*family = GLB_FAMILY_V4;
	else if (type == GLB_ETHERTYPE_IPV6)
		*family = GLB_FAMILY_V6;
	return *family == GLB_FAMILY_NONE ? GLB_REASON_NOT_IP : GLB_REASON_FORWARDED;
}

static enum glb_reason parse_tcp(struct glb_packet *packet, struct span bytes)
{
	const struct glb_tcp *tcp = span_take(&bytes, sizeof(*tcp));

	if (tcp == NULL)
		return GLB_REASON_L4_TRUNCATED;
	packet->kind = GLB_PACKET_TCP;
	packet->sport = packet->hint = glb_be16_get(tcp->sport);
	packet->dport = glb_be16_get(tcp->dport);
	return GLB_REASON_FORWARDED;
}

static enum glb_reason parse_udp(struct glb_packet *packet, struct span bytes)
{
	const struct glb_udp *udp = span_take(&bytes, sizeof(*udp));

	if (udp == NULL)
		return GLB_REASON_L4_TRUNCATED;
	packet->kind = GLB_PACKET_UDP;
	packet->sport = packet->hint = glb_be16_get(udp->sport);
	packet->dport = glb_be16_get(udp->dport);
	return GLB_REASON_FORWARDED;
}

static enum glb_reason parse_transport(struct glb_packet *packet, const struct ip *ip)
{
	const bool v4 = packet->family == GLB_FAMILY_V4;

	if (ip->later_fragment) {
		packet->kind = GLB_PACKET_FRAGMENT;
		return GLB_REASON_FORWARDED;
	}
	if (ip->protocol == GLB_IPPROTO_TCP)
		return parse_tcp(packet, ip->payload);
	if (ip->protocol == GLB_IPPROTO_UDP)
		return parse_udp(packet, ip->payload);
	if (ip->protocol == (v4 ? GLB_IPPROTO_ICMP : GLB_IPPROTO_ICMPV6))
		return icmp_parse(packet, ip);
	return GLB_REASON_FORWARDED; /* kind OTHER */
}

/* From the IP header on, at `bytes`. */
static enum glb_reason parse_packet(struct glb_packet *packet, struct span bytes)
{
	enum glb_reason reason;
	struct ip ip;

	packet->l3_offset = (uint16_t)(bytes.at - packet->data);
	reason = ip_parse(packet->family, bytes, packet->frame_len - packet->l3_offset, &ip);
	if (reason != GLB_REASON_FORWARDED)
		return reason;
	packet->l3_len = ip.length;
	packet->l4_offset = (uint16_t)(ip.payload.at - packet->data);
	packet->protocol = ip.protocol;
	packet->tos = ip.tos;
	packet->extended = ip.extended;
	packet->fragment = ip.fragment;
	packet->vip = packet->dst = ip.dst;
	packet->src = ip.src;
	return parse_transport(packet, &ip);
}

static enum glb_reason parse(struct glb_packet *packet)
{
	struct span bytes = {packet->data, packet->data_len};
	const enum glb_reason reason = ethernet_parse(&bytes, &packet->family);

	return reason == GLB_REASON_FORWARDED ? parse_packet(packet, bytes) : reason;
}

/* What an earlier frame in the same struct left behind. */
static void clear(struct glb_packet *packet)
{
	packet->l3_len = 0;
	packet->l3_offset = packet->l4_offset = 0;
	packet->kind = GLB_PACKET_OTHER;
	packet->protocol = packet->tos = packet->extended = packet->fragment = packet->from_peer = 0;
	packet->hint = packet->sport = packet->dport = 0;
	packet->vip = packet->src = packet->dst = (struct glb_addr){0};
	packet->service = packet->row = packet->alt_row = GLB_INDEX_NONE;
	packet->hash = 0;
	packet->chain_len = packet->by_id = packet->header_len = 0;
	packet->rewrite_len = 0;
}

void glb_packet_parse(struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		clear(&packets[i]);
		if (packets[i].verdict == GLB_VERDICT_FORWARD)
			verdict_set(&packets[i], parse(&packets[i]));
	}
}

enum glb_reason packet_parse_inside(struct glb_packet *packet, uint8_t family, struct span bytes)
{
	clear(packet);
	packet->family = family;
	return parse_packet(packet, bytes);
}
