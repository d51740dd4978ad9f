/* Tables kept from one compilation to the next (glb/table.h); internal to libglb. */
#ifndef GLB_CORE_TABLE_CACHE_H
#define GLB_CORE_TABLE_CACHE_H

#include "table_update.h"

/* Tables that are neither found nor kept between a begin and its end go away at the end. Both do nothing for NULL. */
void glb_table_cache_begin(struct glb_table_cache *cache);
void glb_table_cache_end(struct glb_table_cache *cache);

/* The kept table that is nearest to this configuration, which has the same rows, hops, policy, algorithm and seed, or NULL; *distance
 * is 0 where it is the same. Valid until the next call. */
const struct glb_former *glb_table_cache_find(struct glb_table_cache *cache, const struct glb_table_config *config,
					      uint32_t *distance);

/* Keeps a copy of the rows. Where memory is short, nothing is kept. */
void glb_table_cache_keep(struct glb_table_cache *cache, const struct glb_table_config *config, const uint8_t *rank,
			  const uint16_t *rows);

#endif
