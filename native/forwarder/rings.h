/* The rings of a pipeline, and how it ends.
 *
 * One ring from each receiver to each worker, and one from each worker to its sender, where there are senders: all have a single producer and a single consumer, so
 * nobody waits for anybody. What crosses a ring to a worker is a packet buffer whose `port` says where it came from (an index into struct
 * ports), and nothing that depends on a snapshot. Behind the worker `port` says where it goes (an index, too), and `hash.usr` why (enum
 * glb_reason), for the sender to count.
 *
 * A stage ends when the one in front of it has ended and its rings are empty: so a stop drains them.
 */
#ifndef FORWARDER_RINGS_H
#define FORWARDER_RINGS_H

#include "bell.h"
#include "config.h"
#include "count.h"

#include <glb/stats.h>

#include <rte_mbuf.h>
#include <rte_ring.h>

enum {
	RINGS_BURST = 32,
	RINGS_TRACED = 0x8000,   /* a bit of `port`: the packet is the one that is traced (trace.h) */
	RINGS_UNCOUNTED = 0xff,  /* in place of a reason: a further piece of a packet that is counted by its first */
	RINGS_SLEEP_NS = 5000000, /* a consumer looks by itself now and then: at a mute, say */
};

/* Most packets ever seen waiting; written by the consumer of the rings, read by anyone. */
struct steer_most {
	uint64_t from[CONFIG_RECEIVERS_MAX]; /* by receiver */
} __rte_cache_aligned;

struct tx_most {
	uint64_t waiting;
} __rte_cache_aligned;

struct rings {
	unsigned receivers, workers;
	unsigned senders;   /* 0: workers send */
	bool adaptive;      /* consumers sleep */
	bool lossless;      /* replay: a producer waits for room */
	bool punts;         /* some port hands packets to the kernel, and takes some from it */
	unsigned reserve;   /* places in a ring to a worker that only neighbours and routing may take; 0 where nothing punts */
	int receiving;      /* receivers that have not ended */
	int working;        /* workers that have not ended */
	struct rte_ring *steer[CONFIG_RECEIVERS_MAX][CONFIG_WORKERS_MAX];
	struct rte_ring *tx[CONFIG_WORKERS_MAX];
	struct steer_most steer_most[CONFIG_WORKERS_MAX]; /* by worker */
	struct tx_most tx_most[CONFIG_WORKERS_MAX];       /* by worker */
	struct bell worker_bell[CONFIG_WORKERS_MAX];
	struct bell sender_bell[CONFIG_SENDERS_MAX];
};

/* Makes the rings, each in the memory of its consumer's NUMA node. NULL with *error. */
struct rings *rings_open(const struct config *config, bool lossless, struct glb_error *error);

/* Frees the rings, which must be empty, and *rings; may be NULL. */
void rings_close(struct rings *rings);

/* The lcore of the n-th of EAL's worker lcores, in the order of layout.h without the main lcore. */
unsigned rings_lcore(unsigned n);

/* A producer puts in what fits, and wakes the consumer. Returns how many went in, from the front. */
static inline unsigned rings_put(struct rings *rings, struct rte_ring *ring, struct bell *bell, struct rte_mbuf **mbufs,
				 unsigned n)
{
	unsigned put = rte_ring_sp_enqueue_burst(ring, (void **)mbufs, n, NULL);

	if (rings->adaptive)
		bell_ring(bell);
	return put;
}

/* A consumer found `waiting` packets in a ring. */
static inline void rings_seen(uint64_t *most, struct glb_worker_stats *stats, unsigned waiting)
{
	count_most(most, waiting);
	count_most(&stats->ring_high_water, waiting);
}

/* A moment of waiting for room. */
void rings_pause(void);

/* Replay: waits until there is room for a burst. */
void rings_wait_for_room(const struct rte_ring *ring);

/* Called by a receiver or worker at its end. */
void rings_receiver_ends(struct rings *rings);
void rings_worker_ends(struct rings *rings);

/* Ends everything, though not all of it has started. */
void rings_abandon(struct rings *rings);

/* Whether nothing more will be put into a worker's or sender's rings; ask before looking whether they are empty. */
static inline bool rings_no_receiver(const struct rings *rings)
{
	return __atomic_load_n(&rings->receiving, __ATOMIC_ACQUIRE) <= 0;
}

static inline bool rings_no_worker(const struct rings *rings)
{
	return __atomic_load_n(&rings->working, __ATOMIC_ACQUIRE) <= 0;
}

/* Sleeps until a worker's or sender's rings have something, or there is an end to notice; a sender at most `most_ns`. */
void rings_worker_rests(struct rings *rings, unsigned worker);
void rings_sender_rests(struct rings *rings, unsigned sender, long most_ns);

#endif
