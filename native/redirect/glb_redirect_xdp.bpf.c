// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The fast path for GUE in front of tc, as an XDP program: the same decision (decide.h), before the kernel makes an skb.
 *
 * What it cannot do, it leaves as it was for tc, which is always attached behind it and counts it: everything that is not GUE,
 * fragments of clients, next hops whose neighbour is not resolved or that lie behind another interface, frames longer than the MTU (merged ones), drivers
 * without room for the mark that tells tc of a packet that has been delivered here already.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct packet {
	struct xdp_md *context;
};

#include "apart.bpf.h"
#include "change.bpf.h"
#include "maps.bpf.h"
#include "sockets.bpf.h"
#include "straight.bpf.h"

char LICENSE[] SEC("license") = "GPL";

enum {
	LOOPBACK = 1,       /* its ifindex, in every namespace */
	FAMILY_V4 = 2,      /* AF_INET, AF_INET6 */
	FAMILY_V6 = 10,
	SLACK = 4,          /* a VLAN tag, beyond the MTU */
};

static __always_inline bool way_load(const struct packet *packet, uint32_t at, void *to, uint32_t len)
{
	const void *from = bytes(packet, at, len);

	if (!from)
		return false;
	copy_words(to, from, len);
	return true;
}

static __always_inline bool way_store(const struct packet *packet, uint32_t at, const void *from, uint32_t len)
{
	void *to = bytes(packet, at, len);

	if (!to)
		return false;
	copy_words(to, from, len);
	return true;
}

static __always_inline bool way_is_super(const struct packet *packet)
{
	(void)packet;
	return false; /* for_xdp() has left those to tc */
}

static __always_inline bool way_leaves_fragments(void)
{
	return true; /* to tc, which has room for what they need */
}

/* In place: for another call the stack has no room. */
static __always_inline int way_pass_extensions(struct cursor *c, uint8_t protocol)
{
	return pass_extensions(c, protocol);
}

/* Where the next hop is: fills the MACs. False: tc must find out. */
static __always_inline bool find_neighbour(struct xdp_md *xdp, const struct decision *decision, struct bpf_fib_lookup *fib)
{
	const struct outer *outer = &decision->outer;

	/* As if this host sent it: the look-up asks that the interface it comes from forwards, and lo may without any harm. */
	fib->ifindex = LOOPBACK;
	fib->l4_protocol = GLB_IPPROTO_UDP;
	fib->tot_len = (uint16_t)(outer->end - outer->ip_at);
	fib->family = outer->is_v6 ? FAMILY_V6 : FAMILY_V4;
	if (outer->is_v6) {
		__builtin_memcpy(fib->ipv6_src, outer->dst, 16);
		__builtin_memcpy(fib->ipv6_dst, decision->hop, 16);
	} else {
		__builtin_memcpy(&fib->ipv4_src, outer->dst, 4);
		__builtin_memcpy(&fib->ipv4_dst, decision->hop, 4);
	}
	return bpf_fib_lookup(xdp, fib, sizeof(*fib), 0) == BPF_FIB_LKUP_RET_SUCCESS && fib->ifindex == xdp->ingress_ifindex;
}

/* Rewrites the outer headers towards the next hop, in place: the stack has no room for a copy. */
static __always_inline bool change_outer(const struct packet *packet, const struct decision *decision)
{
	const struct outer *outer = &decision->outer;
	const uint64_t grown = addresses_grow(decision);
	struct glb_udp *udp = bytes(packet, outer->l4_at, sizeof(*udp) + sizeof(struct glb_gue));
	struct glb_ipv4 *v4;
	struct glb_ipv6 *v6;

	if (!udp)
		return false;
	step(udp, (struct glb_gue *)(udp + 1), decision, grown);
	if (outer->is_v6) {
		v6 = bytes(packet, ETH_HLEN, sizeof(*v6));
		if (!v6)
			return false;
		__builtin_memcpy(v6->src, outer->dst, 16);
		__builtin_memcpy(v6->dst, decision->hop, 16);
		return true;
	}
	v4 = bytes(packet, ETH_HLEN, sizeof(*v4));
	if (!v4)
		return false;
	__builtin_memcpy(v4->src, outer->dst, 4);
	__builtin_memcpy(v4->dst, decision->hop, 4);
	v4->checksum = change_sum(v4->checksum, grown);
	return true;
}

/* Sends the packet to the next hop. XDP_PASS: not possible here, and nothing has been changed. */
static __always_inline int send_on(struct packet *packet, const struct decision *decision, uint8_t forward)
{
	struct bpf_fib_lookup fib = {};
	struct ethhdr *ethernet = bytes(packet, 0, sizeof(*ethernet));

	if (forward == GLB_REDIRECT_XDP_TO_TC || !ethernet || !find_neighbour(packet->context, decision, &fib))
		return XDP_PASS;
	__builtin_memcpy(ethernet->h_dest, fib.dmac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, fib.smac, ETH_ALEN);
	if (!change_outer(packet, decision)) /* cannot be: those bytes have been read */
		return XDP_ABORTED;
	return forward == GLB_REDIRECT_XDP_TX ? XDP_TX : (int)bpf_redirect(packet->context->ingress_ifindex, 0);
}

/* Makes the frame the client's own, with a note for tc that it is done. Returns the reason, NOT_GUE when it is not possible here and
 * nothing has been changed, or DECAP_FAILED. */
static __always_inline enum glb_redirect_reason deliver(struct packet *packet, const struct decision *decision)
{
	struct xdp_md *xdp = packet->context;
	const struct outer *outer = &decision->outer;
	struct ethhdr *ethernet, copy;
	uint32_t *note;

	if (bpf_xdp_adjust_meta(xdp, -(int)sizeof(*note)))
		return GLB_REDIRECT_NOT_GUE;
	ethernet = bytes(packet, 0, sizeof(*ethernet));
	if (!ethernet || (takes_mark(decision) && !change_mark(packet, decision)))
		return GLB_REDIRECT_DECAP_FAILED;
	copy = *ethernet;
	copy.h_proto = outer->inner_protocol == GLB_IPPROTO_IPV6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (bpf_xdp_adjust_head(xdp, (int)outer->inner_at - ETH_HLEN))
		return GLB_REDIRECT_DECAP_FAILED;
	ethernet = bytes(packet, 0, sizeof(*ethernet));
	note = (void *)(long)xdp->data_meta;
	if (!ethernet || (void *)(note + 1) > (void *)(long)xdp->data)
		return GLB_REDIRECT_DECAP_FAILED;
	*ethernet = copy;
	*note = GLB_REDIRECT_NOTE;
	return decision->reason;
}

/* Is the frame one to look at: for this host, and no longer than its interface sends them? */
static __always_inline bool for_xdp(const struct packet *packet, const struct glb_redirect_config *settings, bool *is_v6)
{
	const struct ethhdr *ethernet = bytes(packet, 0, sizeof(*ethernet));
	const uint32_t length = packet->context->data_end - packet->context->data;

	if (!ethernet || length > settings->mtu + ETH_HLEN + SLACK)
		return false;
	for (int i = 0; i < ETH_ALEN; i++)
		if (ethernet->h_dest[i] != settings->mac[i])
			return false;
	*is_v6 = ethernet->h_proto == bpf_htons(ETH_P_IPV6);
	return *is_v6 || ethernet->h_proto == bpf_htons(ETH_P_IP);
}

/* Does what was decided, and counts it; returns what XDP is to do. XDP_PASS without a change: tc decides once more. */
static __always_inline int act(struct packet *packet, struct decision *decision, const struct glb_redirect_config *settings)
{
	const uint32_t length = packet->context->data_end - packet->context->data;
	int verdict = XDP_DROP;

	if (is_onward(decision->reason)) {
		verdict = send_on(packet, decision, settings->xdp_forward);
		if (verdict == XDP_PASS)
			return XDP_PASS;
	} else if (is_local(decision->reason)) {
		if (settings->leaves_outer)
			return XDP_PASS;
		decision->reason = deliver(packet, decision);
		if (decision->reason == GLB_REDIRECT_NOT_GUE)
			return XDP_PASS;
		verdict = is_local(decision->reason) ? XDP_PASS : XDP_DROP;
	} else if (decision->reason == GLB_REDIRECT_NOT_GUE) {
		return XDP_PASS;
	}
	count(GLB_REDIRECT_RECEIVED);
	count(decision->reason);
	if (verdict == XDP_DROP)
		report(packet, decision->reason, length);
	return verdict;
}

/* Decides and acts; returns what XDP is to do. */
static __always_inline int handle(struct xdp_md *xdp, bool is_v6, const struct glb_redirect_config *settings)
{
	struct cursor c = {.packet = {.context = xdp}, .at = ETH_HLEN, .end = xdp->data_end - xdp->data};
	struct decision decision = {.outer = {.is_v6 = is_v6}};

	if (!take_outer(&c, &decision.outer) || !take_udp(&c, &decision.outer, settings->port))
		return XDP_PASS;
	decision.unlimited = settings->xdp_forward == GLB_REDIRECT_XDP_TO_TC;
	decision.reason = decide_gue(&c, &decision, settings);
	decision.reason = after_marks(&decision);
	return act(&c.packet, &decision, settings);
}

/* The same for the usual packet of IPv4 in GUE. False: it is not one, and nothing has been changed. */
static __always_inline bool handle_straight(struct xdp_md *xdp, const struct glb_redirect_config *settings, int *verdict)
{
	struct packet packet = {.context = xdp};
	struct decision decision = {.unlimited = settings->xdp_forward == GLB_REDIRECT_XDP_TO_TC};

	if (!decide_straight(&packet, settings, xdp->data_end - xdp->data, false, &decision))
		return false;
	*verdict = act(&packet, &decision, settings);
	return true;
}

SEC("xdp")
int glb_redirect_xdp(struct xdp_md *xdp)
{
	const struct packet packet = {.context = xdp};
	const struct glb_redirect_config *settings;
	uint32_t zero = 0;
	int verdict;
	bool is_v6;

	settings = bpf_map_lookup_elem(&config, &zero);
	if (!settings || !for_xdp(&packet, settings, &is_v6) || !may_be_to(&packet, is_v6, settings->port))
		return XDP_PASS;
	if (!is_v6 && handle_straight(xdp, settings, &verdict))
		return verdict;
	asm volatile("" : "+r"(xdp), "+r"(settings) : : "memory"); /* forgets: or the verifier follows what comes with all that was */
	return handle(xdp, is_v6, settings);
}
