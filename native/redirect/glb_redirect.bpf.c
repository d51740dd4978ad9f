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

static __always_inline void count(enum glb_redirect_reason reason)
{
	uint32_t key = reason;
	uint64_t *counter = bpf_map_lookup_elem(&counters, &key);

	if (counter)
		++*counter;
}

/* The roles of an address: 0, or GLB_REDIRECT_SOURCE and _PEER. */
static __always_inline uint32_t roles(const uint8_t addr[4])
{
	struct glb_redirect_prefix key = {.bits = 32};
	uint32_t *value;

	__builtin_memcpy(key.addr, addr, 4);
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

/* Finds the next hop that is not this host, and moves gue->next_hop behind it. False: none is left. */
static __always_inline bool next_hop(struct __sk_buff *skb, const struct outer *outer, struct glb_gue *gue,
				     uint8_t hop[4])
{
	for (uint32_t i = 0; i < GLB_HOPS_MAX - 1; i++) {
		if (i < gue->next_hop || i >= gue->hop_count)
			continue;
		if (bpf_skb_load_bytes(skb, outer->hops_at + i * 4, hop, 4))
			return false;
		if (__builtin_memcmp(hop, outer->ip.dst, 4)) {
			gue->next_hop = i + 1;
			return true;
		}
	}
	return false;
}

/* Rewrites the outer headers towards `hop`. Checksums change by the difference; a zero UDP checksum stays zero. */
static __always_inline bool rewrite(struct __sk_buff *skb, const struct outer *outer, const struct glb_gue *gue,
				    const uint8_t hop[4])
{
	uint32_t ip_at = outer->udp_at - (outer->ip.version_ihl & 0xf) * 4u;
	uint32_t udp_sum_at = outer->udp_at + __builtin_offsetof(struct glb_udp, checksum);
	uint32_t index_at = outer->gue_at + __builtin_offsetof(struct glb_gue, next_hop);
	uint32_t gone, come;
	uint16_t old_index, new_index;

	/* Our address moves from destination to source, so for the sums only the source goes and the hop comes. */
	__builtin_memcpy(&gone, outer->ip.src, 4);
	__builtin_memcpy(&come, hop, 4);
	__builtin_memcpy(&old_index, &outer->gue.next_hop, 2);
	__builtin_memcpy(&new_index, &gue->next_hop, 2);
	return !bpf_l4_csum_replace(skb, udp_sum_at, gone, come, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | 4) &&
	       !bpf_l4_csum_replace(skb, udp_sum_at, old_index, new_index, BPF_F_MARK_MANGLED_0 | 2) &&
	       !bpf_l3_csum_replace(skb, ip_at + __builtin_offsetof(struct glb_ipv4, checksum), gone, come, 4) &&
	       !bpf_skb_store_bytes(skb, ip_at + __builtin_offsetof(struct glb_ipv4, src), outer->ip.dst, 4, 0) &&
	       !bpf_skb_store_bytes(skb, ip_at + __builtin_offsetof(struct glb_ipv4, dst), hop, 4, 0) &&
	       !bpf_skb_store_bytes(skb, index_at, &gue->next_hop, 1, 0);
}

/* Gives the packet to the next hop, or to the stack when there is none. */
static __always_inline enum glb_redirect_reason send_on(struct __sk_buff *skb, const struct outer *outer,
							uint32_t last_hop_rate)
{
	struct glb_gue gue = outer->gue;
	uint8_t hop[4];

	if (!next_hop(skb, outer, &gue, hop))
		return limit_last_hop(last_hop_rate);
	if (!(roles(hop) & GLB_REDIRECT_PEER))
		return GLB_REDIRECT_FORWARD_NOT_PEER;
	return rewrite(skb, outer, &gue, hop) ? GLB_REDIRECT_FORWARDED : GLB_REDIRECT_REWRITE_FAILED;
}

/* Removes everything between the Ethernet header and the client's packet.
 *
 * For IPv6 the kernel must learn the new protocol. bpf_skb_change_proto does that on every kernel (the flags for
 * bpf_skb_adjust_room came with 6.3); it makes the header longer by the difference of the two IP headers, which then
 * goes with the rest. */
static __always_inline bool decapsulate(struct __sk_buff *skb, const struct outer *outer)
{
	int surplus = outer->inner_at - ETH_HLEN;
	uint16_t type = bpf_htons(ETH_P_IPV6);

	if (outer->gue.protocol == GLB_IPPROTO_IPV6) {
		if (bpf_skb_change_proto(skb, type, 0) ||
		    bpf_skb_store_bytes(skb, __builtin_offsetof(struct ethhdr, h_proto), &type, sizeof(type), 0))
			return false;
		surplus += sizeof(struct glb_ipv6) - sizeof(struct glb_ipv4);
	}
	return !bpf_skb_adjust_room(skb, -surplus, BPF_ADJ_ROOM_MAC, 0);
}

/* The steps of the second chance for a GUE packet; the cursor stands behind its UDP header. */
static __always_inline enum glb_redirect_reason redirect(struct cursor *c, struct outer *outer, uint32_t last_hop_rate)
{
	enum glb_redirect_reason reason;

	if (!roles(outer->ip.src))
		return GLB_REDIRECT_NOT_ALLOWED;
	if (glb_be16_get(outer->ip.fragment) & GLB_IPV4_MF)
		return GLB_REDIRECT_OUTER_FRAGMENT;
	if (c->skb->gso_size)
		return GLB_REDIRECT_GSO_DROP;
	if (!limit_outer(c, outer))
		return GLB_REDIRECT_TRUNCATED;
	reason = take_gue(c, outer);
	if (reason == GLB_REDIRECT_RECEIVED)
		reason = decide(c, &outer->gue);
	if (reason == GLB_REDIRECT_RECEIVED)
		reason = send_on(c->skb, outer, last_hop_rate);
	if (reason >= GLB_REDIRECT_LOCAL_SYN && !decapsulate(c->skb, outer))
		reason = GLB_REDIRECT_DECAP_FAILED;
	return reason;
}

SEC("tc")
int glb_redirect(struct __sk_buff *skb)
{
	struct cursor c = {.skb = skb, .at = ETH_HLEN, .end = skb->len};
	struct outer outer = {};
	struct glb_redirect_config *settings;
	enum glb_redirect_reason reason;
	uint32_t zero = 0;

	/* A tagged frame belongs to its VLAN device, a frame for another MAC to nobody here. */
	settings = bpf_map_lookup_elem(&config, &zero);
	if (!settings || skb->pkt_type != PACKET_HOST || skb->vlan_present ||
	    skb->protocol != bpf_htons(ETH_P_IP) || !take_outer(&c, &outer, settings->port)) {
		count(GLB_REDIRECT_NOT_GUE);
		return TC_ACT_UNSPEC;
	}
	count(GLB_REDIRECT_RECEIVED);
	reason = redirect(&c, &outer, settings->last_hop_rate);
	count(reason);
	if (reason >= GLB_REDIRECT_LOCAL_SYN)
		return TC_ACT_UNSPEC;
	if (reason == GLB_REDIRECT_FORWARDED)
		return bpf_redirect_neigh(skb->ifindex, NULL, 0, 0);
	return TC_ACT_SHOT;
}
