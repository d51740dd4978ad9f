/* Tables whose rows remember: the own chains, and behind them those of former states; internal to libglb. */
#ifndef GLB_CORE_PRIOR_H
#define GLB_CORE_PRIOR_H

#include <glb/snapshot.h>

/* What a table of a snapshot is made from. */
struct glb_table_spec {
	const struct glb_pool_config *pool;
	uint32_t pool_index;
	uint32_t rows;
	uint8_t hops;      /* of the own chains; 0: it has none, as the table of a former look-up */
	uint8_t policy;
	uint8_t algorithm;
	uint8_t seed[16];
	const struct glb_prior_config *priors;
	uint32_t prior_count;
};

/* The table of a service's own look-up, and of its alt one, which it must have. */
struct glb_table_spec glb_spec_own(const struct glb_config *config, const struct glb_service_config *service);
struct glb_table_spec glb_spec_alt(const struct glb_config *config, const struct glb_alt_config *alt);

/* Whether two specs give the same bytes. */
bool glb_spec_equal(const struct glb_table_spec *a, const struct glb_table_spec *b);

/* Builds the rows of a spec that has priors, with the threads and the cache of `config`. *rows_out is allocated: rows × *hops_out, the longest chain, own hops at least. Returns 0,
 * -EINVAL or -ENOMEM. A row: own hops, then those of the priors, newest first, each backend once, at most GLB_HOPS_MAX; where a prior adds
 * to a row, what is unhealthy goes behind the rest, own ones first, since a dead hop hides everything behind it. */
int glb_prior_build(const struct glb_table_spec *spec, const struct glb_config *config, uint16_t **rows_out, uint8_t *hops_out,
		    struct glb_error *error);

/* Checks the priors and the alt look-up of service `s`, all else being right. Returns 0 or -EINVAL. */
int glb_prior_check(const struct glb_config *config, uint32_t s, struct glb_error *error);

#endif
