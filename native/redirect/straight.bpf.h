/* The usual packet, straight through: a client's TCP segment in GUE, all headers plain and in the first piece.
 *
 * decide() would come to the same decision, and is asked about everything that is in any way unusual: options, fragments, marks of
 * congestion, half-open and TIME_WAIT sockets, services, hops to skip, whatever is dropped. Here headers are looked at where they
 * lie, and the kernel takes the tuple from there, too; what costs is less the instructions than the calls and the copies.
 */
#ifndef GLB_STRAIGHT_BPF_H
#define GLB_STRAIGHT_BPF_H

#include "bytes.bpf.h"
#include "maps.bpf.h"
#include "sockets.bpf.h"

enum {
	PLAIN_V4 = 0x45, /* version 4, no options */
};

static __always_inline uint32_t ip_header(bool is_v6)
{
	return is_v6 ? sizeof(struct glb_ipv6) : sizeof(struct glb_ipv4);
}

/* A 16-bit field of a header in the packet, which begins at an even address but for Ethernet's own oddity. */
static __always_inline uint32_t field(const glb_be16 *at)
{
	uint16_t value;

	__builtin_memcpy(&value, __builtin_assume_aligned(at, 2), 2);
	return bpf_ntohs(value);
}

/* Is an IP header plain, and does `protocol` follow? Its packet's length to *length, its traffic class to *tos. */
static __always_inline bool is_plain(const void *at, bool is_v6, uint8_t protocol, uint32_t *length, uint8_t *tos)
{
	const struct glb_ipv4 *v4 = at;
	const struct glb_ipv6 *v6 = at;

	if (is_v6) {
		*length = sizeof(*v6) + field(&v6->payload_length);
		*tos = (uint8_t)(v6->version_class_label.b[0] << 4 | v6->version_class_label.b[1] >> 4);
		return v6->version_class_label.b[0] >> 4 == 6 && v6->next_header == protocol;
	}
	*length = field(&v4->total_length);
	*tos = v4->tos;
	return v4->version_ihl == PLAIN_V4 && v4->protocol == protocol && !(field(&v4->fragment) & (GLB_IPV4_MF | GLB_IPV4_OFFSET));
}

/* Reads the outer headers of a GUE packet of `frame_len` bytes. The client's packet may fill what is left, to *end. */
static __always_inline bool read_outer(const struct packet *packet, const struct glb_redirect_config *settings, uint32_t frame_len,
				       bool is_v6, struct outer *outer, uint32_t *end)
{
	const uint32_t l4_at = ETH_HLEN + ip_header(is_v6), gue_at = l4_at + sizeof(struct glb_udp);
	const uint32_t hops_at = gue_at + sizeof(struct glb_gue), hop_words = is_v6 ? 4 : 1;
	const void *ip = bytes(packet, ETH_HLEN, hops_at - ETH_HLEN);
	const struct glb_udp *udp = ip + ip_header(is_v6);
	const struct glb_gue *gue = (const void *)(udp + 1);
	uint32_t length;

	if (!ip || !is_plain(ip, is_v6, GLB_IPPROTO_UDP, &length, &outer->tos) || field(&udp->dport) != settings->port)
		return false;
	outer->is_v6 = is_v6;
	outer->ip_at = ETH_HLEN;
	outer->l4_at = l4_at;
	outer->end = ETH_HLEN + length;
	*end = l4_at + field(&udp->length);
	copy_words(&outer->gue, gue, sizeof(*gue));
	if (outer->end > frame_len || *end > outer->end || outer->tos & ECN_ECT1 || way_is_super(packet))
		return false;
	if (outer->gue.hop_count > GLB_HOPS_MAX - 1 || outer->gue.version_control_hlen != 1 + hop_words * outer->gue.hop_count ||
	    outer->gue.next_hop > outer->gue.hop_count || field(&outer->gue.flags) || field(&outer->gue.private_type) != is_v6)
		return false;
	copy_words(&outer->udp, udp, sizeof(*udp));
	if (is_v6) {
		copy_words(outer->src, ((const struct glb_ipv6 *)ip)->src, 32); /* and dst */
	} else {
		copy_words(outer->src, ((const struct glb_ipv4 *)ip)->src, 4);
		copy_words(outer->dst, ((const struct glb_ipv4 *)ip)->dst, 4);
		copy_words(&outer->ip_checksum, &((const struct glb_ipv4 *)ip)->checksum, 2);
	}
	outer->inner_protocol = outer->gue.protocol;
	outer->inner_at = hops_at + hop_words * 4 * outer->gue.hop_count;
	return true;
}

/* What becomes of the client's segment, of one family: LOCAL_*, or RECEIVED when nothing here knows it. NOT_GUE: must be looked at closer. */
static __always_inline enum glb_redirect_reason judge_segment(const struct packet *packet, const struct glb_redirect_config *settings,
							      uint32_t at, uint32_t end, bool is_v6)
{
	const uint32_t header = ip_header(is_v6);
	void *ip = bytes(packet, at, header + sizeof(struct glb_tcp));
	const struct glb_tcp *tcp = ip + header;
	uint32_t length, tcp_len;
	uint8_t tos;

	if (!ip || !is_plain(ip, is_v6, GLB_IPPROTO_TCP, &length, &tos) || at + length > end)
		return GLB_REDIRECT_NOT_GUE;
	tcp_len = (tcp->data_offset >> 4) * 4u;
	if (tcp_len < sizeof(*tcp) || header + tcp_len > length)
		return GLB_REDIRECT_NOT_GUE;
	if ((tcp->flags & (GLB_TCP_SYN | GLB_TCP_ACK)) == GLB_TCP_SYN)
		return settings->services ? GLB_REDIRECT_NOT_GUE : GLB_REDIRECT_LOCAL_SYN;
	return judge_tuple(packet, ip, is_v6);
}

/* The next hop, where the packet may be sent on to it. */
static __always_inline bool read_hop(const struct packet *packet, const struct glb_redirect_config *settings, struct decision *decision)
{
	const struct outer *outer = &decision->outer;
	const uint32_t width = outer->is_v6 ? 16 : 4;
	const void *hop;

	if (outer->gue.next_hop >= outer->gue.hop_count)
		return false;
	hop = bytes(packet, ETH_HLEN + ip_header(outer->is_v6) + sizeof(struct glb_udp) + sizeof(struct glb_gue) +
			    width * (outer->gue.next_hop & (GLB_HOPS_MAX - 1)), width);
	if (!hop)
		return false;
	copy_words(decision->hop, hop, width);
	decision->next_hop = outer->gue.next_hop + 1;
	return !same_addr(decision->hop, outer->dst) && may_go_on(packet, decision, settings) == GLB_REDIRECT_FORWARDED;
}

/* Decides, when the packet is a usual one. *decision is 0 before, and after a false means nothing. */
static __always_inline bool decide_straight(const struct packet *packet, const struct glb_redirect_config *settings, uint32_t frame_len,
					    bool is_v6, struct decision *decision)
{
	uint32_t end;

	if (settings->leaves_outer || !read_outer(packet, settings, frame_len, is_v6, &decision->outer, &end) ||
	    !way_roles(packet, is_v6, decision->outer.src))
		return false;
	if (decision->outer.inner_protocol == GLB_IPPROTO_IPIP)
		decision->reason = judge_segment(packet, settings, decision->outer.inner_at, end, false);
	else if (decision->outer.inner_protocol == GLB_IPPROTO_IPV6)
		decision->reason = judge_segment(packet, settings, decision->outer.inner_at, end, true);
	else
		return false;
	if (decision->reason == GLB_REDIRECT_RECEIVED) {
		decision->reason = GLB_REDIRECT_FORWARDED;
		return read_hop(packet, settings, decision);
	}
	return decision->reason != GLB_REDIRECT_NOT_GUE;
}

#endif
