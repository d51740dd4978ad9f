/* The structural checks behind glb_snapshot_open(); internal to libglb. */
#ifndef GLB_CORE_SNAPSHOT_CHECK_H
#define GLB_CORE_SNAPSHOT_CHECK_H

#include <glb/snapshot.h>

/* Checks every index, range, order and padding of a snapshot whose sections are known to lie inside
 * the file. Returns 0, or -EINVAL with the element in *error. */
int glb_snapshot_check(const struct glb_snapshot *snapshot, struct glb_error *error);

/* Whether a name begins at this offset of the strings. */
bool snapshot_name_ok(const struct glb_snapshot *snapshot, uint32_t name);

#endif
