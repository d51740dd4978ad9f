/* Tables made from kept ones equal those made from nothing, to the byte, whatever happened to the pool in between. */
#include "check.h"
#include "snapshot_make.h"

#include <glb/wire.h>

#include "chain.h"
#include "table_update.h"

enum { MANY = 400, ROWS = 256 };

static uint16_t full[ROWS * GLB_HOPS_MAX], updated[ROWS * GLB_HOPS_MAX];

struct pool {
	struct glb_backend_config backends[MANY];
	uint32_t count;
	uint32_t next; /* address never used before */
};

static void insert(struct pool *pool, uint32_t at, const struct glb_backend_config *backend)
{
	memmove(&pool->backends[at + 1], &pool->backends[at], (pool->count - at) * sizeof(pool->backends[0]));
	pool->backends[at] = *backend;
	pool->count++;
}

static void add(struct pool *pool, uint64_t *random, uint32_t at, bool v6)
{
	const uint32_t number = pool->next++;
	const struct glb_backend_config backend = {
		.addr = v6 ? make_v6((uint8_t)number) : make_v4(10, 0, (uint8_t)(number >> 8), (uint8_t)number),
		.weight = make_random(random, 3) ? 1 : (uint16_t)make_random(random, 4),
		.state = make_random(random, 4) ? GLB_STATE_ACTIVE : (uint8_t)make_random(random, 4),
	};

	if (pool->count < MANY)
		insert(pool, at, &backend);
}

static void take_out(struct pool *pool, uint32_t at)
{
	pool->count--;
	memmove(&pool->backends[at], &pool->backends[at + 1], (pool->count - at) * sizeof(pool->backends[0]));
}

/* One of the things that happen to pools. */
static void change(struct pool *pool, uint64_t *random, bool v6)
{
	const uint32_t at = make_random(random, make_random(random, 3) ? pool->count : 1);
	const struct glb_backend_config backend = pool->backends[at];

	switch (make_random(random, 8)) {
	case 0:
		add(pool, random, make_random(random, pool->count + 1), v6);
		break;
	case 1:
		if (pool->count > 2)
			take_out(pool, at);
		break;
	case 2: /* as a removed one while its connections settle: last, and inactive */
		take_out(pool, at);
		insert(pool, pool->count, &backend);
		pool->backends[pool->count - 1].state = GLB_STATE_INACTIVE;
		break;
	case 3: /* somewhere else */
		take_out(pool, at);
		insert(pool, make_random(random, pool->count + 1), &backend);
		break;
	case 4:
		pool->backends[at].weight = (uint16_t)make_random(random, 4);
		break;
	case 5:
		pool->backends[at].health = (uint8_t)make_random(random, 3);
		break;
	default:
		pool->backends[at].state = (uint8_t)make_random(random, 4);
	}
}

/* A pool where everything is calm, or nothing, or where hardly anybody is available. */
static void make_pool(struct pool *pool, uint64_t *random, bool v6)
{
	const uint32_t count = 2 + make_random(random, make_random(random, 2) ? 150 : 30);
	const bool calm = make_random(random, 2), drained = make_random(random, 6) == 0;

	*pool = (struct pool){0};
	for (uint32_t i = 0; i < count; i++) {
		add(pool, random, pool->count, v6);
		if (calm || make_random(random, 3)) {
			pool->backends[i].state = GLB_STATE_ACTIVE;
			pool->backends[i].weight = 1;
		}
		if (drained)
			pool->backends[i].state = i > 0 || make_random(random, 2) ? GLB_STATE_DRAINING : GLB_STATE_ACTIVE;
	}
}

static void equal_full_ones(void)
{
	uint64_t random = 0x1ac2e;
	unsigned updates = 0;

	for (unsigned round = 0; round < 1500; round++) {
		const bool v6 = make_random(&random, 4) == 0;
		static struct pool was, pool;
		struct glb_table_config config = {.rows = ROWS, .threads = 1, .policy = round % 5 ? GLB_POLICY_ORDERED : GLB_POLICY_GLB};
		uint8_t rank_was[MANY], rank[MANY];
		struct glb_former former = {.backends = was.backends, .rank = rank_was, .rows = full};
		int status;

		config.hops = config.policy == GLB_POLICY_GLB ? 2 : (uint8_t)(1 + make_random(&random, 4));
		config.seed[0] = (uint8_t)make_random(&random, 256);
		make_pool(&was, &random, v6);
		pool = was;
		for (unsigned changes = make_random(&random, 4); changes > 0; changes--)
			change(&pool, &random, v6 != (make_random(&random, 40) == 0));
		config.backends = was.backends;
		config.backend_count = former.backend_count = was.count;
		CHECK(glb_table_build(&config, full, NULL) == 0);
		glb_chain_rank(was.backends, was.count, rank_was);
		glb_chain_rank(pool.backends, pool.count, rank);
		config.backends = pool.backends;
		config.backend_count = pool.count;
		status = glb_table_update(&former, &config, rank, updated);
		CHECK(status == 0 || status == 1);
		CHECK(glb_table_build(&config, full, NULL) == 0);
		if (status == 1)
			CHECK(memcmp(full, updated, ROWS * config.hops * sizeof(full[0])) == 0);
		updates += status == 1;
	}
	CHECK(updates > 500);
}

/* The whole way, with many tables in one cache. */
static void kept_tables_make_no_difference(void)
{
	enum { POOLS = 5 };
	static struct pool pools[POOLS];
	struct glb_table_cache *cache = glb_table_cache_new();
	uint64_t random = 0xcac4e;

	for (unsigned p = 0; p < POOLS; p++)
		make_pool(&pools[p], &random, p == 3);
	for (unsigned round = 0; round < 600; round++) {
		const unsigned p = make_random(&random, POOLS);
		const bool maglev = make_random(&random, 4) == 0;
		struct glb_table_config config = {
			.rows = maglev ? 251 : ROWS, .hops = 2, .threads = 1, .seed = {(uint8_t)p},
			.algorithm = maglev ? GLB_ALGORITHM_MAGLEV : GLB_ALGORITHM_RENDEZVOUS,
		};

		if (make_random(&random, 3))
			change(&pools[p], &random, p == 3);
		config.backends = pools[p].backends;
		config.backend_count = pools[p].count;
		CHECK(glb_table_build(&config, full, NULL) == 0);
		config.cache = cache;
		for (unsigned twice = 0; twice < 2; twice++) {
			memset(updated, 0x55, sizeof(updated));
			CHECK(glb_table_build(&config, updated, NULL) == 0);
			CHECK(memcmp(full, updated, config.rows * 2 * sizeof(full[0])) == 0);
		}
	}
	glb_table_cache_free(cache);
	glb_table_cache_free(NULL);
}

/* It is less work indeed, in the usual cases. */
static void usual_changes_are_updates(void)
{
	static struct pool was, pool;
	uint64_t random = 1;
	uint8_t rank_was[MANY], rank[MANY];
	struct glb_former former = {.backends = was.backends, .rank = rank_was, .rows = full};

	for (unsigned kind = 0; kind < 4; kind++) {
		struct glb_table_config config = {.rows = ROWS, .hops = 2, .backends = was.backends, .backend_count = 300};

		was = (struct pool){0};
		for (unsigned i = 0; i < 300; i++) {
			add(&was, &random, i, false);
			was.backends[i].state = GLB_STATE_ACTIVE;
			was.backends[i].weight = 1;
		}
		pool = was;
		if (kind == 0) {
			take_out(&pool, 100);
		} else if (kind == 1) {
			add(&pool, &random, 100, false);
			pool.backends[100].state = GLB_STATE_ACTIVE;
			pool.backends[100].weight = 1;
		} else if (kind == 2) {
			pool.backends[100].weight = 3;
		} else {
			pool.backends[100].state = GLB_STATE_DRAINING;
		}
		former.backend_count = was.count;
		CHECK(glb_table_build(&config, full, NULL) == 0);
		glb_chain_rank(was.backends, was.count, rank_was);
		glb_chain_rank(pool.backends, pool.count, rank);
		config.backends = pool.backends;
		config.backend_count = pool.count;
		CHECK(glb_former_distance(&former, &config) == 1);
		CHECK(glb_table_update(&former, &config, rank, updated) == 1);
		CHECK(memcmp(full, updated, sizeof(uint16_t) * 2 * ROWS) != 0);
		CHECK(glb_table_build(&config, full, NULL) == 0);
		CHECK(memcmp(full, updated, sizeof(uint16_t) * 2 * ROWS) == 0);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"updated tables equal full ones", equal_full_ones},
		{"kept tables make no difference", kept_tables_make_no_difference},
		{"usual changes are updates", usual_changes_are_updates},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
