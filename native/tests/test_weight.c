/* Weighted keys: the table of logarithms, monotony, and shares in proportion to the weights. */
#include <math.h>

#include "check.h"
#include "snapshot_make.h"

#include "weight.h"

static struct glb_weight_log table;

static void logarithms_are_floors(void)
{
	glb_weight_log_init(&table);
	CHECK(table.log[0] == 0);
	CHECK(table.log[GLB_WEIGHT_STEPS] == 1ULL << 48);
	CHECK(table.log[GLB_WEIGHT_STEPS / 2] == 164652306267094); /* floor(2^48 · log2(1.5)) */
	for (unsigned i = 0; i < GLB_WEIGHT_STEPS; i++) {
		const long double exact = ldexpl(log2l(1 + (long double)i / GLB_WEIGHT_STEPS), 48);

		CHECK(table.log[i] < table.log[i + 1]);
		CHECK((long double)table.log[i] <= exact && exact < (long double)(table.log[i] + 1));
	}
}

static void keys_follow_the_logarithm(void)
{
	uint64_t random = 0x106;

	glb_weight_log_init(&table);
	for (unsigned i = 0; i < 20000; i++) {
		const uint64_t score = ((uint64_t)make_random(&random, UINT32_MAX) << 32 | make_random(&random, UINT32_MAX)) >>
				       make_random(&random, 40);
		const uint16_t weight = (uint16_t)(1 + make_random(&random, 65535));
		const long double exact =
			-log2l(1 - ((long double)score + 1) / 18446744073709551616.0L) / weight * 144115188075855872.0L;
		const long double key = glb_weight_key(&table, score, glb_weight_inverse(weight));

		/* chords of 1/1024 for the logarithm, 2^-34 of a mantissa, 2^-32 for the reciprocal, whole numbers */
		CHECK(fabsl(key - exact) <= exact * 6e-4L + ldexpl(1, 24) / weight + 2);
	}
}

static void keys_never_decrease(void)
{
	uint64_t random = 0xd0e5;

	glb_weight_log_init(&table);
	for (unsigned i = 0; i < 100000; i++) {
		const uint64_t a = (uint64_t)make_random(&random, UINT32_MAX) << 32 | make_random(&random, UINT32_MAX);
		const uint64_t step = 1 + (UINT64_MAX - a) / (1ULL << make_random(&random, 64));
		const uint64_t b = a > UINT64_MAX - step ? UINT64_MAX : a + step;
		const uint64_t inverse = glb_weight_inverse((uint16_t)(1 + make_random(&random, 65535)));

		CHECK(glb_weight_key(&table, a, inverse) <= glb_weight_key(&table, b, inverse));
	}
	for (unsigned shift = 0; shift < 64; shift++) { /* around the powers of two, where the exponent changes */
		const uint64_t edge = UINT64_MAX - (1ULL << shift);

		for (uint64_t score = edge - (edge > 0 ? 1 : 0); score < edge + 2 && score != UINT64_MAX; score++)
			CHECK(glb_weight_key(&table, score, 1ULL << 48) <= glb_weight_key(&table, score + 1, 1ULL << 48));
	}
	CHECK(glb_weight_key(&table, 0, 1ULL << 48) < 1 << 24);
	CHECK(glb_weight_key(&table, UINT64_MAX, 1ULL << 48) > UINT64_MAX / 2);
}

static void zero_counts_as_the_largest(void)
{
	struct glb_backend_config backends[4] = {{.weight = 5}, {.weight = 0}, {.weight = 5}, {.weight = 9}};

	CHECK(glb_weight_common(backends, 0) == 0);
	CHECK(glb_weight_common(backends, 3) == 0); /* 5 and 5 and as 5: all equal */
	CHECK(glb_weight_common(backends, 4) == 9);
	backends[3].state = GLB_STATE_INACTIVE;
	CHECK(glb_weight_common(backends, 4) == 0);
	backends[3].state = GLB_STATE_DRAINING;
	CHECK(glb_weight_common(backends, 4) == 9);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"logarithms are floors", logarithms_are_floors},
		{"keys follow the logarithm", keys_follow_the_logarithm},
		{"keys never decrease", keys_never_decrease},
		{"zero counts as the largest", zero_counts_as_the_largest},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
