/* The Internet checksum (RFC 1071), summed in memory order: sums and results are stored as they are, without swapping. */
#ifndef GLB_CORE_CHECKSUM_H
#define GLB_CORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include <glb/wire.h>

/* Adds `len` bytes to a running sum that begins as 0. Every part but the last must have an even length. */
uint64_t checksum_add(uint64_t sum, const void *bytes, size_t len);

/* The checksum field of what was summed. */
glb_be16 checksum_finish(uint64_t sum);

/* The checksum field after one 16-bit word under it changed from `old` to `now`. A wrong field stays wrong (RFC 1624, equation 3).
 * Not for data that become all zeros: their checksum is ffff, and this gives 0. */
glb_be16 checksum_update(glb_be16 field, glb_be16 old, glb_be16 now);

#endif
