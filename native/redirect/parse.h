/* Reads headers, wherever the bytes of a packet lie.
 *
 * One cursor and one bounds idiom: take() copies a fixed number of bytes and moves on, or says that they are not
 * there. Nothing here looks at sockets or changes the packet.
 */
#ifndef GLB_REDIRECT_PARSE_H
#define GLB_REDIRECT_PARSE_H

#include "way.h"

enum {
	EXTENSION_HEADERS_MAX = 8,
	EXTENSIONS_END = 0x3fff, /* no more than fit in front of a packet of theirs end here; they have 2 kB each */
	QUOTED_BYTES = 8, /* of its payload, that every ICMP error quotes */
};

/* Of what take() fills: ways copy by words. */
#define ALIGNED __attribute__((aligned(4)))

struct cursor {
	struct packet packet;
	uint32_t at;  /* bytes from the start of what the way was given */
	uint32_t end; /* where the enclosing header says that its payload ends; never beyond what is there */
};

static __always_inline bool take(struct cursor *c, void *to, uint32_t len)
{
	if (c->at + len > c->end || !way_load(&c->packet, c->at, to, len))
		return false;
	c->at += len;
	return true;
}

/* The headers that a director adds, and where they lie. */
struct outer {
	uint8_t src[16], dst[16]; /* IPv4 in the first 4 */
	struct glb_udp udp;
	struct glb_gue gue;
	uint32_t ip_at;
	uint32_t l4_at;
	uint32_t end; /* of the IP packet, as its header says */
	uint32_t gue_at;
	uint32_t hops_at;
	uint32_t inner_at;
	glb_be16 ip_checksum; /* IPv4 */
	uint8_t inner_protocol; /* GLB_IPPROTO_IPIP or _IPV6 */
	uint8_t protocol;
	uint8_t tos;
	bool is_v6;
	bool first_fragment;
};

/* An IP header, and for TCP what finds its socket. */
struct inner {
	union {
		struct glb_ipv4 v4;
		struct glb_ipv6 v6;
	} ip;
	struct glb_tcp tcp;
	uint32_t l4_bytes; /* of the transport header and its payload */
	bool is_v6;
	bool fragment;
	uint8_t protocol; /* enum glb_ipproto, behind extension headers */
	uint8_t tos;      /* or traffic class */
};

static __always_inline bool take_outer_v4(struct cursor *c, struct outer *outer)
{
	struct glb_ipv4 ip ALIGNED;
	uint32_t header_len;

	if (!take(c, &ip, sizeof(ip)))
		return false;
	header_len = (ip.version_ihl & 0xf) * 4u;
	if (ip.version_ihl >> 4 != 4 || header_len < sizeof(ip) || glb_be16_get(ip.fragment) & GLB_IPV4_OFFSET)
		return false;
	c->at = outer->ip_at + header_len;
	outer->end = outer->ip_at + glb_be16_get(ip.total_length);
	outer->first_fragment = glb_be16_get(ip.fragment) & GLB_IPV4_MF;
	outer->protocol = ip.protocol;
	outer->tos = ip.tos;
	outer->ip_checksum = ip.checksum;
	__builtin_memcpy(outer->src, ip.src, 4);
	__builtin_memcpy(outer->dst, ip.dst, 4);
	return true;
}

/* Extension headers are not looked behind: directors send none. */
static __always_inline bool take_outer_v6(struct cursor *c, struct outer *outer)
{
	struct glb_ipv6 ip ALIGNED;

	if (!take(c, &ip, sizeof(ip)) || ip.version_class_label.b[0] >> 4 != 6)
		return false;
	outer->end = c->at + glb_be16_get(ip.payload_length);
	outer->protocol = ip.next_header;
	outer->tos = (uint8_t)(ip.version_class_label.b[0] << 4 | ip.version_class_label.b[1] >> 4);
	__builtin_memcpy(outer->src, ip.src, 16);
	__builtin_memcpy(outer->dst, ip.dst, 16);
	return true;
}

/* Reads the outer IP header, of the family that outer->is_v6 says, and leaves the cursor behind it. False: not IP, or a later
 * fragment. */
static __always_inline bool take_outer(struct cursor *c, struct outer *outer)
{
	outer->ip_at = c->at;
	if (!(outer->is_v6 ? take_outer_v6(c, outer) : take_outer_v4(c, outer)))
		return false;
	outer->l4_at = c->at;
	return true;
}

/* Is what follows UDP to `port`? Leaves the cursor behind the header. */
static __always_inline bool take_udp(struct cursor *c, struct outer *outer, uint32_t port)
{
	return outer->protocol == GLB_IPPROTO_UDP && take(c, &outer->udp, sizeof(outer->udp)) &&
	       glb_be16_get(outer->udp.dport) == port;
}

/* Checks the outer lengths and limits the cursor to the UDP payload. */
static __always_inline bool limit_outer(struct cursor *c, const struct outer *outer)
{
	uint32_t udp_end = outer->l4_at + glb_be16_get(outer->udp.length);

	if (outer->end > c->end || udp_end > outer->end || udp_end < c->at)
		return false;
	c->end = udp_end;
	return true;
}

/* Reads the GUE header. Returns RECEIVED when it is well-formed, else why it is not. */
static __always_inline enum glb_redirect_reason take_gue(struct cursor *c, struct outer *outer)
{
	const uint32_t hop_words = outer->is_v6 ? 4 : 1;
	struct glb_gue *gue = &outer->gue;

	outer->gue_at = c->at;
	if (!take(c, gue, sizeof(*gue)))
		return GLB_REDIRECT_TRUNCATED;
	if (gue->version_control_hlen >> 6)
		return GLB_REDIRECT_BAD_VERSION;
	if (gue->version_control_hlen & 0x20)
		return GLB_REDIRECT_BAD_CONTROL;
	if (gue->protocol != GLB_IPPROTO_IPIP && gue->protocol != GLB_IPPROTO_IPV6)
		return GLB_REDIRECT_BAD_PROTOCOL;
	if (glb_be16_get(gue->flags) || glb_be16_get(gue->private_type) != outer->is_v6)
		return GLB_REDIRECT_BAD_FLAGS;
	if ((gue->version_control_hlen & 0x1fu) != 1u + hop_words * gue->hop_count)
		return GLB_REDIRECT_BAD_HLEN;
	if (gue->hop_count > GLB_HOPS_MAX - 1)
		return GLB_REDIRECT_BAD_HOP_COUNT;
	if (gue->next_hop > gue->hop_count)
		return GLB_REDIRECT_BAD_INDEX;
	outer->hops_at = c->at;
	c->at += hop_words * 4 * gue->hop_count;
	outer->inner_at = c->at;
	outer->inner_protocol = gue->protocol;
	return c->at > c->end ? GLB_REDIRECT_TRUNCATED : GLB_REDIRECT_RECEIVED;
}

/* Reads an IPv4 header. The packet must fit; one that an ICMP error quotes is usually cut short. */
static __always_inline bool take_ipv4(struct cursor *c, struct inner *inner, bool quoted)
{
	uint32_t at = c->at, header_len, total;

	if (!take(c, &inner->ip.v4, sizeof(inner->ip.v4)))
		return false;
	header_len = (inner->ip.v4.version_ihl & 0xf) * 4u;
	total = glb_be16_get(inner->ip.v4.total_length);
	if (inner->ip.v4.version_ihl >> 4 != 4 || header_len < sizeof(inner->ip.v4) || total < header_len)
		return false;
	if (!quoted) {
		if (at + total > c->end)
			return false;
		c->end = at + total;
	}
	c->at = at + header_len;
	inner->l4_bytes = total - header_len;
	inner->fragment = glb_be16_get(inner->ip.v4.fragment) & (GLB_IPV4_MF | GLB_IPV4_OFFSET);
	inner->protocol = inner->ip.v4.protocol;
	inner->tos = inner->ip.v4.tos;
	return c->at <= c->end;
}

/* Moves behind IPv6 extension headers, up to a fragment header. Returns what follows them, or -1: they are cut short, or too many. */
static __always_inline int pass_extensions(struct cursor *c, uint8_t protocol)
{
	struct { uint8_t next, length; } header ALIGNED;
	uint32_t at;

	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		if (protocol != GLB_IPPROTO_HOPOPTS && protocol != GLB_IPPROTO_ROUTING && protocol != GLB_IPPROTO_DSTOPTS)
			return protocol;
		if (!take(c, &header, sizeof(header)))
			return -1;
		at = c->at + header.length * 8u + 6;
		if (at > EXTENSIONS_END)
			return -1;
		asm("" : "+r"(at));
		c->at = at & EXTENSIONS_END; /* it is not beyond, in words that the verifier follows */
		protocol = header.next;
	}
	return -1;
}

static __always_inline bool skip_extensions(struct cursor *c, struct inner *inner)
{
	const int next = way_pass_extensions(c, inner->protocol);

	inner->protocol = (uint8_t)next;
	inner->fragment = next == GLB_IPPROTO_FRAGMENT;
	return next >= 0;
}

static __always_inline bool take_ipv6(struct cursor *c, struct inner *inner, bool quoted)
{
	uint32_t payload_at, length;

	if (!take(c, &inner->ip.v6, sizeof(inner->ip.v6)))
		return false;
	if (inner->ip.v6.version_class_label.b[0] >> 4 != 6)
		return false;
	payload_at = c->at;
	length = glb_be16_get(inner->ip.v6.payload_length);
	if (!quoted) {
		if (c->at + length > c->end)
			return false;
		c->end = c->at + length;
	}
	inner->protocol = inner->ip.v6.next_header;
	inner->tos = (uint8_t)(inner->ip.v6.version_class_label.b[0] << 4 | inner->ip.v6.version_class_label.b[1] >> 4);
	if (!skip_extensions(c, inner) || c->at > payload_at + length)
		return false;
	inner->l4_bytes = payload_at + length - c->at;
	return c->at <= c->end;
}

/* Reads the IP header at the cursor, of the family that inner->is_v6 says. */
static __always_inline bool take_ip(struct cursor *c, struct inner *inner, bool quoted)
{
	return inner->is_v6 ? take_ipv6(c, inner, quoted) : take_ipv4(c, inner, quoted);
}

#endif
