/* Where a worker's packets go, and whose traffic they are: what worker.c and fast.c have in common. */
#ifndef FORWARDER_HAND_ON_H
#define FORWARDER_HAND_ON_H

#include "order.h"
#include "slots.h"
#include "tx.h"
#include "worker.h"

/* What the sender of a pipeline has to know of a packet. Where a worker sends by itself, nobody reads it. */
static inline void hand_on_tell(struct rte_mbuf *mbuf, unsigned port, uint8_t reason)
{
	mbuf->port = (uint16_t)port;
	mbuf->hash.usr = reason;
}

/* To the port's queue, or, in a pipeline, into the ring to the sender, who has been told of them. Returns how many were taken, from the front. */
static inline unsigned hand_on(struct worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n)
{
	if (worker->tx_ring != NULL) {
		if (worker->rings->lossless)
			rings_wait_for_room(worker->tx_ring);
		return rings_put(worker->rings, worker->tx_ring, worker->sender_bell, mbufs, n);
	}
	if (worker->order != NULL)
		order_note(worker->order, mbufs, n);
	return tx_send(&worker->ports->port[port], worker->index, mbufs, n);
}

/* A packet of `bytes` of a service or backend, given by its slot, or SLOT_NONE, of which there are none where `all` is true. Both words at once; each
 * of them is stored whole. */
static inline void hand_on_count(struct glb_traffic *traffic, uint32_t slot, uint32_t bytes, bool all)
{
	typedef uint64_t both __attribute__((vector_size(16), aligned(8), may_alias));

	if (all || slot != SLOT_NONE)
		*(both *)&traffic[slot] += (both){1, bytes};
}

#endif
