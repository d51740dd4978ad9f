/* The table behind weighted scores: logarithms by squaring, one bit at a time. */
#include "weight.h"

enum { LOG_BITS = 48 };

/* floor(2^48 · log2(mantissa / 2^63)) for a mantissa with its top bit set, exact but for values within 2^-62 of the next
 * one; the unit test and the oracle find none in the table. */
static uint64_t log2_of(uint64_t mantissa)
{
	uint64_t log = 0;

	for (unsigned bit = 0; bit < LOG_BITS; bit++) {
		unsigned __int128 square = (unsigned __int128)mantissa * mantissa; /* 2^126 up to 2^128 */
		const bool carry = square >> 127;

		mantissa = (uint64_t)(square >> (63 + carry));
		log = log << 1 | carry;
	}
	return log;
}

void glb_weight_log_init(struct glb_weight_log *table)
{
	for (uint64_t step = 0; step < GLB_WEIGHT_STEPS; step++)
		table->log[step] = log2_of((1ULL << 63) + (step << 53));
	table->log[GLB_WEIGHT_STEPS] = 1ULL << LOG_BITS;
}

uint16_t glb_weight_common(const struct glb_backend_config *backends, uint32_t count)
{
	uint16_t lowest = UINT16_MAX, highest = 0;

	for (uint32_t i = 0; i < count; i++) {
		if (backends[i].state == GLB_STATE_INACTIVE || backends[i].weight == 0)
			continue;
		if (backends[i].weight < lowest)
			lowest = backends[i].weight;
		if (backends[i].weight > highest)
			highest = backends[i].weight;
	}
	return lowest < highest ? highest : 0;
}
