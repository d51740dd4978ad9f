/* The outer headers of tunnels: what the kinds of encapsulation share. */
#ifndef GLB_CORE_OUTER_H
#define GLB_CORE_OUTER_H

#include <glb/path.h>
#include <glb/wire.h>

#include "checksum.h"

#include <string.h>

enum { OUTER_TTL = 64 };

enum {
	GUE_SOURCE_PORT_BASE = 0x8000, /* the other 15 bits vary by flow */
	GUE_V4_BYTES = 36, /* without hops */
	GUE_V6_BYTES = 56,
	GUE_V4_HOP_BYTES = 4,
	GUE_V6_HOP_BYTES = 16,
	GRE_KEY_BYTES = 4,
};

/* The bits by which the flows to one backend differ: outer UDP source port, source address and flow label are made of them. */
static inline uint64_t outer_varies(const struct glb_packet *packet)
{
	return packet->hash ^ packet->hint;
}

static inline const uint8_t *outer_destination(const struct glb_path *path, const struct glb_packet *packet)
{
	return path->snapshot->backends[packet->chain[0]].addr.bytes;
}

/* Whether the egress port's device computes the checksum of outer IPv4 headers. */
static inline bool outer_offloads(const struct glb_path *path, const struct glb_packet *packet)
{
	return (path->egress[packet->next_hop.port].offloads & GLB_OFFLOAD_IPV4_CHECKSUM) != 0;
}

/* Bytes of the VLAN tag that packets leave with. */
static inline uint32_t outer_tag_length(const struct glb_egress *egress)
{
	return egress->vlan != 0 ? (uint32_t)sizeof(struct glb_vlan) : 0;
}

/* Bytes of the IP packet that is sent. */
static inline uint32_t outer_length(const struct glb_packet *packet, const struct glb_egress *egress)
{
	return packet->header_len - (uint32_t)sizeof(struct glb_eth) - outer_tag_length(egress) + packet->l3_len;
}

/* Ethernet, with the port's tag. Returns where it ends. */
static inline uint8_t *outer_ethernet(const struct glb_packet *packet, const struct glb_egress *egress, uint16_t type,
				      uint8_t *out)
{
	struct glb_eth *eth = (struct glb_eth *)out;
	struct glb_vlan *tag = (struct glb_vlan *)(eth + 1);

	memcpy(eth->dst, packet->next_hop.mac, sizeof(eth->dst));
	memcpy(eth->src, egress->mac, sizeof(eth->src));
	eth->type = glb_be16_put(type);
	if (egress->vlan == 0)
		return out + sizeof(*eth);
	eth->type = glb_be16_put(GLB_ETHERTYPE_VLAN);
	*tag = (struct glb_vlan){.tci = glb_be16_put(egress->vlan), .type = glb_be16_put(type)};
	return (uint8_t *)(tag + 1);
}

/* An IPv4 header in front of `length` - 20 bytes. */
static inline struct glb_ipv4 outer_ipv4(const uint8_t *src, const uint8_t *dst, uint8_t tos, uint8_t protocol,
					 uint32_t length, bool offload)
{
	struct glb_ipv4 ip = {
		.version_ihl = 0x45,
		.tos = tos,
		.total_length = glb_be16_put((uint16_t)length),
		.fragment = glb_be16_put(GLB_IPV4_DF),
		.ttl = OUTER_TTL,
		.protocol = protocol,
	};

	memcpy(ip.src, src, sizeof(ip.src));
	memcpy(ip.dst, dst, sizeof(ip.dst));
	if (!offload)
		ip.checksum = checksum_ipv4(&ip);
	return ip;
}

/* An IPv6 header in front of `length` - 40 bytes, with a flow label by which routers may spread (RFC 6438). */
static inline struct glb_ipv6 outer_ipv6(const uint8_t *src, const uint8_t *dst, uint8_t tos, uint64_t varies, uint8_t protocol,
					 uint32_t length)
{
	struct glb_ipv6 ip = {
		.version_class_label = glb_be32_put(6u << 28 | (uint32_t)tos << 20 | (uint32_t)(varies & 0xfffff)),
		.payload_length = glb_be16_put((uint16_t)(length - sizeof(ip))),
		.next_header = protocol,
		.hop_limit = OUTER_TTL,
	};

	memcpy(ip.src, src, sizeof(ip.src));
	memcpy(ip.dst, dst, sizeof(ip.dst));
	return ip;
}

static inline uint8_t outer_inner_protocol(const struct glb_packet *packet)
{
	return packet->family == GLB_FAMILY_V4 ? GLB_IPPROTO_IPIP : GLB_IPPROTO_IPV6;
}

/* UDP and GUE, behind either IP header; the hops follow. */
struct gue_header {
	struct glb_udp udp;
	struct glb_gue gue;
} GLB_WIRE;

/* Before a packet of `protocol` with `further` hops, in all `udp_length` bytes; without a checksum. */
static inline struct gue_header gue_header(uint64_t varies, uint8_t protocol, uint32_t udp_length, enum glb_gue_private type,
					   unsigned further, unsigned hop_bytes)
{
	return (struct gue_header){
		.udp = {
			.sport = glb_be16_put((uint16_t)(GUE_SOURCE_PORT_BASE | varies)),
			.dport = glb_be16_put(GLB_GUE_PORT),
			.length = glb_be16_put((uint16_t)udp_length),
		},
		.gue = {
			.version_control_hlen = (uint8_t)(1 + further * hop_bytes / 4),
			.protocol = protocol,
			.private_type = glb_be16_put((uint16_t)type),
			.hop_count = (uint8_t)further,
		},
	};
}

/* Each writes what stands between Ethernet and the client's packet, `length` bytes with that packet, to `out`. */
void gue_v4_write(const struct glb_path *path, const struct glb_packet *packet, uint32_t length, uint8_t *out);
void gue_v6_write(const struct glb_path *path, const struct glb_packet *packet, uint32_t length, uint8_t *out);
void gre_write(const struct glb_path *path, const struct glb_packet *packet, uint32_t length, uint8_t *out);
void ip_write(const struct glb_path *path, const struct glb_packet *packet, uint32_t length, uint8_t *out);

/* Where every service is like that: GUE over IPv4 with TOS 0, Ethernet included. */
void gue_v4_frame(const struct glb_path *path, const struct glb_packet *packet, uint8_t *out);

#endif
