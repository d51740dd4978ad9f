/* Row tables against a naive twin: plain SipHash, a full sort, and the rules written out one by one. */
#include <errno.h>

#include "check.h"
#include "snapshot_make.h"

#include <glb/siphash.h>

#include "weight.h"

enum { BACKENDS = 40, ROWS = 256 };

struct scored {
	uint64_t key;
	uint64_t score;
	uint16_t index;
};

static int by_score(const void *left, const void *right)
{
	const struct scored *a = left, *b = right;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	if (a->score != b->score)
		return a->score < b->score ? -1 : 1;
	return (int)a->index - b->index;
}

/* The key of a score; weight 0 counts as the largest of the pool's. Scores are their own keys where weights do not differ,
 * which is what the twin does not do: it must make no difference. */
static uint64_t naive_key(const struct glb_table_config *config, uint16_t index, uint64_t score)
{
	static struct glb_weight_log log;
	uint16_t weight = config->backends[index].weight;

	if (log.log[1] == 0)
		glb_weight_log_init(&log);
	for (uint16_t i = 0; config->backends[index].weight == 0 && i < config->backend_count; i++)
		if (config->backends[i].state != GLB_STATE_INACTIVE && config->backends[i].weight > weight)
			weight = config->backends[i].weight;
	return glb_weight_key(&log, score, glb_weight_inverse(weight != 0 ? weight : 1));
}

/* The row's whole order, inactive ones left out. */
static unsigned naive_order(const struct glb_table_config *config, uint32_t row, uint16_t *order)
{
	uint8_t row_be[4] = {(uint8_t)(row >> 24), (uint8_t)(row >> 16), (uint8_t)(row >> 8), (uint8_t)row};
	uint64_t row_seed = glb_siphash24(config->seed, row_be, 4);
	struct scored scored[BACKENDS];
	unsigned n = 0;

	for (uint16_t i = 0; i < config->backend_count; i++) {
		const struct glb_addr *addr = &config->backends[i].addr;
		uint8_t message[24];
		uint64_t digest;

		if (config->backends[i].state == GLB_STATE_INACTIVE)
			continue;
		memcpy(message, &row_seed, 8);
		memcpy(message + 8, addr->bytes, glb_addr_len(addr->family));
		digest = glb_siphash24(config->seed, message, 8 + glb_addr_len(addr->family));
		digest = __builtin_bswap64(digest);
		scored[n++] = (struct scored){naive_key(config, i, digest), digest, i};
	}
	qsort(scored, n, sizeof(scored[0]), by_score);
	for (unsigned i = 0; i < n; i++)
		order[i] = scored[i].index;
	return n;
}

static bool unhealthy(const struct glb_backend_config *backend)
{
	return backend->health == GLB_HEALTH_UNHEALTHY;
}

static bool is_available(const struct glb_backend_config *backend)
{
	return backend->state == GLB_STATE_ACTIVE && !unhealthy(backend) && backend->weight > 0;
}

/* The state that a backend is treated as: weight 0 is as good as draining. */
static int effective(const struct glb_backend_config *backend)
{
	return backend->state == GLB_STATE_ACTIVE && backend->weight == 0 ? GLB_STATE_DRAINING : backend->state;
}

/* Moves the candidates that fit (state, not unhealthy; or any unhealthy one for state -1) to the chain. */
static void take(const struct glb_backend_config *backends, const uint16_t *candidates, unsigned n, int state,
		 uint16_t *chain, unsigned *filled)
{
	for (unsigned i = 0; i < n; i++) {
		const struct glb_backend_config *backend = &backends[candidates[i]];

		if (state < 0 ? unhealthy(backend) : !unhealthy(backend) && effective(backend) == state)
			chain[(*filled)++] = candidates[i];
	}
}

static void naive_ordered(const struct glb_table_config *config, const uint16_t *order, unsigned n, uint16_t *chain)
{
	const struct glb_backend_config *backends = config->backends;
	unsigned candidates = n < config->hops ? n : config->hops, filled = 0;
	int rescue = -1;

	take(backends, order, candidates, GLB_STATE_ACTIVE, chain, &filled);
	for (unsigned i = n; i > 0; i--)
		if (is_available(&backends[order[i - 1]]))
			rescue = order[i - 1];
	if (rescue < 0) { /* nobody is available */
		take(backends, order, candidates, GLB_STATE_DRAINING, chain, &filled);
		take(backends, order, candidates, GLB_STATE_FILLING, chain, &filled);
	} else {
		if (filled == 0)
			chain[filled++] = (uint16_t)rescue;
		for (unsigned i = 0; i < candidates; i++) /* filling and draining ones, in row order */
			if (!unhealthy(&backends[order[i]]) && effective(&backends[order[i]]) != GLB_STATE_ACTIVE)
				chain[filled++] = order[i];
	}
	take(backends, order, candidates, -1, chain, &filled);
	while (filled < config->hops)
		chain[filled++] = GLB_HOP_NONE;
}

static void naive_glb(const struct glb_table_config *config, const uint16_t *order, unsigned n, uint16_t *chain)
{
	const struct glb_backend_config *a, *b;

	chain[0] = n > 0 ? order[0] : GLB_HOP_NONE;
	chain[1] = n > 1 ? order[1] : GLB_HOP_NONE;
	if (n < 2)
		return;
	a = &config->backends[order[0]];
	b = &config->backends[order[1]];
	if ((a->state == GLB_STATE_DRAINING || unhealthy(a)) && b->state == GLB_STATE_ACTIVE) {
		chain[0] = order[1];
		chain[1] = order[0];
	}
}

static void random_pool(uint64_t *random, struct glb_backend_config *backends, unsigned n)
{
	unsigned calm = make_random(random, 3); /* 0: everything mixed; else mostly active and healthy */

	memset(backends, 0, n * sizeof(*backends));
	for (unsigned i = 0; i < n; i++) {
		bool odd = calm == 0 || make_random(random, 8) == 0;

		backends[i].addr = make_random(random, 3) ? make_v4(10, 1, (uint8_t)i, (uint8_t)make_random(random, 256))
							  : make_v6((uint8_t)i);
		backends[i].state = (uint8_t)(odd ? make_random(random, 4) : GLB_STATE_ACTIVE);
		backends[i].health = (uint8_t)(odd ? make_random(random, 3) : GLB_HEALTH_HEALTHY);
		backends[i].weight = 1;
	}
}

/* All equal, close together, far apart, or mostly 0. */
static void random_weights(uint64_t *random, struct glb_backend_config *backends, unsigned n)
{
	static const uint32_t spans[] = {1, 1, 4, 100, 65536};
	const uint32_t span = spans[make_random(random, 5)], least = make_random(random, 2);

	for (unsigned i = 0; i < n; i++)
		backends[i].weight = (uint16_t)(span == 1 ? 1 + least : make_random(random, span));
}

static void equals_the_twin(void)
{
	static uint16_t rows[ROWS * GLB_HOPS_MAX];
	uint64_t random = 0x7ab1e;

	for (unsigned round = 0; round < 400; round++) {
		struct glb_backend_config backends[BACKENDS];
		struct glb_table_config config = {.backends = backends, .rows = ROWS};
		uint16_t order[BACKENDS], chain[GLB_HOPS_MAX + 1];

		config.backend_count = make_random(&random, round % 2 ? 6 : BACKENDS + 1);
		config.policy = round % 4 == 0 ? GLB_POLICY_GLB : GLB_POLICY_ORDERED;
		config.hops = config.policy == GLB_POLICY_GLB ? 2 : (uint8_t)(1 + make_random(&random, GLB_HOPS_MAX));
		for (unsigned i = 0; i < 16; i++)
			config.seed[i] = (uint8_t)make_random(&random, 256);
		random_pool(&random, backends, config.backend_count);
		if (config.policy == GLB_POLICY_ORDERED)
			random_weights(&random, backends, config.backend_count);
		CHECK(glb_table_build(&config, rows, NULL) == 0);
		for (uint32_t row = 0; row < ROWS; row++) {
			unsigned n = naive_order(&config, row, order);

			if (config.policy == GLB_POLICY_GLB)
				naive_glb(&config, order, n, chain);
			else
				naive_ordered(&config, order, n, chain);
			CHECK(memcmp(chain, &rows[row * config.hops], config.hops * sizeof(chain[0])) == 0);
		}
	}
}

/* glb-compatibility: the policies agree on a row while at most one of its first two backends is
 * draining or unhealthy and the other is active. */
static void policies_agree_while_little_is_wrong(void)
{
	static uint16_t ordered[ROWS * 2], glb[ROWS * 2];
	uint64_t random = 0xa9ee;
	unsigned compared = 0;

	for (unsigned round = 0; round < 100; round++) {
		struct glb_backend_config backends[BACKENDS];
		struct glb_table_config config = {.backends = backends, .backend_count = BACKENDS, .rows = ROWS,
						  .hops = 2, .policy = GLB_POLICY_ORDERED};

		random_pool(&random, backends, BACKENDS);
		CHECK(glb_table_build(&config, ordered, NULL) == 0);
		config.policy = GLB_POLICY_GLB;
		CHECK(glb_table_build(&config, glb, NULL) == 0);
		for (unsigned row = 0; row < ROWS; row++) {
			const struct glb_backend_config *a = &backends[glb[2 * row]], *b = &backends[glb[2 * row + 1]];

			if (a->state == GLB_STATE_FILLING || b->state == GLB_STATE_FILLING ||
			    (!is_available(a) && !is_available(b)))
				continue;
			compared++;
			CHECK(memcmp(&ordered[2 * row], &glb[2 * row], 2 * sizeof(glb[0])) == 0);
		}
	}
	CHECK(compared > 1000);
}

/* Draining, or failing, one backend of many: no row loses a member, other rows do not move. */
static void a_drain_moves_nothing_out_of_a_chain(void)
{
	static uint16_t before[ROWS * 3], after[ROWS * 3];
	struct glb_backend_config backends[BACKENDS] = {0};
	struct glb_table_config config = {.backends = backends, .backend_count = BACKENDS, .rows = ROWS, .hops = 3};
	unsigned was_first = 0;

	for (unsigned i = 0; i < BACKENDS; i++) {
		backends[i].addr = make_v4(10, 0, 0, (uint8_t)i);
		backends[i].weight = 3;
	}
	CHECK(glb_table_build(&config, before, NULL) == 0);
	backends[5].state = GLB_STATE_DRAINING;
	CHECK(glb_table_build(&config, after, NULL) == 0);
	for (unsigned row = 0; row < ROWS; row++) {
		const uint16_t *was = &before[3 * row], *is = &after[3 * row];

		CHECK(is[0] != 5);
		if (was[0] != 5 && was[1] != 5 && was[2] != 5) {
			CHECK(memcmp(was, is, 3 * sizeof(*was)) == 0);
			continue;
		}
		was_first += was[0] == 5;
		CHECK(is[2] == 5);
		CHECK(was[0] == 5 ? is[0] == was[1] : is[0] == was[0]);
	}
	CHECK(was_first > 0);
}

/* Enough work for eight threads, with equal weights and without. */
static void threads_make_no_difference(void)
{
	enum { MANY = 600, LONG = 8192, HOPS = 3 };
	static uint16_t one[LONG * HOPS], more[LONG * HOPS];
	static struct glb_backend_config backends[MANY];
	struct glb_table_config config = {.backends = backends, .backend_count = MANY, .rows = LONG, .hops = HOPS};

	for (unsigned i = 0; i < MANY; i++) {
		backends[i].addr = make_v4(10, 0, (uint8_t)(i >> 8), (uint8_t)i);
		backends[i].weight = 1;
	}
	for (unsigned weighted = 0; weighted < 2; weighted++) {
		backends[7].weight = (uint16_t)(1 + weighted);
		config.threads = 1;
		CHECK(glb_table_build(&config, one, NULL) == 0);
		for (config.threads = 0; config.threads < 10; config.threads += 3) {
			memset(more, 0, sizeof(more));
			CHECK(glb_table_build(&config, more, NULL) == 0);
			CHECK(memcmp(one, more, sizeof(one)) == 0);
		}
	}
}

static void wrong_configurations_are_refused(void)
{
	static const struct {
		uint32_t rows, backends;
		uint8_t hops, policy, family, state, health;
		const char *field;
	} wrong[] = {
		{0, 1, 2, 0, 4, 0, 0, "rows"},       {255, 1, 2, 0, 4, 0, 0, "rows"},
		{128, 1, 2, 0, 4, 0, 0, "rows"},     {1 << 21, 1, 2, 0, 4, 0, 0, "rows"},
		{256, 1, 0, 0, 4, 0, 0, "hops"},     {256, 1, 9, 0, 4, 0, 0, "hops"},
		{256, 1, 3, 1, 4, 0, 0, "hops"},     {256, 1, 2, 2, 4, 0, 0, "policy"},
		{256, 65535, 2, 0, 4, 0, 0, "backends:"}, {256, 1, 2, 0, 5, 0, 0, "backends[0].address"},
		{256, 1, 2, 0, 4, 4, 0, "backends[0].state"}, {256, 1, 2, 0, 4, 0, 3, "backends[0].health"},
	};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct glb_backend_config backend = {.addr.family = wrong[i].family, .state = wrong[i].state,
						     .health = wrong[i].health};
		struct glb_table_config config = {.backends = &backend, .backend_count = wrong[i].backends,
						  .rows = wrong[i].rows, .hops = wrong[i].hops, .policy = wrong[i].policy};
		struct glb_error error;

		CHECK(glb_table_build(&config, NULL, &error) == -EINVAL);
		CHECK(error.code == -EINVAL);
		CHECK(strncmp(error.text, wrong[i].field, strlen(wrong[i].field)) == 0);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"random pools equal the naive twin", equals_the_twin},
		{"policies agree while little is wrong", policies_agree_while_little_is_wrong},
		{"a drain moves nothing out of a chain", a_drain_moves_nothing_out_of_a_chain},
		{"threads make no difference", threads_make_no_difference},
		{"wrong configurations are refused", wrong_configurations_are_refused},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
