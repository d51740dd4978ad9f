/* The token bucket: its burst, its rate, and clocks that jump. */
#include "check.h"

#include <glb/bucket.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static unsigned take_all(struct glb_bucket *bucket, uint64_t now_ns)
{
	unsigned n = 0;

	while (glb_bucket_take(bucket, now_ns))
		n++;
	return n;
}

static void begins_full(void)
{
	struct glb_bucket bucket;

	glb_bucket_init(&bucket, 10, 7);
	CHECK(take_all(&bucket, 0) == 7);
	glb_bucket_init(&bucket, 10, 7);
	CHECK(take_all(&bucket, UINT64_MAX) == 7);
	glb_bucket_init(&bucket, 0, 0);
	CHECK(take_all(&bucket, 5) == 1);
}

static void fills_at_its_rate(void)
{
	struct glb_bucket bucket;

	glb_bucket_init(&bucket, 1000, 50);
	CHECK(take_all(&bucket, 1000000000) == 50);
	CHECK(take_all(&bucket, 1000999999) == 0);
	CHECK(take_all(&bucket, 1001000000) == 1);
	CHECK(take_all(&bucket, 1010500000) == 9);
	CHECK(take_all(&bucket, 1011000000) == 1); /* the half that was left over */
	CHECK(take_all(&bucket, 9000000000) == 50);
}

/* Asked a million times a second at uneven moments, what passes is the rate. */
static void keeps_the_rate_when_asked_often(void)
{
	static const uint32_t rates[] = {1, 3, 999, 10007, 500000};

	for (unsigned i = 0; i < COUNT(rates); i++) {
		struct glb_bucket bucket;
		unsigned passed = 0;

		glb_bucket_init(&bucket, rates[i], 2);
		for (uint64_t us = 1; us <= 4000000; us++)
			passed += glb_bucket_take(&bucket, us * 1000 + us % 7);
		CHECK(passed >= 4 * rates[i] && passed <= 4 * rates[i] + 2);
	}
}

static void survives_extremes(void)
{
	struct glb_bucket bucket;

	glb_bucket_init(&bucket, UINT32_MAX, UINT32_MAX);
	for (unsigned i = 0; i < 1000; i++)
		CHECK(glb_bucket_take(&bucket, 0));
	CHECK(glb_bucket_take(&bucket, UINT64_MAX) && bucket.credit == (uint64_t)UINT32_MAX * 1000000000 - 1000000000);
	glb_bucket_init(&bucket, 1, UINT32_MAX);
	CHECK(glb_bucket_take(&bucket, 0));
	CHECK(glb_bucket_take(&bucket, UINT64_MAX));
}

static void a_step_back_gives_nothing(void)
{
	struct glb_bucket bucket;

	glb_bucket_init(&bucket, 1000, 5);
	CHECK(take_all(&bucket, 5000000000) == 5);
	CHECK(take_all(&bucket, 1000000000) == 0);
	CHECK(take_all(&bucket, 1002000000) == 2);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"begins full", begins_full},
		{"fills at its rate", fills_at_its_rate},
		{"keeps the rate when asked often", keeps_the_rate_when_asked_often},
		{"survives extremes", survives_extremes},
		{"a step back gives nothing", a_step_back_gives_nothing},
	};

	return check_run(cases, COUNT(cases));
}
