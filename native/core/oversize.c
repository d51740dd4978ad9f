/* What becomes of packets that would exceed the egress MTU (oversize.h): told so, sent in pieces (pieces.c), or dropped.
 *
 * Who is told is the client; a packet of any kind is answered but an ICMP error, a later fragment, and what comes from nobody or
 * everybody. IPv4 packets without DF are answered, too: the sender's own IP then fragments what it sends. RFC 1122 (3.2.2), 1191, 4443 (2.4).
 */
#include "oversize.h"
#include "echo.h"

#include <glb/wire.h>

enum {
	MTU_V4_MIN = 68,   /* RFC 791 */
	MTU_V6_MIN = 1280, /* RFC 8200 */
	IP_LENGTH_MAX = 65535,
	PIECE_UNIT = 8,
};

uint32_t oversize_told(uint32_t told, uint8_t family)
{
	const uint32_t least = family == GLB_FAMILY_V4 ? MTU_V4_MIN : MTU_V6_MIN;

	return told > least ? told : least;
}

static bool may_be_told(const struct glb_packet *packet)
{
	switch ((enum glb_packet_kind)packet->kind) {
	case GLB_PACKET_TCP:
	case GLB_PACKET_UDP:
	case GLB_PACKET_ECHO:
	case GLB_PACKET_OTHER:
		return answerable_source(packet);
	default:
		return false;
	}
}

/* Whether it may go in pieces, and they have room for more than their headers. */
static bool may_be_cut(const struct glb_packet *packet, uint32_t told)
{
	const struct glb_ipv4 *ip = (const struct glb_ipv4 *)(packet->data + packet->l3_offset);
	const uint32_t header = (ip->version_ihl & 0x0fU) * 4;
	uint32_t end;

	if (packet->family != GLB_FAMILY_V4 || (glb_be16_get(ip->fragment) & GLB_IPV4_DF) != 0 || told < header + PIECE_UNIT)
		return false;
	end = (glb_be16_get(ip->fragment) & GLB_IPV4_OFFSET) * (uint32_t)PIECE_UNIT + packet->l3_len;
	return end <= IP_LENGTH_MAX;
}

enum glb_reason oversize(const struct glb_service *service, struct glb_packet *packet, uint32_t told)
{
	packet->mtu = oversize_told(told, packet->family);
	switch ((enum glb_oversize)service->oversize) {
	case GLB_OVERSIZE_FRAGMENT:
		if (may_be_cut(packet, told)) {
			packet->mtu = told;
			return GLB_REASON_OVERSIZE_FRAGMENTED;
		}
		break;
	case GLB_OVERSIZE_DROP:
		return GLB_REASON_TOO_LONG;
	case GLB_OVERSIZE_ICMP:
		break;
	}
	return may_be_told(packet) ? GLB_REASON_OVERSIZE_ANSWERED : GLB_REASON_TOO_LONG;
}
