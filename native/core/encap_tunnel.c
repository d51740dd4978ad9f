/* Outer headers without ports: GRE, and an IP header alone. docs/wire/encapsulations.md. */
#include "outer.h"

enum { VARIED_BYTES = 8 }; /* of a source address: as many as a hash has */

/* The outer source: the director's address, or one of its prefix, chosen by flow, so that receive queues and routers can
 * tell flows apart that have no ports. */
static struct glb_addr source_of(const struct glb_path *path, const struct glb_packet *packet)
{
	const struct glb_director *director = &path->director;
	const bool v4 = packet->outer_family == GLB_FAMILY_V4;
	const struct glb_prefix *prefix = v4 ? &director->outer_prefix_v4 : &director->outer_prefix_v6;
	const unsigned len = v4 ? 4 : 16;
	struct glb_addr source = prefix->addr;
	uint64_t varies = outer_varies(packet);

	if (source.family == GLB_FAMILY_NONE)
		return v4 ? director->outer_source_v4 : director->outer_source_v6;
	for (unsigned i = len; i-- > 0 && i + VARIED_BYTES >= len && i * 8 + 8 > prefix->bits; varies >>= 8)
		source.bytes[i] |= (uint8_t)varies & (prefix->bits > i * 8 ? 0xff >> (prefix->bits - i * 8) : 0xff);
	return source;
}

/* The outer IP header. Returns its length. */
static uint32_t put_ip(const struct glb_path *path, const struct glb_packet *packet, uint8_t protocol, uint32_t length,
		       uint8_t *out)
{
	const uint8_t *destination = outer_destination(path, packet);
	const struct glb_addr source = source_of(path, packet);

	if (packet->outer_family == GLB_FAMILY_V4) {
		*(struct glb_ipv4 *)out = outer_ipv4(source.bytes, destination, packet->outer_tos, protocol, length,
						     outer_offloads(path, packet));
		return sizeof(struct glb_ipv4);
	}
	*(struct glb_ipv6 *)out = outer_ipv6(source.bytes, destination, packet->outer_tos, outer_varies(packet), protocol, length);
	return sizeof(struct glb_ipv6);
}

void ip_write(const struct glb_path *path, const struct glb_packet *packet, uint32_t length, uint8_t *out)
{
	put_ip(path, packet, outer_inner_protocol(packet), length, out);
}

void gre_write(const struct glb_path *path, const struct glb_packet *packet, uint32_t length, uint8_t *out)
{
	const struct glb_service *service = &path->snapshot->services[packet->service];
	const bool keyed = (service->flags & GLB_SERVICE_GRE_KEY) != 0;
	struct glb_gre *gre = (struct glb_gre *)(out + put_ip(path, packet, GLB_IPPROTO_GRE, length, out));

	*gre = (struct glb_gre){
		.flags = glb_be16_put(keyed ? GLB_GRE_KEY : 0),
		.type = glb_be16_put(packet->family == GLB_FAMILY_V4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6),
	};
	if (keyed)
		*(glb_be32 *)(gre + 1) = glb_be32_put(service->encap_value);
}
