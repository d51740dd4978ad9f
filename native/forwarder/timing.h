/* What a worker's time goes into: busy cycles, and a sampled histogram of the time that a burst takes.
 *
 * One reading of the TSC for each turn of the loop, and two more for one burst in TIMING_EVERY. The words are in
 * the worker's block of the counter file (glb/stats.h).
 */
#ifndef FORWARDER_TIMING_H
#define FORWARDER_TIMING_H

#include <glb/stats.h>

#include <rte_cycles.h>

enum { TIMING_EVERY = 1024 };

struct timing {
	uint64_t turn;       /* TSC at the start of this turn of the loop */
	double ns_per_cycle; /* set before it starts */
	uint32_t bursts;
};

/* At the start of each turn; `packets` came in the turn before, which was busy when there were any. */
static inline void timing_turn(struct timing *timing, struct glb_worker_stats *stats, unsigned packets)
{
	uint64_t now = rte_rdtsc();

	if (packets != 0)
		__atomic_store_n(&stats->busy_cycles, stats->busy_cycles + (now - timing->turn), __ATOMIC_RELAXED);
	timing->turn = now;
}

/* When a burst has come: the TSC for a burst that is a sample, else 0. */
static inline uint64_t timing_start(struct timing *timing)
{
	return timing->bursts++ % TIMING_EVERY == 0 ? rte_rdtsc() : 0;
}

/* When it has been sent; `start` is what timing_start() returned. */
static inline void timing_end(const struct timing *timing, struct glb_worker_stats *stats, uint64_t start)
{
	uint64_t ns;
	unsigned bucket;

	if (start == 0)
		return;
	ns = (uint64_t)((double)(rte_rdtsc() - start) * timing->ns_per_cycle);
	bucket = 63 - (unsigned)__builtin_clzll(ns | 1);
	bucket = bucket < GLB_STATS_LATENCY_MAX ? bucket : GLB_STATS_LATENCY_MAX - 1;
	__atomic_store_n(&stats->latency[bucket], stats->latency[bucket] + 1, __ATOMIC_RELAXED);
}

#endif
