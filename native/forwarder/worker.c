/* The worker loop (worker.h): the stages in order, and what is counted. Starting and stopping is in workers.c. */
#include "worker.h"
#include "capture.h"
#include "count.h"
#include "fast.h"
#include "hand_on.h"
#include "idle.h"
#include "order.h"
#include "punt.h"
#include "trace.h"

#include <glb/stage.h>

#include <rte_ethdev.h>

#include <time.h>

/* Whether this burst is a packet that is traced and not to be sent. */
static bool holds_back(const struct worker *worker)
{
	return worker->tracing != NULL && !worker->tracing->send;
}

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

/* The packet's frame as it came, also where an attempt at encapsulating it failed. */
static void show_received(struct worker *worker, enum glb_capture_at at, const struct glb_packet *packet,
			  const struct rte_mbuf *mbuf)
{
	const bool gathered = packet->data == worker->scratch; /* then it is all there */

	show(worker, at, packet, mbuf->port, packet->data, packet->data_len, gathered ? NULL : mbuf->next, packet->frame_len);
}

/* The end of a packet that is not sent. */
static void discard(struct worker *worker, const struct glb_packet *packet, struct rte_mbuf *mbuf)
{
	if (worker->capturing != NULL && packet->verdict == GLB_VERDICT_DROP)
		show_received(worker, GLB_CAPTURE_DROP, packet, mbuf);
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
		if (holds_back(worker)) {
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

static bool is_passed_on(const struct glb_packet *packet)
{
	return packet->verdict == GLB_VERDICT_FORWARD || packet->verdict == GLB_VERDICT_ANSWER;
}

static void count_verdicts(struct worker *worker, const struct loaded *loaded, unsigned n)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct glb_packet *packet = &worker->packets[i];

		bytes += packet->frame_len;
		if (packet->verdict == GLB_VERDICT_WAIT)
			continue;
		count_add(is_passed_on(packet) ? &worker->passed_on[packet->reason] : &worker->stats->reasons[packet->reason], 1);
		if (packet->verdict == GLB_VERDICT_FORWARD)
			count_traffic(worker, loaded, packet);
	}
	if (worker->again)
		return;
	count_add(&worker->stats->rx_packets, n);
	count_add(&worker->stats->rx_bytes, bytes);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
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
	packet->reason = (uint8_t)(glb_bucket_take(bucket, now_ns()) ? mbuf_answer(path, mbuf, packet, worker->scratch) : limited);
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

/* Sends the first n of `mbufs`, if any, each by its port. */
static void send_ready(struct worker *worker, const struct glb_path *path, unsigned came_by, struct rte_mbuf **mbufs,
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
	const bool held = holds_back(worker);
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
		path_mtus_tell(worker->mtu_box, path, packet, now_ns());
	if (punt != NULL) {
		if (packet->from_peer)
			mbuf_unwrap(mbuf, packet);
		packet->reason = (uint8_t)punt_offer(punt, worker->index, packet, mbuf);
		packet->verdict = (uint8_t)glb_reason_verdict(packet->reason);
	}
	if (punt == NULL || packet->verdict == GLB_VERDICT_DROP)
		discard(worker, packet, mbuf);
}

/* Encapsulates what is to be forwarded and makes replies of what is to be answered, keeping the order; the rest is punted or freed.
 * Returns how many there are to send; what goes in pieces is sent already, and what came before it. */
static unsigned sort_out(struct worker *worker, const struct glb_path *path, unsigned came_by, struct punt_port *punt,
			 struct rte_mbuf **mbufs, uint8_t *packet_of, unsigned n)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &worker->packets[i];

		if (packet->verdict == GLB_VERDICT_FORWARD && packet->reason == GLB_REASON_OVERSIZE_FRAGMENTED) {
			send_ready(worker, path, came_by, mbufs, packet_of, ready);
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

/* The other process forwards them. That they were decided upon has warmed the caches. */
static void leave_to_other(struct worker *worker, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		worker->packets[i].reason = GLB_REASON_MUTED;
		worker->packets[i].verdict = GLB_VERDICT_PUNT;
	}
}

/* After a round in which `n` packets came: fewer than a burst mean that nothing more was waiting. */
static void follow_mute(struct worker *worker, unsigned n)
{
	int mute = __atomic_load_n(worker->mute, __ATOMIC_RELAXED), muted = mute != MUTE_OFF;

	if (muted != worker->muted && (mute != MUTE_WHEN_EMPTY || n < WORKER_BURST))
		__atomic_store_n(&worker->muted, muted, __ATOMIC_RELEASE);
}

/* Behind the stages of the packet that is traced: what became of it, unless that is its sender's to say. One that was held back is counted
 * as such, by the sender where it is there: no backend's and no service's traffic. */
static void end_traced(struct worker *worker, bool held)
{
	struct glb_packet *packet = &worker->packets[0];

	if (worker->tracing != NULL)
		trace_end(worker->tracing, packet->reason, !held && (is_passed_on(packet) || trace_to_kernel(worker->tracing, packet)));
	if (held) {
		packet->reason = GLB_REASON_TRACED;
		packet->verdict = worker->tracing == NULL ? GLB_VERDICT_ANSWER : GLB_VERDICT_DROP;
	}
}

/* Which packets go where: all stages of the path, with what this worker remembers. A packet that is traced neither waits nor is
 * waited for. */
static void decide(struct worker *worker, const struct glb_path *path, unsigned n)
{
	struct glb_path_memory memory = {.cache = NULL};

	if (worker->flows != NULL) {
		memory.cache = &worker->flows->cache;
		memory.cache_now = worker->flows->now;
	}
	if (path->protects && !worker->lossless) {
		worker->guard.now_ns = now_ns();
		memory.guard = &worker->guard;
	}
	if (worker->fragments != NULL && worker->tracing == NULL) {
		memory.fragments = &worker->fragments->table;
		memory.fragments_now = worker->timing.turn;
	}
	glb_path_burst_with(path, &memory, worker->packets, n);
}

/* All stages for a burst that came in on one port. */
static void process(struct worker *worker, const struct loaded *loaded, unsigned index, struct rte_mbuf **mbufs, unsigned n)
{
	const struct glb_path *path = &loaded->paths[index];
	uint8_t packet_of[WORKER_BURST];
	const bool traced = worker->tracing != NULL, held = holds_back(worker);
	unsigned ready;
	uint64_t start;

	start = timing_start(&worker->timing);
	count_add(&worker->stats->bursts, 1);
	if (!traced && !worker->muted && __atomic_load_n(worker->capture, __ATOMIC_RELAXED) == NULL)
		n = fast_forward(worker, loaded, index, mbufs, n);
	if (n == 0) {
		timing_end(&worker->timing, worker->stats, start);
		STAGE_END(count);
		return;
	}
	STAGE_END(straight);
	mbuf_describe(mbufs, worker->packets, n);
	STAGE_END(describe);
	worker->capturing = held ? NULL : __atomic_load_n(worker->capture, __ATOMIC_ACQUIRE);
	if (worker->capturing != NULL)
		capture_prepare(worker->packets, n);
	decide(worker, path, n);
	if (worker->muted)
		leave_to_other(worker, n);
	if (traced)
		trace_decided(worker->tracing, worker->index, loaded, worker->packets, worker->ports->port[index].punt != NULL,
			      &worker->stats->flows);
	if (worker->capturing != NULL) {
		worker->captured_by = &loaded->snapshot;
		for (unsigned i = 0; i < n && !worker->again; i++)
			show_received(worker, GLB_CAPTURE_INGRESS, &worker->packets[i], mbufs[i]);
	}
	ready = sort_out(worker, path, index, held ? NULL : worker->ports->port[index].punt, mbufs, packet_of, n);
	STAGE_END(encapsulate);
	send_ready(worker, path, index, mbufs, packet_of, ready);
	STAGE_END(send);
	timing_end(&worker->timing, worker->stats, start);
	if (traced)
		end_traced(worker, held);
	count_verdicts(worker, loaded, n);
	STAGE_END(count);
}

/* All stages once more for fragments that were waiting for one in the burst just processed. */
static void process_released(struct worker *worker, const struct loaded *loaded)
{
	struct glb_fragment_slot slots[WORKER_BURST];
	struct rte_mbuf *mbufs[WORKER_BURST];
	unsigned n;

	worker->again = true;
	while ((n = glb_fragments_release(&worker->fragments->table, slots, WORKER_BURST)) != 0) {
		for (unsigned i = 0; i < n; i++)
			mbufs[i] = slots[i].buffer;
		for (unsigned first = 0, end; first < n; first = end) {
			for (end = first + 1; end < n && slots[end].tag == slots[first].tag; end++)
				;
			process(worker, loaded, slots[first].tag, mbufs + first, end - first);
		}
	}
	worker->again = false;
	fragments_lose(worker->fragments, worker->stats);
}

/* The packet that is traced, as a burst of its own. */
static void process_traced(struct worker *worker, const struct loaded *loaded, unsigned index, struct rte_mbuf *mbuf)
{
	struct trace *trace = worker->trace;

	mbuf->port = worker->rings != NULL ? (uint16_t)index : worker->ports->port[index].id;
	trace_flows_before(trace, &worker->stats->flows);
	worker->tracing = trace;
	process(worker, loaded, index, &mbuf, 1);
	if (worker->tracing != NULL)
		trace_done(trace);
	worker->tracing = NULL;
}

/* The packet in the mailbox, when it is for this worker, as one that came. Returns how many packets there were. */
static unsigned poll_trace(struct worker *worker, const struct loaded *loaded)
{
	struct rte_mbuf *mbuf = trace_take(worker->trace, worker->index);

	if (mbuf == NULL)
		return 0;
	process_traced(worker, loaded, worker->trace->port, mbuf);
	return 1;
}

/* One burst of every port. Returns how many packets came. */
static unsigned poll_ports(struct worker *worker, const struct loaded *loaded)
{
	struct rte_mbuf *mbufs[WORKER_BURST];
	unsigned total = 0;

	for (unsigned i = 0; i < worker->ports->count; i++) {
		unsigned n = rte_eth_rx_burst(worker->ports->port[i].id, (uint16_t)worker->index, mbufs, WORKER_BURST);

		STAGE_END(receive);
		if (n == 0)
			continue;
		if (worker->order != NULL)
			order_stamp(worker->order, mbufs, n, worker->index, worker->stats->rx_packets);
		process(worker, loaded, i, mbufs, n);
		if (worker->fragments != NULL)
			process_released(worker, loaded);
		total += n;
	}
	return total;
}

/* One burst of every receiver's ring, in runs that came in on the same port. Returns how many packets came. */
static unsigned poll_rings(struct worker *worker, const struct loaded *loaded)
{
	struct rte_mbuf *mbufs[WORKER_BURST];
	unsigned total = 0;

	for (unsigned i = 0; i < worker->rings->receivers; i++) {
		unsigned left, n = rte_ring_sc_dequeue_burst(worker->rings->steer[i][worker->index], (void **)mbufs,
							     WORKER_BURST, &left);

		if (n == 0)
			continue;
		rings_seen(&worker->rings->steer_most[worker->index].from[i], worker->stats, n + left);
		for (unsigned first = 0, end; first < n; first = end) {
			const uint16_t port = mbufs[first]->port;

			for (end = first + 1; end < n && mbufs[end]->port == port; end++)
				;
			if (__builtin_expect((port & RINGS_TRACED) != 0, 0))
				process_traced(worker, loaded, port & ~RINGS_TRACED, mbufs[first]);
			else
				process(worker, loaded, port, mbufs + first, end - first);
		}
		if (worker->fragments != NULL)
			process_released(worker, loaded);
		total += n;
	}
	return total;
}

/* Sleeps, offline for RCU, so that a swap need not wait for it. */
static void rest(struct worker *worker, struct idle *idle)
{
	rte_rcu_qsbr_thread_offline(worker->swap->workers, worker->index);
	if (worker->rings != NULL)
		rings_worker_rests(worker->rings, worker->index);
	else
		idle_sleep(idle);
	rte_rcu_qsbr_thread_online(worker->swap->workers, worker->index);
	count_add(&worker->stats->sleeps, 1);
}

/* Whether nothing more will come that it must still process; to be asked before it polls. */
static bool is_last_poll(const struct worker *worker)
{
	return worker->rings != NULL && rings_no_receiver(worker->rings);
}

static bool stopped(const struct worker *worker)
{
	return worker->rings == NULL && __atomic_load_n(worker->stop, __ATOMIC_RELAXED) != 0;
}

int worker_run(void *context)
{
	struct worker *worker = context;
	const uint32_t patience = worker->rings != NULL ? IDLE_RING_POLLS : IDLE_POLLS;
	struct idle idle = {0};
	unsigned n = 0;

	pulse_start(&worker->pulse);
	rte_rcu_qsbr_thread_register(worker->swap->workers, worker->index);
	rte_rcu_qsbr_thread_online(worker->swap->workers, worker->index);
	while (!stopped(worker)) {
		const struct loaded *loaded = __atomic_load_n(&worker->swap->current, __ATOMIC_ACQUIRE);
		const bool last = is_last_poll(worker);

		timing_turn(&worker->timing, worker->stats, n);
		worker->flows = flows_turn(worker->flow_place, worker->timing.turn, n);
		worker->fragments = fragments_turn(worker->fragment_place, worker->timing.turn, worker->stats);
		STAGE_END(loop);
		n = worker->rings != NULL ? poll_rings(worker, loaded) : poll_ports(worker, loaded);
		if (trace_waits(worker->trace) && worker->rings == NULL)
			n += poll_trace(worker, loaded);
		if (worker->index == 0 && worker->tx_ring == NULL)
			n += punt_relay(worker->ports);
		rte_rcu_qsbr_quiescent(worker->swap->workers, worker->index);
		follow_mute(worker, n);
		if (n != 0) {
			idle = (struct idle){0};
			continue;
		}
		if (last)
			break;
		count_add(&worker->stats->idle_polls, 1);
		idle.polls++;
		if (worker->until_dry && idle.polls == IDLE_DRY_POLLS)
			break;
		if (worker->adaptive && idle.polls >= patience)
			rest(worker, &idle);
	}
	if (worker->fragments != NULL)
		fragments_end(worker->fragments, worker->stats);
	rte_rcu_qsbr_thread_offline(worker->swap->workers, worker->index);
	rte_rcu_qsbr_thread_unregister(worker->swap->workers, worker->index);
	if (worker->rings != NULL)
		rings_worker_ends(worker->rings);
	STAGES_PRINT(worker->stats->rx_packets);
	return 0;
}
