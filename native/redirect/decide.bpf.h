/* Where does a GUE packet go: the steps of the second chance, in order (docs/wire/gue.md).
 *
 * Reads the packet and the sockets, writes neither. The caller acts on the reason.
 */
#ifndef GLB_DECIDE_BPF_H
#define GLB_DECIDE_BPF_H

#include "socket.bpf.h"

/* Inner ICMP: a too-big follows the TCP connection that it quotes, everything else is delivered. */
static __always_inline enum glb_redirect_reason decide_icmp(struct cursor *c, bool is_v6)
{
	struct inner quoted = {.is_v6 = is_v6};
	struct glb_icmp icmp;

	if (!take(c, &icmp, sizeof(icmp)))
		return GLB_REDIRECT_BAD_INNER;
	if (is_v6 ? icmp.type != GLB_ICMPV6_TOO_BIG
		  : icmp.type != GLB_ICMP_UNREACHABLE || icmp.code != GLB_ICMP_FRAG_NEEDED)
		return GLB_REDIRECT_LOCAL_ICMP;
	if (!take_ip(c, &quoted, true))
		return GLB_REDIRECT_BAD_INNER;
	if (quoted.fragment || quoted.protocol != GLB_IPPROTO_TCP)
		return GLB_REDIRECT_LOCAL_ICMP;
	if (!take(c, &quoted.tcp, QUOTED_BYTES))
		return GLB_REDIRECT_BAD_INNER;
	return claim_quoted(c->skb, &quoted) ? GLB_REDIRECT_LOCAL_TOO_BIG : GLB_REDIRECT_RECEIVED;
}

static __always_inline enum glb_redirect_reason decide_tcp(struct cursor *c, struct inner *inner)
{
	uint32_t header_len;

	if (!take(c, &inner->tcp, sizeof(inner->tcp)))
		return GLB_REDIRECT_BAD_INNER;
	header_len = (inner->tcp.data_offset >> 4) * 4u;
	if (header_len < sizeof(inner->tcp) || header_len > inner->l4_bytes)
		return GLB_REDIRECT_BAD_INNER;
	if ((inner->tcp.flags & (GLB_TCP_SYN | GLB_TCP_ACK)) == GLB_TCP_SYN)
		return GLB_REDIRECT_LOCAL_SYN;
	return claim_segment(c->skb, inner);
}

/* The cursor stands at the client's packet, of GLB_IPPROTO_IPIP or _IPV6; *tos becomes its TOS or traffic class. Returns a
 * LOCAL_* reason, BAD_INNER, or RECEIVED: not known here. */
static __always_inline enum glb_redirect_reason decide(struct cursor *c, uint8_t protocol, uint8_t *tos)
{
	struct inner inner = {.is_v6 = protocol == GLB_IPPROTO_IPV6};

	if (!take_ip(c, &inner, false))
		return GLB_REDIRECT_BAD_INNER;
	*tos = inner.tos;
	if (inner.fragment)
		return GLB_REDIRECT_LOCAL_FRAGMENT;
	switch (inner.protocol) {
	case GLB_IPPROTO_TCP:
		return decide_tcp(c, &inner);
	case GLB_IPPROTO_UDP:
		return GLB_REDIRECT_LOCAL_UDP;
	case GLB_IPPROTO_ICMP:
		return inner.is_v6 ? GLB_REDIRECT_LOCAL_OTHER : decide_icmp(c, false);
	case GLB_IPPROTO_ICMPV6:
		return inner.is_v6 ? decide_icmp(c, true) : GLB_REDIRECT_LOCAL_OTHER;
	default:
		return GLB_REDIRECT_LOCAL_OTHER;
	}
}

#endif
