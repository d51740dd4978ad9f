/* Rows that remember: former states of a service's rows, appended to its chains. ARCHITECTURE.md, "Chains".
 *
 * Each state is built like any other table, with what the backends were wanted to be then and the health that they have
 * now; what is kept is who was in which chain.
 */
#include "prior.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glb/wire.h>

#include "config_check.h"

struct glb_table_spec glb_spec_own(const struct glb_config *config, const struct glb_service_config *service)
{
	struct glb_table_spec spec = {
		.pool = &config->pools[service->pool],
		.pool_index = service->pool,
		.rows = service->rows,
		.hops = service->hops,
		.policy = service->policy,
		.algorithm = service->algorithm,
		.priors = service->priors,
		.prior_count = service->prior_count,
	};

	memcpy(spec.seed, service->seed, sizeof(spec.seed));
	return spec;
}

struct glb_table_spec glb_spec_alt(const struct glb_config *config, const struct glb_alt_config *alt)
{
	return (struct glb_table_spec){
		.pool = &config->pools[alt->pool],
		.pool_index = alt->pool,
		.rows = alt->rows,
		.policy = GLB_POLICY_ORDERED,
		.algorithm = alt->priors[0].algorithm,
		.priors = alt->priors,
		.prior_count = alt->prior_count,
	};
}

static bool same_prior(const struct glb_prior_config *a, const struct glb_prior_config *b)
{
	if (a->hops != b->hops || a->policy != b->policy || a->algorithm != b->algorithm ||
	    a->member_count != b->member_count || memcmp(a->seed, b->seed, sizeof(a->seed)) != 0)
		return false;
	for (uint32_t m = 0; m < a->member_count; m++)
		if (a->members[m].backend != b->members[m].backend || a->members[m].weight != b->members[m].weight ||
		    a->members[m].state != b->members[m].state)
			return false;
	return true;
}

bool glb_spec_equal(const struct glb_table_spec *a, const struct glb_table_spec *b)
{
	if (a->pool_index != b->pool_index || a->rows != b->rows || a->hops != b->hops || a->policy != b->policy ||
	    a->algorithm != b->algorithm || memcmp(a->seed, b->seed, sizeof(a->seed)) != 0 ||
	    a->prior_count != b->prior_count)
		return false;
	for (uint32_t p = 0; p < a->prior_count; p++)
		if (!same_prior(&a->priors[p], &b->priors[p]))
			return false;
	return true;
}

/* ---- building ---- */

struct work {
	const struct glb_table_spec *spec;
	const struct glb_config *config;     /* threads and cache */
	struct glb_backend_config *backends; /* the pool's, as a former state had them */
	uint16_t *state;                     /* rows of one state */
	uint16_t *chains;                    /* [rows × GLB_HOPS_MAX] the result so far, GLB_HOP_NONE behind each chain */
};

static void append(uint16_t *chain, const uint16_t *hops, unsigned n)
{
	unsigned len = 0;

	while (len < GLB_HOPS_MAX && chain[len] != GLB_HOP_NONE)
		len++;
	for (unsigned i = 0; i < n && hops[i] != GLB_HOP_NONE && len < GLB_HOPS_MAX; i++) {
		unsigned at = 0;

		while (at < len && chain[at] != hops[i])
			at++;
		if (at == len)
			chain[len++] = hops[i];
	}
}

static int append_state(struct work *work, const struct glb_table_config *table, struct glb_error *error)
{
	const int status = glb_table_build(table, work->state, error);

	for (uint32_t row = 0; status == 0 && row < table->rows; row++)
		append(work->chains + (size_t)row * GLB_HOPS_MAX, work->state + (size_t)row * table->hops, table->hops);
	return status;
}

static int append_own(struct work *work, struct glb_error *error)
{
	const struct glb_table_spec *spec = work->spec;
	struct glb_table_config table = {
		.backends = spec->pool->backends, .backend_count = spec->pool->backend_count, .rows = spec->rows,
		.hops = spec->hops, .policy = spec->policy, .algorithm = spec->algorithm,
		.threads = work->config->threads, .cache = work->config->cache,
	};

	memcpy(table.seed, spec->seed, sizeof(table.seed));
	return append_state(work, &table, error);
}

static int append_prior(struct work *work, const struct glb_prior_config *prior, struct glb_error *error)
{
	const struct glb_table_spec *spec = work->spec;
	struct glb_table_config table = {
		.backends = work->backends, .backend_count = spec->pool->backend_count, .rows = spec->rows,
		.hops = prior->hops, .policy = prior->policy, .algorithm = prior->algorithm,
		.threads = work->config->threads, .cache = work->config->cache,
	};

	memcpy(table.seed, prior->seed, sizeof(table.seed));
	for (uint32_t b = 0; b < spec->pool->backend_count; b++) {
		work->backends[b] = spec->pool->backends[b];
		work->backends[b].state = GLB_STATE_INACTIVE;
	}
	for (uint32_t m = 0; m < prior->member_count; m++) {
		work->backends[prior->members[m].backend].state = prior->members[m].state;
		work->backends[prior->members[m].backend].weight = prior->members[m].weight;
	}
	return append_state(work, &table, error);
}

/* Puts what is unhealthy behind the rest of a chain; returns the chain's length. */
static unsigned settle(const struct glb_backend_config *backends, uint16_t *chain)
{
	uint16_t unhealthy[GLB_HOPS_MAX];
	unsigned kept = 0, late = 0;

	for (unsigned i = 0; i < GLB_HOPS_MAX && chain[i] != GLB_HOP_NONE; i++) {
		if (backends[chain[i]].health == GLB_HEALTH_UNHEALTHY)
			unhealthy[late++] = chain[i];
		else
			chain[kept++] = chain[i];
	}
	memcpy(&chain[kept], unhealthy, late * sizeof(chain[0]));
	return kept + late;
}

/* Brings the chains next to each other; returns how wide they are now. */
static unsigned narrow(struct work *work)
{
	const struct glb_table_spec *spec = work->spec;
	unsigned width = spec->hops > 0 ? spec->hops : 1;

	for (uint32_t row = 0; row < spec->rows; row++) {
		const unsigned len = settle(spec->pool->backends, work->chains + (size_t)row * GLB_HOPS_MAX);

		if (len > width)
			width = len;
	}
	for (uint32_t row = 1; row < spec->rows; row++)
		memmove(work->chains + (size_t)row * width, work->chains + (size_t)row * GLB_HOPS_MAX,
			width * sizeof(uint16_t));
	return width;
}

int glb_prior_build(const struct glb_table_spec *spec, const struct glb_config *config, uint16_t **rows_out, uint8_t *hops_out,
		    struct glb_error *error)
{
	const size_t bytes = (size_t)spec->rows * GLB_HOPS_MAX * sizeof(uint16_t);
	struct work work = {
		.spec = spec,
		.config = config,
		.backends = calloc(spec->pool->backend_count + 1ul, sizeof(*work.backends)),
		.state = malloc(bytes),
		.chains = malloc(bytes),
	};
	int status = 0;

	if (!work.backends || !work.state || !work.chains) {
		status = glb_error_set(error, -ENOMEM, "out of memory for a table of %u rows", spec->rows);
	} else {
		memset(work.chains, 0xff, bytes);
		if (spec->hops > 0)
			status = append_own(&work, error);
		for (uint32_t p = 0; status == 0 && p < spec->prior_count; p++)
			status = append_prior(&work, &spec->priors[p], error);
	}
	if (status == 0) {
		*hops_out = (uint8_t)narrow(&work);
		*rows_out = work.chains;
		work.chains = NULL;
	}
	free(work.backends);
	free(work.state);
	free(work.chains);
	return status;
}

/* ---- checking ---- */

static int check_priors(const char *where, const struct glb_pool_config *pool, uint32_t rows,
			const struct glb_prior_config *priors, uint32_t count, struct glb_error *error)
{
	for (uint32_t p = 0; p < count; p++) {
		const struct glb_prior_config *prior = &priors[p];
		char here[64];
		int status;

		snprintf(here, sizeof(here), "%spriors[%u].", where, p);
		status = glb_table_check_shape(here, rows, prior->hops, prior->policy, prior->algorithm, error);
		if (status != 0)
			return status;
		for (uint32_t m = 0; m < prior->member_count; m++)
			if (prior->members[m].backend >= pool->backend_count || prior->members[m].state > GLB_STATE_INACTIVE)
				return glb_error_set(error, -EINVAL, "%smembers[%u]: no such backend or state", here, m);
	}
	return 0;
}

int glb_prior_check(const struct glb_config *config, uint32_t s, struct glb_error *error)
{
	const struct glb_service_config *service = &config->services[s];
	const struct glb_alt_config *alt = service->alt;
	char where[48];
	int status;

	snprintf(where, sizeof(where), "services[%u].", s);
	if (service->policy == GLB_POLICY_GLB && (service->prior_count > 0 || alt != NULL))
		return glb_error_set(error, -EINVAL, "%spolicy: glb keeps to GLB's rows, without those of former states", where);
	status = check_priors(where, &config->pools[service->pool], service->rows, service->priors, service->prior_count,
			      error);
	if (status != 0 || alt == NULL)
		return status;
	if (service->alt_hash_fields != 0)
		return glb_error_set(error, -EINVAL, "%salt_hash_fields: there is only one alt look-up, and alt is one", where);
	snprintf(where, sizeof(where), "services[%u].alt.", s);
	if (alt->pool >= config->pool_count)
		return glb_error_set(error, -EINVAL, "%spool: there is no pool %u", where, alt->pool);
	if (alt->hash_fields == 0 || alt->hash_fields > 0xf)
		return glb_error_set(error, -EINVAL, "%shash_fields: 0x%x names no field, or an unknown one", where,
				     alt->hash_fields);
	if (alt->source_bits_v4 > 32 || alt->source_bits_v6 > 128)
		return glb_error_set(error, -EINVAL, "%ssource_bits: %u or %u is longer than an address", where,
				     alt->source_bits_v4, alt->source_bits_v6);
	if (alt->prior_count == 0)
		return glb_error_set(error, -EINVAL, "%spriors: there are none", where);
	return check_priors(where, &config->pools[alt->pool], alt->rows, alt->priors, alt->prior_count, error);
}
