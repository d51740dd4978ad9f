/* Rows that remember: what priors add to them, by hand and at random against a list that is put together backend by backend. */
#include "check.h"
#include "snapshot_make.h"

enum { MEMBERS = MAKE_BACKENDS, PRIORS = 4 };

struct past {
	struct glb_member_config members[PRIORS][MEMBERS];
	struct glb_prior_config priors[PRIORS];
};

/* A former state with the first `count` backends of pool 0, as they are now. */
static struct glb_prior_config *remember(struct past *past, const struct make *m, unsigned p, unsigned count)
{
	for (unsigned b = 0; b < count; b++)
		past->members[p][b] = (struct glb_member_config){
			.backend = b, .weight = m->backends[0][b].weight, .state = m->backends[0][b].state};
	past->priors[p] = (struct glb_prior_config){.members = past->members[p], .member_count = count, .hops = 2};
	memcpy(past->priors[p].seed, m->services[0].seed, 16);
	return &past->priors[p];
}

static unsigned length(const struct glb_snapshot *s, uint32_t table, uint32_t row)
{
	const uint16_t *chain = glb_snapshot_row(s, table, row);
	unsigned n = 0;

	while (n < s->tables[table].hops && chain[n] != GLB_HOP_NONE)
		n++;
	return n;
}

static bool begins_with(const struct glb_snapshot *s, const struct glb_snapshot *whole, uint32_t row)
{
	return memcmp(glb_snapshot_row(s, 0, row), glb_snapshot_row(whole, 0, row), 2 * sizeof(uint16_t)) == 0;
}

static bool has(const struct glb_snapshot *s, uint32_t table, uint32_t row, uint16_t hop)
{
	for (unsigned i = 0; i < length(s, table, row); i++)
		if (glb_snapshot_row(s, table, row)[i] == hop)
			return true;
	return false;
}

static void a_state_like_the_present_one_changes_no_byte(void)
{
	struct glb_buffer plain_bytes, bytes;
	struct glb_snapshot plain, s;
	struct past past;
	struct make m;

	make_init(&m, 1, 5, 2);
	CHECK(make_open(&m, &plain_bytes, &plain));
	m.services[0].priors = m.services[1].priors = remember(&past, &m, 0, 5);
	m.services[0].prior_count = m.services[1].prior_count = 1;
	CHECK(make_open(&m, &bytes, &s));
	CHECK(bytes.len == plain_bytes.len && memcmp(bytes.data, plain_bytes.data, bytes.len) == 0);
	glb_buffer_free(&plain_bytes);
	glb_buffer_free(&bytes);
}

static void a_removed_backend_stays_behind(void)
{
	struct glb_buffer before_bytes, plain_bytes, bytes;
	struct glb_snapshot before, plain, s;
	struct glb_leaver out[4];
	struct past past;
	struct make m;
	unsigned longer = 0;

	make_init(&m, 1, 6, 1);
	make_one_family(&m);
	CHECK(make_open(&m, &before_bytes, &before));
	remember(&past, &m, 0, 6);
	m.backends[0][1].state = GLB_STATE_INACTIVE;
	CHECK(make_open(&m, &plain_bytes, &plain));
	CHECK(glb_snapshot_leavers(&before, &plain, out, 4) == 1 && out[0].backend == 2);
	m.services[0].priors = past.priors;
	m.services[0].prior_count = 1;
	CHECK(make_open(&m, &bytes, &s));
	CHECK(glb_snapshot_leavers(&before, &s, out, 4) == 0);
	CHECK(s.tables[0].hops == 3);
	for (uint32_t row = 0; row < 256; row++) {
		const bool was = has(&before, 0, row, 1);

		CHECK(begins_with(&plain, &s, row));
		CHECK(has(&s, 0, row, 1) == was && length(&s, 0, row) == (was ? 3 : 2));
		longer += was;
	}
	CHECK(longer > 50 && longer < 130); /* a third of 256 */
	glb_buffer_free(&before_bytes);
	glb_buffer_free(&plain_bytes);
	glb_buffer_free(&bytes);
}

static void a_dead_hop_hides_no_prior_one(void)
{
	struct glb_buffer bytes;
	struct glb_snapshot s;
	struct past past;
	struct make m;

	make_init(&m, 1, 4, 1);
	m.services[0].priors = remember(&past, &m, 0, 4);
	m.services[0].prior_count = 1;
	m.backends[0][2].state = m.backends[0][3].state = GLB_STATE_INACTIVE;
	m.backends[0][0].health = GLB_HEALTH_UNHEALTHY;
	CHECK(make_open(&m, &bytes, &s));
	for (uint32_t row = 0; row < 256; row++) {
		const unsigned n = length(&s, 0, row);

		CHECK(glb_snapshot_row(&s, 0, row)[0] == 1);
		CHECK(n >= 2 && glb_snapshot_row(&s, 0, row)[n - 1] == 0);
	}
	glb_buffer_free(&bytes);
}

static void another_look_up_has_a_table_of_its_own(void)
{
	struct glb_buffer before_bytes, bytes;
	struct glb_snapshot before, s;
	struct glb_leaver out[4];
	struct past past;
	struct make m;
	struct glb_alt_config alt = {.pool = 0, .rows = 256, .hash_fields = GLB_HASH_SRC_ADDR, .prior_count = 1};

	make_init(&m, 2, 3, 1);
	CHECK(make_open(&m, &before_bytes, &before));
	memcpy(alt.hash_key, m.services[0].hash_key, 16);
	alt.priors = remember(&past, &m, 0, 3);
	m.services[0].rows = 1024;
	m.services[0].pool = 1;
	m.services[0].alt = &alt;
	CHECK(make_open(&m, &bytes, &s));
	CHECK(s.table_count == 2 && s.services[0].table == 0 && s.services[0].alt_table == 1);
	CHECK(s.tables[0].rows == 1024 && s.tables[0].backend_base == 3 && s.tables[1].rows == 256 && s.tables[1].hops == 2);
	CHECK(s.services[0].alt_hash_fields == GLB_HASH_SRC_ADDR && s.services[0].alt_source_bits_v4 == 32);
	CHECK(memcmp(s.rows + s.tables[1].row_base, before.rows, 512 * sizeof(uint16_t)) == 0);
	CHECK(glb_snapshot_leavers(&before, &s, out, 4) == 0);
	glb_buffer_free(&before_bytes);
	glb_buffer_free(&bytes);
}

static bool refused(struct make *m, const char *text)
{
	struct glb_error error = {.code = 0};
	struct glb_buffer bytes;
	const int status = glb_snapshot_compile(&m->config, &bytes, &error);

	glb_buffer_free(&bytes);
	if (status == 0 || strncmp(error.text, text, strlen(text)) != 0)
		printf("# %s\n", status == 0 ? "taken" : error.text);
	return status != 0 && strncmp(error.text, text, strlen(text)) == 0;
}

static void what_does_not_fit_is_refused(void)
{
	struct glb_alt_config alt = {.rows = 256, .hash_fields = 1, .prior_count = 1};
	struct past past;
	struct make m;

	make_init(&m, 1, 4, 1);
	m.services[0].priors = alt.priors = remember(&past, &m, 0, 4);
	m.services[0].prior_count = 1;
	m.services[0].policy = GLB_POLICY_GLB;
	CHECK(refused(&m, "services[0].policy: "));
	m.services[0].policy = GLB_POLICY_ORDERED;
	past.members[0][2].backend = 4;
	CHECK(refused(&m, "services[0].priors[0].members[2]: "));
	past.members[0][2].backend = 2;
	past.priors[0].hops = 9;
	CHECK(refused(&m, "services[0].priors[0].hops: "));
	past.priors[0].hops = 2;
	past.priors[0].algorithm = GLB_ALGORITHM_MAGLEV;
	CHECK(refused(&m, "services[0].priors[0].rows: "));
	past.priors[0].algorithm = GLB_ALGORITHM_RENDEZVOUS;
	m.services[0].alt = &alt;
	alt.pool = 1;
	CHECK(refused(&m, "services[0].alt.pool: "));
	alt.pool = 0;
	alt.hash_fields = 16;
	CHECK(refused(&m, "services[0].alt.hash_fields: "));
	alt.hash_fields = 1;
	alt.rows = 300;
	CHECK(refused(&m, "services[0].alt.priors[0].rows: "));
	alt.rows = 256;
	m.services[0].alt_hash_fields = 2;
	CHECK(refused(&m, "services[0].alt_hash_fields: "));
	m.services[0].alt_hash_fields = 0;
	alt.prior_count = 0;
	CHECK(refused(&m, "services[0].alt.priors: "));
}

/* ---- at random ---- */

static void random_states(struct make *m, uint64_t *random)
{
	for (unsigned b = 0; b < m->pools[0].backend_count; b++) {
		m->backends[0][b].state = (uint8_t)(make_random(random, 2) ? 0 : make_random(random, 4));
		m->backends[0][b].weight = (uint16_t)(make_random(random, 3) ? 1 : make_random(random, 4));
	}
}

/* The chains of the present states of `m` alone. */
static void build(const struct make *m, const struct glb_service_config *shape, uint16_t *rows)
{
	struct glb_table_config table = {
		.backends = m->backends[0], .backend_count = m->pools[0].backend_count, .rows = shape->rows,
		.hops = shape->hops, .algorithm = shape->algorithm};

	memcpy(table.seed, shape->seed, 16);
	CHECK(glb_table_build(&table, rows, NULL) == 0);
}

static void agrees_with_a_list(void)
{
	enum { ROWS = 256, STATES = PRIORS + 1 };
	static uint16_t rows[STATES][ROWS * GLB_HOPS_MAX];
	uint64_t random = 0x9a57;

	for (unsigned round = 0; round < 200; round++) {
		struct glb_service_config shapes[STATES];
		const bool maglev = make_random(&random, 3) == 0;
		struct glb_buffer bytes;
		struct glb_snapshot s;
		struct past past;
		struct make m;

		make_init(&m, 1, 2 + make_random(&random, 7), 1);
		for (unsigned b = 0; b < m.pools[0].backend_count; b++)
			m.backends[0][b].health = (uint8_t)make_random(&random, 3);
		for (unsigned p = STATES; p-- > 0;) { /* state 0 is the present one */
			shapes[p] = m.services[0];
			shapes[p].algorithm = maglev ? GLB_ALGORITHM_MAGLEV : GLB_ALGORITHM_RENDEZVOUS;
			shapes[p].rows = maglev ? 251 : ROWS;
			shapes[p].hops = (uint8_t)(1 + make_random(&random, maglev ? 2 : 3));
			shapes[p].seed[0] = (uint8_t)make_random(&random, 2);
			random_states(&m, &random);
			build(&m, &shapes[p], rows[p]);
			if (p > 0) {
				struct glb_prior_config *prior = remember(&past, &m, p - 1, m.pools[0].backend_count);

				prior->hops = shapes[p].hops;
				prior->algorithm = shapes[p].algorithm;
				prior->seed[0] = shapes[p].seed[0];
			}
		}
		m.services[0] = shapes[0];
		m.services[0].priors = past.priors;
		m.services[0].prior_count = PRIORS;
		CHECK(make_open(&m, &bytes, &s));
		for (uint32_t row = 0; row < shapes[0].rows; row++) {
			uint16_t list[GLB_HOPS_MAX], sorted[GLB_HOPS_MAX];
			unsigned n = 0, k = 0;

			for (unsigned p = 0; p < STATES; p++) {
				for (unsigned i = 0; i < shapes[p].hops; i++) {
					const uint16_t hop = rows[p][row * shapes[p].hops + i];
					bool known = hop == GLB_HOP_NONE || n == GLB_HOPS_MAX;

					for (unsigned j = 0; j < n; j++)
						known |= list[j] == hop;
					if (!known)
						list[n++] = hop;
				}
			}
			for (unsigned dead = 0; dead < 2; dead++)
				for (unsigned i = 0; i < n; i++)
					if ((m.backends[0][list[i]].health == GLB_HEALTH_UNHEALTHY) == (dead == 1))
						sorted[k++] = list[i];
			CHECK(length(&s, 0, row) == n);
			CHECK(memcmp(glb_snapshot_row(&s, 0, row), sorted, n * sizeof(sorted[0])) == 0);
		}
		glb_buffer_free(&bytes);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"a state like the present one changes no byte", a_state_like_the_present_one_changes_no_byte},
		{"a backend that is taken out stays behind", a_removed_backend_stays_behind},
		{"a dead hop hides no prior one", a_dead_hop_hides_no_prior_one},
		{"another look-up has a table of its own", another_look_up_has_a_table_of_its_own},
		{"what does not fit is refused", what_does_not_fit_is_refused},
		{"random states agree with a list", agrees_with_a_list},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
