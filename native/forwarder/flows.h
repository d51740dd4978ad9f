/* The workers' flow caches (glb/flow_cache.h): memory, clock and sweeping.
 *
 * Each worker has one of its own, which only it touches; it belongs to the worker's place and not to a snapshot, so flows stay over
 * swaps, and while a port is opened again. The memory is taken when the first snapshot that wants it is loaded, by the main
 * lcore, on the worker's NUMA node, and kept until the end.
 */
#ifndef FORWARDER_FLOWS_H
#define FORWARDER_FLOWS_H

#include "config.h"
#include "stats_file.h"

#include <glb/flow_cache.h>

enum {
	FLOWS_SWEEP_BUSY = 1,  /* buckets in a turn that brought packets */
	FLOWS_SWEEP_IDLE = 32, /* in any other */
	FLOWS_SWEEP_S = 64,    /* in which all of them are swept, unless the worker is too busy */
};

struct flow_worker {
	struct glb_flow_cache cache;
	uint64_t next_tick; /* TSC at the end of this second */
	uint64_t tsc_hz;
	uint32_t now;       /* s, since the cache was made */
	uint32_t to_sweep;  /* buckets that are due in this second */
};

struct flows {
	const struct config *config;         /* borrowed */
	const struct stats_file *stats;      /* borrowed */
	struct flow_worker *of[CONFIG_WORKERS_MAX]; /* by worker; NULL until a snapshot wants them, or always with entries = 0. Set by the
						     * main lcore, read by the worker */
	size_t map_len;                      /* bytes of each; 0 = none yet */
};

/* Prepares; takes no memory. */
void flows_open(struct flows *flows, const struct config *config, const struct stats_file *stats);

/* A snapshot with flow_cache is about to be put in force: takes the memory, unless that has been done. Returns 0, or -ENOMEM with *error. */
int flows_want(struct flows *flows, struct glb_error *error);

/* Frees it. No worker may run any more. */
void flows_close(struct flows *flows);

/* Bytes that all workers' caches take, or would take, by the configuration. */
uint64_t flows_bytes(const struct config *config);

/* One or more seconds have passed. */
void flows_tick(struct flow_worker *flows, uint64_t tsc);

/* The worker's own cache for this turn of its loop, or NULL. `packets` came in the turn before. */
static inline struct flow_worker *flows_turn(struct flow_worker *const *place, uint64_t tsc, unsigned packets)
{
	struct flow_worker *flows = __atomic_load_n(place, __ATOMIC_ACQUIRE);
	uint32_t most = packets != 0 ? FLOWS_SWEEP_BUSY : FLOWS_SWEEP_IDLE;

	if (flows == NULL)
		return NULL;
	if (tsc >= flows->next_tick)
		flows_tick(flows, tsc);
	if (flows->to_sweep != 0) {
		most = most < flows->to_sweep ? most : flows->to_sweep;
		glb_flow_cache_sweep(&flows->cache, flows->now, most);
		flows->to_sweep -= most;
	}
	return flows;
}

#endif
