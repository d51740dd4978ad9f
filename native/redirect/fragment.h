/* Fragments of a client's packet: which datagram they are of, and which of them is the first.
 *
 * Only the first one has ports, so only it can be decided about; the others follow it by what the way in remembers. Extension headers
 * between the fragment header and TCP or UDP are not looked behind.
 */
#ifndef GLB_REDIRECT_FRAGMENT_H
#define GLB_REDIRECT_FRAGMENT_H

#include "parse.h"

struct fragment {
	struct glb_redirect_datagram datagram;
	bool first; /* has the transport header, or as much of it as fits */
	bool more;  /* is not the last one */
};

static __always_inline void take_fragment_v4(const struct inner *inner, struct fragment *fragment)
{
	const uint16_t where = glb_be16_get(inner->ip.v4.fragment);

	fragment->datagram.family = GLB_REDIRECT_V4;
	fragment->datagram.protocol = inner->protocol;
	__builtin_memcpy(fragment->datagram.src, inner->ip.v4.src, 4);
	__builtin_memcpy(fragment->datagram.dst, inner->ip.v4.dst, 4);
	__builtin_memcpy(&fragment->datagram.id, &inner->ip.v4.id, 2);
	fragment->first = !(where & GLB_IPV4_OFFSET);
	fragment->more = where & GLB_IPV4_MF;
}

static __always_inline bool take_fragment_v6(struct cursor *c, struct inner *inner, struct fragment *fragment)
{
	struct glb_ipv6_extension header ALIGNED;
	uint16_t where;

	if (inner->l4_bytes < sizeof(header) || !take(c, &header, sizeof(header)))
		return false;
	where = glb_be16_get(header.fragment);
	fragment->datagram.family = GLB_REDIRECT_V6;
	fragment->datagram.id = header.rest;
	__builtin_memcpy(fragment->datagram.src, inner->ip.v6.src, 16);
	__builtin_memcpy(fragment->datagram.dst, inner->ip.v6.dst, 16);
	fragment->first = !(where & GLB_IPV6_OFFSET);
	fragment->more = where & GLB_IPV6_MF;
	inner->protocol = header.next_header;
	inner->l4_bytes -= (uint32_t)sizeof(header);
	return true;
}

/* The cursor stands where take_ip() left it. *fragment is 0 before. Moves behind the fragment header; false: that is cut short. */
static __always_inline bool take_fragment(struct cursor *c, struct inner *inner, struct fragment *fragment)
{
	if (inner->is_v6)
		return take_fragment_v6(c, inner, fragment);
	take_fragment_v4(inner, fragment);
	return true;
}

#endif
