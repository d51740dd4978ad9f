/* What compiling and opening lists have to agree on; internal to libglb. */
#ifndef GLB_CORE_LISTS_LAYOUT_H
#define GLB_CORE_LISTS_LAYOUT_H

#include <glb/lists.h>

#include <string.h>

#define GLB_LISTS_MAGIC "GLBLIST\n" /* 8 bytes, without the NUL */

/* Keys that a level of `count` takes, padding included. */
static inline uint64_t list_padded(uint64_t count)
{
	return (count + GLB_LIST_FANOUT - 1) / GLB_LIST_FANOUT * GLB_LIST_FANOUT;
}

/* The levels of `count` keys, coarsest first, into *side; returns the keys that they take, padding included. */
static inline uint64_t list_levels(uint32_t count, struct glb_list_side *side)
{
	uint32_t finest[GLB_LIST_LEVELS_MAX];
	uint64_t total = 0;

	side->levels = 0;
	for (; count != 0 && side->levels < GLB_LIST_LEVELS_MAX; count = (count + GLB_LIST_FANOUT - 1) / GLB_LIST_FANOUT) {
		finest[side->levels++] = count;
		total += list_padded(count);
		if (count <= GLB_LIST_FANOUT)
			break;
	}
	for (uint32_t i = 0; i < side->levels; i++)
		side->count[i] = finest[side->levels - 1 - i];
	return total;
}

static inline size_t list_key_bytes(bool v6)
{
	return v6 ? sizeof(struct glb_list_key6) : sizeof(uint32_t);
}

/* Any key as one of IPv6, to compare by. */
static inline struct glb_list_key6 list_key_at(const uint8_t *keys, uint64_t i, bool v6)
{
	if (v6)
		return ((const struct glb_list_key6 *)keys)[i];
	return (struct glb_list_key6){0, ((const uint32_t *)keys)[i]};
}

static inline bool list_key_above(struct glb_list_key6 a, struct glb_list_key6 b)
{
	return (a.high > b.high) | ((a.high == b.high) & (a.low > b.low)); /* without a branch: nobody could foretell it */
}

/* An address as a key. */
static inline struct glb_list_key6 list_key_of(const struct glb_addr *addr)
{
	struct glb_list_key6 key;
	uint32_t v4;

	if (addr->family == GLB_FAMILY_V4) {
		memcpy(&v4, addr->bytes, sizeof(v4));
		return (struct glb_list_key6){0, __builtin_bswap32(v4)};
	}
	memcpy(&key.high, addr->bytes, sizeof(key.high));
	memcpy(&key.low, addr->bytes + 8, sizeof(key.low));
	return (struct glb_list_key6){__builtin_bswap64(key.high), __builtin_bswap64(key.low)};
}

#endif
