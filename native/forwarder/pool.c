/* Buffers (pool.h): how large, and how many. */
#include "pool.h"
#include "log.h"
#include "rings.h"

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	BUFFERS_PER_QUEUE = 8192, /* af_xdp alone keeps 4096 of a queue's in the kernel */
	BUFFERS_MAX = 1 << 17,
	BUFFERS_MIN = 1024,
	CACHE = 256,
};

/* At least the 2 KB that drivers expect. */
uint32_t pool_room(const struct config *config)
{
	uint32_t room = RTE_MBUF_DEFAULT_DATAROOM;

	if (config->mbuf_bytes != 0)
		return (uint32_t)config->mbuf_bytes;
	if (config->mtu != CONFIG_MTU_OF_PORT && config->mtu + POOL_AROUND > room)
		room = RTE_ALIGN_CEIL((uint32_t)config->mtu + POOL_AROUND, 64);
	return RTE_MIN(room, (uint32_t)UINT16_MAX - RTE_PKTMBUF_HEADROOM);
}

/* What queues can hold, and rings: half full on the average of all. */
static uint32_t useful(const struct config *config, unsigned ports)
{
	const uint32_t rings = (uint32_t)(config->run_model == CONFIG_PIPELINE ? config->workers * (config->receivers + (config->senders != 0)) : 0);

	return BUFFERS_PER_QUEUE * ports * config_rx_queues(config) + rings * (uint32_t)config->ring_size / 2;
}

/* What every lcore may keep for itself: little of a small pool, so that nobody starves. */
static uint32_t cache_size(uint32_t count)
{
	return RTE_MIN((uint32_t)CACHE, count / (4 * rte_lcore_count()));
}

/* One pool of `wanted` buffers, or of half as many as long as that does not fit, unless so many were asked for. */
static struct rte_mempool *make(const struct config *config, unsigned node, int socket, uint32_t wanted, uint32_t *got)
{
	const uint16_t room = (uint16_t)(pool_room(config) + RTE_PKTMBUF_HEADROOM);
	char name[RTE_MEMPOOL_NAMESIZE];

	snprintf(name, sizeof(name), "glb_packets_%u", node);
	for (uint32_t count = wanted; count >= BUFFERS_MIN; count /= 2) {
		struct rte_mempool *pool = rte_pktmbuf_pool_create(name, count - 1, cache_size(count), 0, room, socket);

		*got = count;
		if (pool != NULL || rte_errno != ENOMEM || config->mbufs != 0)
			return pool;
	}
	return NULL;
}

/* The pool of one node. Where the node has no memory for it, it is wherever there is some. */
static int open_node(struct pools *pools, const struct config *config, unsigned node, struct glb_error *error)
{
	uint32_t total = config->mbufs != 0 ? (uint32_t)config->mbufs : useful(config, pools->plan.ports);
	uint32_t wanted = RTE_MIN(pool_plan_share(&pools->plan, node, total), (uint32_t)BUFFERS_MAX), got = 0;

	if (config->mbufs != 0)
		wanted = pool_plan_share(&pools->plan, node, total);
	wanted = RTE_MAX(wanted, (uint32_t)BUFFERS_MIN);
	pools->on[node] = make(config, node, (int)node, wanted, &got);
	if (pools->on[node] == NULL) {
		pools->on[node] = make(config, node, SOCKET_ID_ANY, wanted, &got);
		if (pools->on[node] != NULL && rte_socket_count() > 1)
			log_warning("NUMA node %u has no memory for packet buffers: they are on another; give it some "
				    "(--socket-mem in eal.args)", node);
	}
	if (pools->on[node] == NULL)
		return glb_error_set(error, -ENOMEM, "no room for %u packet buffers of %u bytes (%s); give EAL more memory "
				     "(-m in eal.args, MB) or more hugepages, or set eal.mbufs", got,
				     pool_room(config) + RTE_PKTMBUF_HEADROOM, rte_strerror(rte_errno));
	log_info("%u packet buffers of %u bytes for NUMA node %u", pools->on[node]->size, pool_room(config), node);
	if (got < wanted)
		log_warning("memory for %u packet buffers only, %u would be better: raise -m in eal.args", got, wanted);
	return 0;
}

/* The node that a device is on; -1 for a virtual one, whatever node it was made on. */
static int node_of_port(uint16_t port)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(port, &info) != 0 || info.device == NULL ||
	    strcmp(rte_bus_name(rte_dev_bus(info.device)), "vdev") == 0)
		return -1;
	return rte_eth_dev_socket_id(port);
}

/* Without hugepages memory belongs to no node. */
static void find_places(struct pool_places *places, const struct config *config, const uint16_t *ports, unsigned count)
{
	const unsigned first = config->run_model == CONFIG_PIPELINE ? (unsigned)config->workers : 0;
	const bool nodes = rte_eal_has_hugepages() != 0;

	places->ports = count;
	places->main = nodes ? (int)rte_socket_id() : 0;
	for (unsigned i = 0; i < count; i++)
		places->port[i] = nodes ? node_of_port(ports[i]) : -1;
	for (unsigned i = 0; i < config_rx_queues(config); i++)
		places->receiver[i] = nodes ? (int)rte_lcore_to_socket_id(rings_lcore(first + i)) : -1;
}

int pools_open(struct pools *pools, const struct config *config, const uint16_t *ports, unsigned count,
	       struct glb_error *error)
{
	struct pool_places places;
	int ret = 0;

	memset(pools, 0, sizeof(*pools));
	find_places(&places, config, ports, count);
	pool_plan(&pools->plan, config, &places);
	for (unsigned node = 0; node < POOL_NODES_MAX && ret == 0; node++)
		if (pools->plan.queues_on[node] != 0)
			ret = open_node(pools, config, node, error);
	if (ret != 0)
		pools_close(pools);
	return ret;
}

void pools_close(struct pools *pools)
{
	for (unsigned node = 0; node < POOL_NODES_MAX; node++)
		rte_mempool_free(pools->on[node]);
	memset(pools, 0, sizeof(*pools));
}

static void note(struct rte_mempool *pool, void *context, void *object, unsigned index)
{
	struct rte_mbuf ***next = context;

	(void)pool;
	(void)index;
	*(*next)++ = object;
}

static int by_address(const void *a, const void *b)
{
	const void *const *x = a, *const *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Everything out, see what is missing, everything in. */
static unsigned take_back(struct rte_mempool *pool)
{
	struct rte_mbuf **all = calloc(2 * (size_t)pool->size, sizeof(*all)), **here = all + pool->size, **next = all;
	unsigned lcore, n, taken = 0;

	if (all == NULL)
		return 0;
	for (lcore = 0; lcore < RTE_MAX_LCORE; lcore++)
		rte_mempool_cache_flush(rte_mempool_default_cache(pool, lcore), pool);
	n = rte_mempool_avail_count(pool);
	if (rte_mempool_generic_get(pool, (void **)here, n, NULL) == 0) {
		rte_mempool_obj_iter(pool, note, &next);
		qsort(here, n, sizeof(*here), by_address);
		for (struct rte_mbuf **each = all; each != next; each++) {
			if (bsearch(each, here, n, sizeof(*here), by_address) != NULL)
				continue;
			rte_pktmbuf_init(pool, NULL, *each, 0);
			rte_mempool_generic_put(pool, (void **)each, 1, NULL);
			taken++;
		}
		rte_mempool_generic_put(pool, (void **)here, n, NULL);
	}
	free(all);
	return taken;
}

unsigned pools_take_back(struct pools *pools)
{
	unsigned taken = 0;

	for (unsigned node = 0; node < POOL_NODES_MAX; node++)
		if (pools->on[node] != NULL)
			taken += take_back(pools->on[node]);
	return taken;
}
