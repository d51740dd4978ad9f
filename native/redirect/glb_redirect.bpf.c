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

#include "apart.bpf.h"
#include "change.bpf.h"
#include "maps.bpf.h"
#include "rewrite.bpf.h"
#include "sockets.bpf.h"
#include "straight.bpf.h"

/* The kernel lends bpf_tcp_check_syncookie to programs under the GPL only. */
char LICENSE[] SEC("license") = "GPL";

/* Nearly always all headers lie in the first piece. */
static __always_inline bool way_load(const struct packet *packet, uint32_t at, void *to, uint32_t len)
{
	const void *from = bytes(packet, at, len);

	if (!from)
		return !bpf_skb_load_bytes(packet->context, at, to, len);
	copy_words(to, from, len);
	return true;
}

/* The sum over the whole packet, where the device has made one, is kept right. */
static __always_inline bool way_store(const struct packet *packet, uint32_t at, const void *from, uint32_t len)
{
	return !bpf_skb_store_bytes(packet->context, at, from, len, BPF_F_RECOMPUTE_CSUM);
}

static __always_inline bool way_is_super(const struct packet *packet)
{
	return packet->context->gso_size != 0;
}

static __always_inline bool way_leaves_fragments(void)
{
	return false;
}

/* What pass_extensions() returns, in the lowest byte, below where the cursor then stands; or -1. A global function, too: it leaves the verifier
 * one state, and not one for each header. */
__attribute__((noinline)) int glb_redirect_extensions(struct __sk_buff *skb, uint32_t at, uint32_t end, uint32_t protocol)
{
	struct cursor c = {.packet = {.context = skb}, .at = at & EXTENSIONS_END, .end = end};
	const int next = pass_extensions(&c, (uint8_t)protocol);

	return next < 0 ? -1 : (int)(c.at << 8 | (uint32_t)next);
}

static __always_inline int way_pass_extensions(struct cursor *c, uint8_t protocol)
{
	const int passed = glb_redirect_extensions(c->packet.context, c->at, c->end, protocol);

	if (passed < 0)
		return -1;
	c->at = (uint32_t)passed >> 8 & EXTENSIONS_END;
	return passed & 0xff;
}

/* The outer headers from the first byte on that changes when a packet goes on. */
struct onward_v4 {
	glb_be16 checksum;
	uint8_t src[4], dst[4];
	struct glb_udp udp;
	struct glb_gue gue;
};

struct onward_v6 {
	uint8_t src[16], dst[16];
	struct glb_udp udp;
	struct glb_gue gue;
};

/* Headers are put together from what the decision has read, and stored at once: what costs is each call, not the bytes. */
static __always_inline bool send_on_v4(const struct packet *packet, const struct decision *decision)
{
	const struct outer *outer = &decision->outer;
	const uint64_t grown = addresses_grow(decision);
	const uint32_t at = outer->ip_at + __builtin_offsetof(struct glb_ipv4, checksum);
	struct onward_v4 now ALIGNED = {.udp = outer->udp, .gue = outer->gue};

	now.checksum = change_sum(outer->ip_checksum, grown);
	__builtin_memcpy(now.src, outer->dst, 4);
	__builtin_memcpy(now.dst, decision->hop, 4);
	step(&now.udp, &now.gue, decision, grown);
	if (outer->l4_at == outer->ip_at + sizeof(struct glb_ipv4))
		return way_store(packet, at, &now, sizeof(now));
	/* options in between */
	return way_store(packet, at, &now, __builtin_offsetof(struct onward_v4, udp)) &&
	       way_store(packet, outer->l4_at, &now.udp, sizeof(now.udp) + sizeof(now.gue));
}

static __always_inline bool send_on_v6(const struct packet *packet, const struct decision *decision)
{
	const struct outer *outer = &decision->outer;
	struct onward_v6 now ALIGNED = {.udp = outer->udp, .gue = outer->gue};

	__builtin_memcpy(now.src, outer->dst, 16);
	__builtin_memcpy(now.dst, decision->hop, 16);
	step(&now.udp, &now.gue, decision, addresses_grow(decision));
	return way_store(packet, outer->ip_at + __builtin_offsetof(struct glb_ipv6, src), &now, sizeof(now));
}

/* Rewrites the outer headers towards the next hop. */
static __always_inline bool send_on(const struct packet *packet, const struct decision *decision)
{
	return decision->outer.is_v6 ? send_on_v6(packet, decision) : send_on_v4(packet, decision);
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

/* Changes the packet as was decided. Returns the reason, or why it could not. */
static __always_inline enum glb_redirect_reason act(const struct packet *packet, const struct decision *decision,
						    const struct glb_redirect_config *settings)
{
	if (is_onward(decision->reason))
		return send_on(packet, decision) ? decision->reason : GLB_REDIRECT_REWRITE_FAILED;
	if (!is_local(decision->reason) || settings->leaves_outer)
		return decision->reason;
	if (takes_mark(decision) && !change_mark(packet, decision))
		return GLB_REDIRECT_DECAP_FAILED;
	return decapsulate(packet->context, &decision->outer) ? decision->reason : GLB_REDIRECT_DECAP_FAILED;
}

/* Has XDP delivered it already? It may look like GUE then, and be whatever a client sends. */
static __always_inline bool is_done(struct __sk_buff *skb)
{
	const uint32_t *note = (void *)(long)skb->data_meta;

	return (void *)(note + 1) <= (void *)(long)skb->data && *note == GLB_REDIRECT_NOTE;
}

/* Is it one to look at closely? A tagged frame belongs to its VLAN device, a frame for another MAC to nobody here. */
static __always_inline bool may_be_ours(const struct packet *packet, const struct glb_redirect_config *settings)
{
	const struct __sk_buff *skb = packet->context;
	const bool is_v6 = skb->protocol == bpf_htons(ETH_P_IPV6);

	if ((!is_v6 && skb->protocol != bpf_htons(ETH_P_IP)) || skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return false;
	return settings->decap || settings->rewrites || may_be_to(packet, is_v6, settings->port);
}

/* Counts a packet of ours that became `reason`; returns what tc is to do with it. */
static __always_inline int finish(const struct packet *packet, enum glb_redirect_reason reason)
{
	count(GLB_REDIRECT_RECEIVED);
	count(reason);
	if (is_local(reason))
		return TC_ACT_UNSPEC;
	if (is_onward(reason))
		return (int)bpf_redirect_neigh(packet->context->ifindex, NULL, 0, 0);
	report(packet, reason, packet->context->len);
	return TC_ACT_SHOT;
}

/* Decides and acts; returns what tc is to do. */
static __always_inline int handle(struct __sk_buff *skb, const struct glb_redirect_config *settings)
{
	struct cursor c = {.packet = {.context = skb}, .at = ETH_HLEN, .end = skb->len};
	struct decision decision = {.outer = {.is_v6 = skb->protocol == bpf_htons(ETH_P_IPV6)}};
	enum glb_redirect_reason reason;

	decide(&c, settings, &decision);
	if (decision.vip) { /* LOCAL_L3DSR, in words that the verifier follows */
		c.at = decision.outer.l4_at;
		reason = rewrite_l3dsr(&c, &decision.outer, decision.vip);
	} else {
		reason = act(&c.packet, &decision, settings);
	}
	if (reason != GLB_REDIRECT_NOT_GUE)
		return finish(&c.packet, reason);
	count(GLB_REDIRECT_NOT_GUE);
	return TC_ACT_UNSPEC;
}

/* The same for the usual packet of a family. False: it is not one, and nothing has been changed. */
static __always_inline bool handle_straight(struct __sk_buff *skb, const struct glb_redirect_config *settings, bool is_v6, int *verdict)
{
	const struct packet packet = {.context = skb};
	struct decision decision = {};

	if (!decide_straight(&packet, settings, skb->len, is_v6, &decision))
		return false;
	*verdict = finish(&packet, act(&packet, &decision, settings));
	return true;
}

SEC("tc")
int glb_redirect(struct __sk_buff *skb)
{
	const struct packet packet = {.context = skb};
	const struct glb_redirect_config *settings;
	uint32_t zero = 0;
	int verdict;

	if (is_done(skb))
		return TC_ACT_UNSPEC;
	settings = bpf_map_lookup_elem(&config, &zero);
	if (settings && may_be_ours(&packet, settings)) {
		if (skb->protocol == bpf_htons(ETH_P_IP) && handle_straight(skb, settings, false, &verdict))
			return verdict;
		asm volatile("" : "+r"(skb), "+r"(settings) : : "memory"); /* forgets: or the verifier follows what comes with all that was */
		return handle(skb, settings);
	}
	count(GLB_REDIRECT_NOT_GUE);
	return TC_ACT_UNSPEC;
}

/* On the way out: replies of services with NAT. Those to directors and peers, who check this host's health, stay as they are. */
SEC("tc")
int glb_redirect_egress(struct __sk_buff *skb)
{
	struct cursor c = {.packet = {.context = skb}, .at = ETH_HLEN, .end = skb->len};
	struct outer outer = {.is_v6 = skb->protocol == bpf_htons(ETH_P_IPV6)};
	const struct glb_redirect_target *vip;
	struct glb_redirect_match match = {};
	glb_be16 port ALIGNED;

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
