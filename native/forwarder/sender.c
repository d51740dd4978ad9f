/* The sender's loop (sender.h). */
#include "sender.h"
#include "count.h"
#include "idle.h"
#include "order.h"
#include "punt.h"
#include "trace.h"
#include "tx.h"

static uint64_t bytes_of(struct rte_mbuf *const *mbufs, unsigned n)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += mbufs[i]->pkt_len;
	return bytes;
}

/* Packets for one port. Returns how many were sent. */
static unsigned transmit(struct sender *sender, uint16_t port, struct rte_mbuf **mbufs, unsigned n)
{
	uint64_t bytes = bytes_of(mbufs, n);
	uint8_t reasons[RINGS_BURST];
	unsigned sent;

	for (unsigned i = 0; i < n; i++) /* what is sent belongs to the driver */
		reasons[i] = (uint8_t)mbufs[i]->hash.usr;
	if (sender->order != NULL)
		order_note(sender->order, mbufs, n);
	sent = tx_send(&sender->ports->port[port], sender->index, mbufs, n);
	bytes -= bytes_of(mbufs + sent, n - sent);
	rte_pktmbuf_free_bulk(mbufs + sent, n - sent);
	count_add(&sender->stats->tx_packets, sent);
	count_add(&sender->stats->tx_bytes, bytes);
	for (unsigned i = 0; i < sent; i++)
		if (reasons[i] != RINGS_UNCOUNTED)
			count_add(&sender->stats->reasons[reasons[i]], 1);
	count_add(&sender->stats->reasons[GLB_REASON_TX_FULL], n - sent);
	return sent;
}

/* The packet that is traced: sent like others, or held back. */
static void transmit_traced(struct sender *sender, struct rte_mbuf *mbuf)
{
	const uint16_t port = mbuf->port & (uint16_t)~RINGS_TRACED;
	const unsigned reason = mbuf->hash.usr;
	struct trace *trace = sender->trace;
	bool sent = false;

	trace_leaves(trace, port, sender->index, mbuf);
	if (trace->send) {
		mbuf->port = port;
		sent = transmit(sender, port, &mbuf, 1) == 1;
		trace_end(trace, sent ? reason : GLB_REASON_TX_FULL, sent);
	} else {
		rte_pktmbuf_free(mbuf);
		count_add(&sender->stats->reasons[GLB_REASON_TRACED], 1);
		trace_end(trace, reason, false);
	}
	trace_done(trace);
}

static unsigned collect(struct sender *sender, unsigned worker)
{
	struct rte_mbuf *mbufs[RINGS_BURST];
	unsigned left, n = rte_ring_sc_dequeue_burst(sender->rings->tx[worker], (void **)mbufs, RINGS_BURST, &left);

	if (n == 0)
		return 0;
	rings_seen(&sender->rings->tx_most[worker].waiting, sender->stats, n + left);
	count_add(&sender->stats->rx_packets, n);
	count_add(&sender->stats->rx_bytes, bytes_of(mbufs, n));
	count_add(&sender->stats->bursts, 1);
	for (unsigned first = 0, end; first < n; first = end) {
		for (end = first + 1; end < n && mbufs[end]->port == mbufs[first]->port; end++)
			;
		if (__builtin_expect((mbufs[first]->port & RINGS_TRACED) != 0, 0))
			transmit_traced(sender, mbufs[first]);
		else
			transmit(sender, mbufs[first]->port, mbufs + first, end - first);
	}
	return n;
}

unsigned sender_turn(struct sender *sender)
{
	unsigned n = 0;

	for (unsigned worker = sender->first_worker; worker < sender->end_worker; worker++)
		n += collect(sender, worker);
	if (sender->index == 0)
		n += punt_relay(sender->ports);
	return n;
}

int sender_run(void *context)
{
	struct sender *sender = context;
	struct rings *rings = sender->rings;
	uint32_t empty = 0;
	unsigned n = 0;

	pulse_start(&sender->pulse);
	for (;;) {
		const bool last = rings_no_worker(rings);

		timing_turn(&sender->timing, sender->stats, n);
		n = sender_turn(sender);
		if (n != 0) {
			empty = 0;
			continue;
		}
		if (last)
			break;
		count_add(&sender->stats->idle_polls, 1);
		if (rings->adaptive && ++empty >= IDLE_RING_POLLS) {
			rings_sender_rests(rings, sender->index, RINGS_SLEEP_NS);
			count_add(&sender->stats->sleeps, 1);
		}
	}
	return 0;
}
