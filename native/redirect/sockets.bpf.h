/* The host's TCP sockets, for tc and XDP alike: way_find by the kernel's own look-up.
 *
 * The few kernel structs stand here by hand, with only the fields that are read: libbpf relocates the
 * offsets when it loads the program (CO-RE), so neither a generated vmlinux.h nor the build host's kernel matters.
 */
#ifndef GLB_SOCKETS_BPF_H
#define GLB_SOCKETS_BPF_H

#include "decide.h"

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

struct sock {
	__u32 sk_ack_backlog;
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
};

#pragma clang attribute pop

enum {
	STATE_ESTABLISHED = 1, /* of UDP: connected */
	STATE_TIME_WAIT = 6, /* the kernel's net/tcp_states.h, unchanged since Linux 4.4 */
	STATE_LISTEN = 10,
	STATE_REQUEST = 12, /* TCP_NEW_SYN_RECV */
};

/* In the kernel's form; returns its length. */
static __always_inline uint32_t kernel_tuple(const struct tuple *ends, struct bpf_sock_tuple *to)
{
	if (ends->is_v6) {
		__builtin_memcpy(to->ipv6.saddr, ends->client, 16);
		__builtin_memcpy(to->ipv6.daddr, ends->vip, 16);
		__builtin_memcpy(&to->ipv6.sport, &ends->client_port, 2);
		__builtin_memcpy(&to->ipv6.dport, &ends->vip_port, 2);
		return sizeof(to->ipv6);
	}
	__builtin_memcpy(&to->ipv4.saddr, ends->client, 4);
	__builtin_memcpy(&to->ipv4.daddr, ends->vip, 4);
	__builtin_memcpy(&to->ipv4.sport, &ends->client_port, 2);
	__builtin_memcpy(&to->ipv4.dport, &ends->vip_port, 2);
	return sizeof(to->ipv4);
}

/* Finds the socket of a tuple, or NULL. The caller releases it. A request socket is returned as itself, not as its listener. */
static __always_inline struct bpf_sock *look_up(const struct packet *packet, const struct tuple *ends)
{
	struct bpf_sock_tuple tuple = {};

	if (kernel_tuple(ends, &tuple) == sizeof(tuple.ipv6))
		return bpf_skc_lookup_tcp(packet->context, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	return bpf_skc_lookup_tcp(packet->context, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
}

static __always_inline bool cookie_fits(struct bpf_sock *sk, struct inner *inner)
{
	uint32_t ip_len = inner->is_v6 ? sizeof(inner->ip.v6) : sizeof(inner->ip.v4);

	return bpf_tcp_check_syncookie(sk, &inner->ip, ip_len, (void *)&inner->tcp, sizeof(inner->tcp)) == 0;
}

/* The address of a socket that the kernel's own conversions do not take for TCP's, since it has operations of its own: half-open and
 * TIME_WAIT sockets of MPTCP's listeners, whoever the client is. They begin with TCP's all the same, and are read by their address; a
 * socket's own pointer must not be added to, the copy in memory may. NULL: not known. */
static __always_inline const void *address_of(struct bpf_sock *sk)
{
	struct bpf_sock *volatile kept = sk;
	const void *address;

	return bpf_probe_read_kernel(&address, sizeof(address), (const void *)&kept) ? NULL : address;
}

static __always_inline void describe_other_request(struct bpf_sock *sk, struct known *known)
{
	const struct tcp_request_sock *request = address_of(sk);

	known->as = KNOWN_REQUEST;
	known->numbers = !bpf_probe_read_kernel(&known->isn, sizeof(known->isn), &request->snt_isn);
}

static __always_inline void describe_other_timewait(struct bpf_sock *sk, struct known *known)
{
	const struct tcp_timewait_sock *tw = address_of(sk);

	known->as = KNOWN_TIMEWAIT;
	known->numbers = !bpf_probe_read_kernel(&known->rcv_nxt, sizeof(known->rcv_nxt), &tw->tw_sk.__tw_common.skc_tw_rcv_nxt) &&
			 !bpf_probe_read_kernel(&known->snd_nxt, sizeof(known->snd_nxt), &tw->tw_sk.__tw_common.skc_tw_snd_nxt) &&
			 !bpf_probe_read_kernel(&known->rcv_wnd, sizeof(known->rcv_wnd), &tw->tw_rcv_wnd);
}

static __always_inline void describe_request(struct bpf_sock *sk, struct known *known)
{
	struct tcp_request_sock *request = bpf_skc_to_tcp_request_sock(sk);

	if (!request) {
		describe_other_request(sk, known);
		return;
	}
	known->as = KNOWN_REQUEST;
	known->numbers = true;
	known->isn = request->snt_isn;
}

static __always_inline void describe_timewait(struct bpf_sock *sk, struct known *known)
{
	struct tcp_timewait_sock *tw = bpf_skc_to_tcp_timewait_sock(sk);

	if (!tw) {
		describe_other_timewait(sk, known);
		return;
	}
	known->as = KNOWN_TIMEWAIT;
	known->numbers = true;
	known->rcv_nxt = tw->tw_sk.__tw_common.skc_tw_rcv_nxt;
	known->snd_nxt = tw->tw_sk.__tw_common.skc_tw_snd_nxt;
	known->rcv_wnd = tw->tw_rcv_wnd;
}

/* Connections that wait for a listener to accept them. */
static __always_inline uint32_t queue_of(struct bpf_sock *sk)
{
	struct tcp_sock *listener = bpf_skc_to_tcp_sock(sk);

	return listener ? listener->inet_conn.icsk_inet.sk.sk_ack_backlog : 0;
}

static __always_inline enum known_as way_find_udp(const struct packet *packet, const struct tuple *ends)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	enum known_as known;

	if (kernel_tuple(ends, &tuple) == sizeof(tuple.ipv6))
		sk = bpf_sk_lookup_udp(packet->context, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(packet->context, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return KNOWN_NOT;
	known = sk->state == STATE_ESTABLISHED ? KNOWN_CONNECTION : KNOWN_LISTENER;
	bpf_sk_release(sk);
	return known;
}

/* For a segment with plain headers at `ip`: LOCAL_ESTABLISHED; RECEIVED when no socket has a claim to it; NOT_GUE when that must be looked
 * at closer. The ends lie in the packet as the kernel wants them. */
static __always_inline enum glb_redirect_reason judge_tuple(const struct packet *packet, void *ip, bool is_v6)
{
	const uint32_t header = is_v6 ? sizeof(struct glb_ipv6) : sizeof(struct glb_ipv4);
	struct bpf_sock_tuple *tuple = ip + (is_v6 ? __builtin_offsetof(struct glb_ipv6, src) : __builtin_offsetof(struct glb_ipv4, src));
	const uint32_t ends = is_v6 ? sizeof(tuple->ipv6) : sizeof(tuple->ipv4);
	struct bpf_sock *sk = bpf_skc_lookup_tcp(packet->context, tuple, ends, BPF_F_CURRENT_NETNS, 0);
	enum glb_redirect_reason reason = GLB_REDIRECT_LOCAL_ESTABLISHED;

	if (!sk)
		return GLB_REDIRECT_RECEIVED;
	if (sk->state == STATE_LISTEN)
		reason = bpf_tcp_check_syncookie(sk, ip, header, ip + header, sizeof(struct glb_tcp)) ? GLB_REDIRECT_RECEIVED
												      : GLB_REDIRECT_NOT_GUE;
	else if (sk->state == STATE_REQUEST || sk->state == STATE_TIME_WAIT)
		reason = GLB_REDIRECT_NOT_GUE;
	bpf_sk_release(sk);
	return reason;
}

static __always_inline void way_find(const struct packet *packet, const struct tuple *tuple, struct inner *segment,
				     struct known *known)
{
	struct bpf_sock *sk = look_up(packet, tuple);

	if (!sk)
		return;
	if (sk->state == STATE_LISTEN) {
		known->as = KNOWN_LISTENER;
		if (segment)
			known->cookie = cookie_fits(sk, segment);
		else
			known->queue = queue_of(sk);
	} else if (sk->state == STATE_REQUEST) {
		describe_request(sk, known);
	} else if (sk->state == STATE_TIME_WAIT) {
		describe_timewait(sk, known);
	} else {
		known->as = KNOWN_CONNECTION;
	}
	bpf_sk_release(sk);
}

#endif
