/* Packet buffers by NUMA node (pool_plan.h). */
#include "pool_plan.h"

#include <string.h>

static bool is_node(int node)
{
	return node >= 0 && node < POOL_NODES_MAX;
}

static unsigned choose(const struct pool_places *places, unsigned port, unsigned queue)
{
	if (is_node(places->port[port]))
		return (unsigned)places->port[port];
	if (is_node(places->receiver[queue]))
		return (unsigned)places->receiver[queue];
	return is_node(places->main) ? (unsigned)places->main : 0;
}

void pool_plan(struct pool_plan *plan, const struct config *config, const struct pool_places *places)
{
	const unsigned queues = config_rx_queues(config);

	memset(plan, 0, sizeof(*plan));
	plan->ports = places->ports;
	plan->queues = queues != 0 ? queues : 1;
	for (unsigned port = 0; port < plan->ports; port++) {
		for (unsigned queue = 0; queue < plan->queues; queue++) {
			const unsigned node = choose(places, port, queue);

			plan->node[port][queue] = (uint8_t)node;
			plan->queues_on[node]++;
		}
	}
}

uint32_t pool_plan_share(const struct pool_plan *plan, unsigned node, uint32_t total)
{
	const uint64_t all = (uint64_t)plan->ports * plan->queues;

	return all != 0 ? (uint32_t)(((uint64_t)total * plan->queues_on[node] + all - 1) / all) : 0;
}
