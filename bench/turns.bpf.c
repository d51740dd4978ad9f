// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Makes each run of BPF_PROG_TEST_RUN another packet, and times the program that it then goes on to. See turns.c.
 *
 * turn_*: the kernel runs it again and again on one buffer. It puts the next packet there, whole again where the last program took off
 * headers, looks at the clock, and jumps to the program; the next run looks at the clock first. Making the packet is not in the time.
 * Below: programs of one call each, to see what a call costs. They expect GUE over IPv4 with one hop, and TCP over IPv4 in it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include "../native/redirect/redirect.h"

enum {
	PACKETS = 64,
	LENGTH = 256,
	RUNS = 4096,
	IP_AT = ETH_HLEN,
	INNER_AT = IP_AT + sizeof(struct glb_ipv4) + sizeof(struct glb_udp) + sizeof(struct glb_gue) + 4,
	STORED = 26, /* what glb-redirect stores of a packet that goes on */
	LOOPBACK = 1,
	FAMILY_V4 = 2,
	TC_PASS = -1,
};

struct packet {
	__u32 length;
	__u8 bytes[LENGTH];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PACKETS);
	__type(key, __u32);
	__type(value, struct packet);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} program SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GLB_REDIRECT_PREFIXES);
	__type(key, struct glb_redirect_prefix);
	__type(value, __u32);
} allow SEC(".maps"); /* glb-redirect's own */

struct { /* turns.c reads it */
	__u64 began, runs, sink;
	__u32 times[RUNS];
} state;

char LICENSE[] SEC("license") = "GPL";

/* Ends the last run, and finds the packet of the next. */
static __always_inline struct packet *turn(void)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 which;

	if (state.began) {
		state.times[state.runs % RUNS] = now - state.began;
		state.runs++;
	}
	which = state.runs % PACKETS;
	return bpf_map_lookup_elem(&packets, &which);
}

/* 1 to LENGTH, in words that the verifier follows. */
static __always_inline __u32 length_of(const struct packet *packet)
{
	__u64 length = packet->length;

	asm volatile("" : "+r"(length));
	length = length > LENGTH ? LENGTH : length;
	asm volatile("" : "+r"(length));
	return length < 1 ? 1 : length;
}

SEC("tc")
int turn_tc(struct __sk_buff *skb)
{
	struct packet *packet = turn();
	__u32 length = packet ? length_of(packet) : 0;

	if (!length || (skb->len != length && bpf_skb_adjust_room(skb, (int)length - (int)skb->len, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO)) ||
	    bpf_skb_store_bytes(skb, 0, packet->bytes, length, 0))
		return TC_PASS;
	state.began = bpf_ktime_get_ns();
	bpf_tail_call(skb, &program, 0);
	return TC_PASS;
}

SEC("xdp")
int turn_xdp(struct xdp_md *xdp)
{
	struct packet *packet = turn();
	__u32 length = packet ? length_of(packet) : 0, had = xdp->data_end - xdp->data;

	if (!length || (had != length && bpf_xdp_adjust_head(xdp, (int)had - (int)length)) ||
	    (xdp->data_meta != xdp->data && bpf_xdp_adjust_meta(xdp, xdp->data - xdp->data_meta)) ||
	    bpf_xdp_store_bytes(xdp, 0, packet->bytes, length))
		return XDP_ABORTED;
	state.began = bpf_ktime_get_ns();
	bpf_tail_call(xdp, &program, 0);
	return XDP_ABORTED;
}

/* `len` bytes at `at`, or the program ends. */
#define AT(at, len) \
	({ \
		void *from = (void *)(long)context->data + (at); \
		if (from + (len) > (void *)(long)context->data_end) \
			return 0; \
		from; \
	})
#define TC(name, ...) SEC("tc") int tc_##name(struct __sk_buff *context) { (void)context; __VA_ARGS__; return TC_PASS; }
#define XDP(name, ...) SEC("xdp") int xdp_##name(struct xdp_md *context) { (void)context; __VA_ARGS__; return XDP_PASS; }
#define BOTH(name, ...) TC(name, __VA_ARGS__) XDP(name, __VA_ARGS__)

BOTH(nothing)
BOTH(clock, state.sink = bpf_ktime_get_ns())
BOTH(coarse_clock, state.sink = bpf_ktime_get_coarse_ns())
BOTH(allow_list, __u32 *source = AT(IP_AT + 12, 4);
     struct glb_redirect_prefix key = {.bits = GLB_REDIRECT_FAMILY_BITS + 32, .family = GLB_REDIRECT_V4};
     __builtin_memcpy(key.addr, source, 4);
     state.sink = (__u64)bpf_map_lookup_elem(&allow, &key))
BOTH(socket, struct bpf_sock_tuple *tuple = AT(INNER_AT + 12, 12);
     struct bpf_sock *sk = bpf_skc_lookup_tcp(context, tuple, sizeof(tuple->ipv4), BPF_F_CURRENT_NETNS, 0);
     if (sk) bpf_sk_release(sk))
TC(take_off, bpf_skb_adjust_room(context, ETH_HLEN - INNER_AT, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
TC(store, __u64 stored[4] = {1};
   bpf_skb_store_bytes(context, IP_AT + 10, stored, STORED, BPF_F_RECOMPUTE_CSUM))
TC(neighbour, return bpf_redirect_neigh(context->ifindex, NULL, 0, 0))
XDP(take_off, bpf_xdp_adjust_head(context, INNER_AT - ETH_HLEN))
XDP(note, bpf_xdp_adjust_meta(context, -4))
XDP(neighbour, __u32 *ends = AT(IP_AT + 12, 8); __u32 *hop = AT(INNER_AT - 4, 4);
    struct bpf_fib_lookup fib = {.family = FAMILY_V4, .l4_protocol = GLB_IPPROTO_UDP, .tot_len = 100, .ifindex = LOOPBACK};
    fib.ipv4_src = ends[1]; fib.ipv4_dst = *hop;
    state.sink = bpf_fib_lookup(context, &fib, sizeof(fib), 0))
XDP(redirect, return bpf_redirect(context->ingress_ifindex, 0))
