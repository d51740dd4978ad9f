/* A bucket of the flow cache, looked at all ways at once: sets of ways are bits. For flow_cache.c, and fast_cache.c, which sees most
 * packets of flows that are remembered.
 */
#ifndef GLB_CORE_FLOW_BUCKET_H
#define GLB_CORE_FLOW_BUCKET_H

#include <glb/flow_cache.h>

#include <string.h>
#ifdef __SSE4_1__
#include <immintrin.h>
#endif

/* Bits of enum glb_flow_state. */
enum { FLOW_IS_NEW = 0, FLOW_IS_FINISHED = 2, FLOW_IS_ESTABLISHED = 3 };

/* A hash as the table wants it: the lower half is not 0. */
static inline uint64_t flow_hash(uint64_t hash)
{
	return hash | ((uint32_t)hash == 0);
}

/* What a service's id changes in the key of the hash. */
static inline uint64_t flow_salt(uint32_t service)
{
	return (uint64_t)service * 0x9e3779b1;
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

/* How many those are. */
static inline unsigned flow_count_of(const struct glb_flow_bucket *bucket, unsigned bit)
{
	uint64_t states;

	memcpy(&states, bucket->state, sizeof(states));
	return (unsigned)__builtin_popcountll(states & (uint64_t)0x0101010101010101 << bit);
}

static inline unsigned flow_ways_free(const struct glb_flow_bucket *bucket)
{
#ifdef __SSE4_1__
	const __m128i states = _mm_loadl_epi64((const __m128i *)bucket->state);

	return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(states, _mm_setzero_si128())) & 0xff;
#else
	return 0xff & ~(flow_ways_of(bucket, FLOW_IS_NEW) | flow_ways_of(bucket, FLOW_IS_FINISHED) |
			flow_ways_of(bucket, FLOW_IS_ESTABLISHED));
#endif
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

/* The place of a flow that may have expired, or GLB_FLOW_NONE. */
static inline uint32_t flow_find(const struct glb_flow_cache *cache, uint64_t hash)
{
	uint32_t at = glb_flow_cache_first(cache, hash);
	unsigned way = flow_way(&cache->buckets[at], hash);

	if (way == GLB_FLOW_WAYS) {
		at = glb_flow_cache_second(cache, hash);
		way = flow_way(&cache->buckets[at], hash);
	}
	return way == GLB_FLOW_WAYS ? GLB_FLOW_NONE : at * GLB_FLOW_WAYS + way;
}

/* Of the ways whose state has a bit the one whose flow has least time left, the most idle one where all have the same state; and how much, s. GLB_FLOW_WAYS: there
 * is none. None of them has expired. */
static inline unsigned flow_most_idle(const struct glb_flow_bucket *bucket, unsigned bit, uint32_t now, uint16_t *left)
{
#ifdef __SSE4_1__
	const __m128i states = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)bucket->state));
	const __m128i others = _mm_cmpeq_epi16(_mm_and_si128(states, _mm_set1_epi16((short)(1 << bit))), _mm_setzero_si128());
	const __m128i times = _mm_sub_epi16(_mm_load_si128((const __m128i *)bucket->expires), _mm_set1_epi16((short)now));
	const uint32_t least = (uint32_t)_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_or_si128(times, others)));

	*left = (uint16_t)least;
	return *left == 0xffff ? GLB_FLOW_WAYS : least >> 16 & 7;
#else
	unsigned found = GLB_FLOW_WAYS;

	*left = 0xffff;
	for (unsigned ways = flow_ways_of(bucket, bit); ways != 0; ways &= ways - 1) {
		const unsigned way = (unsigned)__builtin_ctz(ways);
		const uint16_t time = (uint16_t)(bucket->expires[way] - now);

		if (time >= *left)
			continue;
		found = way;
		*left = time;
	}
	return found;
#endif
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
