/* Weights of backends: from a raw score to the key that a row is sorted by; internal to libglb.
 *
 * A raw score is uniform, so -log2(1 - score / 2^64) / weight has the smallest value of a row with a
 * probability in proportion to the weight. Fixed-point throughout (docs/wire/hashing.md): the same keys on every machine.
 */
#ifndef GLB_CORE_WEIGHT_H
#define GLB_CORE_WEIGHT_H

#include <glb/table.h>

enum { GLB_WEIGHT_STEPS = 1024 };

struct glb_weight_log {
	uint64_t log[GLB_WEIGHT_STEPS + 1]; /* [i]: floor(2^48 · log2(1 + i / GLB_WEIGHT_STEPS)) */
};

/* Fills the table, by integer arithmetic; about a hundred microseconds. */
void glb_weight_log_init(struct glb_weight_log *table);

/* What a key is multiplied by for this weight, which is at least 1. */
static inline uint64_t glb_weight_inverse(uint16_t weight)
{
	return (1ULL << 48) / weight;
}

/* The key of a raw score: lower comes first. Never decreases with the score, so that equal weights keep the raw order
 * once ties go by the score. */
static inline uint64_t glb_weight_key(const struct glb_weight_log *table, uint64_t score, uint64_t inverse)
{
	const uint64_t rest = score == UINT64_MAX ? 1 : ~score; /* 2^64 - 1 - score, at least 1 */
	const int shift = __builtin_clzll(rest);
	const uint64_t mantissa = rest << shift;
	const unsigned step = mantissa >> 53 & (GLB_WEIGHT_STEPS - 1);
	const uint64_t part = mantissa >> 29 & 0xffffff;
	const uint64_t base = table->log[step];
	const uint64_t log = ((uint64_t)(63 - shift) << 48) + base + ((table->log[step + 1] - base) * part >> 24);

	return (uint64_t)((unsigned __int128)((64ULL << 48) - log) * inverse >> 39);
}

/* The weights that a pool's backends are ordered by: 0 counts as the largest of those that take part (not inactive), so that a backend
 * which is given no new connections keeps its place in the chains. Returns what 0 counts as, or 0 where all of them count the same. */
uint16_t glb_weight_common(const struct glb_backend_config *backends, uint32_t count);

#endif
