/* Builds a row table: checks the configuration, then has the algorithm fill the rows. */
#include <glb/table.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "config_check.h"
#include "maglev.h"
#include "parallel.h"
#include "table_cache.h"

enum {
	PIECE_ROWS = 1024,
	THREAD_SCORES = 1 << 19, /* that are worth a thread: more than a millisecond */
};

struct build {
	const struct glb_table_config *config;
	const uint8_t *rank;
	uint16_t *rows;
	struct glb_pieces pieces;
};

static int build_pieces(void *context)
{
	struct build *build = context;
	const struct glb_table_config *config = build->config;
	struct glb_rendezvous rendezvous;
	uint32_t row, last;

	if (glb_rendezvous_init(&rendezvous, config) != 0)
		return -ENOMEM;
	while (glb_pieces_take(&build->pieces, &row, &last)) {
		for (; row < last; row++) {
			glb_rendezvous_score(&rendezvous, row);
			glb_chain_build(config, &rendezvous, build->rank, build->rows + (size_t)row * config->hops);
		}
	}
	glb_rendezvous_free(&rendezvous);
	return 0;
}

static int build_rendezvous(const struct glb_table_config *config, const uint8_t *rank, uint16_t *rows_out)
{
	struct build build = {
		.config = config, .rank = rank, .rows = rows_out, .pieces = {.end = config->rows, .size = PIECE_ROWS},
	};
	const uint64_t worth = (uint64_t)config->rows * config->backend_count / THREAD_SCORES + 1;
	const unsigned threads = glb_threads(config->threads);

	return glb_parallel(worth < threads ? (unsigned)worth : threads, build_pieces, &build);
}

/* From a table that was kept, or else from nothing. */
static int make(const struct glb_table_config *config, const uint8_t *rank, uint16_t *rows_out)
{
	const bool maglev = config->algorithm == GLB_ALGORITHM_MAGLEV;
	const struct glb_former *former = NULL;
	uint32_t distance;
	int status = 0;

	if (config->cache != NULL)
		former = glb_table_cache_find(config->cache, config, &distance);
	if (former != NULL && distance == 0) {
		memcpy(rows_out, former->rows, (size_t)config->rows * config->hops * sizeof(*rows_out));
		return 0;
	}
	if (former != NULL && !maglev)
		status = glb_table_update(former, config, rank, rows_out);
	if (status == 0)
		status = maglev ? glb_maglev_build(config, rank, rows_out) : build_rendezvous(config, rank, rows_out);
	if (status >= 0 && config->cache != NULL)
		glb_table_cache_keep(config->cache, config, rank, rows_out);
	return status < 0 ? status : 0;
}

int glb_table_build(const struct glb_table_config *config, uint16_t *rows_out, struct glb_error *error)
{
	uint8_t *rank;
	int status = glb_table_check_shape("", config->rows, config->hops, config->policy, config->algorithm,
					   error);

	if (status == 0)
		status = glb_table_check_backends("", config->backends, config->backend_count, error);
	if (status != 0)
		return status;
	rank = malloc(config->backend_count + 1);
	if (rank != NULL) {
		glb_chain_rank(config->backends, config->backend_count, rank);
		status = make(config, rank, rows_out);
		free(rank);
	}
	if (rank == NULL || status != 0)
		return glb_error_set(error, -ENOMEM, "out of memory for a table of %u backends", config->backend_count);
	return 0;
}
