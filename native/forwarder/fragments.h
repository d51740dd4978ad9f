/* The workers' fragment tables (glb/fragments.h): memory and clock.
 *
 * Each worker has one of its own, which only it touches; it belongs to the worker's place and not to a snapshot. The memory is taken when the first snapshot
 * with a service that follows fragments is loaded, by the main lcore, on the worker's NUMA node, and kept until the end.
 */
#ifndef FORWARDER_FRAGMENTS_H
#define FORWARDER_FRAGMENTS_H

#include "config.h"

#include <glb/fragments.h>
#include <glb/snapshot.h>
#include <glb/stats.h>

struct fragment_worker {
	struct glb_fragments table; /* its clock is the TSC */
};

struct fragments {
	const struct config *config;                    /* borrowed */
	struct fragment_worker *of[CONFIG_WORKERS_MAX]; /* by worker; NULL until a snapshot wants them. Set by the main lcore, read by the worker */
	size_t map_len;                                 /* bytes of each; 0 = none yet */
};

/* Prepares; takes no memory. */
void fragments_open(struct fragments *fragments, const struct config *config);

/* A snapshot is about to be put in force: takes the memory, if that wants it and it has not been done. Returns 0, or -ENOMEM with *error. */
int fragments_want(struct fragments *fragments, const struct glb_snapshot *snapshot, struct glb_error *error);

/* Frees it. No worker may run any more. */
void fragments_close(struct fragments *fragments);

/* Packet i of the burst in hand, whose verdict is WAIT, waits; others may have been given up for it. False: there is no room. `port`: the index of the
 * port that it came by. */
bool fragments_wait(struct fragment_worker *fragments, unsigned i, uint32_t port, void *mbuf, struct glb_worker_stats *stats);

/* Frees the packet buffers of what waited in vain, and counts why. */
void fragments_lose(struct fragment_worker *fragments, struct glb_worker_stats *stats);

/* The same for all that waits: the worker ends. */
void fragments_end(struct fragment_worker *fragments, struct glb_worker_stats *stats);

/* The worker's own table for this turn of its loop, or NULL; what has timed out is forgotten. */
static inline struct fragment_worker *fragments_turn(struct fragment_worker *const *place, uint64_t tsc, struct glb_worker_stats *stats)
{
	struct fragment_worker *fragments = __atomic_load_n(place, __ATOMIC_ACQUIRE);

	if (fragments == NULL || (fragments->table.count[0] | fragments->table.count[1]) == 0)
		return fragments;
	glb_fragments_expire(&fragments->table, tsc);
	fragments_lose(fragments, stats);
	return fragments;
}

#endif
