// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The second chance, as a direct-action classifier on a backend's tc ingress.
 *
 * A GUE packet from an allowed source is delivered here without its outer headers, sent on to the next hop of its
 * chain, or dropped, each with one counted reason. Other packets are left alone. It keeps no
 * state of its own about connections: the kernel's sockets are the truth.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "decide.bpf.h"
#include "rewrite.bpf.h"
#include "tunnel.bpf.h"

/* The kernel lends bpf_tcp_check_syncookie to programs under the GPL only. */
char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct glb_redirect_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GLB_REDIRECT_COUNTERS);
	__type(key, uint32_t);
	__type(value, uint64_t);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GLB_REDIRECT_PREFIXES);
	__type(key, struct glb_redirect_prefix);
	__type(value, uint32_t);
} allow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GLB_REDIRECT_REWRITES);
	__type(key, struct glb_redirect_match);
	__type(value, struct glb_redirect_target);
} rewrites SEC(".maps");

/* Packets of the current second that went to the stack unknown, on this CPU. */
struct last_hop {
	uint64_t second;
	uint64_t packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct last_hop);
} last_hop SEC(".maps");

/* As the checksum helpers want it: the word as it lies in memory. */
static __always_inline uint16_t raw16(glb_be16 word)
{
	uint16_t raw;

	__builtin_memcpy(&raw, &word, sizeof(raw));
	return raw;
}

static __always_inline void count(enum glb_redirect_reason reason)
{
	uint32_t key = reason;
	uint64_t *counter = bpf_map_lookup_elem(&counters, &key);

	if (counter)
		++*counter;
}

/* The roles of an address: 0, or GLB_REDIRECT_SOURCE and _PEER. */
static __always_inline uint32_t roles(bool is_v6, const uint8_t addr[16])
{
	struct glb_redirect_prefix key = {.bits = GLB_REDIRECT_FAMILY_BITS + 32, .family = GLB_REDIRECT_V4};
	uint32_t *value;

	if (is_v6) {
		key.bits = GLB_REDIRECT_FAMILY_BITS + 128;
		key.family = GLB_REDIRECT_V6;
	}
	__builtin_memcpy(key.addr, addr, 16);
	value = bpf_map_lookup_elem(&allow, &key);
	return value ? *value : 0;
}

/* The stack answers an unknown segment with a RST; a flood of them must not become a flood of those. */
static __always_inline enum glb_redirect_reason limit_last_hop(uint32_t rate)
{
	uint64_t second = bpf_ktime_get_ns() / 1000000000;
	uint32_t zero = 0;
	struct last_hop *now = bpf_map_lookup_elem(&last_hop, &zero);

	if (!now || !rate)
		return GLB_REDIRECT_LOCAL_LAST_HOP;
	if (now->second != second) {
		now->second = second;
		now->packets = 0;
	}
	return now->packets++ < rate ? GLB_REDIRECT_LOCAL_LAST_HOP : GLB_REDIRECT_LAST_HOP_LIMITED;
}

/* Reads the hop at an index; IPv4 into the first 4 bytes, the rest 0. */
static __always_inline bool load_hop(struct __sk_buff *skb, const struct outer *outer, uint32_t index, uint8_t hop[16])
{
	if (outer->is_v6)
		return !bpf_skb_load_bytes(skb, outer->hops_at + index * 16, hop, 16);
	__builtin_memset(hop, 0, 16);
	return !bpf_skb_load_bytes(skb, outer->hops_at + index * 4, hop, 4);
}

static __always_inline bool same_addr(const uint8_t a[16], const uint8_t b[16])
{
	uint32_t x[4], y[4];

	__builtin_memcpy(x, a, sizeof(x));
	__builtin_memcpy(y, b, sizeof(y));
	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* Finds the next hop that is not this host, and moves gue->next_hop behind it. False: none is left. */
static __always_inline bool next_hop(struct __sk_buff *skb, const struct outer *outer, struct glb_gue *gue,
				     uint8_t hop[16])
{
	for (uint32_t i = 0; i < GLB_HOPS_MAX - 1; i++) {
		if (i < gue->next_hop || i >= gue->hop_count)
			continue;
		if (!load_hop(skb, outer, i, hop))
			return false;
		if (!same_addr(hop, outer->dst)) {
			gue->next_hop = i + 1;
			return true;
		}
	}
	return false;
}

/* Puts `dst`, and our own address as the source, into the outer IP header. */
static __always_inline bool store_addresses(struct __sk_buff *skb, const struct outer *outer, const uint8_t dst[16])
{
	uint32_t at = outer->ip_at, gone, come;

	if (outer->is_v6)
		return !bpf_skb_store_bytes(skb, at + __builtin_offsetof(struct glb_ipv6, src), outer->dst, 16, 0) &&
		       !bpf_skb_store_bytes(skb, at + __builtin_offsetof(struct glb_ipv6, dst), dst, 16, 0);
	__builtin_memcpy(&gone, outer->src, 4);
	__builtin_memcpy(&come, dst, 4);
	return !bpf_l3_csum_replace(skb, at + __builtin_offsetof(struct glb_ipv4, checksum), gone, come, 4) &&
	       !bpf_skb_store_bytes(skb, at + __builtin_offsetof(struct glb_ipv4, src), outer->dst, 4, 0) &&
	       !bpf_skb_store_bytes(skb, at + __builtin_offsetof(struct glb_ipv4, dst), dst, 4, 0);
}

/* Rewrites the outer headers towards `hop`. Checksums change by the difference; a zero UDP checksum stays zero. */
static __always_inline bool rewrite(struct __sk_buff *skb, const struct outer *outer, const struct glb_gue *gue,
				    const uint8_t hop[16])
{
	uint32_t sum_at = outer->l4_at + __builtin_offsetof(struct glb_udp, checksum);
	uint32_t index_at = outer->gue_at + __builtin_offsetof(struct glb_gue, next_hop);
	uint32_t gone[4], come[4];
	uint16_t old_index, new_index;
	__s64 difference;

	/* Our address moves from destination to source, so for the sums only the source goes and the hop comes. */
	__builtin_memcpy(gone, outer->src, 16);
	__builtin_memcpy(come, hop, 16);
	__builtin_memcpy(&old_index, &outer->gue.next_hop, 2);
	__builtin_memcpy(&new_index, &gue->next_hop, 2);
	difference = bpf_csum_diff(gone, 16, come, 16, 0);
	return difference >= 0 &&
	       !bpf_l4_csum_replace(skb, sum_at, 0, (uint64_t)difference, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) &&
	       !bpf_l4_csum_replace(skb, sum_at, old_index, new_index, BPF_F_MARK_MANGLED_0 | 2) &&
	       store_addresses(skb, outer, hop) && !bpf_skb_store_bytes(skb, index_at, &gue->next_hop, 1, 0);
}

/* Gives the packet to the next hop, or to the stack when there is none. */
static __always_inline enum glb_redirect_reason send_on(struct __sk_buff *skb, const struct outer *outer,
							uint32_t last_hop_rate)
{
	struct glb_gue gue = outer->gue;
	uint8_t hop[16];

	if (!next_hop(skb, outer, &gue, hop))
		return limit_last_hop(last_hop_rate);
	if (!(roles(outer->is_v6, hop) & GLB_REDIRECT_PEER))
		return GLB_REDIRECT_FORWARD_NOT_PEER;
	return rewrite(skb, outer, &gue, hop) ? GLB_REDIRECT_FORWARDED : GLB_REDIRECT_REWRITE_FAILED;
}

/* Removes everything between the Ethernet header and the client's packet.
 *
 * Where the families differ, the kernel must learn the new protocol. bpf_skb_change_proto does that on every kernel (the flags for
 * bpf_skb_adjust_room came with 6.3); it makes the header longer or shorter by the difference of the two IP headers, which then
 * goes with the rest. */
static __always_inline bool decapsulate(struct __sk_buff *skb, const struct outer *outer)
{
	const int longer = sizeof(struct glb_ipv6) - sizeof(struct glb_ipv4);
	bool to_v6 = outer->inner_protocol == GLB_IPPROTO_IPV6;
	uint16_t type = to_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	int surplus = outer->inner_at - ETH_HLEN;

	if (to_v6 != outer->is_v6) {
		if (bpf_skb_change_proto(skb, type, 0) ||
		    bpf_skb_store_bytes(skb, __builtin_offsetof(struct ethhdr, h_proto), &type, sizeof(type), 0))
			return false;
		surplus += to_v6 ? longer : -longer;
	}
	return !bpf_skb_adjust_room(skb, -surplus, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

enum {
	ECN_MASK = 3,
	ECN_ECT1 = 1,
	ECN_CE = 3,
};

/* Gives the client's packet the mark that its outer header collected on the way: RFC 6040, figure 4. False: it must be dropped. */
static __always_inline bool merge_ecn(struct __sk_buff *skb, const struct outer *outer, uint8_t tos)
{
	const uint8_t seen = outer->tos & ECN_MASK, own = tos & ECN_MASK;
	const uint32_t at = outer->inner_at;
	glb_be16 old = {}, now = {};

	if (seen != ECN_CE && seen != ECN_ECT1)
		return true;
	if (own == 0)
		return seen != ECN_CE;
	if (own == ECN_CE || own == seen)
		return true;
	if (bpf_skb_load_bytes(skb, at, &old, sizeof(old)))
		return false;
	now = old;
	if (outer->inner_protocol == GLB_IPPROTO_IPV6) { /* traffic class: the lower half of byte 0, the upper of byte 1 */
		now.b[1] = (uint8_t)((now.b[1] & ~(ECN_MASK << 4)) | seen << 4);
		return !bpf_skb_store_bytes(skb, at, &now, sizeof(now), BPF_F_RECOMPUTE_CSUM);
	}
	now.b[1] = (uint8_t)((now.b[1] & ~ECN_MASK) | seen);
	return !bpf_l3_csum_replace(skb, at + __builtin_offsetof(struct glb_ipv4, checksum), raw16(old), raw16(now), 2) &&
	       !bpf_skb_store_bytes(skb, at, &now, sizeof(now), 0);
}

static __always_inline bool is_local(enum glb_redirect_reason reason)
{
	return (reason >= GLB_REDIRECT_LOCAL_SYN && reason <= GLB_REDIRECT_LOCAL_LAST_HOP) ||
	       reason == GLB_REDIRECT_LOCAL_TUNNEL || reason == GLB_REDIRECT_LOCAL_L3DSR;
}

/* Makes the frame the client's own. Returns `reason`, or why it could not. */
static __always_inline enum glb_redirect_reason deliver(struct __sk_buff *skb, const struct outer *outer, uint8_t tos,
							enum glb_redirect_reason reason)
{
	if (!merge_ecn(skb, outer, tos))
		return GLB_REDIRECT_ECN_DROP;
	return decapsulate(skb, outer) ? reason : GLB_REDIRECT_DECAP_FAILED;
}

/* What must hold for every packet with an outer header. Returns RECEIVED, or why it is dropped. */
static __always_inline enum glb_redirect_reason check_outer(const struct outer *outer)
{
	if (!roles(outer->is_v6, outer->src))
		return GLB_REDIRECT_NOT_ALLOWED;
	return outer->first_fragment ? GLB_REDIRECT_OUTER_FRAGMENT : GLB_REDIRECT_RECEIVED;
}

/* The steps of the second chance for a GUE packet; the cursor stands behind its UDP header. */
static __always_inline enum glb_redirect_reason redirect(struct cursor *c, struct outer *outer, uint32_t last_hop_rate,
							 uint8_t *tos)
{
	enum glb_redirect_reason reason = check_outer(outer);

	if (reason == GLB_REDIRECT_RECEIVED && c->skb->gso_size)
		reason = GLB_REDIRECT_GSO_DROP;
	if (reason == GLB_REDIRECT_RECEIVED && !limit_outer(c, outer))
		reason = GLB_REDIRECT_TRUNCATED;
	if (reason == GLB_REDIRECT_RECEIVED)
		reason = take_gue(c, outer);
	if (reason == GLB_REDIRECT_RECEIVED)
		reason = decide(c, outer->inner_protocol, tos);
	if (reason == GLB_REDIRECT_RECEIVED)
		reason = send_on(c->skb, outer, last_hop_rate);
	return reason;
}

/* Here a super-packet may come: GRO merges the TCP segments in tunnels by default. It is taken off whole. */
static __always_inline enum glb_redirect_reason end_tunnel(struct cursor *c, struct outer *outer,
							   const struct glb_redirect_config *settings, uint8_t *tos)
{
	enum glb_redirect_reason reason = check_outer(outer);

	return reason == GLB_REDIRECT_RECEIVED ? take_tunnel(c, outer, settings, tos) : reason;
}

/* What a DSCP, or a port of this host, stands for; NULL: nothing. */
static __always_inline const struct glb_redirect_target *find_rewrite(const struct outer *outer, uint8_t kind, glb_be16 value)
{
	const struct glb_redirect_match match = {
		.kind = kind,
		.family = outer->is_v6 ? GLB_REDIRECT_V6 : GLB_REDIRECT_V4,
		.value = value,
	};

	return bpf_map_lookup_elem(&rewrites, &match);
}

static __always_inline const struct glb_redirect_target *find_dscp(const struct outer *outer,
								   const struct glb_redirect_config *settings)
{
	return settings->rewrites && outer->tos >> 2 ? find_rewrite(outer, GLB_REDIRECT_DSCP, glb_be16_put(outer->tos >> 2)) : NULL;
}

/* Of a packet for this host. Returns NOT_GUE when it is none of ours. */
static __always_inline enum glb_redirect_reason take_packet(struct cursor *c, const struct glb_redirect_config *settings)
{
	struct outer outer = {.is_v6 = c->skb->protocol == bpf_htons(ETH_P_IPV6)};
	const struct glb_redirect_target *vip;
	enum glb_redirect_reason reason;
	uint8_t tos = 0;

	if (!take_outer(c, &outer))
		return GLB_REDIRECT_NOT_GUE;
	if (is_tunnel(&outer, settings)) {
		reason = end_tunnel(c, &outer, settings, &tos);
	} else if (take_udp(c, &outer, settings->port)) {
		reason = redirect(c, &outer, settings->last_hop_rate, &tos);
	} else {
		vip = find_dscp(&outer, settings);
		if (!vip)
			return GLB_REDIRECT_NOT_GUE;
		c->at = outer.l4_at;
		return rewrite_l3dsr(c, &outer, vip);
	}
	return is_local(reason) ? deliver(c->skb, &outer, tos, reason) : reason;
}

SEC("tc")
int glb_redirect(struct __sk_buff *skb)
{
	struct cursor c = {.skb = skb, .at = ETH_HLEN, .end = skb->len};
	enum glb_redirect_reason reason = GLB_REDIRECT_NOT_GUE;
	struct glb_redirect_config *settings;
	uint32_t zero = 0;

	/* A tagged frame belongs to its VLAN device, a frame for another MAC to nobody here. */
	settings = bpf_map_lookup_elem(&config, &zero);
	if (settings && skb->pkt_type == PACKET_HOST && !skb->vlan_present &&
	    (skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6)))
		reason = take_packet(&c, settings);
	count(reason);
	if (reason == GLB_REDIRECT_NOT_GUE)
		return TC_ACT_UNSPEC;
	count(GLB_REDIRECT_RECEIVED);
	if (is_local(reason))
		return TC_ACT_UNSPEC;
	if (reason == GLB_REDIRECT_FORWARDED)
		return bpf_redirect_neigh(skb->ifindex, NULL, 0, 0);
	return TC_ACT_SHOT;
}

/* On the way out: replies of services with NAT. Those to directors and peers, who check this host's health, stay as they are. */
SEC("tc")
int glb_redirect_egress(struct __sk_buff *skb)
{
	struct cursor c = {.skb = skb, .at = ETH_HLEN, .end = skb->len};
	struct outer outer = {.is_v6 = skb->protocol == bpf_htons(ETH_P_IPV6)};
	const struct glb_redirect_target *vip;
	glb_be16 port;

	if ((!outer.is_v6 && skb->protocol != bpf_htons(ETH_P_IP)) || !take_outer(&c, &outer) ||
	    (outer.protocol != GLB_IPPROTO_TCP && outer.protocol != GLB_IPPROTO_UDP) || !take(&c, &port, sizeof(port)))
		return TC_ACT_UNSPEC;
	vip = find_rewrite(&outer, outer.protocol, port);
	if (!vip || same_addr(vip->addr, outer.src) || roles(outer.is_v6, outer.dst))
		return TC_ACT_UNSPEC;
	if (!rewrite_nat(skb, &outer, port, vip)) {
		count(GLB_REDIRECT_REWRITE_FAILED);
		return TC_ACT_SHOT;
	}
	count(GLB_REDIRECT_NAT_REPLY);
	return TC_ACT_UNSPEC;
}
