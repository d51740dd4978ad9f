/* The flow cache on the straight line: what path_flow.c does for a packet, for a burst, and with the same outcome.
 *
 * First the buckets of all packets are fetched. Then every flow is looked at without changing anything, so that a burst which is not to be taken leaves the
 * cache as it was. Nearly all packets are those of established flows whose own backend is their row's first: they are known by then, and nothing remains to be
 * done for them. If there are others, the first of them and all behind it are remembered one after the other, as on the path.
 */
#ifndef GLB_CORE_FAST_CACHE_H
#define GLB_CORE_FAST_CACHE_H

#include "fast_work.h"

#include <glb/flow_cache.h>

struct fast_flows {
	struct siphash_burst sip;      /* flows' hashes, for the cache */
	struct glb_flow_cache *cache;
	struct glb_flow_bucket *bucket[GLB_BURST_MAX]; /* where the flow is looked for first, or, if it goes on, where it is */
	uint32_t now;
	uint8_t flags[GLB_BURST_MAX];  /* of TCP, or 0 */
	uint64_t asked;                /* packets whose services remember flows */
	uint64_t steady;               /* packets that begin or end nothing */
	uint64_t joined;               /* packets whose chain is another one than their row's: */
	uint32_t chain[GLB_BURST_MAX][GLB_HOPS_MAX];
	uint8_t chain_len[GLB_BURST_MAX];
} __attribute__((aligned(64)));

/* What is needed of a snapshot whose services remember. Returns 0 or -ENOMEM; glb_fast_free() frees what was made. */
int fast_cache_make(struct glb_fast *fast, const struct glb_snapshot *snapshot);

/* Begins to look flows up, as soon as the services are known, and to fetch their buckets. Returns false when none of them remembers. */
bool fast_cache_ask(const struct glb_fast *fast, struct fast_flows *flows, const struct glb_fast_burst *burst,
		    const struct fast_work *work, bool v6);

/* A CPU has about two dozen lines under way, and lets a prefetch go that comes when there are as many: so a burst's lines are asked for a few at a time. Returns
 * where those from `first` on end; `filled` is the burst's own. */
GLB_INLINE unsigned fast_cache_few(unsigned first, unsigned filled)
{
	return first + 2 * WIDTH < filled ? first + 2 * WIDTH : filled;
}

/* Fetches what else will be wanted of packets first..end-1. */
void fast_cache_fetch(const struct fast_flows *flows, unsigned first, unsigned end);

/* When first hops and their next hops have been found (`two`: each of two hops), and nothing is wrong with any packet: looks flows up, puts what is found into
 * first hops, next hops and numbers of hops, and remembers. Returns false, and has changed nothing, where a next hop is not known or behind another port. */
bool fast_cache_join(const struct glb_fast *fast, const struct glb_path *path, struct fast_flows *flows,
		     struct glb_fast_burst *burst, struct fast_work *work, bool two);

/* Writes the further hops of `joined`, when everything else has been. */
void fast_cache_write(const struct glb_fast *fast, const struct fast_flows *flows, const struct glb_fast_burst *burst, uint32_t header_len);

#endif
