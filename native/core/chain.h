/* From a row's order to its chain: the policies; internal to libglb. */
#ifndef GLB_CORE_CHAIN_H
#define GLB_CORE_CHAIN_H

#include "rendezvous.h"

/* Where a backend stands in a chain of policy `ordered`: lower ranks come first. Rank 0 means
 * available; the rest depends on whether any backend of the pool is. */
void glb_chain_rank(const struct glb_backend_config *backends, uint32_t count, uint8_t *rank);

/* Writes the chain of the row that `r` has scored: config->hops places, GLB_HOP_NONE at the end where
 * there are too few backends. `rank` is from glb_chain_rank() and only read by policy `ordered`. */
void glb_chain_build(const struct glb_table_config *config, const struct glb_rendezvous *r,
		     const uint8_t *rank, uint16_t *chain);

#endif
