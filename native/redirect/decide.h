/* The decision: is a packet accepted here, sent to the next hop, dropped, or none of ours? The steps of docs/wire/gue.md, in order.
 *
 * One header for every way in. Reads the packet, the sockets and the lists by the functions of way.h, and changes nothing: the
 * way acts on what comes out.
 */
#ifndef GLB_REDIRECT_DECIDE_H
#define GLB_REDIRECT_DECIDE_H

#include "fragment.h"
#include "service.h"
#include "tunnel.h"

struct decision {
	enum glb_redirect_reason reason;
	bool unlimited;   /* set before: another way in decides once more, and limits what goes on */
	struct outer outer;
	uint8_t hop[16] ALIGNED; /* FORWARDED, _NEW: where to; IPv4 in the first 4, the rest 0 */
	uint8_t next_hop; /* FORWARDED, _NEW: the index behind `hop` */
	uint8_t tos;      /* of the client's packet, where there is one inside */
	const struct glb_redirect_target *vip; /* LOCAL_L3DSR */
};

enum {
	ECN_MASK = 3,
	ECN_ECT1 = 1,
	ECN_CE = 3,
};

static __always_inline bool same_addr(const uint8_t a[16], const uint8_t b[16])
{
	uint32_t x[4], y[4];

	__builtin_memcpy(x, a, sizeof(x));
	__builtin_memcpy(y, b, sizeof(y));
	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* Delivered to this host's stack? */
static __always_inline bool is_local(enum glb_redirect_reason reason)
{
	return (reason >= GLB_REDIRECT_LOCAL_SYN && reason <= GLB_REDIRECT_LOCAL_LAST_HOP) ||
	       reason == GLB_REDIRECT_LOCAL_TUNNEL || reason == GLB_REDIRECT_LOCAL_L3DSR;
}

/* RFC 6040, figure 4: does the client's packet get the mark that its outer header collected on the way? */
static __always_inline bool takes_mark(const struct decision *decision)
{
	const uint8_t seen = decision->outer.tos & ECN_MASK, own = decision->tos & ECN_MASK;

	return (seen == ECN_CE || seen == ECN_ECT1) && own != 0 && own != ECN_CE && own != seen;
}

/* The reason, or ECN_DROP: a packet for here met congestion, and the client's own cannot say so. */
static __always_inline enum glb_redirect_reason after_marks(const struct decision *decision)
{
	return is_local(decision->reason) && (decision->outer.tos & ECN_MASK) == ECN_CE && !(decision->tos & ECN_MASK)
		       ? GLB_REDIRECT_ECN_DROP : decision->reason;
}

/* Puts the mark into the first two bytes of the client's IP header. */
static __always_inline void merge_mark(const struct decision *decision, uint8_t first[2])
{
	const uint8_t seen = decision->outer.tos & ECN_MASK;

	if (decision->outer.inner_protocol == GLB_IPPROTO_IPV6) /* traffic class: the lower half of byte 0, the upper of byte 1 */
		first[1] = (uint8_t)((first[1] & ~(ECN_MASK << 4)) | seen << 4);
	else
		first[1] = (uint8_t)((first[1] & ~ECN_MASK) | seen);
}

/* Sent to the next hop? */
static __always_inline bool is_onward(enum glb_redirect_reason reason)
{
	return reason == GLB_REDIRECT_FORWARDED || reason == GLB_REDIRECT_FORWARDED_NEW;
}

/* Reads the hop at an index; IPv4 into the first 4 bytes, the rest 0. */
static __always_inline bool load_hop(const struct packet *packet, const struct outer *outer, uint32_t index, uint8_t hop[16])
{
	if (outer->is_v6)
		return way_load(packet, outer->hops_at + index * 16, hop, 16);
	__builtin_memset(hop, 0, 16);
	return way_load(packet, outer->hops_at + index * 4, hop, 4);
}

/* Finds the next hop that is not this host. False: none is left. */
static __always_inline bool find_hop(const struct packet *packet, struct decision *decision)
{
	const struct outer *outer = &decision->outer;

	for (uint32_t i = 0; i < GLB_HOPS_MAX - 1; i++) {
		if (i < outer->gue.next_hop || i >= outer->gue.hop_count)
			continue;
		if (!load_hop(packet, outer, i, decision->hop))
			return false;
		if (!same_addr(decision->hop, outer->dst)) {
			decision->next_hop = (uint8_t)(i + 1);
			return true;
		}
	}
	return false;
}

/* Errors about what we sent, which its connection must hear of: too big, or unreachable. */
static __always_inline bool is_error(const struct glb_icmp *icmp, bool is_v6)
{
	if (is_v6)
		return icmp->type >= GLB_ICMPV6_UNREACHABLE && icmp->type <= GLB_ICMPV6_TIME_EXCEEDED;
	return icmp->type == GLB_ICMP_UNREACHABLE || icmp->type == GLB_ICMP_TIME_EXCEEDED;
}

/* Inner ICMP: an error follows the connection that it quotes, everything else is delivered. */
static __always_inline enum glb_redirect_reason decide_icmp(struct cursor *c, bool is_v6, bool services)
{
	struct inner quoted = {.is_v6 = is_v6};
	struct glb_icmp icmp ALIGNED;
	struct tuple tuple;

	if (!take(c, &icmp, sizeof(icmp)))
		return GLB_REDIRECT_BAD_INNER;
	if (!is_error(&icmp, is_v6))
		return GLB_REDIRECT_LOCAL_ICMP;
	if (!take_ip(c, &quoted, true))
		return GLB_REDIRECT_BAD_INNER;
	if (quoted.fragment || (quoted.protocol != GLB_IPPROTO_TCP && !(services && quoted.protocol == GLB_IPPROTO_UDP)))
		return GLB_REDIRECT_LOCAL_ICMP;
	if (!take(c, &quoted.tcp, QUOTED_BYTES))
		return GLB_REDIRECT_BAD_INNER;
	if (quoted.protocol == GLB_IPPROTO_UDP) {
		tuple = tuple_of_quoted(&quoted);
		return claims_udp(&c->packet, &tuple) ? GLB_REDIRECT_LOCAL_ICMP : GLB_REDIRECT_RECEIVED;
	}
	return claim_quoted(&c->packet, &quoted) ? GLB_REDIRECT_LOCAL_TOO_BIG : GLB_REDIRECT_RECEIVED;
}

/* A SYN without ACK is for here, unless its service wants otherwise and there is a hop to take it. */
static __always_inline enum glb_redirect_reason decide_syn(const struct packet *packet, const struct inner *inner,
							   struct decision *decision)
{
	const struct tuple tuple = tuple_of(inner);
	struct glb_redirect_service *service = service_of(packet, &tuple, GLB_IPPROTO_TCP);

	if (!service || !find_hop(packet, decision) ||
	    !(way_roles(packet, decision->outer.is_v6, decision->hop) & GLB_REDIRECT_PEER))
		return GLB_REDIRECT_LOCAL_SYN;
	return passes_on(packet, &tuple, service) ? GLB_REDIRECT_FORWARDED_NEW : GLB_REDIRECT_LOCAL_SYN;
}

static __always_inline enum glb_redirect_reason decide_tcp(struct cursor *c, struct inner *inner, struct decision *decision,
							   bool services)
{
	uint32_t header_len;

	if (!take(c, &inner->tcp, sizeof(inner->tcp)))
		return GLB_REDIRECT_BAD_INNER;
	header_len = (inner->tcp.data_offset >> 4) * 4u;
	if (header_len < sizeof(inner->tcp) || header_len > inner->l4_bytes)
		return GLB_REDIRECT_BAD_INNER;
	if ((inner->tcp.flags & (GLB_TCP_SYN | GLB_TCP_ACK)) != GLB_TCP_SYN)
		return claim_segment(&c->packet, inner);
	return services ? decide_syn(&c->packet, inner, decision) : GLB_REDIRECT_LOCAL_SYN;
}

/* UDP is for here, unless its service looks at sockets and there is a hop to ask. */
static __always_inline enum glb_redirect_reason decide_udp(struct cursor *c, struct inner *inner, struct decision *decision,
							   bool services)
{
	struct tuple tuple;

	if (!services || !take(c, &inner->tcp, QUOTED_BYTES)) /* ports lie where TCP has them; the stack judges what is too short */
		return GLB_REDIRECT_LOCAL_UDP;
	tuple = tuple_of(inner);
	if (claims_udp(&c->packet, &tuple) || !find_hop(&c->packet, decision))
		return GLB_REDIRECT_LOCAL_UDP;
	return GLB_REDIRECT_RECEIVED;
}

/* Below: what becomes of a fragment. The cursor stands where take_ip() left it. */
static __always_inline enum glb_redirect_reason decide_fragment(struct cursor *c, struct inner *inner, struct decision *decision,
								const struct glb_redirect_config *settings);

/* The cursor stands at the client's packet, of decision->outer.inner_protocol. Returns what becomes of it, or RECEIVED: not known here. */
static __always_inline enum glb_redirect_reason decide_inner(struct cursor *c, struct decision *decision,
							     const struct glb_redirect_config *settings)
{
	const bool services = settings->services;
	struct inner inner = {.is_v6 = decision->outer.inner_protocol == GLB_IPPROTO_IPV6};
	enum quic_owner owner;

	if (!take_ip(c, &inner, false))
		return GLB_REDIRECT_BAD_INNER;
	decision->tos = inner.tos;
	if (inner.fragment)
		return decide_fragment(c, &inner, decision, settings);
	switch (inner.protocol) {
	case GLB_IPPROTO_TCP:
		return decide_tcp(c, &inner, decision, services);
	case GLB_IPPROTO_UDP:
		owner = settings->quic ? owner_of(c, &inner) : QUIC_NOBODYS;
		if (owner == QUIC_NOBODYS)
			return decide_udp(c, &inner, decision, services);
		return owner == QUIC_ANOTHERS && find_hop(&c->packet, decision) ? GLB_REDIRECT_RECEIVED : GLB_REDIRECT_LOCAL_UDP;
	case GLB_IPPROTO_ICMP:
		return inner.is_v6 ? GLB_REDIRECT_LOCAL_OTHER : decide_icmp(c, false, services);
	case GLB_IPPROTO_ICMPV6:
		return inner.is_v6 ? decide_icmp(c, true, services) : GLB_REDIRECT_LOCAL_OTHER;
	default:
		return GLB_REDIRECT_LOCAL_OTHER;
	}
}

/* May a packet be sent to the hop that was found? FORWARDED, or why it is dropped. */
static __always_inline enum glb_redirect_reason may_go_on(const struct packet *packet, const struct decision *decision,
							  const struct glb_redirect_config *settings)
{
	if (!(way_roles(packet, decision->outer.is_v6, decision->hop) & GLB_REDIRECT_PEER))
		return GLB_REDIRECT_FORWARD_NOT_PEER;
	return way_may_pass(packet, LIMIT_FORWARDS, decision->unlimited ? 0 : settings->forward_rate) ? GLB_REDIRECT_FORWARDED
												      : GLB_REDIRECT_FORWARD_LIMITED;
}

/* Where a packet goes that is not known here: to the next hop, or to the stack when there is none. The stack answers an unknown
 * segment with a RST, and a flood of them must not become a flood of those, nor go through every hop of its chain. */
static __always_inline enum glb_redirect_reason decide_onward(const struct packet *packet, struct decision *decision,
							      const struct glb_redirect_config *settings)
{
	if (!find_hop(packet, decision))
		return way_may_pass(packet, LIMIT_ANSWERS, settings->last_hop_rate) ? GLB_REDIRECT_LOCAL_LAST_HOP
									  : GLB_REDIRECT_LAST_HOP_LIMITED;
	return may_go_on(packet, decision, settings);
}

/* A hop that was taken before, if the packet's chain has it still. */
static __always_inline bool find_hop_again(const struct packet *packet, struct decision *decision, const uint8_t wanted[16])
{
	const struct outer *outer = &decision->outer;

	for (uint32_t i = 0; i < GLB_HOPS_MAX - 1; i++) {
		if (i < outer->gue.next_hop || i >= outer->gue.hop_count)
			continue;
		if (!load_hop(packet, outer, i, decision->hop))
			return false;
		if (same_addr(decision->hop, wanted)) {
			decision->next_hop = (uint8_t)(i + 1);
			return true;
		}
	}
	return false;
}

/* A datagram's first fragment goes where the whole one would, and is remembered when that is on. */
static __always_inline enum glb_redirect_reason decide_first_fragment(struct cursor *c, struct inner *inner,
								      struct decision *decision,
								      const struct glb_redirect_config *settings,
								      const struct fragment *fragment)
{
	enum glb_redirect_reason reason = GLB_REDIRECT_LOCAL_FRAGMENT;
	struct glb_redirect_went went = {};

	if (inner->protocol == GLB_IPPROTO_TCP)
		reason = decide_tcp(c, inner, decision, settings->services);
	else if (inner->protocol == GLB_IPPROTO_UDP)
		reason = decide_udp(c, inner, decision, settings->services);
	if (reason == GLB_REDIRECT_RECEIVED)
		reason = decide_onward(&c->packet, decision, settings);
	if (is_onward(reason) && fragment->more) {
		went.at_ns = way_now(&c->packet);
		__builtin_memcpy(went.hop, decision->hop, 16);
		way_remember_fragment(&c->packet, &fragment->datagram, &went);
	} else {
		way_forget_fragment(&c->packet, &fragment->datagram); /* identifications come round */
	}
	return is_local(reason) || reason == GLB_REDIRECT_BAD_INNER ? GLB_REDIRECT_LOCAL_FRAGMENT : reason;
}

/* A later one follows the first, and is for here when that did not go on, or has not come yet: the stack puts fragments together. */
static __always_inline enum glb_redirect_reason decide_fragment(struct cursor *c, struct inner *inner, struct decision *decision,
								const struct glb_redirect_config *settings)
{
	const uint64_t age = GLB_REDIRECT_DATAGRAM_SECONDS * 1000000000ull;
	const struct glb_redirect_went *went;
	struct fragment fragment = {};

	if (way_leaves_fragments())
		return GLB_REDIRECT_NOT_GUE;
	if (!take_fragment(c, inner, &fragment))
		return GLB_REDIRECT_LOCAL_FRAGMENT;
	if (fragment.first)
		return decide_first_fragment(c, inner, decision, settings, &fragment);
	went = way_recall_fragment(&c->packet, &fragment.datagram);
	if (!went || way_now(&c->packet) - went->at_ns > age || !find_hop_again(&c->packet, decision, went->hop))
		return GLB_REDIRECT_LOCAL_FRAGMENT;
	return may_go_on(&c->packet, decision, settings);
}

/* What must hold for every packet with an outer header. Returns RECEIVED, or why it is dropped. */
static __always_inline enum glb_redirect_reason check_outer(const struct packet *packet, const struct outer *outer)
{
	if (!way_roles(packet, outer->is_v6, outer->src))
		return GLB_REDIRECT_NOT_ALLOWED;
	return outer->first_fragment ? GLB_REDIRECT_OUTER_FRAGMENT : GLB_REDIRECT_RECEIVED;
}

/* A GUE packet; the cursor stands behind its UDP header. */
static __always_inline enum glb_redirect_reason decide_gue(struct cursor *c, struct decision *decision,
							   const struct glb_redirect_config *settings)
{
	enum glb_redirect_reason reason = check_outer(&c->packet, &decision->outer);

	if (reason == GLB_REDIRECT_RECEIVED && way_is_super(&c->packet))
		reason = GLB_REDIRECT_GSO_DROP;
	if (reason == GLB_REDIRECT_RECEIVED && !limit_outer(c, &decision->outer))
		reason = GLB_REDIRECT_TRUNCATED;
	if (reason == GLB_REDIRECT_RECEIVED)
		reason = take_gue(c, &decision->outer);
	if (reason == GLB_REDIRECT_RECEIVED)
		reason = decide_inner(c, decision, settings);
	if (reason == GLB_REDIRECT_RECEIVED)
		reason = decide_onward(&c->packet, decision, settings);
	return reason;
}

/* Here a super-packet may come: GRO merges the TCP segments in tunnels by default. It is taken off whole. */
static __always_inline enum glb_redirect_reason decide_tunnel(struct cursor *c, struct decision *decision,
							      const struct glb_redirect_config *settings)
{
	enum glb_redirect_reason reason = check_outer(&c->packet, &decision->outer);

	return reason == GLB_REDIRECT_RECEIVED ? take_tunnel(c, &decision->outer, settings, &decision->tos) : reason;
}

static __always_inline const struct glb_redirect_target *find_dscp(const struct packet *packet, const struct outer *outer,
								   const struct glb_redirect_config *settings)
{
	const struct glb_redirect_match match = {
		.kind = GLB_REDIRECT_DSCP,
		.family = outer->is_v6 ? GLB_REDIRECT_V6 : GLB_REDIRECT_V4,
		.value = glb_be16_put(outer->tos >> 2),
	};

	return settings->rewrites && outer->tos >> 2 ? way_rewrite(packet, &match) : NULL;
}

/* Decides about a packet for this host; the cursor stands at its IP header, of the family that decision->outer.is_v6 says. The rest of
 * *decision is 0 before. NOT_GUE: it is none of ours, and stays as it is. */
static __always_inline void decide(struct cursor *c, const struct glb_redirect_config *settings, struct decision *decision)
{
	struct outer *outer = &decision->outer;

	decision->reason = GLB_REDIRECT_NOT_GUE;
	if (!take_outer(c, outer))
		return;
	if (is_tunnel(outer, settings)) {
		decision->reason = decide_tunnel(c, decision, settings);
	} else if (take_udp(c, outer, settings->port)) {
		decision->reason = decide_gue(c, decision, settings);
	} else {
		decision->vip = find_dscp(&c->packet, outer, settings);
		if (decision->vip)
			decision->reason = GLB_REDIRECT_LOCAL_L3DSR;
	}
	if (!decision->vip)
		decision->reason = after_marks(decision);
}

#endif
