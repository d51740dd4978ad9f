/* The worker's side of the straight line (fast.h): buffers in, buffers out, counters. */
#include "fast.h"
#include "count.h"
#include "order.h"
#include "tx.h"

/* Fills in what glb_fast_burst() wants. Returns not 0 where a buffer is shared, split, or has too little headroom. */
static inline uint64_t describe(struct rte_mbuf *const *mbufs, struct glb_fast_packet *packets, unsigned n)
{
	uint64_t wrong = 0;

	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (unsigned i = 0; i < n; i++) {
		const struct rte_mbuf *mbuf = mbufs[i];

		wrong |= (uint64_t)(mbuf->refcnt ^ 1) | (uint64_t)(mbuf->nb_segs ^ 1) | (mbuf->data_off < GLB_FAST_HEADROOM) |
			 (mbuf->ol_flags & (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL));
		packets[i].data = rte_pktmbuf_mtod(mbufs[i], uint8_t *);
		packets[i].len = rte_pktmbuf_data_len(mbuf);
	}
	return wrong;
}

static unsigned hand_on(struct worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n)
{
	if (worker->rings != NULL) {
		for (unsigned i = 0; i < n; i++) {
			mbufs[i]->port = (uint16_t)port;
			mbufs[i]->hash.usr = GLB_REASON_FORWARDED;
		}
		if (worker->rings->lossless)
			rings_wait_for_room(worker->tx_ring);
		return rings_put(worker->rings, worker->tx_ring, worker->sender_bell, mbufs, n);
	}
	if (worker->order != NULL)
		order_note(worker->order, mbufs, n);
	return tx_send(&worker->ports->port[port], worker->index, mbufs, n);
}

static inline void count_slot(struct glb_traffic *traffic, uint32_t slot, uint32_t bytes)
{
	if (slot == SLOT_NONE)
		return;
	count_add(&traffic[slot].packets, 1);
	count_add(&traffic[slot].bytes, bytes);
}

/* The first `sent` of them were handed on. */
static inline void count(struct worker *worker, const struct loaded *loaded, const struct glb_fast_packet *packets,
			 unsigned n, unsigned sent, uint64_t rx_bytes)
{
	uint64_t tx_bytes = 0;

	for (unsigned i = 0; i < sent; i++) {
		tx_bytes += packets[i].len;
		count_slot(worker->services, loaded->service_slot[packets[i].service], packets[i].l3_len);
		count_slot(worker->backends, loaded->backend_slot[packets[i].backend], packets[i].l3_len);
	}
	count_add(&worker->passed_on[GLB_REASON_FORWARDED], sent);
	if (sent != n)
		count_add(&worker->stats->reasons[worker->rings != NULL ? GLB_REASON_TX_RING_FULL : GLB_REASON_TX_FULL], n - sent);
	count_add(&worker->stats->tx_packets, sent);
	count_add(&worker->stats->tx_bytes, tx_bytes);
	count_add(&worker->stats->rx_packets, n);
	count_add(&worker->stats->rx_bytes, rx_bytes);
	count_add(&worker->stats->bursts, 1);
}

bool fast_forward(struct worker *worker, const struct loaded *loaded, unsigned index, struct rte_mbuf **mbufs, unsigned n)
{
	struct glb_fast_packet packets[WORKER_BURST];
	uint64_t rx_bytes = 0;
	unsigned sent;
	int port;

	if (!loaded->fast.usable)
		return false;
	if (describe(mbufs, packets, n) != 0)
		return false;
	port = glb_fast_burst(&loaded->fast, &loaded->paths[index], packets, n);
	if (port < 0)
		return false;
	for (unsigned i = 0; i < n; i++) {
		rx_bytes += mbufs[i]->data_len;
		mbufs[i]->data_off = (uint16_t)(packets[i].data - (uint8_t *)mbufs[i]->buf_addr);
		mbufs[i]->data_len = (uint16_t)packets[i].len;
		mbufs[i]->pkt_len = packets[i].len;
	}
	sent = hand_on(worker, (unsigned)port, mbufs, n);
	for (unsigned i = sent; i < n; i++)
		rte_pktmbuf_free(mbufs[i]);
	count(worker, loaded, packets, n, sent, rx_bytes);
	return true;
}
