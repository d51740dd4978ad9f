/* The receiver's loop (receiver.h). */
#include "receiver.h"
#include "count.h"
#include "flow_hash.h"
#include "idle.h"
#include "order.h"
#include "sender.h"
#include "trace.h"

#include <glb/punt.h>

#include <rte_ethdev.h>
#include <rte_prefetch.h>

/* All to the only worker. Returns the set of workers that get something. */
static uint64_t take(struct receiver *receiver, struct rte_mbuf **mbufs, unsigned n, uint16_t port)
{
	for (unsigned i = 0; i < n; i++) {
		mbufs[i]->port = port;
		receiver->mbufs[0][i] = mbufs[i];
	}
	receiver->counts[0] = n;
	return 1;
}

/* Sorts a burst by worker, keeping the order. Returns the set of workers that get something. */
static uint64_t sort(struct receiver *receiver, struct rte_mbuf **mbufs, unsigned n, uint16_t port)
{
	uint64_t workers = 0;

	if (receiver->rings->workers == 1)
		return take(receiver, mbufs, n, port);
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (unsigned i = 0; i < n; i++) {
		uint32_t worker = glb_steer_worker(flow_hash_shared(receiver->peers, receiver->seed, mbufs[i]),
						   receiver->rings->workers);

		mbufs[i]->port = port;
		receiver->mbufs[worker][receiver->counts[worker]++] = mbufs[i];
		workers |= UINT64_C(1) << worker;
	}
	return workers;
}

/* Whether a packet is one of those that keep the director reachable, wherever it goes to. */
static bool is_urgent(const struct rte_mbuf *mbuf)
{
	struct glb_packet packet = {
		.data = rte_pktmbuf_mtod(mbuf, const uint8_t *), .data_len = rte_pktmbuf_data_len(mbuf),
		.frame_len = rte_pktmbuf_pkt_len(mbuf), .verdict = GLB_VERDICT_FORWARD,
	};

	glb_packet_parse(&packet, 1);
	return glb_punt_classify(&packet) != GLB_PUNT_OTHER;
}

/* Puts n packets into a worker's ring, those that are urgent also into its reserve. Returns how many it does not take: the first of
 * `mbufs` afterwards. */
static unsigned put(struct receiver *receiver, unsigned worker, struct rte_mbuf **mbufs, unsigned n)
{
	struct rings *rings = receiver->rings;
	struct rte_ring *ring = rings->steer[receiver->index][worker];
	const unsigned room = rte_ring_free_count(ring);
	const unsigned fit = room > rings->reserve ? RTE_MIN(room - rings->reserve, n) : 0;
	unsigned lost = 0;

	rings_put(rings, ring, &rings->worker_bell[worker], mbufs, fit);
	for (unsigned i = fit; i < n; i++)
		if (rings->reserve == 0 || !is_urgent(mbufs[i]) ||
		    rings_put(rings, ring, &rings->worker_bell[worker], &mbufs[i], 1) == 0)
			mbufs[lost++] = mbufs[i];
	return lost;
}

/* Replay: until the worker's ring has room. Meanwhile the worker may be waiting for this lcore to send. */
static void wait_for_room(struct receiver *receiver, const struct rte_ring *ring)
{
	while (rte_ring_free_count(ring) < RINGS_BURST)
		if (receiver->sender == NULL || sender_turn(receiver->sender) == 0)
			rings_pause();
}

/* Hands a burst, sorted, to the workers of the set; what a ring does not take is dropped. Returns how many those were. */
static unsigned steer(struct receiver *receiver, uint64_t workers, unsigned packets, uint64_t bytes)
{
	struct rings *rings = receiver->rings;
	unsigned lost = 0;

	for (; workers != 0; workers &= workers - 1) {
		const unsigned worker = (unsigned)__builtin_ctzll(workers), n = receiver->counts[worker];
		struct rte_mbuf **mbufs = receiver->mbufs[worker];
		unsigned over;

		if (rings->lossless)
			wait_for_room(receiver, rings->steer[receiver->index][worker]);
		over = put(receiver, worker, mbufs, n);
		for (unsigned i = 0; i < over; i++)
			bytes -= mbufs[i]->pkt_len;
		rte_pktmbuf_free_bulk(mbufs, over);
		receiver->counts[worker] = 0;
		lost += over;
	}
	count_add(&receiver->stats->tx_packets, packets - lost);
	count_add(&receiver->stats->tx_bytes, bytes);
	count_add(&receiver->stats->reasons[GLB_REASON_STEER_RING_FULL], lost);
	return lost;
}

static unsigned poll_port(struct receiver *receiver, unsigned index)
{
	struct rte_mbuf *mbufs[RINGS_BURST];
	unsigned n = rte_eth_rx_burst(receiver->ports->port[index].id, (uint16_t)receiver->index, mbufs, RINGS_BURST);
	uint64_t bytes = 0;

	if (n == 0)
		return 0;
	for (unsigned i = 0; i < n; i++)
		bytes += mbufs[i]->pkt_len;
	if (receiver->order != NULL)
		order_stamp(receiver->order, mbufs, n, receiver->index, receiver->stats->rx_packets);
	steer(receiver, sort(receiver, mbufs, n, (uint16_t)index), n, bytes);
	count_add(&receiver->stats->rx_packets, n);
	count_add(&receiver->stats->rx_bytes, bytes);
	count_add(&receiver->stats->bursts, 1);
	return n;
}

/* The packet in the mailbox, when it is for this receiver, as one that came. Returns how many packets there were. */
static unsigned poll_trace(struct receiver *receiver)
{
	struct trace *trace = receiver->trace;
	struct rte_mbuf *mbuf = trace_take(trace, receiver->index);
	uint64_t workers;

	if (mbuf == NULL)
		return 0;
	count_add(&receiver->stats->rx_packets, 1);
	count_add(&receiver->stats->rx_bytes, mbuf->pkt_len);
	workers = sort(receiver, &mbuf, 1, trace->port | RINGS_TRACED);
	trace->report.steered = true;
	trace->report.steer_hash = flow_hash_shared(receiver->peers, receiver->seed, mbuf);
	trace->report.steer_worker = (unsigned)__builtin_ctzll(workers);
	if (steer(receiver, workers, 1, mbuf->pkt_len) != 0) {
		trace_end(trace, GLB_REASON_STEER_RING_FULL, false);
		trace_done(trace);
	}
	return 1;
}

/* Sleeps; one that also sends, until its workers have something for it. */
static void rest(struct receiver *receiver, struct idle *idle)
{
	if (receiver->sender != NULL)
		rings_sender_rests(receiver->rings, receiver->sender->index, idle_next(idle));
	else
		idle_sleep(idle);
}

int receiver_run(void *context)
{
	struct receiver *receiver = context;
	struct idle idle = {0};
	unsigned n = 0;

	pulse_start(&receiver->pulse);
	while (__atomic_load_n(receiver->stop, __ATOMIC_RELAXED) == 0) {
		timing_turn(&receiver->timing, receiver->stats, n);
		n = 0;
		for (unsigned i = 0; i < receiver->ports->count; i++)
			n += poll_port(receiver, i);
		if (trace_waits(receiver->trace))
			n += poll_trace(receiver);
		if (receiver->sender != NULL)
			n += sender_turn(receiver->sender);
		if (n != 0) {
			idle = (struct idle){0};
			continue;
		}
		count_add(&receiver->stats->idle_polls, 1);
		idle.polls++;
		if (receiver->until_dry && idle.polls == IDLE_DRY_POLLS)
			break;
		if (receiver->adaptive && idle.polls >= IDLE_POLLS) {
			rest(receiver, &idle);
			count_add(&receiver->stats->sleeps, 1);
		}
	}
	rings_receiver_ends(receiver->rings);
	return receiver->sender != NULL ? sender_run(receiver->sender) : 0;
}
