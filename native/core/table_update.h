/* A row table from the one of a former state of the same pool; internal to libglb. */
#ifndef GLB_CORE_TABLE_UPDATE_H
#define GLB_CORE_TABLE_UPDATE_H

#include <glb/table.h>

/* A table as it was built: what of its backends has a part in that, and its rows. */
struct glb_former {
	const struct glb_backend_config *backends; /* their names may be gone */
	uint32_t backend_count;
	const uint8_t *rank;  /* [backend_count] from glb_chain_rank() */
	const uint16_t *rows;
};

/* How far apart the backends are, roughly: 0 if and only if they give the same rows. Cheap, to choose a former table by. */
uint32_t glb_former_distance(const struct glb_former *former, const struct glb_table_config *config);

/* Fills the rows of `config`, which was checked and has algorithm rendezvous, from those of a former state with the same rows, hops,
 * policy and seed: those that glb_table_build() makes, to the byte. Only rows that can differ are made anew. Returns 1, or 0
 * where that would not be less work, with nothing done, or -ENOMEM. */
int glb_table_update(const struct glb_former *former, const struct glb_table_config *config, const uint8_t *rank,
		     uint16_t *rows_out);

#endif
