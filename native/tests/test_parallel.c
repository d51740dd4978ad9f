/* Every piece is taken once, by however many threads; what one returns is returned. */
#include "check.h"

#include <errno.h>
#include <string.h>

#include "parallel.h"

enum { ITEMS = 10007 };

struct count {
	struct glb_pieces pieces;
	atomic_uint calls, taken[ITEMS];
};

static int count_items(void *context)
{
	struct count *count = context;
	uint32_t first, last;

	atomic_fetch_add(&count->calls, 1);
	while (glb_pieces_take(&count->pieces, &first, &last))
		for (; first < last; first++)
			atomic_fetch_add(&count->taken[first], 1);
	return 0;
}

static void every_item_is_taken_once(void)
{
	for (unsigned threads = 1; threads <= GLB_THREADS_MAX; threads++) {
		static struct count count;

		memset(&count, 0, sizeof(count));
		count.pieces.end = ITEMS;
		count.pieces.size = threads * 100;
		CHECK(glb_parallel(threads, count_items, &count) == 0);
		CHECK(count.calls >= 1 && count.calls <= threads);
		for (unsigned i = 0; i < ITEMS; i++)
			CHECK(count.taken[i] == 1);
	}
}

static int fail_once(void *context)
{
	return atomic_fetch_add((atomic_uint *)context, 1) == 0 ? -ENOMEM : 0;
}

static void a_failure_is_returned(void)
{
	for (unsigned threads = 1; threads <= 4; threads++) {
		atomic_uint calls = 0;

		CHECK(glb_parallel(threads, fail_once, &calls) == -ENOMEM);
	}
}

static void threads_are_as_many_as_wanted_or_as_cpus(void)
{
	CHECK(glb_threads(3) == 3);
	CHECK(glb_threads(200) == GLB_THREADS_MAX);
	CHECK(glb_threads(0) >= 1 && glb_threads(0) <= GLB_THREADS_MAX);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"every item is taken once", every_item_is_taken_once},
		{"a failure is returned", a_failure_is_returned},
		{"threads are as many as wanted, or as CPUs", threads_are_as_many_as_wanted_or_as_cpus},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
