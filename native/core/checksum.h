/* The Internet checksum (RFC 1071), summed in memory order: sums and results are stored as they are, without swapping. */
#ifndef GLB_CORE_CHECKSUM_H
#define GLB_CORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <glb/wire.h>

/* Adds `len` bytes to a running sum that begins as 0. Every part but the last must have an even length. */
uint64_t checksum_add(uint64_t sum, const void *bytes, size_t len);

/* The checksum field of what was summed. */
glb_be16 checksum_finish(uint64_t sum);

/* The checksum field of an IPv4 header without options, whose own field is 0. */
static inline glb_be16 checksum_ipv4(const struct glb_ipv4 *ip)
{
	uint32_t words[5];
	glb_be16 field;
	uint16_t folded;
	uint64_t sum;

	memcpy(words, ip, sizeof(words));
	sum = (uint64_t)words[0] + words[1] + words[2] + words[3] + words[4];
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	folded = (uint16_t)~((sum >> 16) + sum);
	memcpy(&field, &folded, sizeof(field));
	return field;
}

/* The checksum field after one 16-bit word under it changed from `old` to `now`. A wrong field stays wrong (RFC 1624, equation 3).
 * Not for data that become all zeros: their checksum is ffff, and this gives 0. */
glb_be16 checksum_update(glb_be16 field, glb_be16 old, glb_be16 now);

/* What becomes of a sum when the `len` bytes (an even number, at an even place) at `old` become those at `now`. */
uint64_t checksum_change(const void *old, const void *now, size_t len);

/* The checksum field after changes that add up to `change`. Otherwise as checksum_update(). */
glb_be16 checksum_apply(glb_be16 field, uint64_t change);

#endif
