/* Whose is this TCP segment? Asks the kernel's socket tables; changes nothing.
 *
 * The few kernel structs stand here by hand, with only the fields that are read: libbpf relocates the
 * offsets when it loads the program (CO-RE), so neither a generated vmlinux.h nor the build host's kernel matters.
 */
#ifndef GLB_SOCKET_BPF_H
#define GLB_SOCKET_BPF_H

#include "parse.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common {
	__u32 skc_tw_rcv_nxt;
	__u32 skc_tw_snd_nxt;
};

struct inet_timewait_sock {
	struct sock_common __tw_common;
};

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
	__u32 tw_rcv_wnd;
};

struct tcp_request_sock {
	__u32 snt_isn;
};

#pragma clang attribute pop

enum {
	STATE_TIME_WAIT = 6, /* the kernel's net/tcp_states.h, unchanged since Linux 4.4 */
	STATE_LISTEN = 10,
	STATE_REQUEST = 12, /* TCP_NEW_SYN_RECV */
	WINDOW_MAX = 1 << 30, /* the largest window that TCP can announce, RFC 7323 */
};

/* a is later than b in sequence space */
static __always_inline bool after(uint32_t a, uint32_t b)
{
	return (__s32)(b - a) < 0;
}

/* Finds the socket of a segment that comes `from` the client `to` us, or NULL. The caller releases it.
 * A request socket is returned as itself, not as its listener. */
static __always_inline struct bpf_sock *lookup(struct __sk_buff *skb, bool is_v6, const void *from, const void *to,
					       glb_be16 from_port, glb_be16 to_port)
{
	struct bpf_sock_tuple tuple = {};

	if (is_v6) {
		__builtin_memcpy(tuple.ipv6.saddr, from, 16);
		__builtin_memcpy(tuple.ipv6.daddr, to, 16);
		__builtin_memcpy(&tuple.ipv6.sport, &from_port, 2);
		__builtin_memcpy(&tuple.ipv6.dport, &to_port, 2);
		return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(&tuple.ipv4.saddr, from, 4);
	__builtin_memcpy(&tuple.ipv4.daddr, to, 4);
	__builtin_memcpy(&tuple.ipv4.sport, &from_port, 2);
	__builtin_memcpy(&tuple.ipv4.dport, &to_port, 2);
	return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
}

/* A request answers a SYN with its own sequence number, and only an ACK of that number ends its handshake. */
static __always_inline bool request_fits(struct bpf_sock *sk, const struct inner *inner)
{
	struct tcp_request_sock *request = bpf_skc_to_tcp_request_sock(sk);

	return request && inner->tcp.flags & GLB_TCP_ACK && glb_be32_get(inner->tcp.ack) == request->snt_isn + 1;
}

/* Does the segment fit the window of the connection that is in TIME_WAIT?
 *
 * It acknowledges exactly what we sent (in TIME_WAIT our FIN has been acknowledged, so the send window is one
 * point), and its bytes lie in the receive window or, being sent again, in a window before it. A bare
 * RST acknowledges nothing: it fits where the kernel would take it, at the next byte that we expect. */
static __always_inline bool timewait_fits(struct bpf_sock *sk, const struct inner *inner)
{
	struct tcp_timewait_sock *tw = bpf_skc_to_tcp_timewait_sock(sk);
	uint32_t seq = glb_be32_get(inner->tcp.seq), end, next;

	if (!tw)
		return false;
	next = tw->tw_sk.__tw_common.skc_tw_rcv_nxt;
	if (!(inner->tcp.flags & GLB_TCP_ACK))
		return inner->tcp.flags & GLB_TCP_RST && seq == next;
	if (glb_be32_get(inner->tcp.ack) != tw->tw_sk.__tw_common.skc_tw_snd_nxt)
		return false;
	end = seq + inner->l4_bytes - (inner->tcp.data_offset >> 4) * 4u +
	      !!(inner->tcp.flags & GLB_TCP_SYN) + !!(inner->tcp.flags & GLB_TCP_FIN);
	return !after(end, next + tw->tw_rcv_wnd) && !after(next - WINDOW_MAX, seq);
}

static __always_inline bool cookie_fits(struct bpf_sock *sk, struct inner *inner)
{
	uint32_t ip_len = inner->is_v6 ? sizeof(inner->ip.v6) : sizeof(inner->ip.v4);

	return bpf_tcp_check_syncookie(sk, &inner->ip, ip_len, (void *)&inner->tcp, sizeof(inner->tcp)) == 0;
}

/* Returns the LOCAL_* reason why the segment belongs here, or RECEIVED when it does not. */
static __always_inline enum glb_redirect_reason claim_segment(struct __sk_buff *skb, struct inner *inner)
{
	enum glb_redirect_reason reason = GLB_REDIRECT_RECEIVED;
	struct bpf_sock *sk;

	if (inner->is_v6)
		sk = lookup(skb, true, inner->ip.v6.src, inner->ip.v6.dst, inner->tcp.sport, inner->tcp.dport);
	else
		sk = lookup(skb, false, inner->ip.v4.src, inner->ip.v4.dst, inner->tcp.sport, inner->tcp.dport);
	if (!sk)
		return reason;
	if (sk->state == STATE_LISTEN) {
		if (cookie_fits(sk, inner))
			reason = GLB_REDIRECT_LOCAL_SYNCOOKIE;
	} else if (sk->state == STATE_REQUEST) {
		if (request_fits(sk, inner))
			reason = GLB_REDIRECT_LOCAL_REQUEST;
	} else if (sk->state == STATE_TIME_WAIT) {
		if (timewait_fits(sk, inner))
			reason = GLB_REDIRECT_LOCAL_TIMEWAIT;
	} else {
		reason = GLB_REDIRECT_LOCAL_ESTABLISHED;
	}
	bpf_sk_release(sk);
	return reason;
}

/* Is the segment that an ICMP error quotes, which we sent, of a connection here? A connection in TIME_WAIT has
 * no use for a too-big, while one that reuses its tuple on the next hop does. */
static __always_inline bool claim_quoted(struct __sk_buff *skb, const struct inner *quoted)
{
	struct tcp_request_sock *request;
	struct bpf_sock *sk;
	bool here;

	if (quoted->is_v6)
		sk = lookup(skb, true, quoted->ip.v6.dst, quoted->ip.v6.src, quoted->tcp.dport, quoted->tcp.sport);
	else
		sk = lookup(skb, false, quoted->ip.v4.dst, quoted->ip.v4.src, quoted->tcp.dport, quoted->tcp.sport);
	if (!sk)
		return false;
	here = sk->state != STATE_LISTEN && sk->state != STATE_TIME_WAIT;
	if (sk->state == STATE_REQUEST) {
		request = bpf_skc_to_tcp_request_sock(sk);
		here = request && glb_be32_get(quoted->tcp.seq) == request->snt_isn;
	}
	bpf_sk_release(sk);
	return here;
}

#endif
