/* Too-bigs about outer packets (glb/path_mtu.h).
 *
 * Such a message can be forged by whoever can send to the director's address. So it must quote, with plausible fields, a packet that this director
 * could have sent, claim an MTU that the quoted packet exceeds, and not less than every link has; and what it does is bounded:
 * smaller packets for a while. RFC 1191, 5927, 8201.
 */
#include <glb/path.h>
#include <glb/path_mtu.h>
#include <glb/wire.h>

#include "outer.h"
#include "parse.h"
#include "snapshot_layout.h"

static bool is_in_prefix(const struct glb_prefix *prefix, const struct glb_addr *addr)
{
	struct glb_addr masked;

	if (prefix->addr.family != addr->family)
		return false;
	glb_addr_mask(addr, prefix->bits, &masked);
	return glb_addr_equal(&masked, &prefix->addr);
}

/* Whether this director sends GUE, or tunnels, from an address. */
static bool is_source(const struct glb_director *director, const struct glb_addr *addr, bool gue)
{
	const bool v4 = addr->family == GLB_FAMILY_V4;
	const struct glb_prefix *prefix = v4 ? &director->outer_prefix_v4 : &director->outer_prefix_v6;

	if (!gue && prefix->addr.family != GLB_FAMILY_NONE)
		return is_in_prefix(prefix, addr);
	return glb_addr_equal(addr, v4 ? &director->outer_source_v4 : &director->outer_source_v6);
}

/* The encapsulation that outer packets of a protocol have, or GLB_ENCAP_COUNT. */
static enum glb_encap_kind encap_of(uint8_t family, uint8_t protocol)
{
	const bool v4 = family == GLB_FAMILY_V4;

	switch (protocol) {
	case GLB_IPPROTO_UDP:
		return GLB_ENCAP_GUE;
	case GLB_IPPROTO_GRE:
		return GLB_ENCAP_GRE;
	case GLB_IPPROTO_IPIP:
		return v4 ? GLB_ENCAP_IPIP : GLB_ENCAP_4IN6;
	case GLB_IPPROTO_IPV6:
		return v4 ? GLB_ENCAP_6IN4 : GLB_ENCAP_IP6IP6;
	default:
		return GLB_ENCAP_COUNT;
	}
}

/* Whether the quoted packet is one that this director sends, to whomever. */
static bool is_ours(const struct glb_path *path, const struct ip *quote)
{
	const enum glb_encap_kind encap = encap_of(quote->src.family, quote->protocol);
	struct span payload = quote->payload;
	const struct glb_udp *udp;

	if (encap == GLB_ENCAP_COUNT || (path->encaps & 1U << encap) == 0 || quote->fragment || quote->extended)
		return false;
	if (!is_source(&path->director, &quote->src, encap == GLB_ENCAP_GUE))
		return false;
	if (encap != GLB_ENCAP_GUE)
		return true;
	udp = span_take(&payload, sizeof(*udp));
	return udp != NULL && glb_be16_get(udp->dport) == GLB_GUE_PORT && (glb_be16_get(udp->sport) & GUE_SOURCE_PORT_BASE) != 0;
}

/* ICMP has 16 bits of it, ICMPv6 32. */
static uint32_t claimed_mtu(uint8_t family, const struct glb_icmp *icmp)
{
	const uint32_t rest = glb_be32_get(icmp->rest);

	return family == GLB_FAMILY_V4 ? rest & 0xffff : rest;
}

/* Whether it can be true: it is below what this director takes for granted, the quoted packet exceeds it, and there are such links. */
static bool can_be(const struct glb_path *path, const struct ip *quote, uint32_t mtu)
{
	const uint32_t least = quote->src.family == GLB_FAMILY_V4 ? GLB_PATH_MTU_V4_MIN : GLB_PATH_MTU_V6_MIN;
	const uint32_t limit = path->director.mtu;

	return mtu >= least && mtu < quote->length && (limit == 0 || mtu < limit);
}

enum glb_reason glb_outer_too_big(const struct glb_path *path, const struct glb_packet *packet, struct glb_outer_too_big *said)
{
	const uint32_t end = packet->l3_offset + packet->l3_len;
	const uint32_t readable = end < packet->data_len ? end : packet->data_len;
	struct span bytes = {packet->data + packet->l4_offset, readable - packet->l4_offset};
	const struct glb_icmp *icmp = span_take(&bytes, sizeof(*icmp));
	struct ip quote;

	if (icmp == NULL || ip_parse(packet->family, bytes, IP_QUOTED, &quote) != GLB_REASON_FORWARDED)
		return GLB_REASON_NOT_VIP;
	if (!is_ours(path, &quote) || !glb_addr_equal(&quote.src, &packet->vip))
		return GLB_REASON_NOT_VIP;
	said->backend = quote.dst;
	said->mtu = claimed_mtu(packet->family, icmp);
	return can_be(path, &quote, said->mtu) ? GLB_REASON_OUTER_TOO_BIG : GLB_REASON_OUTER_TOO_BIG_IGNORED;
}

void glb_path_mtus_clear(struct glb_path_mtus *mtus, const struct glb_snapshot *snapshot)
{
	for (uint32_t i = 0; i < snapshot->backend_count; i++)
		__atomic_store_n(&mtus->backends[i], UINT32_MAX, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < snapshot->table_count; i++)
		__atomic_store_n(&mtus->tables[i], UINT32_MAX, __ATOMIC_RELAXED);
	__atomic_store_n(&mtus->least, UINT32_MAX, __ATOMIC_RELAXED);
}

static void lower(uint32_t *word, uint32_t mtu)
{
	if (*word > mtu)
		__atomic_store_n(word, mtu, __ATOMIC_RELAXED);
}

uint32_t glb_path_mtus_lower(struct glb_path_mtus *mtus, const struct glb_snapshot *snapshot, const struct glb_addr *backend,
			     uint32_t mtu)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < snapshot->backend_count; i++) {
		if (!glb_addr_equal(&snapshot->backends[i].addr, backend))
			continue;
		found++;
		__atomic_store_n(&mtus->backends[i], mtu, __ATOMIC_RELAXED);
		for (uint32_t t = 0; t < snapshot->table_count; t++)
			if (i - snapshot->tables[t].backend_base < snapshot->tables[t].backend_count)
				lower(&mtus->tables[t], mtu);
	}
	if (found != 0)
		lower(&mtus->least, mtu);
	return found;
}
