/* Compiling snapshots: what is stored once, and what decides the bytes. That what was compiled comes back is in test_snapshot_open.c. */
#include "check.h"
#include "snapshot_make.h"

static void rows_are_those_of_the_table_builder(void)
{
	static uint16_t rows[256 * 3];
	struct glb_table_config config = {.rows = 256, .hops = 3};
	struct glb_snapshot s;
	struct glb_buffer buffer;
	struct make m;

	make_full(&m);
	config.backends = m.backends[1];
	config.backend_count = 4;
	memcpy(config.seed, m.services[1].seed, 16);
	CHECK(glb_table_build(&config, rows, NULL) == 0);
	CHECK(make_open(&m, &buffer, &s));
	CHECK(memcmp(glb_snapshot_row(&s, s.services[1].table, 0), rows, sizeof(rows)) == 0);
	CHECK(glb_snapshot_row(&s, s.services[1].table, 9) == glb_snapshot_row(&s, s.services[1].table, 0) + 27);
	glb_buffer_free(&buffer);
}

static void equal_services_share_a_table(void)
{
	struct glb_snapshot s;
	struct glb_buffer buffer;
	struct make m;

	make_init(&m, 1, 3, 4);
	m.services[2].rows = 512;
	m.services[3].seed[15] = 1;
	CHECK(make_open(&m, &buffer, &s));
	CHECK(s.table_count == 3);
	CHECK(s.services[0].table == s.services[1].table);
	CHECK(s.services[2].table != s.services[0].table && s.services[3].table != s.services[0].table);
	CHECK(s.services[3].table != s.services[2].table);
	glb_buffer_free(&buffer);
}

static void equal_configurations_give_equal_bytes(void)
{
	struct glb_buffer a, b;
	struct make m, n;

	make_full(&m);
	make_full(&n);
	memset(n.binds[0][0].addr.pad, 0xee, 3); /* what a compiler leaves in padding */
	memset(n.backends[0][0].addr.bytes + 4, 0xee, 12);
	memset(n.binds[0][1].addr.bytes + 3, 0xee, 13); /* host bits */
	CHECK(glb_snapshot_compile(&m.config, &a, NULL) == 0);
	CHECK(glb_snapshot_compile(&n.config, &b, NULL) == 0);
	CHECK(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
	glb_buffer_free(&a);
	glb_buffer_free(&b);
}

static void pools_without_backends_have_empty_chains(void)
{
	struct glb_snapshot s;
	struct glb_buffer buffer;
	struct make m;

	make_init(&m, 2, 2, 2);
	m.pools[0].backend_count = 0;
	m.backends[1][0].state = m.backends[1][1].state = GLB_STATE_INACTIVE;
	CHECK(make_open(&m, &buffer, &s));
	for (uint32_t t = 0; t < 2; t++)
		for (uint32_t i = 0; i < 512; i++)
			CHECK(glb_snapshot_row(&s, t, 0)[i] == GLB_HOP_NONE);
	glb_buffer_free(&buffer);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"rows are those of the table builder", rows_are_those_of_the_table_builder},
		{"equal services share a table", equal_services_share_a_table},
		{"equal configurations give equal bytes", equal_configurations_give_equal_bytes},
		{"pools without backends have empty chains", pools_without_backends_have_empty_chains},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
