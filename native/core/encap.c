/* The measure stage, and the outer header: Ethernet, IPv4, UDP and GUE with the chain's further hops.
 *
 * Byte for byte as GLB's director sends it: docs/wire/gue.md.
 */
#include <glb/path.h>
#include <glb/wire.h>

#include "checksum.h"
#include "verdict.h"

#include <string.h>

enum {
	IPV4_LENGTH_MAX = 65535,
	OUTER_TTL = 64,
	HOP_BYTES = 4,
	TAG_BYTES = 4,
	SOURCE_PORT_BASE = 0x8000, /* the other 15 bits vary by flow */
};

/* What stands in front of the hops. */
struct outer {
	struct glb_eth eth;
	struct glb_ipv4 ip;
	struct glb_udp udp;
	struct glb_gue gue;
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct outer) == 50, "outer header without hops")
GLB_STATIC_ASSERT(TAG_BYTES + sizeof(struct outer) + (GLB_HOPS_MAX - 1) * HOP_BYTES <= GLB_HEADER_MAX, "outer header fits")

/* Bytes of the VLAN tag that packets leave with. */
static uint32_t tag_length(const struct glb_egress *egress)
{
	return egress->vlan != 0 ? TAG_BYTES : 0;
}

/* Bytes of the outer IP packet. */
static uint32_t outer_length(const struct glb_packet *packet, const struct glb_egress *egress)
{
	return packet->header_len - (uint32_t)sizeof(struct glb_eth) - tag_length(egress) + packet->l3_len;
}

/* Sets next_hop, from the table or else to the gateway. */
static void find_next_hops(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	if (path->next_hops == NULL) {
		for (unsigned i = 0; i < n; i++)
			packets[i].next_hop = path->gateway;
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];

		if (packet->verdict != GLB_VERDICT_FORWARD)
			continue;
		packet->next_hop = glb_next_hop_load(&path->next_hops[packet->chain[0]]);
		if (!packet->next_hop.resolved)
			verdict_set(packet, GLB_REASON_NO_NEXT_HOP);
	}
}

void glb_path_measure(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	find_next_hops(path, packets, n);
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];
		const struct glb_egress *egress;
		uint32_t limit = IPV4_LENGTH_MAX;

		if (packet->verdict != GLB_VERDICT_FORWARD)
			continue;
		egress = &path->egress[packet->next_hop.port];
		if (egress->mtu != 0 && egress->mtu < limit)
			limit = egress->mtu;
		packet->header_len =
			(uint8_t)(tag_length(egress) + sizeof(struct outer) + (packet->chain_len - 1U) * HOP_BYTES);
		if (outer_length(packet, egress) > limit)
			verdict_set(packet, GLB_REASON_TOO_LONG);
	}
}

static struct glb_ipv4 ipv4_header(const struct glb_director *director, const struct glb_backend *first,
				   uint32_t length, bool offload)
{
	struct glb_ipv4 ip = {
		.version_ihl = 0x45,
		.total_length = glb_be16_put((uint16_t)length),
		.fragment = glb_be16_put(GLB_IPV4_DF),
		.ttl = OUTER_TTL,
		.protocol = GLB_IPPROTO_UDP,
	};

	memcpy(ip.src, director->outer_source_v4.bytes, sizeof(ip.src));
	memcpy(ip.dst, first->addr.bytes, sizeof(ip.dst));
	if (!offload)
		ip.checksum = checksum_finish(checksum_add(0, &ip, sizeof(ip)));
	return ip;
}

static uint64_t pseudo_header_sum(const struct outer *outer)
{
	const struct {
		uint8_t src[4], dst[4];
		uint8_t zero, protocol;
		glb_be16 length;
	} pseudo = {
		.src = {outer->ip.src[0], outer->ip.src[1], outer->ip.src[2], outer->ip.src[3]},
		.dst = {outer->ip.dst[0], outer->ip.dst[1], outer->ip.dst[2], outer->ip.dst[3]},
		.protocol = GLB_IPPROTO_UDP,
		.length = outer->udp.length,
	};

	return checksum_add(0, &pseudo, sizeof(pseudo));
}

/* The UDP checksum of the packet whose header is `outer` and hops behind it, up to `end`, its own field still zero. A result of 0 is
 * sent as 0xffff, since 0 says that there is none. */
static glb_be16 udp_checksum(const struct outer *outer, const uint8_t *end, const struct glb_packet *packet)
{
	const uint8_t *udp = (const uint8_t *)&outer->udp;
	uint64_t sum = checksum_add(pseudo_header_sum(outer), udp, (size_t)(end - udp));
	glb_be16 checksum;

	sum = checksum_add(sum, packet->data + packet->l3_offset, packet->l3_len);
	checksum = checksum_finish(sum);
	return glb_be16_get(checksum) == 0 ? glb_be16_put(0xffff) : checksum;
}

/* What a device that computes the UDP checksum wants to find in its place: the folded sum, not its complement. */
static glb_be16 pseudo_header_field(const struct outer *outer)
{
	const glb_be16 complement = checksum_finish(pseudo_header_sum(outer));

	return (glb_be16){{(uint8_t)~complement.b[0], (uint8_t)~complement.b[1]}};
}

/* Puts the tag between the MACs and the Ethernet type of a frame that has been written TAG_BYTES behind `out`. */
static void insert_tag(uint8_t *out, uint16_t vlan)
{
	const glb_be16 tag[] = {glb_be16_put(GLB_ETHERTYPE_VLAN), glb_be16_put(vlan)};
	const size_t macs = offsetof(struct glb_eth, type);

	memmove(out, out + TAG_BYTES, macs);
	memcpy(out + macs, tag, sizeof(tag));
}

void glb_path_encap(const struct glb_path *path, const struct glb_packet *packet, uint8_t *out)
{
	const struct glb_backend *backends = path->snapshot->backends;
	const struct glb_director *director = &path->director;
	const uint8_t further = (uint8_t)(packet->chain_len - 1);
	const struct glb_egress *egress = &path->egress[packet->next_hop.port];
	const uint32_t length = outer_length(packet, egress);
	struct outer *outer = (struct outer *)(out + tag_length(egress));
	uint8_t *hops = (uint8_t *)(outer + 1);

	memcpy(outer->eth.dst, packet->next_hop.mac, sizeof(outer->eth.dst));
	memcpy(outer->eth.src, egress->mac, sizeof(outer->eth.src));
	outer->eth.type = glb_be16_put(GLB_ETHERTYPE_IPV4);
	outer->ip = ipv4_header(director, &backends[packet->chain[0]], length,
				(egress->offloads & GLB_OFFLOAD_IPV4_CHECKSUM) != 0);
	outer->udp = (struct glb_udp){
		.sport = glb_be16_put((uint16_t)(SOURCE_PORT_BASE | (packet->hash ^ packet->hint))),
		.dport = glb_be16_put(GLB_GUE_PORT),
		.length = glb_be16_put((uint16_t)(length - sizeof(outer->ip))),
	};
	outer->gue = (struct glb_gue){
		.version_control_hlen = (uint8_t)(1 + further),
		.protocol = packet->family == GLB_FAMILY_V4 ? GLB_IPPROTO_IPIP : GLB_IPPROTO_IPV6,
		.hop_count = further,
	};
	for (unsigned i = 0; i < further; i++)
		memcpy(hops + i * HOP_BYTES, backends[packet->chain[i + 1]].addr.bytes, HOP_BYTES);
	if (director->outer_checksum == GLB_OUTER_CHECKSUM_COMPUTED)
		outer->udp.checksum = (egress->offloads & GLB_OFFLOAD_UDP_CHECKSUM) != 0 ?
			pseudo_header_field(outer) : udp_checksum(outer, hops + further * HOP_BYTES, packet);
	if (egress->vlan != 0)
		insert_tag(out, egress->vlan);
}
