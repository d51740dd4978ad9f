/* Maglev: primes, the paper's example, a population in plain turns as the twin, and tables inside a snapshot. */
#include <errno.h>

#include "check.h"
#include "snapshot_make.h"

#include "maglev.h"
#include "snapshot_layout.h"

enum { BACKENDS = 12, ROWS = 1021 };

static void primes_are_found(void)
{
	CHECK(!glb_is_prime(0) && !glb_is_prime(1) && glb_is_prime(2) && glb_is_prime(3) && !glb_is_prime(4));
	CHECK(glb_is_prime(65537) && !glb_is_prime(65536) && !glb_is_prime(1021 * 1021) && glb_is_prime(1048573));
	CHECK(glb_nearest_prime(0) == 251);
	CHECK(glb_nearest_prime(65536) == 65537);
	CHECK(glb_nearest_prime(1000) == 997);
	CHECK(glb_nearest_prime(254) == 257); /* 251 is as near */
	CHECK(glb_nearest_prime(UINT32_MAX) == 1048573);
}

static void the_papers_example(void)
{
	const struct glb_maglev_backend backends[] = {{3, 4, 1}, {0, 2, 1}, {3, 1, 1}};
	const struct glb_maglev_backend two[] = {{3, 4, 1}, {3, 1, 1}};
	const uint16_t ring[7] = {1, 0, 1, 0, 2, 2, 0}, without[7] = {0, 0, 0, 0, 1, 1, 1};
	uint16_t out[7];

	CHECK(glb_maglev_populate(backends, 3, 7, out) == 0 && memcmp(out, ring, sizeof(ring)) == 0);
	CHECK(glb_maglev_populate(two, 2, 7, out) == 0 && memcmp(out, without, sizeof(without)) == 0);
	CHECK(glb_maglev_populate(two, 0, 7, out) == 0 && out[0] == GLB_HOP_NONE && out[6] == GLB_HOP_NONE);
}

/* Turn by turn, everybody in each. */
static void plain_turns(const struct glb_maglev_backend *backends, uint32_t count, uint16_t *out)
{
	uint32_t account[BACKENDS] = {0}, next[BACKENDS], largest = 0, left = ROWS;

	memset(out, 0xff, ROWS * sizeof(*out));
	for (uint32_t i = 0; i < count; i++) {
		next[i] = backends[i].offset;
		largest = backends[i].weight > largest ? backends[i].weight : largest;
	}
	for (uint32_t i = 0; left > 0; i = (i + 1) % count) {
		account[i] += backends[i].weight;
		if (account[i] < largest)
			continue;
		account[i] -= largest;
		while (out[next[i]] != GLB_HOP_NONE)
			next[i] = (next[i] + backends[i].skip) % ROWS;
		out[next[i]] = (uint16_t)i;
		left--;
	}
}

static void populations_equal_plain_turns(void)
{
	static const uint32_t spans[] = {1, 3, 100, 65535};
	uint64_t random = 0x3a91e;

	for (unsigned round = 0; round < 300; round++) {
		struct glb_maglev_backend backends[BACKENDS];
		const uint32_t count = 1 + make_random(&random, BACKENDS), span = spans[round % 4];
		uint16_t mine[ROWS], twin[ROWS];

		for (uint32_t i = 0; i < count; i++)
			backends[i] = (struct glb_maglev_backend){
				.offset = make_random(&random, ROWS),
				.skip = 1 + make_random(&random, ROWS - 1),
				.weight = (uint16_t)(1 + make_random(&random, span)),
			};
		CHECK(glb_maglev_populate(backends, count, ROWS, mine) == 0);
		plain_turns(backends, count, twin);
		CHECK(memcmp(mine, twin, sizeof(mine)) == 0);
	}
}

/* Two tables of odd length in one snapshot: both are aligned, what lies between is zero, and a byte there is refused. */
static void snapshots_hold_prime_tables(void)
{
	static struct make m;
	struct glb_snapshot snapshot;
	struct glb_buffer buffer;
	struct glb_error error;
	uint16_t *gap;

	make_init(&m, 2, MAKE_BACKENDS, 2);
	m.services[0].algorithm = m.services[1].algorithm = GLB_ALGORITHM_MAGLEV;
	m.services[0].rows = 257;
	m.services[1].rows = 251;
	m.backends[1][2].state = GLB_STATE_DRAINING;
	CHECK(make_open(&m, &buffer, &snapshot));
	CHECK(snapshot.tables[0].row_base == 0 && snapshot.tables[1].row_base == 544); /* 514 rounded up */
	CHECK(snapshot.tables[0].algorithm == GLB_ALGORITHM_MAGLEV);
	for (uint32_t row = 0; row < 257; row++)
		CHECK(glb_snapshot_row(&snapshot, 0, row)[1] == GLB_HOP_NONE);
	for (uint32_t row = 0; row < 251; row++)
		CHECK(glb_snapshot_row(&snapshot, 1, row)[0] != 2);

	gap = (uint16_t *)(buffer.data + snapshot.header->sections[GLB_SECTION_ROWS].offset) + 514;
	*gap = 1;
	glb_snapshot_digest(buffer.data, buffer.len, ((struct glb_snapshot_header *)buffer.data)->digest);
	CHECK(glb_snapshot_open(buffer.data, buffer.len, &snapshot, &error) == -EINVAL);
	CHECK(strcmp(error.text, "snapshot table 0: what follows its rows is not zero") == 0);
	glb_buffer_free(&buffer);
}

static void other_sizes_are_refused(void)
{
	struct glb_backend_config backend = {.addr.family = GLB_FAMILY_V4, .weight = 1};
	struct glb_table_config config = {.backends = &backend, .backend_count = 1, .rows = 65536, .hops = 2,
					  .algorithm = GLB_ALGORITHM_MAGLEV};
	struct glb_error error;

	CHECK(glb_table_build(&config, NULL, &error) == -EINVAL);
	CHECK(strcmp(error.text, "rows: 65536 is not a prime from 251 to 1048576, as maglev needs; 65537 is near") == 0);
	config.rows = 65537;
	config.hops = 3;
	CHECK(glb_table_build(&config, NULL, &error) == -EINVAL && strncmp(error.text, "hops", 4) == 0);
	config.hops = 2;
	config.algorithm = 2;
	CHECK(glb_table_build(&config, NULL, &error) == -EINVAL && strncmp(error.text, "algorithm", 9) == 0);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"primes are found", primes_are_found},
		{"the paper's example", the_papers_example},
		{"populations equal plain turns", populations_equal_plain_turns},
		{"snapshots hold prime tables", snapshots_hold_prime_tables},
		{"other sizes are refused", other_sizes_are_refused},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
