/* Classes of punted packets (glb/punt.h). */
#include <glb/punt.h>
#include <glb/wire.h>

enum {
	BGP_PORT = 179,
	ND_FIRST = 133, /* router solicitation */
	ND_LAST = 137,  /* redirect */
	ND_HOP_LIMIT = 255,
};

/* The Ethernet type behind up to two VLAN tags; 0 when the frame ends before it. */
static uint16_t ethertype(const struct glb_packet *packet)
{
	uint32_t at = 12;
	uint16_t type = 0;

	for (unsigned tags = 0; tags <= 2 && at + 2 <= packet->data_len; tags++, at += 4) {
		type = glb_be16_get(*(const glb_be16 *)(packet->data + at));
		if (type != GLB_ETHERTYPE_VLAN && type != GLB_ETHERTYPE_QINQ)
			return type;
	}
	return 0;
}

static bool is_neighbour_discovery(const struct glb_packet *packet)
{
	const struct glb_ipv6 *ip = (const struct glb_ipv6 *)(packet->data + packet->l3_offset);
	const struct glb_icmp *icmp = (const struct glb_icmp *)(packet->data + packet->l4_offset);

	return packet->family == GLB_FAMILY_V6 && icmp->type >= ND_FIRST && icmp->type <= ND_LAST &&
	       ip->hop_limit == ND_HOP_LIMIT;
}

static bool is_bfd(uint16_t port)
{
	/* RFC 5881 (control, echo), 5883 (multihop), 7130 (link aggregates), 7881 (seamless) */
	return port == 3784 || port == 3785 || port == 4784 || port == 6784 || port == 7784;
}

enum glb_punt_class glb_punt_classify(const struct glb_packet *packet)
{
	if (packet->reason == GLB_REASON_NOT_IP)
		return ethertype(packet) == GLB_ETHERTYPE_ARP ? GLB_PUNT_NEIGHBOUR : GLB_PUNT_OTHER;
	switch ((enum glb_packet_kind)packet->kind) {
	case GLB_PACKET_ICMP:
		return is_neighbour_discovery(packet) ? GLB_PUNT_NEIGHBOUR : GLB_PUNT_OTHER;
	case GLB_PACKET_TCP:
		return packet->sport == BGP_PORT || packet->dport == BGP_PORT ? GLB_PUNT_ROUTING : GLB_PUNT_OTHER;
	case GLB_PACKET_UDP:
		return is_bfd(packet->dport) ? GLB_PUNT_ROUTING : GLB_PUNT_OTHER;
	default:
		return GLB_PUNT_OTHER;
	}
}

const char *glb_punt_class_name(unsigned punt_class)
{
	static const char *const names[GLB_PUNT_CLASSES] = {
		[GLB_PUNT_NEIGHBOUR] = "neighbour", [GLB_PUNT_ROUTING] = "routing", [GLB_PUNT_OTHER] = "other",
	};

	return punt_class < GLB_PUNT_CLASSES ? names[punt_class] : "unknown";
}
