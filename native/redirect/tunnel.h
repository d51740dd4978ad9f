/* What comes by something other than GUE: GRE, IP in IP, and packets whose DSCP stands for a VIP.
 *
 * None of them names further hops, so there is no second chance: what is well-formed is delivered.
 */
#ifndef GLB_REDIRECT_TUNNEL_H
#define GLB_REDIRECT_TUNNEL_H

#include "parse.h"

/* Is it a tunnel that this host was told to end? */
static __always_inline bool is_tunnel(const struct outer *outer, const struct glb_redirect_config *settings)
{
	switch (outer->protocol) {
	case GLB_IPPROTO_GRE:
		return settings->decap & GLB_REDIRECT_DECAP_GRE;
	case GLB_IPPROTO_IPIP:
	case GLB_IPPROTO_IPV6:
		return settings->decap & GLB_REDIRECT_DECAP_IPIP;
	default:
		return false;
	}
}

/* Reads a GRE header; false when it is not exactly what the settings want. */
static __always_inline bool take_gre(struct cursor *c, struct outer *outer, const struct glb_redirect_config *settings)
{
	struct glb_gre gre ALIGNED;
	glb_be32 key ALIGNED;
	uint16_t type;

	if (!take(c, &gre, sizeof(gre)))
		return false;
	if (glb_be16_get(gre.flags) != (settings->gre_has_key ? GLB_GRE_KEY : 0))
		return false;
	if (settings->gre_has_key && (!take(c, &key, sizeof(key)) || glb_be32_get(key) != settings->gre_key))
		return false;
	type = glb_be16_get(gre.type);
	outer->inner_protocol = type == GLB_ETHERTYPE_IPV6 ? GLB_IPPROTO_IPV6 : GLB_IPPROTO_IPIP;
	return type == GLB_ETHERTYPE_IPV4 || type == GLB_ETHERTYPE_IPV6;
}

/* The cursor stands behind the outer IP header. Returns LOCAL_TUNNEL, or why the packet is dropped; *tos becomes that of the
 * client's packet. */
static __always_inline enum glb_redirect_reason take_tunnel(struct cursor *c, struct outer *outer,
							   const struct glb_redirect_config *settings, uint8_t *tos)
{
	struct inner inner = {};

	if (outer->end > c->end)
		return GLB_REDIRECT_TRUNCATED;
	c->end = outer->end;
	outer->inner_protocol = outer->protocol;
	if (outer->protocol == GLB_IPPROTO_GRE && !take_gre(c, outer, settings))
		return GLB_REDIRECT_BAD_GRE;
	outer->inner_at = c->at;
	inner.is_v6 = outer->inner_protocol == GLB_IPPROTO_IPV6;
	if (!take_ip(c, &inner, false))
		return GLB_REDIRECT_BAD_INNER;
	*tos = inner.tos;
	return GLB_REDIRECT_LOCAL_TUNNEL;
}

#endif
