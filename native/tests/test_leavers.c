/* Leavers: by hand for what the report promises, and at random against a count without any index. */
#include "check.h"
#include "snapshot_make.h"

enum { CAPACITY = 64 };

static int64_t compare(const struct make *before, const struct make *after, struct glb_leaver *out)
{
	struct glb_snapshot a, b;
	struct glb_buffer a_bytes, b_bytes;
	int64_t count = -1;

	if (!make_open(before, &a_bytes, &a))
		return -1;
	if (make_open(after, &b_bytes, &b)) {
		count = glb_snapshot_leavers(&a, &b, out, CAPACITY);
		glb_buffer_free(&b_bytes);
	}
	glb_buffer_free(&a_bytes);
	return count;
}

static void nothing_leaves_an_equal_snapshot(void)
{
	struct glb_leaver out[CAPACITY];
	struct make m;

	make_init(&m, 3, 5, 5);
	CHECK(compare(&m, &m, out) == 0);
}

static void draining_and_back_leaves_nothing(void)
{
	struct glb_leaver out[CAPACITY];
	struct make before, after;

	make_init(&before, 1, 6, 1);
	make_init(&after, 1, 6, 1);
	make_one_family(&before);
	make_one_family(&after);
	after.backends[0][2].state = GLB_STATE_DRAINING;
	CHECK(compare(&before, &after, out) == 0);
	CHECK(compare(&after, &before, out) == 0);
}

static void a_removed_backend_leaves_all_of_its_rows(void)
{
	struct glb_leaver out[CAPACITY];
	struct make before, after;

	make_init(&before, 1, 2, 1); /* two hops, two backends: in every chain */
	make_init(&after, 1, 1, 1);
	CHECK(compare(&before, &after, out) == 1);
	CHECK(out[0].service == 1 && out[0].backend == 2 && out[0].rows == 256);
	CHECK(out[0].first > 64 && out[0].first < 192);
}

static void a_backend_with_another_address_is_another_backend(void)
{
	struct glb_leaver out[CAPACITY];
	struct make before, after;

	make_init(&before, 1, 2, 1);
	make_init(&after, 1, 2, 1);
	after.backends[0][0].addr = make_v4(10, 99, 0, 1);
	CHECK(compare(&before, &after, out) == 1);
	CHECK(out[0].backend == 1 && out[0].rows == 256);
}

static void a_removed_service_loses_all_of_its_backends(void)
{
	struct glb_leaver out[CAPACITY];
	struct make before, after;

	make_init(&before, 1, 2, 2);
	make_init(&after, 1, 2, 1);
	CHECK(compare(&before, &after, out) == 2);
	CHECK(out[0].service == 2 && out[0].backend == 1 && out[0].rows == 256);
	CHECK(out[1].service == 2 && out[1].backend == 2 && out[1].rows == 256);
	CHECK(out[0].first + out[1].first == 256);
}

static void another_row_index_moves_everyone_unless_alt_covers_it(void)
{
	struct glb_leaver out[CAPACITY];
	struct make before, after;

	make_init(&before, 1, 2, 1);
	make_init(&after, 1, 2, 1);
	after.services[0].hash_fields = GLB_HASH_SRC_ADDR | GLB_HASH_SRC_PORT;
	CHECK(compare(&before, &after, out) == 2);
	CHECK(out[0].rows == 256 && out[1].rows == 256);

	after.services[0].alt_hash_fields = GLB_HASH_SRC_ADDR;
	CHECK(compare(&before, &after, out) == 0);
	CHECK(compare(&after, &before, out) == 2); /* the new fields' rows are gone, the alt ones are not */
	CHECK(out[0].rows == 256 && out[0].first + out[1].first == 256);

	after = before;
	after.config.pools = after.pools;
	after.services[0].hash_key[3] ^= 1;
	after.pools[0].backends = after.backends[0];
	after.services[0].binds = after.binds[0];
	after.config.services = after.services;
	CHECK(compare(&before, &after, out) == 2);
	after.services[0].hash_key[3] ^= 1;
	after.services[0].rows = 512;
	CHECK(compare(&before, &after, out) == 2);
}

static void more_than_fit_are_counted(void)
{
	struct glb_leaver out[2] = {{.backend = 77}, {.backend = 88}};
	struct glb_snapshot a, b;
	struct glb_buffer a_bytes, b_bytes;
	struct make before, after;

	make_init(&before, 1, 5, 1);
	make_init(&after, 1, 0, 1);
	CHECK(make_open(&before, &a_bytes, &a));
	CHECK(make_open(&after, &b_bytes, &b));
	CHECK(glb_snapshot_leavers(&a, &b, out, 1) == 5);
	CHECK(out[0].backend == 1 && out[1].backend == 88);
	CHECK(glb_snapshot_leavers(&a, &b, NULL, 0) == 5);
	glb_buffer_free(&a_bytes);
	glb_buffer_free(&b_bytes);
}

/* Is this server in the chain of this row, and before any dead hop unless it is dead itself, and of the first one's family? */
static bool in_chain(const struct glb_snapshot *s, uint32_t table, uint32_t row, const struct glb_backend *wanted)
{
	const uint16_t *chain = glb_snapshot_row(s, table, row);
	bool dead = false;

	for (unsigned i = 0; i < s->tables[table].hops && chain[i] != GLB_HOP_NONE; i++) {
		const struct glb_backend *backend = &s->backends[s->tables[table].backend_base + chain[i]];

		if (memcmp(&backend->addr, &wanted->addr, sizeof(wanted->addr)) == 0)
			return (!dead || backend->health == GLB_HEALTH_UNHEALTHY) &&
			       backend->addr.family == s->backends[s->tables[table].backend_base + chain[0]].addr.family;
		dead |= backend->health == GLB_HEALTH_UNHEALTHY;
	}
	return false;
}

/* Is it in the chain at all, and of the first one's family? */
static bool is_member(const struct glb_snapshot *s, uint32_t table, uint32_t row, const struct glb_backend *wanted)
{
	const uint16_t *chain = glb_snapshot_row(s, table, row);

	for (unsigned i = 0; i < s->tables[table].hops && chain[i] != GLB_HOP_NONE; i++)
		if (&s->backends[s->tables[table].backend_base + chain[i]] == wanted)
			return wanted->addr.family == s->backends[s->tables[table].backend_base + chain[0]].addr.family;
	return false;
}

static void count_naively(const struct glb_snapshot *a, const struct glb_snapshot *b, uint32_t service,
			  const struct glb_backend *backend, struct glb_leaver *out)
{
	uint32_t before = a->services[service].table, after = GLB_INDEX_NONE;

	*out = (struct glb_leaver){a->services[service].id, backend->id, 0, 0};
	for (uint32_t i = 0; i < b->service_count; i++)
		if (b->services[i].id == a->services[service].id)
			after = b->services[i].table;
	for (uint32_t row = 0; row < a->tables[before].rows; row++) {
		const uint16_t *chain = glb_snapshot_row(a, before, row);

		if (!is_member(a, before, row, backend) || (after != GLB_INDEX_NONE && in_chain(b, after, row, backend)))
			continue;
		out->rows++;
		out->first += &a->backends[a->tables[before].backend_base + chain[0]] == backend;
	}
}

/* Shuffles states, health, membership and order, but keeps keys and fields. */
static void random_change(struct make *m, uint64_t *random)
{
	make_init(m, 3, 3 + make_random(random, 5), 4);
	for (unsigned p = 0; p < 3; p++) {
		uint32_t n = m->pools[p].backend_count;

		for (uint32_t b = 0; b < n; b++) {
			m->backends[p][b].state = (uint8_t)(make_random(random, 3) ? 0 : make_random(random, 4));
			m->backends[p][b].health = (uint8_t)make_random(random, 3);
			if (make_random(random, 8) == 0)
				m->backends[p][b].addr.bytes[2] = 200;
		}
		if (make_random(random, 2)) {
			struct glb_backend_config first = m->backends[p][0];

			m->backends[p][0] = m->backends[p][n - 1];
			m->backends[p][n - 1] = first;
		}
	}
	for (unsigned s = 0; s < 4; s++) {
		m->services[s].pool = make_random(random, 6) ? s % 3 : make_random(random, 3);
		m->services[s].policy = make_random(random, 3) ? GLB_POLICY_ORDERED : GLB_POLICY_GLB;
	}
	m->config.service_count = 3 + make_random(random, 2);
}

static void agrees_with_a_naive_count(void)
{
	uint64_t random = 0x1ea5e5;

	for (unsigned round = 0; round < 150; round++) {
		struct glb_leaver out[CAPACITY * 2], naive;
		struct glb_buffer a_bytes, b_bytes;
		struct glb_snapshot a, b;
		struct make before, after;
		uint32_t sum = 0, want = 0;
		int64_t n;

		random_change(&before, &random);
		random_change(&after, &random);
		CHECK(make_open(&before, &a_bytes, &a));
		CHECK(make_open(&after, &b_bytes, &b));
		n = glb_snapshot_leavers(&a, &b, out, CAPACITY * 2);
		CHECK(n >= 0 && n <= CAPACITY * 2);
		for (int64_t i = 0; i < n; i++) {
			uint32_t service = 0, backend = 0;

			CHECK(i == 0 || out[i - 1].service < out[i].service ||
			      (out[i - 1].service == out[i].service && out[i - 1].backend < out[i].backend));
			while (a.services[service].id != out[i].service)
				service++;
			while (a.backends[backend].id != out[i].backend)
				backend++;
			count_naively(&a, &b, service, &a.backends[backend], &naive);
			CHECK(memcmp(&naive, &out[i], sizeof(naive)) == 0);
			sum += naive.rows;
		}
		for (uint32_t s = 0; s < a.service_count; s++) {
			for (uint32_t i = 0; i < a.backend_count; i++) {
				count_naively(&a, &b, s, &a.backends[i], &naive);
				want += naive.rows;
			}
		}
		CHECK(sum == want);
		glb_buffer_free(&a_bytes);
		glb_buffer_free(&b_bytes);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"nothing leaves an equal snapshot", nothing_leaves_an_equal_snapshot},
		{"draining and back leaves nothing", draining_and_back_leaves_nothing},
		{"a removed backend leaves all of its rows", a_removed_backend_leaves_all_of_its_rows},
		{"a backend with another address is another one", a_backend_with_another_address_is_another_backend},
		{"a removed service loses all of its backends", a_removed_service_loses_all_of_its_backends},
		{"another row index moves everyone unless alt covers it",
		 another_row_index_moves_everyone_unless_alt_covers_it},
		{"more leavers than fit are counted", more_than_fit_are_counted},
		{"random changes agree with a naive count", agrees_with_a_naive_count},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
