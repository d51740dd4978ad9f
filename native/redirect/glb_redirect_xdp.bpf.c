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

#include "decide.h"
#include "maps.bpf.h"
#include "sockets.bpf.h"

char LICENSE[] SEC("license") = "GPL";

enum {
	FRAME_MAX = 0x3fff, /* bytes; the verifier wants to know */
	LOOPBACK = 1,       /* its ifindex, in every namespace */
	FAMILY_V4 = 2,      /* AF_INET, AF_INET6 */
	FAMILY_V6 = 10,
	SLACK = 4,          /* a VLAN tag, beyond the MTU */
};

/* `len` bytes from `at` on, or NULL. */
static __always_inline void *bytes(struct xdp_md *xdp, uint32_t at, uint32_t len)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;

	if (at > FRAME_MAX)
		return NULL;
	return data + at + len <= end ? data + at : NULL;
}

static __always_inline bool way_load(const struct packet *packet, uint32_t at, void *to, uint32_t len)
{
	void *from = bytes(packet->context, at, len);

	if (!from)
		return false;
	__builtin_memcpy(to, from, len);
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

/* Ones' complement: what a checksum becomes when `difference` is added to what it covers. */
static __always_inline uint16_t folded(uint16_t checksum, uint64_t difference)
{
	uint64_t sum = (uint16_t)~checksum + (difference & 0xffffffff);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static __always_inline void change_sum(glb_be16 *checksum, __s64 difference)
{
	uint16_t sum;

	__builtin_memcpy(&sum, checksum, 2);
	sum = folded(sum, (uint64_t)difference);
	__builtin_memcpy(checksum, &sum, 2);
}

/* The same for UDP, where 0 means that there is none. */
static __always_inline void change_udp_sum(struct glb_udp *udp, __s64 difference)
{
	if (!glb_be16_get(udp->checksum))
		return;
	change_sum(&udp->checksum, difference);
	if (!glb_be16_get(udp->checksum))
		udp->checksum = glb_be16_put(0xffff);
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

/* The outer addresses: ours as the source, the next hop as the destination. `difference` is what that adds to checksums. */
static __always_inline bool change_addresses(struct xdp_md *xdp, const struct decision *decision, __s64 difference)
{
	const struct outer *outer = &decision->outer;
	struct glb_ipv6 *v6;
	struct glb_ipv4 *v4;

	if (outer->is_v6) {
		v6 = bytes(xdp, ETH_HLEN, sizeof(*v6));
		if (!v6)
			return false;
		__builtin_memcpy(v6->src, outer->dst, 16);
		__builtin_memcpy(v6->dst, decision->hop, 16);
		return true;
	}
	v4 = bytes(xdp, ETH_HLEN, sizeof(*v4));
	if (!v4)
		return false;
	__builtin_memcpy(v4->src, outer->dst, 4);
	__builtin_memcpy(v4->dst, decision->hop, 4);
	change_sum(&v4->checksum, difference);
	return true;
}

/* Sends the packet to the next hop. XDP_PASS: not possible here, and nothing has been changed. */
static __always_inline int send_on(struct xdp_md *xdp, const struct decision *decision, uint8_t forward)
{
	const struct outer *outer = &decision->outer;
	struct bpf_fib_lookup fib = {};
	uint32_t gone[5] = {}, come[5] = {};
	__s64 addresses;
	struct ethhdr *ethernet = bytes(xdp, 0, sizeof(*ethernet));
	struct glb_udp *udp = bytes(xdp, outer->l4_at, sizeof(*udp) + sizeof(struct glb_gue));
	struct glb_gue *gue = (void *)(udp + 1);

	if (forward == GLB_REDIRECT_XDP_TO_TC || !ethernet || !udp || !find_neighbour(xdp, decision, &fib))
		return XDP_PASS;
	/* Our address moves from destination to source, so for the sums only the source goes and the hop comes. */
	__builtin_memcpy(gone, outer->src, 16);
	__builtin_memcpy(come, decision->hop, 16);
	addresses = bpf_csum_diff(gone, 16, come, 16, 0);
	if (!change_addresses(xdp, decision, addresses))
		return XDP_PASS;
	__builtin_memcpy((void *)&gone[4] + 2, &gue->next_hop, 2);
	gue->next_hop = decision->next_hop;
	__builtin_memcpy((void *)&come[4] + 2, &gue->next_hop, 2);
	change_udp_sum(udp, bpf_csum_diff(gone, 20, come, 20, 0));
	__builtin_memcpy(ethernet->h_dest, fib.dmac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, fib.smac, ETH_ALEN);
	return forward == GLB_REDIRECT_XDP_TX ? XDP_TX : (int)bpf_redirect(xdp->ingress_ifindex, 0);
}

/* Gives the client's packet the congestion mark of its outer header. */
static __always_inline bool mark(struct xdp_md *xdp, const struct decision *decision)
{
	uint8_t *first = bytes(xdp, decision->outer.inner_at, sizeof(struct glb_ipv4));
	struct glb_ipv4 *ip = (void *)first;
	uint32_t gone = 0, come = 0;

	if (!first)
		return false;
	__builtin_memcpy(&gone, first, 2);
	merge_mark(decision, first);
	__builtin_memcpy(&come, first, 2);
	if (decision->outer.inner_protocol == GLB_IPPROTO_IPIP)
		change_sum(&ip->checksum, bpf_csum_diff(&gone, 4, &come, 4, 0));
	return true;
}

/* Makes the frame the client's own, with a note for tc that it is done. Returns the reason, NOT_GUE when it is not possible here and
 * nothing has been changed, or DECAP_FAILED. */
static __always_inline enum glb_redirect_reason deliver(struct xdp_md *xdp, const struct decision *decision)
{
	const struct outer *outer = &decision->outer;
	struct ethhdr *ethernet, copy;
	uint32_t *note;

	if (bpf_xdp_adjust_meta(xdp, -(int)sizeof(*note)))
		return GLB_REDIRECT_NOT_GUE;
	ethernet = bytes(xdp, 0, sizeof(*ethernet));
	if (!ethernet || (takes_mark(decision) && !mark(xdp, decision)))
		return GLB_REDIRECT_DECAP_FAILED;
	copy = *ethernet;
	copy.h_proto = outer->inner_protocol == GLB_IPPROTO_IPV6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (bpf_xdp_adjust_head(xdp, (int)outer->inner_at - ETH_HLEN))
		return GLB_REDIRECT_DECAP_FAILED;
	ethernet = bytes(xdp, 0, sizeof(*ethernet));
	note = (void *)(long)xdp->data_meta;
	if (!ethernet || (void *)(note + 1) > (void *)(long)xdp->data)
		return GLB_REDIRECT_DECAP_FAILED;
	*ethernet = copy;
	*note = GLB_REDIRECT_NOTE;
	return decision->reason;
}

/* Is the frame one to look at: for this host, and no longer than its interface sends them? */
static __always_inline bool for_xdp(struct xdp_md *xdp, const struct glb_redirect_config *settings, bool *is_v6)
{
	const struct ethhdr *ethernet = bytes(xdp, 0, sizeof(*ethernet));
	uint32_t length = (uint32_t)(xdp->data_end - xdp->data);

	if (!ethernet || length > settings->mtu + ETH_HLEN + SLACK)
		return false;
	for (int i = 0; i < ETH_ALEN; i++)
		if (ethernet->h_dest[i] != settings->mac[i])
			return false;
	*is_v6 = ethernet->h_proto == bpf_htons(ETH_P_IPV6);
	return *is_v6 || ethernet->h_proto == bpf_htons(ETH_P_IP);
}

SEC("xdp")
int glb_redirect_xdp(struct xdp_md *xdp)
{
	struct cursor c = {.packet = {.context = xdp}, .at = ETH_HLEN, .end = (uint32_t)(xdp->data_end - xdp->data)};
	struct decision decision = {};
	struct glb_redirect_config *settings;
	uint32_t zero = 0;
	int verdict = XDP_DROP;

	settings = bpf_map_lookup_elem(&config, &zero);
	if (!settings || !for_xdp(xdp, settings, &decision.outer.is_v6) || !take_outer(&c, &decision.outer) ||
	    !take_udp(&c, &decision.outer, settings->port))
		return XDP_PASS;
	decision.unlimited = settings->xdp_forward == GLB_REDIRECT_XDP_TO_TC;
	decision.reason = decide_gue(&c, &decision, settings);
	decision.reason = after_marks(&decision);
	if (is_onward(decision.reason)) {
		verdict = send_on(xdp, &decision, settings->xdp_forward);
		if (verdict == XDP_PASS)
			return XDP_PASS;
	} else if (is_local(decision.reason)) {
		decision.reason = deliver(xdp, &decision);
		if (decision.reason == GLB_REDIRECT_NOT_GUE)
			return XDP_PASS;
		verdict = is_local(decision.reason) ? XDP_PASS : XDP_DROP;
	} else if (decision.reason == GLB_REDIRECT_NOT_GUE) {
		return XDP_PASS;
	}
	count(GLB_REDIRECT_RECEIVED);
	count(decision.reason);
	if (verdict == XDP_DROP)
		report(&c.packet, decision.reason, (uint32_t)(xdp->data_end - xdp->data));
	return verdict;
}
