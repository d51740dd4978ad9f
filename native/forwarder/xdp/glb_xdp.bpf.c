// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Which packets of an af_xdp port are the forwarder's: those to a VIP, and, on directors with peers, what these send. All others go on to the kernel.
 *
 * The destination address alone decides, so that fragments, ICMP errors and extension headers need no parsing here;
 * what is then to be done with a packet is the forwarder's business. net_af_xdp loads this program (xdp_prog=) and
 * puts its sockets into xsks_map; the forwarder keeps the VIP maps.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "vip_key.h"

enum { VLAN_TAGS_MAX = 2 };

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, XDP_QUEUES_MAX);
	__type(key, uint32_t);
	__type(value, uint32_t);
} xsks_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, XDP_VIPS_MAX);
	__type(key, struct vip_key_v4);
	__type(value, uint8_t);
} vips_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, XDP_VIPS_MAX);
	__type(key, struct vip_key);
	__type(value, uint8_t);
} vips_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XDP_COUNTERS);
	__type(key, uint32_t);
	__type(value, uint64_t);
} xdp_counters SEC(".maps");

struct cursor {
	const uint8_t *at;
	const uint8_t *end;
};

static __always_inline const void *take(struct cursor *c, unsigned len)
{
	const uint8_t *from = c->at;

	if (from + len > c->end)
		return 0;
	c->at = from + len;
	return from;
}

static __always_inline void count(enum xdp_counter which)
{
	uint32_t key = which;
	uint64_t *counter = bpf_map_lookup_elem(&xdp_counters, &key);

	if (counter)
		++*counter;
}

/* The Ethernet type behind the VLAN tags, or 0 when the frame ends before it. */
static __always_inline uint16_t take_ethernet(struct cursor *c)
{
	const struct glb_eth *eth = take(c, sizeof(*eth));
	uint16_t type;

	if (!eth)
		return 0;
	type = glb_be16_get(eth->type);
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		const struct glb_vlan *tag;

		if (type != GLB_ETHERTYPE_VLAN && type != GLB_ETHERTYPE_QINQ)
			break;
		tag = take(c, sizeof(*tag));
		if (!tag)
			return 0;
		type = glb_be16_get(tag->type);
	}
	return type;
}

static __always_inline int is_gue(struct cursor *c, uint8_t protocol)
{
	const struct glb_udp *udp = take(c, sizeof(*udp));

	return protocol == GLB_IPPROTO_UDP && udp && glb_be16_get(udp->dport) == GLB_GUE_PORT;
}

static __always_inline int is_ours_v4(struct cursor *c)
{
	const struct glb_ipv4 *ip = take(c, sizeof(*ip));
	struct vip_key_v4 key = {.bits = 32};
	const uint8_t *whose;

	if (!ip)
		return 0;
	__builtin_memcpy(key.addr, ip->dst, sizeof(key.addr));
	whose = bpf_map_lookup_elem(&vips_v4, &key);
	if (!whose || *whose == XDP_VIP)
		return whose != 0;
	return ip->version_ihl == 0x45 && is_gue(c, ip->protocol);
}

static __always_inline int is_ours_v6(struct cursor *c)
{
	const struct glb_ipv6 *ip = take(c, sizeof(*ip));
	struct vip_key key = {.bits = 128};
	const uint8_t *whose;

	if (!ip)
		return 0;
	__builtin_memcpy(key.addr, ip->dst, sizeof(key.addr));
	whose = bpf_map_lookup_elem(&vips_v6, &key);
	if (!whose || *whose == XDP_VIP)
		return whose != 0;
	return is_gue(c, ip->next_header);
}

SEC("xdp")
int glb_xdp(struct xdp_md *ctx)
{
	struct cursor c = {(const void *)(long)ctx->data, (const void *)(long)ctx->data_end};
	uint16_t type = take_ethernet(&c);
	int verdict;

	if (!(type == GLB_ETHERTYPE_IPV4 && is_ours_v4(&c)) && !(type == GLB_ETHERTYPE_IPV6 && is_ours_v6(&c)))
		return XDP_PASS;
	verdict = bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_PASS);
	count(verdict == XDP_REDIRECT ? XDP_TAKEN : XDP_UNSERVED);
	return verdict;
}
