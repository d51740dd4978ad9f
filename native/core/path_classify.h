/* Classification of one packet: for path_classify.c's stage, and path_fragments.c, which knows more of a later fragment. */
#ifndef GLB_CORE_PATH_CLASSIFY_H
#define GLB_CORE_PATH_CLASSIFY_H

#include <glb/path.h>

/* Sets the packet's service, as if it were of `kind` (enum glb_packet_kind); returns GLB_REASON_FORWARDED, or why it has none. */
enum glb_reason classify_as(const struct glb_path *path, struct glb_packet *packet, uint8_t kind);

/* Whether all packets of the protocol to a VIP are one service's, and that chooses by addresses alone: then a later fragment need not wait to
 * be told where the first one went. */
bool classify_alone(const struct glb_snapshot *snapshot, const struct glb_vip *vip, uint8_t protocol);

/* Sets the verdict on a packet that has been classified, if it has extension headers that its service cannot take. */
void check_extended(const struct glb_path *path, struct glb_packet *packet);

#endif
