/* The buffers that packets are received into: a pool on each NUMA node that has some of them (pool_plan.h). */
#ifndef FORWARDER_POOL_H
#define FORWARDER_POOL_H

#include "pool_plan.h"

#include <rte_mempool.h>

/* Around the longest packet: Ethernet header, two tags, the checksum that some devices leave, and what others put in front. */
enum { POOL_AROUND = 64 };

struct pools {
	struct pool_plan plan;
	struct rte_mempool *on[POOL_NODES_MAX]; /* by node; NULL where none is needed */
};

/* Bytes of a frame that one buffer holds: as configured, else for the longest that forward.mtu lets pass. */
uint32_t pool_room(const struct config *config);

/* Makes the pools for the ports with these ethdev ids, as large as is useful and fits into EAL's memory. Returns 0 or -ENOMEM with
 * *error. */
int pools_open(struct pools *pools, const struct config *config, const uint16_t *ports, unsigned count,
	       struct glb_error *error);

/* Frees them; nothing may use a buffer any more. What is all zero is allowed. */
void pools_close(struct pools *pools);

/* Those of a port's receive queue. */
static inline struct rte_mempool *pools_of(const struct pools *pools, unsigned port, unsigned queue)
{
	return pools->on[pools->plan.node[port][queue]];
}

/* Puts all buffers that are not in the pools back into theirs, and returns how many those were: the caller knows that a device which is
 * closed had them, and nobody else. No lcore may run that uses the pools. */
unsigned pools_take_back(struct pools *pools);

#endif
