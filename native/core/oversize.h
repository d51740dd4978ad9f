/* What becomes of packets that would exceed the egress MTU as they are sent. */
#ifndef GLB_CORE_OVERSIZE_H
#define GLB_CORE_OVERSIZE_H

#include <glb/path.h>

/* The reason for such a packet, by its service's `oversize`. `told`: the longest packet of the service that always fits, bytes of IP; it
 * goes to packet->mtu, as far as IP lets it be so little. */
enum glb_reason oversize(const struct glb_service *service, struct glb_packet *packet, uint32_t told);

/* `told`, as far as IP lets it be so little. */
uint32_t oversize_told(uint32_t told, uint8_t family);

/* Bytes of `ip`'s header in its n-th piece: options that are not copied are in the first one only. RFC 791, 3.1. Writes it, its length
 * and offset still the packet's own, to `out` (60 bytes). */
uint32_t piece_header(const uint8_t *ip, unsigned n, uint8_t *out);

#endif
