/* The worker loop (worker.h): the stages in order. What becomes of judged packets is in outcome.c; starting and stopping is in workers.c. */
#include "worker.h"
#include "clock.h"
#include "count.h"
#include "crossing.h"
#include "fast.h"
#include "idle.h"
#include "order.h"
#include "outcome.h"
#include "punt.h"

#include <glb/stage.h>

#include <rte_ethdev.h>

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
		trace_end(worker->tracing, packet->reason, !held && (outcome_passes_on(packet) || trace_to_kernel(worker->tracing, packet)));
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
		worker->guard.now_ns = clock_ns();
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
	const bool traced = worker->tracing != NULL, held = outcome_holds_back(worker);
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
			outcome_show_received(worker, GLB_CAPTURE_INGRESS, &worker->packets[i], mbufs[i]);
	}
	ready = outcome_carry_out(worker, path, index, held ? NULL : worker->ports->port[index].punt, mbufs, packet_of, n);
	STAGE_END(encapsulate);
	outcome_send(worker, path, index, mbufs, packet_of, ready);
	STAGE_END(send);
	timing_end(&worker->timing, worker->stats, start);
	if (traced)
		end_traced(worker, held);
	outcome_count(worker, loaded, n);
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
		crossing_fetch(mbufs, n, worker->tx_ring == NULL);
		rings_seen(&worker->rings->steer_most[worker->index].from[i], worker->stats, n + left);
		for (unsigned first = 0, end; first < n; first = end) {
			const uint16_t port = mbufs[first]->port;

			for (end = first + 1; end < n && mbufs[end]->port == port; end++)
				;
			STAGE_END(receive);
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
