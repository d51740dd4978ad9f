/* Outer headers with UDP and GUE, and the chain's further hops in it. docs/wire/gue.md.
 *
 * Over IPv4 byte for byte as GLB's director sends it; over IPv6 the same with longer hops.
 */
#include "outer.h"

/* UDP and GUE, behind either IP header; the hops follow. */
struct gue_header {
	struct glb_udp udp;
	struct glb_gue gue;
} GLB_WIRE;

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

/* Of the pseudo header: addresses, which are `addrs_len` bytes at `addrs`, length, and UDP. */
static uint64_t pseudo_header_sum(const uint8_t *addrs, size_t addrs_len, glb_be16 length)
{
	const struct {
		glb_be16 length;
		uint8_t zero, protocol;
	} rest = {.length = length, .protocol = GLB_IPPROTO_UDP};

	return checksum_add(checksum_add(0, addrs, addrs_len), &rest, sizeof(rest));
}

/* The UDP checksum of the packet whose headers are at `udp` up to `end`, its own field still zero; `pseudo` is the pseudo header's sum. A
 * result of 0 is sent as 0xffff, since 0 says that there is none. */
static glb_be16 udp_checksum(uint64_t pseudo, const void *udp, const uint8_t *end, const struct glb_packet *packet)
{
	uint64_t sum = checksum_add(pseudo, udp, (size_t)(end - (const uint8_t *)udp));
	glb_be16 checksum;

	sum = checksum_add(sum, packet->data + packet->l3_offset, packet->l3_len);
	checksum = checksum_finish(sum);
	return glb_be16_get(checksum) == 0 ? glb_be16_put(0xffff) : checksum;
}

/* What a device that computes the UDP checksum wants to find in its place: the folded sum, not its complement. */
static glb_be16 pseudo_header_field(uint64_t pseudo)
{
	const glb_be16 complement = checksum_finish(pseudo);

	return (glb_be16){{(uint8_t)~complement.b[0], (uint8_t)~complement.b[1]}};
}

static struct gue_header gue_header(const struct glb_packet *packet, uint32_t udp_length, enum glb_gue_private type,
				    unsigned further, unsigned hop_bytes)
{
	return (struct gue_header){
		.udp = {
			.sport = glb_be16_put((uint16_t)(GUE_SOURCE_PORT_BASE | outer_varies(packet))),
			.dport = glb_be16_put(GLB_GUE_PORT),
			.length = glb_be16_put((uint16_t)udp_length),
		},
		.gue = {
			.version_control_hlen = (uint8_t)(1 + further * hop_bytes / 4),
			.protocol = outer_inner_protocol(packet),
			.private_type = glb_be16_put((uint16_t)type),
			.hop_count = (uint8_t)further,
		},
	};
}

static inline void write_v4(const struct glb_path *path, const struct glb_packet *packet, uint8_t tos, uint32_t length,
			    uint8_t *out)
{
	const struct glb_backend *backends = path->snapshot->backends;
	const struct glb_director *director = &path->director;
	const unsigned further = packet->chain_len - 1U;
	struct outer_v4 *outer = (struct outer_v4 *)out;
	uint8_t *hops = (uint8_t *)(outer + 1);
	uint64_t pseudo;

	outer->ip = outer_ipv4(director->outer_source_v4.bytes, backends[packet->chain[0]].addr.bytes, tos, GLB_IPPROTO_UDP,
			       length, outer_offloads(path, packet));
	outer->gue = gue_header(packet, length - (uint32_t)sizeof(outer->ip), GLB_GUE_PRIVATE_V4, further, GUE_V4_HOP_BYTES);
	for (unsigned i = 0; i < further; i++)
		memcpy(hops + i * GUE_V4_HOP_BYTES, backends[packet->chain[i + 1]].addr.bytes, GUE_V4_HOP_BYTES);
	if (director->outer_checksum == GLB_OUTER_CHECKSUM_ZERO)
		return;
	pseudo = pseudo_header_sum(outer->ip.src, 8, outer->gue.udp.length);
	outer->gue.udp.checksum = glb_path_sums_payload(path, packet)
		? udp_checksum(pseudo, &outer->gue, hops + further * GUE_V4_HOP_BYTES, packet) : pseudo_header_field(pseudo);
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
	const struct glb_backend *backends = path->snapshot->backends;
	const struct glb_director *director = &path->director;
	const unsigned further = packet->chain_len - 1U;
	struct outer_v6 *outer = (struct outer_v6 *)out;
	uint8_t *hops = (uint8_t *)(outer + 1);
	uint64_t pseudo;

	outer->ip = outer_ipv6(director->outer_source_v6.bytes, backends[packet->chain[0]].addr.bytes, packet, GLB_IPPROTO_UDP,
			       length);
	outer->gue = gue_header(packet, length - (uint32_t)sizeof(outer->ip), GLB_GUE_PRIVATE_V6, further, GUE_V6_HOP_BYTES);
	for (unsigned i = 0; i < further; i++)
		memcpy(hops + i * GUE_V6_HOP_BYTES, backends[packet->chain[i + 1]].addr.bytes, GUE_V6_HOP_BYTES);
	if (director->outer_checksum_v6 == GLB_OUTER_CHECKSUM_ZERO)
		return;
	pseudo = pseudo_header_sum(outer->ip.src, 32, outer->gue.udp.length);
	outer->gue.udp.checksum = glb_path_sums_payload(path, packet)
		? udp_checksum(pseudo, &outer->gue, hops + further * GUE_V6_HOP_BYTES, packet) : pseudo_header_field(pseudo);
}
