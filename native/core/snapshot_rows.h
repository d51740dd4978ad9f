/* Are the rows of a table chains of its pool? Internal to libglb. */
#ifndef GLB_CORE_SNAPSHOT_ROWS_H
#define GLB_CORE_SNAPSHOT_ROWS_H

#include <glb/table.h>

/* A row's `hops` places: positions below `backends`, each once; GLB_HOP_NONE only at the end. Returns the first row that is none,
 * or `count`. `hops` is from 1 to GLB_HOPS_MAX. */
uint32_t glb_rows_check(const uint16_t *rows, uint32_t count, unsigned hops, uint32_t backends);

#endif
