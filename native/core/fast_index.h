/* From a key to the only slot where it can be: what glb_fast_make() and glb_fast_burst() agree on. */
#ifndef GLB_CORE_FAST_INDEX_H
#define GLB_CORE_FAST_INDEX_H

#include <glb/fast.h>

#include <string.h>

/* A service's key is compared with what lies in the frame, loaded as it lies there; the protocol is in it twice, as that is
 * how one instruction can put it together. */
static inline uint64_t fast_key_v4(uint32_t dst, uint16_t dport, uint8_t protocol)
{
	return dst | (uint64_t)dport << 32 | (uint64_t)(protocol * 0x0101U) << 48;
}

static inline uint64_t fast_key_v6_rest(uint16_t dport, uint8_t protocol)
{
	return dport | (uint64_t)protocol << 16;
}

static inline uint64_t fast_mix_v4(const struct glb_fast_index *index, uint64_t key)
{
	const uint64_t x = key * index->seed;

	return x ^ x >> 32;
}

static inline uint64_t fast_mix_v6(const struct glb_fast_index *index, const uint64_t key[3])
{
	const uint64_t x = ((key[0] * 0x9e3779b97f4a7c15 ^ key[1]) * 0xff51afd7ed558ccd ^ key[2]) * index->seed;

	return x ^ x >> 32;
}

/* Upper bits say which multiplier, and that which slot. */
static inline uint64_t fast_multiplier(const struct glb_fast_index *index, uint64_t mixed)
{
	return mixed >> index->multiplier_shift;
}

static inline uint32_t fast_slot(const struct glb_fast_index *index, uint64_t mixed, uint32_t multiplier)
{
	return (uint32_t)mixed * multiplier >> index->slot_shift;
}

#endif
