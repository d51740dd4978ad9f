/* How a redirected fragment looks (docs/wire/gue.md): UDP to the GUE port, GUE with private data that says so and has no hops. */
#ifndef GLB_CORE_PEERS_MARK_H
#define GLB_CORE_PEERS_MARK_H

#include "parse.h"

#include <glb/peers.h>

/* Whether `udp`, a UDP packet, is marked; then it is shortened to what it carries, of *family (GLB_FAMILY_NONE: nothing that can be a fragment). */
static inline bool peers_marked(struct span *udp, uint8_t *family)
{
	struct span bytes = *udp;
	const struct glb_udp *head = span_take(&bytes, sizeof(*head));
	const struct glb_gue *gue = head != NULL ? span_take(&bytes, sizeof(*gue)) : NULL;

	if (gue == NULL || glb_be16_get(head->dport) != GLB_GUE_PORT || gue->version_control_hlen != 1 ||
	    glb_be16_get(gue->flags) != 0 || glb_be16_get(gue->private_type) != GLB_GUE_PRIVATE_FRAGMENT)
		return false;
	*udp = bytes;
	*family = gue->protocol == GLB_IPPROTO_IPIP ? GLB_FAMILY_V4 : gue->protocol == GLB_IPPROTO_IPV6 ? GLB_FAMILY_V6 : GLB_FAMILY_NONE;
	return true;
}

/* glb_path_ethernet(), turned round: back to where the packet came from, from `mac`. */
uint32_t peers_ethernet(const struct glb_packet *packet, const uint8_t mac[6], uint8_t family, uint8_t *out);

#endif
