/* Builds a row table: checks the configuration, then has the algorithm fill the rows. */
#include <glb/table.h>

#include <errno.h>
#include <stdlib.h>

#include "chain.h"
#include "config_check.h"
#include "maglev.h"

static int build_rendezvous(const struct glb_table_config *config, const uint8_t *rank, uint16_t *rows_out)
{
	struct glb_rendezvous rendezvous;

	if (glb_rendezvous_init(&rendezvous, config) != 0)
		return -ENOMEM;
	for (uint32_t row = 0; row < config->rows; row++) {
		glb_rendezvous_score(&rendezvous, row);
		glb_chain_build(config, &rendezvous, rank, rows_out + (size_t)row * config->hops);
	}
	glb_rendezvous_free(&rendezvous);
	return 0;
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
		status = config->algorithm == GLB_ALGORITHM_MAGLEV ? glb_maglev_build(config, rank, rows_out)
								   : build_rendezvous(config, rank, rows_out);
		free(rank);
	}
	if (rank == NULL || status != 0)
		return glb_error_set(error, -ENOMEM, "out of memory for a table of %u backends", config->backend_count);
	return 0;
}
