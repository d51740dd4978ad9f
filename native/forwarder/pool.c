/* Buffers (pool.h): how large, and how many. */
#include "pool.h"
#include "log.h"

#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include <errno.h>
#include <stdlib.h>

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
	const uint32_t rings = (uint32_t)(config->run_model == CONFIG_PIPELINE ? config->workers * (config->receivers + 1) : 0);

	return BUFFERS_PER_QUEUE * ports * config_rx_queues(config) + rings * (uint32_t)config->ring_size / 2;
}

/* What every lcore may keep for itself: little of a small pool, so that nobody starves. */
static uint32_t cache_size(uint32_t count)
{
	return RTE_MIN((uint32_t)CACHE, count / (4 * rte_lcore_count()));
}

struct rte_mempool *pool_create(const struct config *config, unsigned ports, struct glb_error *error)
{
	uint16_t room = (uint16_t)(pool_room(config) + RTE_PKTMBUF_HEADROOM);
	uint32_t wanted = RTE_MIN(useful(config, ports), (uint32_t)BUFFERS_MAX);
	struct rte_mempool *pool = NULL;
	uint32_t count;

	if (config->mbufs != 0)
		wanted = (uint32_t)config->mbufs;
	for (count = wanted; count >= BUFFERS_MIN; count /= 2) {
		pool = rte_pktmbuf_pool_create("glb_packets", count - 1, cache_size(count), 0, room, (int)rte_socket_id());
		if (pool != NULL || rte_errno != ENOMEM || config->mbufs != 0)
			break;
	}
	if (pool == NULL) {
		glb_error_set(error, -ENOMEM, "no room for %u packet buffers of %u bytes (%s); give EAL more memory "
			      "(-m in eal.args, MB) or more hugepages, or set eal.mbufs", count, room,
			      rte_strerror(rte_errno));
		return NULL;
	}
	if (count < wanted)
		log_warning("memory for %u packet buffers only, %u would be better: raise -m in eal.args", count, wanted);
	return pool;
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
unsigned pool_take_back(struct rte_mempool *pool)
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
