/* A bucket of the flow cache, looked at all ways at once: sets of ways are bits. For flow_cache.c, and fast_cache.c, which sees most
 * packets of flows that are remembered.
 */
#ifndef GLB_CORE_FLOW_BUCKET_H
#define GLB_CORE_FLOW_BUCKET_H

#include <glb/flow_cache.h>

#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

/* Bits of enum glb_flow_state. */
enum { FLOW_IS_NEW = 0, FLOW_IS_FINISHED = 2, FLOW_IS_ESTABLISHED = 3 };

/* A hash as the table wants it: the lower half is not 0. */
static inline uint64_t flow_hash(uint64_t hash)
{
	return hash | ((uint32_t)hash == 0);
}

/* Ways whose flow may be the one with this hash: half of it is the same. */
static inline unsigned flow_ways_alike(const struct glb_flow_bucket *bucket, uint64_t hash)
{
#ifdef __AVX2__
	const __m256i all = _mm256_load_si256((const __m256i *)bucket->signature);

	return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(all, _mm256_set1_epi32((int)hash))));
#else
	unsigned ways = 0;

	for (unsigned way = 0; way < GLB_FLOW_WAYS; way++)
		ways |= (unsigned)(bucket->signature[way] == (uint32_t)hash) << way;
	return ways;
#endif
}

/* Ways whose time is over; what it says of free ones means nothing. */
static inline unsigned flow_ways_expired(const struct glb_flow_bucket *bucket, uint32_t now)
{
#ifdef __AVX2__
	const __m128i left = _mm_sub_epi16(_mm_load_si128((const __m128i *)bucket->expires), _mm_set1_epi16((short)now));

	return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(left, _mm_setzero_si128()));
#else
	unsigned ways = 0;

	for (unsigned way = 0; way < GLB_FLOW_WAYS; way++)
		ways |= (unsigned)((uint16_t)(bucket->expires[way] - now) >> 15) << way;
	return ways;
#endif
}

/* Ways whose state has a bit. */
static inline unsigned flow_ways_of(const struct glb_flow_bucket *bucket, unsigned bit)
{
	uint64_t states;

	memcpy(&states, bucket->state, sizeof(states));
	return (unsigned)((states >> bit & 0x0101010101010101) * 0x0102040810204080 >> 56);
}

/* The way of the flow with this hash, or GLB_FLOW_WAYS. */
static inline unsigned flow_way(const struct glb_flow_bucket *bucket, uint64_t hash)
{
	unsigned ways = flow_ways_alike(bucket, hash);

	for (; ways != 0; ways &= ways - 1)
		if (bucket->check[__builtin_ctz(ways)] == (uint32_t)(hash >> 32))
			return (unsigned)__builtin_ctz(ways);
	return GLB_FLOW_WAYS;
}

static inline bool flow_has_expired(const struct glb_flow_bucket *bucket, unsigned way, uint32_t now)
{
	return (uint16_t)(bucket->expires[way] - now) >> 15;
}

/* From now on the flow has as long as its state gives it. Once a second, so that the line is seldom written. */
static inline void flow_prolong(const struct glb_flow_cache *cache, struct glb_flow_bucket *bucket, unsigned way, uint32_t now)
{
	const uint16_t expires = (uint16_t)(now + cache->timeout[bucket->state[way]]);

	if (bucket->expires[way] != expires)
		bucket->expires[way] = expires;
}

static inline void flow_prefetch(const struct glb_flow_bucket *bucket)
{
	__builtin_prefetch(bucket->signature);
	__builtin_prefetch(bucket->check);
}

#endif
