/* Rows sixteen at a time against the same rules written out, with rows of every kind broken in every place. */
#include "check.h"

#include "snapshot_make.h"

#include <glb/wire.h>

#include "snapshot_rows.h"

enum { COUNT = 100 };

static bool naive_ok(const uint16_t *row, unsigned hops, uint32_t backends)
{
	bool ended = false;

	for (unsigned i = 0; i < hops; i++) {
		if (row[i] == GLB_HOP_NONE) {
			ended = true;
			continue;
		}
		if (ended || row[i] >= backends)
			return false;
		for (unsigned j = 0; j < i; j++)
			if (row[j] == row[i])
				return false;
	}
	return true;
}

static uint32_t naive(const uint16_t *rows, uint32_t count, unsigned hops, uint32_t backends)
{
	uint32_t row = 0;

	while (row < count && naive_ok(&rows[row * hops], hops, backends))
		row++;
	return row;
}

/* Distinct positions, then GLB_HOP_NONE. */
static void make_chain(uint64_t *random, uint16_t *row, unsigned hops, uint32_t backends)
{
	const unsigned len = make_random(random, (hops < backends ? hops : backends) + 1);
	const uint32_t first = backends > 0 ? make_random(random, backends) : 0;

	for (unsigned i = 0; i < hops; i++)
		row[i] = i < len ? (uint16_t)((first + i) % backends) : GLB_HOP_NONE;
}

static void equals_the_rules(void)
{
	static const uint32_t pools[] = {0, 1, 2, 9, 300, 0x7fff, 0x8000, GLB_POOL_BACKENDS_MAX};
	uint64_t random = 0x50f7;
	unsigned refused = 0;

	for (unsigned round = 0; round < 20000; round++) {
		const uint32_t backends = pools[make_random(&random, 8)], count = make_random(&random, COUNT + 1);
		const unsigned hops = 1 + make_random(&random, GLB_HOPS_MAX);
		uint16_t rows[COUNT * GLB_HOPS_MAX];

		for (uint32_t row = 0; row < count; row++)
			make_chain(&random, &rows[row * hops], hops, backends);
		CHECK(glb_rows_check(rows, count, hops, backends) == count);
		if (count == 0)
			continue;
		switch (make_random(&random, 3)) {
		case 0: /* anything */
			rows[make_random(&random, count * hops)] = (uint16_t)make_random(&random, 65536);
			break;
		case 1: /* near the borders */
			rows[make_random(&random, count * hops)] = (uint16_t)(backends + make_random(&random, 3) - 1);
			break;
		default: /* what is elsewhere */
			rows[make_random(&random, count * hops)] = rows[make_random(&random, count * hops)];
		}
		CHECK(glb_rows_check(rows, count, hops, backends) == naive(rows, count, hops, backends));
		refused += glb_rows_check(rows, count, hops, backends) < count;
	}
	CHECK(refused > 5000);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"equals the rules written out", equals_the_rules},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
