/* The Internet checksum, eight bytes at a step. RFC 1071 says why neither the width nor the byte order matters. */
#include "checksum.h"

#include <string.h>

uint64_t checksum_add(uint64_t sum, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint64_t eight;
	uint32_t four;
	uint16_t two = 0;

	for (; len >= sizeof(eight); len -= sizeof(eight), at += sizeof(eight)) {
		memcpy(&eight, at, sizeof(eight));
		sum += (eight & 0xffffffff) + (eight >> 32);
	}
	if (len & sizeof(four)) {
		memcpy(&four, at, sizeof(four));
		at += sizeof(four);
		sum += four;
	}
	if (len & sizeof(two)) {
		memcpy(&two, at, sizeof(two));
		at += sizeof(two);
		sum += two;
	}
	two = 0;
	if (len & 1)
		memcpy(&two, at, 1); /* a zero behind it */
	return sum + two;
}

glb_be16 checksum_finish(uint64_t sum)
{
	glb_be16 field;
	uint16_t folded;

	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	folded = (uint16_t)~sum;
	memcpy(&field, &folded, sizeof(field));
	return field;
}

glb_be16 checksum_update(glb_be16 field, glb_be16 old, glb_be16 now)
{
	const uint64_t sum = (uint16_t)~glb_be16_get(field) + (uint64_t)(uint16_t)~glb_be16_get(old) + glb_be16_get(now);
	const uint64_t folded = (sum & 0xffff) + (sum >> 16);

	return glb_be16_put((uint16_t)~((folded & 0xffff) + (folded >> 16)));
}

uint64_t checksum_change(const void *old, const void *now, size_t len)
{
	const uint8_t *from = old, *to = now;
	uint64_t change = 0;

	for (size_t i = 0; i < len; i += sizeof(uint16_t)) {
		uint16_t was, is;

		memcpy(&was, from + i, sizeof(was));
		memcpy(&is, to + i, sizeof(is));
		change += (uint16_t)~was + (uint64_t)is;
	}
	return change;
}

glb_be16 checksum_apply(glb_be16 field, uint64_t change)
{
	uint16_t sum;

	memcpy(&sum, &field, sizeof(sum));
	return checksum_finish((uint16_t)~sum + change);
}
