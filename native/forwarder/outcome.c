/* What becomes of judged packets (outcome.h). */
#include "outcome.h"
#include "clock.h"
#include "count.h"
#include "hand_on.h"
#include "punt.h"

static void count_traffic(struct worker *worker, const struct loaded *loaded, const struct glb_packet *packet)
{
	hand_on_count(worker->services, loaded->service_slot[packet->service], packet->l3_len, false);
	hand_on_count(worker->backends, loaded->backend_slot[packet->chain[0]], packet->l3_len, false);
}

/* Returns how many were taken, from the front. packet_of[i] is the packet of mbufs[i]. */
static unsigned tell_and_hand_on(struct worker *worker, unsigned port, struct rte_mbuf **mbufs, const uint8_t *packet_of, unsigned n)
{
	const unsigned mark = worker->tracing != NULL ? RINGS_TRACED : 0;
	unsigned taken;

	if (worker->tx_ring == NULL)
		return hand_on(worker, port, mbufs, n);
	for (unsigned i = 0; i < n; i++)
		hand_on_tell(mbufs[i], port | mark, worker->further ? RINGS_UNCOUNTED : worker->packets[packet_of[i]].reason);
	taken = hand_on(worker, port, mbufs, n);
	if (taken != 0)
		worker->tracing = NULL; /* the report is the sender's */
	return taken;
}

/* For a capture: a frame of `frame_len` bytes, which begins with `len` bytes at `data` and goes on in `rest`. */
static void show(struct worker *worker, enum glb_capture_at at, const struct glb_packet *packet, uint16_t port,
		 const uint8_t *data, uint32_t len, const struct rte_mbuf *rest, uint32_t frame_len)
{
	struct capture *capture = worker->capturing;
	struct glb_capture_record *record = capture_begin(capture, worker->index, at, worker->captured_by, packet, port,
							  frame_len);

	if (record == NULL)
		return;
	capture_add(capture, worker->index, record, data, len);
	for (; rest != NULL; rest = rest->next)
		capture_add(capture, worker->index, record, rte_pktmbuf_mtod(rest, const uint8_t *), rte_pktmbuf_data_len(rest));
	capture_end(capture, worker->index);
}

/* The packet's frame as it is now in the buffer, where it is still whole. */
static void show_buffer(struct worker *worker, enum glb_capture_at at, const struct glb_packet *packet,
			struct rte_mbuf *mbuf)
{
	show(worker, at, packet, mbuf->port, rte_pktmbuf_mtod(mbuf, const uint8_t *), rte_pktmbuf_data_len(mbuf), mbuf->next,
	     rte_pktmbuf_pkt_len(mbuf));
}

void outcome_show_received(struct worker *worker, enum glb_capture_at at, const struct glb_packet *packet,
			       const struct rte_mbuf *mbuf)
{
	const bool gathered = packet->data == worker->scratch; /* then it is all there */

	show(worker, at, packet, mbuf->port, packet->data, packet->data_len, gathered ? NULL : mbuf->next, packet->frame_len);
}

/* The end of a packet that is not sent. */
static void discard(struct worker *worker, const struct glb_packet *packet, struct rte_mbuf *mbuf)
{
	if (worker->capturing != NULL && packet->verdict == GLB_VERDICT_DROP)
		outcome_show_received(worker, GLB_CAPTURE_DROP, packet, mbuf);
	rte_pktmbuf_free(mbuf);
}

/* Sends the first n of `mbufs` by a port, given by index; packet_of[i] is the packet of mbufs[i]. What is not taken becomes a drop. */
static void transmit(struct worker *worker, unsigned port, struct rte_mbuf **mbufs, uint8_t *packet_of, unsigned n)
{
	const uint8_t reason = worker->tx_ring != NULL ? GLB_REASON_TX_RING_FULL : GLB_REASON_TX_FULL;
	uint64_t bytes = 0, unsent = 0;
	unsigned sent;

	if (worker->tracing != NULL && worker->tx_ring == NULL) {
		trace_leaves(worker->tracing, port, worker->index, mbufs[0]);
		if (outcome_holds_back(worker)) {
			rte_pktmbuf_free(mbufs[0]);
			return;
		}
	}
	for (unsigned i = 0; i < n; i++)
		bytes += mbufs[i]->pkt_len;
	if (worker->capturing != NULL)
		for (unsigned i = 0; i < n; i++)
			show_buffer(worker, GLB_CAPTURE_EGRESS, &worker->packets[packet_of[i]], mbufs[i]);
	sent = tell_and_hand_on(worker, port, mbufs, packet_of, n);
	for (unsigned i = sent; i < n; i++) {
		unsent += mbufs[i]->pkt_len;
		worker->packets[packet_of[i]].reason = reason;
		worker->packets[packet_of[i]].verdict = GLB_VERDICT_DROP;
		if (worker->capturing != NULL)
			show_buffer(worker, GLB_CAPTURE_DROP, &worker->packets[packet_of[i]], mbufs[i]);
		rte_pktmbuf_free(mbufs[i]);
	}
	count_add(&worker->stats->tx_packets, sent);
	count_add(&worker->stats->tx_bytes, bytes - unsent);
}

void outcome_count(struct worker *worker, const struct loaded *loaded, unsigned n)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct glb_packet *packet = &worker->packets[i];

		bytes += packet->frame_len;
		if (packet->verdict == GLB_VERDICT_WAIT)
			continue;
		count_add(outcome_passes_on(packet) ? &worker->passed_on[packet->reason] : &worker->stats->reasons[packet->reason], 1);
		if (packet->verdict == GLB_VERDICT_FORWARD)
			count_traffic(worker, loaded, packet);
	}
	if (worker->again)
		return;
	count_add(&worker->stats->rx_packets, n);
	count_add(&worker->stats->rx_bytes, bytes);
}

/* Makes a packet that is to be answered its reply, as far as the rate of its kind allows; or one that is for a peer what that gets. */
static void answer(struct worker *worker, const struct glb_path *path, struct rte_mbuf *mbuf, struct glb_packet *packet)
{
	struct glb_bucket *bucket = &worker->reject;
	enum glb_reason limited = GLB_REASON_REJECT_LIMITED;

	if (packet->reason == GLB_REASON_FRAGMENT_REDIRECTED) {
		packet->reason = (uint8_t)mbuf_redirect(path, mbuf, packet);
		packet->verdict = (uint8_t)glb_reason_verdict(packet->reason);
		return;
	}
	if (packet->reason == GLB_REASON_ECHO_ANSWERED) {
		bucket = &worker->echo;
		limited = GLB_REASON_ECHO_LIMITED;
	} else if (packet->reason == GLB_REASON_OVERSIZE_ANSWERED) {
		bucket = &worker->oversize;
		limited = GLB_REASON_OVERSIZE_LIMITED;
	}
	packet->reason = (uint8_t)(glb_bucket_take(bucket, clock_ns()) ? mbuf_answer(path, mbuf, packet, worker->scratch) : limited);
	packet->verdict = (uint8_t)glb_reason_verdict(packet->reason);
}

/* Sends each packet by the port of its next hop, keeping the order on each. */
static void transmit_by_port(struct worker *worker, unsigned came_by, struct rte_mbuf **mbufs, const uint8_t *packet_of,
			     unsigned n)
{
	struct rte_mbuf *leaving[WORKER_BURST];
	uint8_t packet_of_leaving[WORKER_BURST], leaves_by[WORKER_BURST];

	for (unsigned i = 0; i < n; i++) { /* before any is sent: what is not taken becomes a drop */
		const struct glb_packet *packet = &worker->packets[packet_of[i]];

		leaves_by[i] = packet->verdict == GLB_VERDICT_FORWARD ? packet->next_hop.port : (uint8_t)came_by;
	}
	for (unsigned index = 0; index < worker->ports->count; index++) {
		unsigned m = 0;

		for (unsigned i = 0; i < n; i++) {
			if (leaves_by[i] != index)
				continue;
			leaving[m] = mbufs[i];
			packet_of_leaving[m++] = packet_of[i];
		}
		if (m != 0)
			transmit(worker, index, leaving, packet_of_leaving, m);
	}
}

void outcome_send(struct worker *worker, const struct glb_path *path, unsigned came_by, struct rte_mbuf **mbufs,
			       uint8_t *packet_of, unsigned n)
{
	if (n != 0 && path->next_hops != NULL && worker->ports->count > 1)
		transmit_by_port(worker, came_by, mbufs, packet_of, n);
	else if (n != 0)
		transmit(worker, came_by, mbufs, packet_of, n);
}

/* Sends the packet that goes in pieces, which ends with a piece that is not taken: what would follow is of no use to anybody. Of one that is
 * traced the first piece is. */
static void send_pieces(struct worker *worker, const struct glb_path *path, uint8_t packet_of, struct rte_mbuf *mbuf)
{
	struct glb_packet *packet = &worker->packets[packet_of];
	const bool held = outcome_holds_back(worker);
	struct rte_mbuf *piece = mbuf;
	struct trace *tracing;

	packet->reason = (uint8_t)mbuf_whole(path, mbuf, packet, worker->scratch);
	for (unsigned n = 0; packet->reason == GLB_REASON_OVERSIZE_FRAGMENTED && n < (held ? 1 : glb_path_pieces(packet)); n++) {
		packet->reason = (uint8_t)mbuf_piece(path, mbuf, packet, n, &piece);
		if (piece == NULL)
			break;
		tracing = worker->tracing;
		worker->further = n > 0;
		if (n > 0)
			worker->tracing = NULL;
		transmit(worker, packet->next_hop.port, &piece, &packet_of, 1);
		if (n > 0)
			worker->tracing = tracing;
	}
	worker->further = false;
	packet->verdict = (uint8_t)glb_reason_verdict(packet->reason);
	if (piece == NULL || piece == mbuf)
		discard(worker, packet, mbuf);
	else
		rte_pktmbuf_free(mbuf);
}

/* By the port's own way, `punt`. Where that is NULL the packet is freed: the kernel, which shares the interface, has its own copy. */
static void leave_to_kernel(struct worker *worker, const struct glb_path *path, struct punt_port *punt, struct glb_packet *packet, struct rte_mbuf *mbuf)
{
	if (packet->reason == GLB_REASON_OUTER_TOO_BIG && !worker->lossless && worker->tracing == NULL)
		path_mtus_tell(worker->mtu_box, path, packet, clock_ns());
	if (punt != NULL) {
		if (packet->from_peer)
			mbuf_unwrap(mbuf, packet);
		packet->reason = (uint8_t)punt_offer(punt, worker->index, packet, mbuf);
		packet->verdict = (uint8_t)glb_reason_verdict(packet->reason);
	}
	if (punt == NULL || packet->verdict == GLB_VERDICT_DROP)
		discard(worker, packet, mbuf);
}

unsigned outcome_carry_out(struct worker *worker, const struct glb_path *path, unsigned came_by, struct punt_port *punt,
			       struct rte_mbuf **mbufs, uint8_t *packet_of, unsigned n)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &worker->packets[i];

		if (packet->verdict == GLB_VERDICT_FORWARD && packet->reason == GLB_REASON_OVERSIZE_FRAGMENTED) {
			outcome_send(worker, path, came_by, mbufs, packet_of, ready);
			ready = 0;
			send_pieces(worker, path, (uint8_t)i, mbufs[i]);
			continue;
		}
		if (packet->verdict == GLB_VERDICT_FORWARD) {
			packet->reason = (uint8_t)mbuf_encap(path, mbufs[i], packet, worker->scratch);
			packet->verdict = (uint8_t)glb_reason_verdict(packet->reason);
		} else if (packet->verdict == GLB_VERDICT_ANSWER) {
			answer(worker, path, mbufs[i], packet);
		} else if (packet->verdict == GLB_VERDICT_WAIT) {
			if (fragments_wait(worker->fragments, i, came_by, mbufs[i], worker->stats))
				continue;
			packet->reason = GLB_REASON_FRAGMENT_NO_ROOM;
			packet->verdict = GLB_VERDICT_DROP;
		}
		if (packet->verdict == GLB_VERDICT_FORWARD || packet->verdict == GLB_VERDICT_ANSWER) {
			packet_of[ready] = (uint8_t)i;
			mbufs[ready++] = mbufs[i];
		} else if (packet->verdict == GLB_VERDICT_PUNT) {
			leave_to_kernel(worker, path, punt, packet, mbufs[i]);
		} else {
			discard(worker, packet, mbufs[i]);
		}
	}
	return ready;
}
