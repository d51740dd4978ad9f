/* Whose is this TCP segment, given what the kernel has for its tuple?
 *
 * Asks the sockets by way_find; changes nothing. A way that cannot tell the numbers of a request or of TIME_WAIT takes either at its
 * word, as GLB does.
 */
#ifndef GLB_REDIRECT_CLAIM_H
#define GLB_REDIRECT_CLAIM_H

#include "parse.h"

enum {
	WINDOW_MAX = 1 << 30, /* the largest window that TCP can announce, RFC 7323 */
};

/* a is later than b in sequence space */
static __always_inline bool after(uint32_t a, uint32_t b)
{
	return (b - a) >> 31;
}

/* Of a segment that the client sent. */
static __always_inline struct tuple tuple_of(const struct inner *inner)
{
	return (struct tuple){
		.client = inner->is_v6 ? inner->ip.v6.src : inner->ip.v4.src,
		.vip = inner->is_v6 ? inner->ip.v6.dst : inner->ip.v4.dst,
		.client_port = inner->tcp.sport,
		.vip_port = inner->tcp.dport,
		.is_v6 = inner->is_v6,
	};
}

/* Of a segment that we sent, which an ICMP error quotes. */
static __always_inline struct tuple tuple_of_quoted(const struct inner *inner)
{
	return (struct tuple){
		.client = inner->is_v6 ? inner->ip.v6.dst : inner->ip.v4.dst,
		.vip = inner->is_v6 ? inner->ip.v6.src : inner->ip.v4.src,
		.client_port = inner->tcp.dport,
		.vip_port = inner->tcp.sport,
		.is_v6 = inner->is_v6,
	};
}

/* A request answers a SYN with its own sequence number, and only an ACK of that number ends its handshake. */
static __always_inline bool request_fits(const struct known *known, const struct inner *inner)
{
	return inner->tcp.flags & GLB_TCP_ACK && (!known->numbers || glb_be32_get(inner->tcp.ack) == known->isn + 1);
}

/* Does the segment fit the window of the connection that is in TIME_WAIT?
 *
 * It acknowledges exactly what we sent (in TIME_WAIT our FIN has been acknowledged, so the send window is one
 * point), and its bytes lie in the receive window or, being sent again, in a window before it. A bare
 * RST acknowledges nothing: it fits where the kernel would take it, at the next byte that we expect. */
static __always_inline bool timewait_fits(const struct known *known, const struct inner *inner)
{
	uint32_t seq = glb_be32_get(inner->tcp.seq), end;

	if (!known->numbers)
		return true;
	if (!(inner->tcp.flags & GLB_TCP_ACK))
		return inner->tcp.flags & GLB_TCP_RST && seq == known->rcv_nxt;
	if (glb_be32_get(inner->tcp.ack) != known->snd_nxt)
		return false;
	end = seq + inner->l4_bytes - (inner->tcp.data_offset >> 4) * 4u +
	      !!(inner->tcp.flags & GLB_TCP_SYN) + !!(inner->tcp.flags & GLB_TCP_FIN);
	return !after(end, known->rcv_nxt + known->rcv_wnd) && !after(known->rcv_nxt - WINDOW_MAX, seq);
}

/* Returns the LOCAL_* reason why the segment belongs here, or RECEIVED when it does not. */
static __always_inline enum glb_redirect_reason claim_segment(const struct packet *packet, struct inner *inner)
{
	const struct tuple tuple = tuple_of(inner);
	struct known known = {};

	way_find(packet, &tuple, inner, &known);
	switch (known.as) {
	case KNOWN_LISTENER:
		return known.cookie ? GLB_REDIRECT_LOCAL_SYNCOOKIE : GLB_REDIRECT_RECEIVED;
	case KNOWN_REQUEST:
		return request_fits(&known, inner) ? GLB_REDIRECT_LOCAL_REQUEST : GLB_REDIRECT_RECEIVED;
	case KNOWN_TIMEWAIT:
		return timewait_fits(&known, inner) ? GLB_REDIRECT_LOCAL_TIMEWAIT : GLB_REDIRECT_RECEIVED;
	case KNOWN_CONNECTION:
		return GLB_REDIRECT_LOCAL_ESTABLISHED;
	case KNOWN_NOT:
		break;
	}
	return GLB_REDIRECT_RECEIVED;
}

/* Is the segment that an ICMP error quotes, which we sent, of a connection here? A connection in TIME_WAIT has
 * no use for a too-big, while one that reuses its tuple on the next hop does. */
static __always_inline bool claim_quoted(const struct packet *packet, const struct inner *quoted)
{
	const struct tuple tuple = tuple_of_quoted(quoted);
	struct known known = {};

	way_find(packet, &tuple, NULL, &known);
	return known.as == KNOWN_CONNECTION ||
	       (known.as == KNOWN_REQUEST && (!known.numbers || glb_be32_get(quoted->tcp.seq) == known.isn));
}

#endif
