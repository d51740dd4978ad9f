/* Changes addresses and ports in place: L3DSR's destination on the way in, NAT's source on the way out.
 *
 * Checksums are updated, not computed, so a damaged packet stays damaged (RFC 1624).
 */
#ifndef GLB_REWRITE_BPF_H
#define GLB_REWRITE_BPF_H

#include "decide.h"

/* Where the checksum of a transport header lies whose pseudo-header has the addresses, and how it is updated. */
struct transport {
	uint32_t sum_at; /* 0: there is none */
	uint64_t flags;
};

static __always_inline struct transport transport_of(uint8_t protocol, uint32_t at)
{
	switch (protocol) {
	case GLB_IPPROTO_TCP:
		return (struct transport){.sum_at = at + __builtin_offsetof(struct glb_tcp, checksum)};
	case GLB_IPPROTO_UDP:
		return (struct transport){.sum_at = at + __builtin_offsetof(struct glb_udp, checksum),
					  .flags = BPF_F_MARK_MANGLED_0};
	case GLB_IPPROTO_ICMPV6:
		return (struct transport){.sum_at = at + __builtin_offsetof(struct glb_icmp, checksum)};
	default:
		return (struct transport){};
	}
}

/* Replaces the address `was` at `at` by `now`, and mends what covers it. */
static __always_inline bool change_address(struct __sk_buff *skb, const struct outer *outer, uint32_t at,
					   const uint8_t was[16], const uint8_t now[16], const struct transport *transport)
{
	uint32_t gone[4], come[4];
	__s64 difference;

	__builtin_memcpy(gone, was, 16);
	__builtin_memcpy(come, now, 16);
	difference = bpf_csum_diff(gone, 16, come, 16, 0);
	if (difference < 0)
		return false;
	if (transport->sum_at &&
	    bpf_l4_csum_replace(skb, transport->sum_at, 0, (uint64_t)difference, transport->flags | BPF_F_PSEUDO_HDR))
		return false;
	if (outer->is_v6) {
		if (transport->sum_at) /* the sum over the whole packet, where the device has made one, stays as it was */
			bpf_csum_update(skb, (uint32_t)difference);
		return !bpf_skb_store_bytes(skb, at, now, 16, 0);
	}
	return !bpf_l3_csum_replace(skb, outer->ip_at + __builtin_offsetof(struct glb_ipv4, checksum), gone[0], come[0], 4) &&
	       !bpf_skb_store_bytes(skb, at, now, 4, 0);
}

/* Sets DSCP 0, keeping the ECN bits. */
static __always_inline bool clear_dscp(struct __sk_buff *skb, const struct outer *outer)
{
	uint8_t first[2];
	uint16_t was, now;

	if (bpf_skb_load_bytes(skb, outer->ip_at, first, sizeof(first)))
		return false;
	__builtin_memcpy(&was, first, 2);
	if (outer->is_v6) {
		first[0] &= 0xf0;
		first[1] &= 0x3f;
		return !bpf_skb_store_bytes(skb, outer->ip_at, first, sizeof(first), BPF_F_RECOMPUTE_CSUM);
	}
	first[1] &= 3;
	__builtin_memcpy(&now, first, 2);
	return !bpf_l3_csum_replace(skb, outer->ip_at + __builtin_offsetof(struct glb_ipv4, checksum), was, now, 2) &&
	       !bpf_skb_store_bytes(skb, outer->ip_at, first, sizeof(first), 0);
}

/* A first fragment's header before its transport header: the only extension header that a director lets through. */
static __always_inline bool skip_fragment_header(struct cursor *c, struct outer *outer)
{
	struct { uint8_t next, reserved; glb_be16 offset; glb_be32 identification; } fragment ALIGNED;

	if (!outer->is_v6 || outer->protocol != GLB_IPPROTO_FRAGMENT)
		return true;
	if (!take(c, &fragment, sizeof(fragment)) || glb_be16_get(fragment.offset) >> 3)
		return false;
	outer->protocol = fragment.next;
	outer->l4_at = c->at;
	return true;
}

/* L3DSR: the destination becomes the VIP that the packet's DSCP stands for. */
static __always_inline enum glb_redirect_reason rewrite_l3dsr(struct cursor *c, struct outer *outer,
							     const struct glb_redirect_target *vip)
{
	const uint32_t dst_at = outer->ip_at + (outer->is_v6 ? __builtin_offsetof(struct glb_ipv6, dst)
							     : __builtin_offsetof(struct glb_ipv4, dst));
	struct transport transport;

	if (!skip_fragment_header(c, outer))
		return GLB_REDIRECT_TRUNCATED;
	transport = transport_of(outer->protocol, outer->l4_at);
	if (!clear_dscp(c->packet.context, outer) || !change_address(c->packet.context, outer, dst_at, outer->dst, vip->addr, &transport))
		return GLB_REDIRECT_REWRITE_FAILED;
	return GLB_REDIRECT_LOCAL_L3DSR;
}

/* NAT: the source address and port of a reply become the VIP's. */
static __always_inline bool rewrite_nat(struct __sk_buff *skb, const struct outer *outer, glb_be16 port,
					const struct glb_redirect_target *vip)
{
	const uint32_t src_at = outer->ip_at + (outer->is_v6 ? __builtin_offsetof(struct glb_ipv6, src)
							     : __builtin_offsetof(struct glb_ipv4, src));
	const struct transport transport = transport_of(outer->protocol, outer->l4_at);
	uint16_t was, now;

	__builtin_memcpy(&was, &port, 2);
	__builtin_memcpy(&now, &vip->port, 2);
	return !bpf_l4_csum_replace(skb, transport.sum_at, was, now, transport.flags | 2) &&
	       change_address(skb, outer, src_at, outer->src, vip->addr, &transport) &&
	       !bpf_skb_store_bytes(skb, outer->l4_at, &vip->port, sizeof(vip->port), 0);
}

#endif
