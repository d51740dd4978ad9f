/* From a backend's stable id to its index in one snapshot: a hash table that is made once, when the snapshot is loaded. */
#ifndef GLB_BACKEND_IDS_H
#define GLB_BACKEND_IDS_H

#include "snapshot.h"

struct glb_backend_ids {
	const uint32_t *slots; /* index + 1, 0 = empty; linear probing; borrowed */
	uint32_t mask;         /* slots - 1 */
	uint32_t probe_max;    /* the longest probe: what a look-up costs at most */
};

/* How many slots a snapshot needs: a power of two, at least twice its backends. */
uint32_t glb_backend_ids_slots(const struct glb_snapshot *snapshot);

/* Makes the table in `slots`, all zero, glb_backend_ids_slots() of them. Backends of pools that no service uses are not in it: nobody
 * has checked that this director can send to them. */
void glb_backend_ids_init(struct glb_backend_ids *ids, const struct glb_snapshot *snapshot, uint32_t *slots);

/* Index of the backend with this id, or GLB_INDEX_NONE. Any thread. */
uint32_t glb_backend_ids_find(const struct glb_backend_ids *ids, const struct glb_snapshot *snapshot, uint32_t id);

#endif
