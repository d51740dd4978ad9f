/* ICMP and ICMPv6: echo requests, and errors (too-big, unreachable, time exceeded) with the packet that they quote.
 *
 * An error becomes the client's own flow: the backend sent the quoted packet, so its addresses and
 * ports, reversed, are those with which the client's packets are hashed. Other messages are only named.
 * RFC 792, 4443.
 */
#include "parse.h"

struct ports {
	glb_be16 source;
	glb_be16 destination;
} GLB_WIRE;

static bool is_echo(const struct glb_packet *packet, const struct glb_icmp *icmp)
{
	return icmp->code == 0 &&
	       icmp->type == (packet->family == GLB_FAMILY_V4 ? GLB_ICMP_ECHO : GLB_ICMPV6_ECHO);
}

static bool is_too_big(const struct glb_packet *packet, const struct glb_icmp *icmp)
{
	if (packet->family == GLB_FAMILY_V4)
		return icmp->type == GLB_ICMP_UNREACHABLE && icmp->code == GLB_ICMP_FRAG_NEEDED;
	return icmp->type == GLB_ICMPV6_TOO_BIG && icmp->code == 0;
}

/* Other errors that quote a packet, whatever their code. */
static bool is_error(const struct glb_packet *packet, const struct glb_icmp *icmp)
{
	if (packet->family == GLB_FAMILY_V4)
		return icmp->type == GLB_ICMP_UNREACHABLE || icmp->type == GLB_ICMP_TIME_EXCEEDED;
	return icmp->type == GLB_ICMPV6_UNREACHABLE || icmp->type == GLB_ICMPV6_TIME_EXCEEDED;
}

static bool has_ports(const struct ip *ip)
{
	return !ip->later_fragment && (ip->protocol == GLB_IPPROTO_TCP || ip->protocol == GLB_IPPROTO_UDP);
}

/* Is there anything like an IP header, of this version and of a possible length? What is too short to tell may be. */
static bool may_be_ip(uint8_t family, struct span bytes)
{
	const uint32_t header_len = family == GLB_FAMILY_V4 ? sizeof(struct glb_ipv4) : sizeof(struct glb_ipv6);

	if (bytes.len < header_len)
		return true;
	return bytes.at[0] >> 4 == family && (family == GLB_FAMILY_V6 || (bytes.at[0] & 0x0f) * 4U >= header_len);
}

static enum glb_reason parse_quote(struct glb_packet *packet, struct span bytes)
{
	const struct ports *ports;
	struct ip quote;

	packet->src.family = packet->dst.family = GLB_FAMILY_NONE; /* until there is a flow; classify asks */
	if (!may_be_ip(packet->family, bytes))
		return GLB_REASON_FORWARDED;
	if (ip_parse(packet->family, bytes, IP_QUOTED, &quote) != GLB_REASON_FORWARDED)
		return GLB_REASON_ICMP_QUOTE_TRUNCATED;
	packet->protocol = quote.protocol;
	if (!has_ports(&quote))
		return GLB_REASON_FORWARDED;
	ports = span_take(&quote.payload, sizeof(*ports));
	if (ports == NULL)
		return GLB_REASON_ICMP_QUOTE_TRUNCATED;
	packet->src = quote.dst;
	packet->dst = quote.src;
	packet->sport = glb_be16_get(ports->destination);
	packet->dport = glb_be16_get(ports->source);
	packet->hint = packet->sport;
	return GLB_REASON_FORWARDED;
}

enum glb_reason icmp_parse(struct glb_packet *packet, const struct ip *ip)
{
	struct span bytes = ip->payload;
	const struct glb_icmp *icmp = span_take(&bytes, sizeof(*icmp));

	if (icmp == NULL)
		return GLB_REASON_L4_TRUNCATED;
	packet->hint = ip->hint;
	if (is_too_big(packet, icmp)) {
		packet->kind = GLB_PACKET_TOO_BIG;
		return parse_quote(packet, bytes);
	}
	if (is_error(packet, icmp)) {
		packet->kind = GLB_PACKET_ERROR;
		(void)parse_quote(packet, bytes); /* one that quotes too little is about no flow of ours */
		return GLB_REASON_FORWARDED;
	}
	packet->kind = is_echo(packet, icmp) ? GLB_PACKET_ECHO : GLB_PACKET_ICMP;
	return GLB_REASON_FORWARDED;
}
