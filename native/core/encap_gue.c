/* Outer headers with UDP and GUE, and the chain's further hops in it. docs/wire/gue.md.
 *
 * Over IPv4 byte for byte as GLB's director sends it; over IPv6 the same with longer hops.
 */
#include "outer.h"

struct outer_v4 {
	struct glb_ipv4 ip;
	struct gue_header gue;
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct outer_v4) == GUE_V4_BYTES, "outer headers over IPv4 without hops")

struct outer_v6 {
	struct glb_ipv6 ip;
	struct gue_header gue;
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct outer_v6) == GUE_V6_BYTES, "outer headers over IPv6 without hops")
GLB_STATIC_ASSERT(sizeof(struct glb_eth) + sizeof(struct glb_vlan) + GUE_V6_BYTES + (GLB_HOPS_MAX - 1) * GUE_V6_HOP_BYTES
		  <= GLB_HEADER_MAX, "the longest outer header fits")

/* Of the pseudo header, with `addrs_len` bytes of addresses. */
static uint64_t pseudo_header_sum(const uint8_t *addrs, size_t addrs_len, glb_be16 length)
{
	const struct {
		glb_be16 length;
		uint8_t zero, protocol;
	} rest = {.length = length, .protocol = GLB_IPPROTO_UDP};

	return checksum_add(checksum_add(0, addrs, addrs_len), &rest, sizeof(rest));
}

/* Of the packet whose headers are at `gue`, their own checksum still zero, up to `end`. A result of 0 is sent as 0xffff, since 0 says that there
 * is none. */
static glb_be16 udp_checksum(uint64_t pseudo, const struct gue_header *gue, const uint8_t *end, const struct glb_packet *packet)
{
	const uint64_t sum = checksum_add(pseudo, gue, (size_t)(end - (const uint8_t *)gue));
	const glb_be16 checksum = checksum_finish(checksum_add(sum, packet->data + packet->l3_offset, packet->l3_len));

	return glb_be16_get(checksum) == 0 ? glb_be16_put(0xffff) : checksum;
}

/* What a device that computes the UDP checksum wants to find in its place: the folded sum, not its complement. */
static glb_be16 pseudo_header_field(uint64_t pseudo)
{
	const glb_be16 complement = checksum_finish(pseudo);

	return (glb_be16){{(uint8_t)~complement.b[0], (uint8_t)~complement.b[1]}};
}

/* UDP and GUE with its hops, behind an IP header, which ends with its addresses. */
static inline void write_gue(const struct glb_path *path, const struct glb_packet *packet, uint32_t udp_length, bool v6,
			     struct gue_header *gue)
{
	const unsigned further = packet->chain_len - 1U, addr_bytes = v6 ? GUE_V6_HOP_BYTES : GUE_V4_HOP_BYTES;
	const uint8_t checksum = v6 ? path->director.outer_checksum_v6 : path->director.outer_checksum;
	uint8_t *hops = (uint8_t *)(gue + 1);
	uint64_t pseudo;

	*gue = gue_header(outer_varies(packet), outer_inner_protocol(packet), udp_length,
			  v6 ? GLB_GUE_PRIVATE_V6 : GLB_GUE_PRIVATE_V4, further, addr_bytes);
	for (unsigned i = 0; i < further; i++)
		memcpy(hops + i * addr_bytes, path->snapshot->backends[packet->chain[i + 1]].addr.bytes, addr_bytes);
	if (checksum == GLB_OUTER_CHECKSUM_ZERO)
		return;
	pseudo = pseudo_header_sum((uint8_t *)gue - 2 * addr_bytes, 2 * addr_bytes, gue->udp.length);
	gue->udp.checksum = glb_path_sums_payload(path, packet)
		? udp_checksum(pseudo, gue, hops + further * addr_bytes, packet) : pseudo_header_field(pseudo);
}

static inline void write_v4(const struct glb_path *path, const struct glb_packet *packet, uint8_t tos, uint32_t length,
			    uint8_t *out)
{
	struct outer_v4 *outer = (struct outer_v4 *)out;

	outer->ip = outer_ipv4(path->director.outer_source_v4.bytes, outer_destination(path, packet), tos, GLB_IPPROTO_UDP,
			       length, outer_offloads(path, packet));
	write_gue(path, packet, length - (uint32_t)sizeof(outer->ip), false, &outer->gue);
}

void gue_v4_write(const struct glb_path *path, const struct glb_packet *packet, uint32_t length, uint8_t *out)
{
	write_v4(path, packet, packet->outer_tos, length, out);
}

void gue_v4_frame(const struct glb_path *path, const struct glb_packet *packet, uint8_t *out)
{
	const struct glb_egress *egress = &path->egress[packet->next_hop.port];

	write_v4(path, packet, 0, outer_length(packet, egress), outer_ethernet(packet, egress, GLB_ETHERTYPE_IPV4, out));
}

void gue_v6_write(const struct glb_path *path, const struct glb_packet *packet, uint32_t length, uint8_t *out)
{
	struct outer_v6 *outer = (struct outer_v6 *)out;

	outer->ip = outer_ipv6(path->director.outer_source_v6.bytes, outer_destination(path, packet), packet->outer_tos,
			       outer_varies(packet), GLB_IPPROTO_UDP, length);
	write_gue(path, packet, length - (uint32_t)sizeof(outer->ip), true, &outer->gue);
}
