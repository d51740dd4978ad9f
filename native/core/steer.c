/* The flow hash that spreads frames over workers (glb/steer.h).
 *
 * Looks no deeper than it must: what is wrong with a frame is for the parse stage to find, on its worker.
 */
#include "parse.h"
#include "peers_mark.h"
#include "snapshot_layout.h"

#include <glb/steer.h>

#define XXH_INLINE_ALL
#include <string.h>
#include <xxhash.h>

struct key {
	uint8_t src[16];
	uint8_t dst[16];
	uint16_t sport;
	uint16_t dport;
	uint32_t protocol; /* 0: the addresses alone */
};
GLB_STATIC_ASSERT(sizeof(struct key) == 40, "hashed as bytes: no padding")

struct ports {
	glb_be16 source;
	glb_be16 destination;
} GLB_WIRE;

static void set_addresses(struct key *key, const struct glb_addr *src, const struct glb_addr *dst)
{
	memcpy(key->src, src->bytes, sizeof(key->src));
	memcpy(key->dst, dst->bytes, sizeof(key->dst));
}

static void set_ports(struct key *key, struct span payload, uint8_t protocol)
{
	const struct ports *ports = span_take(&payload, sizeof(*ports));

	if (ports == NULL)
		return;
	key->sport = glb_be16_get(ports->source);
	key->dport = glb_be16_get(ports->destination);
	key->protocol = protocol;
}

/* An ICMP error belongs to the flow that it quotes. */
static void set_quoted(struct key *key, uint8_t family, const struct ip *ip)
{
	struct glb_packet packet = {.family = family, .src = ip->src, .dst = ip->dst};

	if (icmp_parse(&packet, ip) != GLB_REASON_FORWARDED || !glb_packet_quotes(packet.kind) ||
	    packet.src.family == GLB_FAMILY_NONE)
		return;
	set_addresses(key, &packet.src, &packet.dst);
	key->sport = packet.sport;
	key->dport = packet.dport;
	key->protocol = packet.protocol;
}

static inline uint32_t hash_of(uint32_t seed, uint8_t family, const struct ip *ip)
{
	struct key key = {.protocol = 0};

	set_addresses(&key, &ip->src, &ip->dst);
	if (ip->fragment)
		return (uint32_t)XXH3_64bits_withSeed(&key, sizeof(key), seed);
	if (ip->protocol == GLB_IPPROTO_TCP || ip->protocol == GLB_IPPROTO_UDP)
		set_ports(&key, ip->payload, ip->protocol);
	else if (ip->protocol == (family == GLB_FAMILY_V4 ? GLB_IPPROTO_ICMP : GLB_IPPROTO_ICMPV6))
		set_quoted(&key, family, ip);
	return (uint32_t)XXH3_64bits_withSeed(&key, sizeof(key), seed);
}

uint32_t glb_steer_hash(uint32_t seed, const uint8_t *data, uint32_t len, uint32_t frame_len)
{
	struct span bytes = {data, len};
	uint8_t family;
	struct ip ip;

	if (ethernet_parse(&bytes, &family) != GLB_REASON_FORWARDED ||
	    ip_parse(family, bytes, frame_len - (uint32_t)(bytes.at - data), &ip) != GLB_REASON_FORWARDED)
		return 0;
	return hash_of(seed, family, &ip);
}

uint32_t glb_steer_hash_shared(const struct glb_peers *peers, uint32_t seed, const uint8_t *data, uint32_t len, uint32_t frame_len)
{
	struct span bytes = {data, len};
	uint8_t family;
	struct ip ip;

	if (ethernet_parse(&bytes, &family) != GLB_REASON_FORWARDED ||
	    ip_parse(family, bytes, frame_len - (uint32_t)(bytes.at - data), &ip) != GLB_REASON_FORWARDED)
		return 0;
	bytes = ip.payload;
	if (ip.protocol == GLB_IPPROTO_UDP && !ip.fragment && glb_addr_equal(&ip.dst, &peers->of[peers->own].addr) &&
	    peers_marked(&bytes, &family) &&
	    (family == GLB_FAMILY_NONE ||
	     ip_parse(family, bytes, frame_len - (uint32_t)(bytes.at - data), &ip) != GLB_REASON_FORWARDED))
		return 0;
	return hash_of(seed, family, &ip);
}

uint32_t glb_steer_worker(uint32_t hash, uint32_t workers)
{
	const uint32_t mixed = hash * UINT32_C(0x9e3779b1); /* a NIC's low bits have already chosen its queue */

	return (uint32_t)((uint64_t)(mixed ^ mixed >> 16) * workers >> 32);
}
