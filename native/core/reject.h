/* Which packets that no service takes can be rejected. */
#ifndef GLB_CORE_REJECT_H
#define GLB_CORE_REJECT_H

#include <glb/packet.h>

/* Whether glb_path_reject() can answer a packet of a VIP: TCP that is no reset, or UDP, from an address and a MAC that can be
 * answered. Never answers an answer. */
bool reject_possible(const struct glb_packet *packet);

#endif
