/* The strict stage: of packets for a service, drops those that no honest sender sends (strict.h). */
#include <glb/path.h>
#include <glb/wire.h>

#include "strict.h"
#include "verdict.h"

/* Whether it is a first fragment. The parser has gone over IPv6 extension headers: where there are some, there may be a fragment header. */
static bool may_be_fragment(const struct glb_packet *packet)
{
	const uint8_t *ip = packet->data + packet->l3_offset;

	if (packet->family == GLB_FAMILY_V6)
		return (size_t)(packet->l4_offset - packet->l3_offset) != sizeof(struct glb_ipv6);
	return (glb_be16_get(((const struct glb_ipv4 *)ip)->fragment) & (GLB_IPV4_MF | GLB_IPV4_OFFSET)) != 0;
}

static enum glb_reason check(const struct glb_packet *packet)
{
	const bool has_ports = packet->kind == GLB_PACKET_TCP || packet->kind == GLB_PACKET_UDP;
	const uint32_t l4_len = packet->l3_len - (uint32_t)(packet->l4_offset - packet->l3_offset);
	const uint32_t there = packet->data_len - packet->l4_offset;

	return strict_check(&(struct strict){
		.ip = packet->data + packet->l3_offset,
		.l4 = packet->data + packet->l4_offset,
		.l4_len = l4_len,
		.readable = there < l4_len ? there : l4_len,
		.protocol = has_ports ? packet->protocol : 0,
		.v6 = packet->family == GLB_FAMILY_V6,
		.fragment = has_ports && may_be_fragment(packet),
	});
}

void glb_path_check(struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (packets[i].verdict == GLB_VERDICT_FORWARD)
			verdict_set(&packets[i], check(&packets[i]));
}
