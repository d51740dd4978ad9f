/* Counter slots by stable id: who has which slot, and when it may go to another.
 *
 * An id keeps its slot for as long as any snapshot that knows it may be in use, and longer when there is room.
 * Main lcore only.
 */
#ifndef FORWARDER_SLOTS_H
#define FORWARDER_SLOTS_H

#include <glb/snapshot.h>

enum { SLOT_NONE = 0xffffffff };

struct slots;

/* Slots over the `capacity` words at `ids` (in the counter file; all GLB_ID_NONE). NULL when out of memory. */
struct slots *slots_create(uint32_t *ids, uint32_t capacity);
void slots_free(struct slots *slots);

/* Gives each of the `n` distinct ids a slot: slot_of[i] is that of wanted[i], or SLOT_NONE when none is free. `epoch` numbers
 * the calls, ascending; a slot last asked for before `keep_since` may be taken away from its id: then, and before its
 * new id is written, `clear` is called so that its counters start from 0. Returns how many got none. */
int64_t slots_assign(struct slots *slots, const uint32_t *wanted, uint32_t n, uint32_t *slot_of, uint64_t epoch,
		     uint64_t keep_since, void (*clear)(void *context, uint32_t slot), void *context);

#endif
