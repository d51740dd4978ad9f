/* Builds a row table: checks the configuration, then scores and chains row by row. */
#include <glb/table.h>

#include <errno.h>
#include <stdlib.h>

#include "chain.h"
#include "config_check.h"

int glb_table_build(const struct glb_table_config *config, uint16_t *rows_out, struct glb_error *error)
{
	struct glb_rendezvous rendezvous;
	uint8_t *rank;
	int status = glb_table_check_shape("", config->rows, config->hops, config->policy, error);

	if (status == 0)
		status = glb_table_check_backends("", config->backends, config->backend_count, error);
	if (status != 0)
		return status;
	rank = malloc(config->backend_count + 1);
	if (rank == NULL || glb_rendezvous_init(&rendezvous, config) != 0) {
		free(rank);
		return glb_error_set(error, -ENOMEM, "out of memory for a table of %u backends",
				     config->backend_count);
	}
	glb_chain_rank(config->backends, config->backend_count, rank);
	for (uint32_t row = 0; row < config->rows; row++) {
		glb_rendezvous_score(&rendezvous, row);
		glb_chain_build(config, &rendezvous, rank, rows_out + (size_t)row * config->hops);
	}
	glb_rendezvous_free(&rendezvous);
	free(rank);
	return 0;
}
