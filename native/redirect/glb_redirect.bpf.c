// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The second chance, as a direct-action classifier on a backend's tc ingress.
 *
 * A GUE packet from an allowed source is delivered here without its outer headers, sent on to the next hop of its
 * chain, or dropped, each with one counted reason. Other packets are left alone. It keeps no
 * state of its own about connections: the kernel's sockets are the truth. What is decided stands in decide.h.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct packet {
	struct __sk_buff *context;
};

#include "decide.h"
#include "maps.bpf.h"
#include "rewrite.bpf.h"
#include "sockets.bpf.h"

/* The kernel lends bpf_tcp_check_syncookie to programs under the GPL only. */
char LICENSE[] SEC("license") = "GPL";

static __always_inline bool way_load(const struct packet *packet, uint32_t at, void *to, uint32_t len)
{
	return !bpf_skb_load_bytes(packet->context, at, to, len);
}

static __always_inline bool way_is_super(const struct packet *packet)
{
	return packet->context->gso_size != 0;
}

static __always_inline bool way_leaves_fragments(void)
{
	return false;
}

/* As the checksum helpers want it: the word as it lies in memory. */
static __always_inline uint16_t raw16(glb_be16 word)
{
	uint16_t raw;

	__builtin_memcpy(&raw, &word, sizeof(raw));
	return raw;
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

/* Rewrites the outer headers towards the next hop. Checksums change by the difference; a zero UDP checksum stays zero. */
static __always_inline bool send_on(struct __sk_buff *skb, const struct decision *decision)
{
	const struct outer *outer = &decision->outer;
	uint32_t sum_at = outer->l4_at + __builtin_offsetof(struct glb_udp, checksum);
	uint32_t index_at = outer->gue_at + __builtin_offsetof(struct glb_gue, next_hop);
	uint8_t was[2] = {outer->gue.next_hop, outer->gue.hop_count}, now[2] = {decision->next_hop, outer->gue.hop_count};
	uint16_t old_index, new_index;
	uint32_t gone[4], come[4];
	__s64 difference;

	/* Our address moves from destination to source, so for the sums only the source goes and the hop comes. */
	__builtin_memcpy(gone, outer->src, 16);
	__builtin_memcpy(come, decision->hop, 16);
	__builtin_memcpy(&old_index, was, 2);
	__builtin_memcpy(&new_index, now, 2);
	difference = bpf_csum_diff(gone, 16, come, 16, 0);
	return difference >= 0 &&
	       !bpf_l4_csum_replace(skb, sum_at, 0, (uint64_t)difference, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) &&
	       !bpf_l4_csum_replace(skb, sum_at, old_index, new_index, BPF_F_MARK_MANGLED_0 | 2) &&
	       store_addresses(skb, outer, decision->hop) &&
	       !bpf_skb_store_bytes(skb, index_at, &decision->next_hop, 1, 0);
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

/* Gives the client's packet the congestion mark of its outer header. */
static __always_inline bool mark(struct __sk_buff *skb, const struct decision *decision)
{
	const uint32_t at = decision->outer.inner_at;
	glb_be16 old = {}, now;

	if (bpf_skb_load_bytes(skb, at, &old, sizeof(old)))
		return false;
	now = old;
	merge_mark(decision, now.b);
	if (decision->outer.inner_protocol == GLB_IPPROTO_IPV6)
		return !bpf_skb_store_bytes(skb, at, &now, sizeof(now), BPF_F_RECOMPUTE_CSUM);
	return !bpf_l3_csum_replace(skb, at + __builtin_offsetof(struct glb_ipv4, checksum), raw16(old), raw16(now), 2) &&
	       !bpf_skb_store_bytes(skb, at, &now, sizeof(now), 0);
}

/* Changes the packet as was decided. Returns the reason, or why it could not. */
static __always_inline enum glb_redirect_reason act(struct cursor *c, struct decision *decision)
{
	struct __sk_buff *skb = c->packet.context;

	if (is_onward(decision->reason))
		return send_on(skb, decision) ? decision->reason : GLB_REDIRECT_REWRITE_FAILED;
	if (decision->vip) { /* LOCAL_L3DSR, in words that the verifier follows */
		c->at = decision->outer.l4_at;
		return rewrite_l3dsr(c, &decision->outer, decision->vip);
	}
	if (!is_local(decision->reason))
		return decision->reason;
	if (takes_mark(decision) && !mark(skb, decision))
		return GLB_REDIRECT_DECAP_FAILED;
	return decapsulate(skb, &decision->outer) ? decision->reason : GLB_REDIRECT_DECAP_FAILED;
}

/* Has XDP delivered it already? It may look like GUE then, and be whatever a client sends. */
static __always_inline bool is_done(struct __sk_buff *skb)
{
	const uint32_t *note = (void *)(long)skb->data_meta;

	return (void *)(note + 1) <= (void *)(long)skb->data && *note == GLB_REDIRECT_NOTE;
}

SEC("tc")
int glb_redirect(struct __sk_buff *skb)
{
	struct cursor c = {.packet = {.context = skb}, .at = ETH_HLEN, .end = skb->len};
	struct decision decision = {.reason = GLB_REDIRECT_NOT_GUE, .outer = {.is_v6 = skb->protocol == bpf_htons(ETH_P_IPV6)}};
	enum glb_redirect_reason reason;
	struct glb_redirect_config *settings;
	uint32_t zero = 0;

	if (is_done(skb))
		return TC_ACT_UNSPEC;
	/* A tagged frame belongs to its VLAN device, a frame for another MAC to nobody here. */
	settings = bpf_map_lookup_elem(&config, &zero);
	if (settings && skb->pkt_type == PACKET_HOST && !skb->vlan_present &&
	    (skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6)))
		decide(&c, settings, &decision);
	reason = act(&c, &decision);
	count(reason);
	if (reason == GLB_REDIRECT_NOT_GUE)
		return TC_ACT_UNSPEC;
	count(GLB_REDIRECT_RECEIVED);
	if (is_local(reason))
		return TC_ACT_UNSPEC;
	if (is_onward(reason))
		return bpf_redirect_neigh(skb->ifindex, NULL, 0, 0);
	report(&c.packet, reason, skb->len);
	return TC_ACT_SHOT;
}

/* On the way out: replies of services with NAT. Those to directors and peers, who check this host's health, stay as they are. */
SEC("tc")
int glb_redirect_egress(struct __sk_buff *skb)
{
	struct cursor c = {.packet = {.context = skb}, .at = ETH_HLEN, .end = skb->len};
	struct outer outer = {.is_v6 = skb->protocol == bpf_htons(ETH_P_IPV6)};
	const struct glb_redirect_target *vip;
	struct glb_redirect_match match = {};
	glb_be16 port;

	if ((!outer.is_v6 && skb->protocol != bpf_htons(ETH_P_IP)) || !take_outer(&c, &outer) ||
	    (outer.protocol != GLB_IPPROTO_TCP && outer.protocol != GLB_IPPROTO_UDP) || !take(&c, &port, sizeof(port)))
		return TC_ACT_UNSPEC;
	match.kind = outer.protocol;
	match.family = outer.is_v6 ? GLB_REDIRECT_V6 : GLB_REDIRECT_V4;
	match.value = port;
	vip = way_rewrite(&c.packet, &match);
	if (!vip || same_addr(vip->addr, outer.src) || way_roles(&c.packet, outer.is_v6, outer.dst))
		return TC_ACT_UNSPEC;
	if (!rewrite_nat(skb, &outer, port, vip)) {
		count(GLB_REDIRECT_REWRITE_FAILED);
		return TC_ACT_SHOT;
	}
	count(GLB_REDIRECT_NAT_REPLY);
	return TC_ACT_UNSPEC;
}
