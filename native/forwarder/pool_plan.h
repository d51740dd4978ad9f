/* Where packet buffers are on a machine with several NUMA nodes: one pool on each node that receives. Pure.
 *
 * A device's buffers are on its own node, since the device writes them. A virtual device has none: a CPU copies into its buffers, so
 * they are on the node of the lcore that polls the queue.
 */
#ifndef FORWARDER_POOL_PLAN_H
#define FORWARDER_POOL_PLAN_H

#include "config.h"

enum { POOL_NODES_MAX = 32 };

/* What is where; a node is -1 where there is none, or any. */
struct pool_places {
	int main;                              /* of the main lcore: for what nothing else is known of */
	unsigned ports;
	int port[CONFIG_PORTS_MAX];            /* of each device; -1 = virtual */
	int receiver[CONFIG_WORKERS_MAX];      /* of the lcore that polls the rx queue of this number; -1 = it floats */
};

struct pool_plan {
	unsigned ports, queues;                /* queues: of each port */
	uint8_t node[CONFIG_PORTS_MAX][CONFIG_WORKERS_MAX]; /* of the buffers of each rx queue */
	unsigned queues_on[POOL_NODES_MAX];    /* rx queues of all ports; 0 = there is no pool on this node */
};

void pool_plan(struct pool_plan *plan, const struct config *config, const struct pool_places *places);

/* What a node's pool has of `total` buffers: as its share of the queues, rounded up. 0 where there is none. */
uint32_t pool_plan_share(const struct pool_plan *plan, unsigned node, uint32_t total);

#endif
