/* Maglev tables: each row's backend by the paper's population, with weights; internal to libglb. docs/wire/hashing.md.
 *
 * A row has two places: the backend that the table of the serving ones gives it and, where that is another, the one that it
 * would have if every backend served. So a drain or a failure, and filling, leave the other backends' connections a second chance.
 */
#ifndef GLB_CORE_MAGLEV_H
#define GLB_CORE_MAGLEV_H

#include <glb/table.h>

enum { GLB_MAGLEV_HOPS_MAX = 2 };

bool glb_is_prime(uint32_t n);

/* The prime within [GLB_MAGLEV_ROWS_MIN, GLB_TABLE_ROWS_MAX] that is nearest to n; of two, the larger. */
uint32_t glb_nearest_prime(uint32_t n);

/* Fills the rows of a configuration that has been checked. `rank` is from glb_chain_rank(): those of the lowest rank
 * that occurs serve. Returns 0 or -ENOMEM. */
int glb_maglev_build(const struct glb_table_config *config, const uint8_t *rank, uint16_t *rows_out);

#endif
