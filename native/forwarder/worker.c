/* The worker loop (worker.h): the stages in order, and what is counted. Starting and stopping is in workers.c. */
#include "worker.h"
#include "order.h"

#include <rte_ethdev.h>

#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum {
	IDLE_POLLS = 256,      /* empty polls in a row before the first sleep: some tens of µs */
	SLEEP_MIN_NS = 10000,
	SLEEP_MAX_NS = 1000000,
	DRY_POLLS = 16,        /* empty polls in a row that mean that a file has been read to its end */
	TX_TRIES = 8,
};

/* Counters have one writer and are read by anyone: plain addition, stored whole. */
static inline void add(uint64_t *word, uint64_t n)
{
	__atomic_store_n(word, *word + n, __ATOMIC_RELAXED);
}

static void count_traffic(struct worker *worker, const struct loaded *loaded, const struct glb_packet *packet)
{
	uint32_t service = loaded->service_slot[packet->service];
	uint32_t backend = loaded->backend_slot[packet->chain[0]];

	if (service != SLOT_NONE) {
		add(&worker->services[service].packets, 1);
		add(&worker->services[service].bytes, packet->l3_len);
	}
	if (backend != SLOT_NONE) {
		add(&worker->backends[backend].packets, 1);
		add(&worker->backends[backend].bytes, packet->l3_len);
	}
}

/* Sends the first n of `mbufs`; packet_of[i] is the packet of mbufs[i]. What the queue does not take becomes a drop. */
static void transmit(struct worker *worker, uint16_t port, struct rte_mbuf **mbufs, uint8_t *packet_of, unsigned n)
{
	uint64_t bytes = 0, unsent = 0;
	unsigned sent = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += mbufs[i]->pkt_len;
	if (worker->order != NULL)
		for (unsigned i = 0; i < n; i++)
			order_add(worker->order, worker->stats->rx_packets + packet_of[i]);
	for (unsigned tries = 0; sent < n && tries < TX_TRIES; tries++)
		sent += rte_eth_tx_burst(port, (uint16_t)worker->index, mbufs + sent, (uint16_t)(n - sent));
	for (unsigned i = sent; i < n; i++) {
		unsent += mbufs[i]->pkt_len;
		worker->packets[packet_of[i]].reason = GLB_REASON_TX_FULL;
		worker->packets[packet_of[i]].verdict = GLB_VERDICT_DROP;
		rte_pktmbuf_free(mbufs[i]);
	}
	add(&worker->stats->tx_packets, sent);
	add(&worker->stats->tx_bytes, bytes - unsent);
}

static void count_verdicts(struct worker *worker, const struct loaded *loaded, unsigned n)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct glb_packet *packet = &worker->packets[i];

		bytes += packet->frame_len;
		add(&worker->stats->reasons[packet->reason], 1);
		if (packet->verdict == GLB_VERDICT_FORWARD)
			count_traffic(worker, loaded, packet);
	}
	add(&worker->stats->rx_packets, n);
	add(&worker->stats->rx_bytes, bytes);
	add(&worker->stats->bursts, 1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Makes an echo request its reply, as far as the rate allows. */
static void answer(struct worker *worker, const struct glb_path *path, struct rte_mbuf *mbuf, struct glb_packet *packet)
{
	if (glb_bucket_take(&worker->echo, now_ns())) {
		mbuf_answer(path, mbuf, packet);
		return;
	}
	packet->reason = GLB_REASON_ECHO_LIMITED;
	packet->verdict = GLB_VERDICT_DROP;
}

/* Encapsulates what is to be forwarded and makes replies of what is to be answered, keeping the order, and frees the rest.
 * Returns how many there are to send. A punted packet is freed, too: on the drivers that share an interface
 * with the kernel, the kernel has its own copy. */
static unsigned sort_out(struct worker *worker, const struct glb_path *path, struct rte_mbuf **mbufs,
			 uint8_t *packet_of, unsigned n)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &worker->packets[i];

		if (packet->verdict == GLB_VERDICT_FORWARD) {
			packet->reason = (uint8_t)mbuf_encap(path, mbufs[i], packet, worker->scratch);
			packet->verdict = (uint8_t)glb_reason_verdict(packet->reason);
		} else if (packet->verdict == GLB_VERDICT_ANSWER) {
			answer(worker, path, mbufs[i], packet);
		}
		if (packet->verdict == GLB_VERDICT_FORWARD || packet->verdict == GLB_VERDICT_ANSWER) {
			packet_of[ready] = (uint8_t)i;
			mbufs[ready++] = mbufs[i];
		} else {
			rte_pktmbuf_free(mbufs[i]);
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

/* One burst of one port. Returns how many packets came. */
static unsigned poll_port(struct worker *worker, const struct loaded *loaded, unsigned index)
{
	const uint16_t port = worker->ports->port[index].id;
	const struct glb_path *path = &loaded->paths[index];
	struct rte_mbuf *mbufs[WORKER_BURST];
	uint8_t packet_of[WORKER_BURST];
	unsigned n = rte_eth_rx_burst(port, (uint16_t)worker->index, mbufs, WORKER_BURST);
	unsigned ready;
	uint64_t start;

	if (n == 0)
		return 0;
	start = timing_start(&worker->timing);
	mbuf_describe(mbufs, worker->packets, n);
	glb_path_burst(path, worker->packets, n);
	if (worker->muted)
		leave_to_other(worker, n);
	ready = sort_out(worker, path, mbufs, packet_of, n);
	if (ready != 0)
		transmit(worker, port, mbufs, packet_of, ready);
	timing_end(&worker->timing, worker->stats, start);
	count_verdicts(worker, loaded, n);
	return n;
}

/* Sleeps longer the longer nothing has come: about a fiftieth of that time, so that little is added to the latency of a
 * packet that ends a short pause. Offline for RCU, so that a swap need not wait for it. */
static void rest(struct worker *worker, uint32_t *sleep_ns)
{
	struct timespec pause = {.tv_nsec = *sleep_ns};

	rte_rcu_qsbr_thread_offline(worker->swap->workers, worker->index);
	nanosleep(&pause, NULL);
	rte_rcu_qsbr_thread_online(worker->swap->workers, worker->index);
	add(&worker->stats->sleeps, 1);
	*sleep_ns = RTE_MIN(*sleep_ns + *sleep_ns / 64 + 1000, (uint32_t)SLEEP_MAX_NS);
}

int worker_run(void *context)
{
	struct worker *worker = context;
	uint32_t empty = 0, sleep_ns = SLEEP_MIN_NS;
	unsigned n = 0;

	pthread_getcpuclockid(pthread_self(), &worker->cpu_clock);
	__atomic_store_n(&worker->tid, (int)gettid(), __ATOMIC_RELEASE);
	rte_rcu_qsbr_thread_register(worker->swap->workers, worker->index);
	rte_rcu_qsbr_thread_online(worker->swap->workers, worker->index);
	while (__atomic_load_n(worker->stop, __ATOMIC_RELAXED) == 0) {
		const struct loaded *loaded = __atomic_load_n(&worker->swap->current, __ATOMIC_ACQUIRE);

		timing_turn(&worker->timing, worker->stats, n);
		n = 0;
		for (unsigned i = 0; i < worker->ports->count; i++)
			n += poll_port(worker, loaded, i);
		rte_rcu_qsbr_quiescent(worker->swap->workers, worker->index);
		follow_mute(worker, n);
		if (n != 0) {
			empty = 0;
			sleep_ns = SLEEP_MIN_NS;
			continue;
		}
		add(&worker->stats->idle_polls, 1);
		empty++;
		if (worker->until_dry && empty == DRY_POLLS)
			break;
		if (worker->adaptive && empty >= IDLE_POLLS)
			rest(worker, &sleep_ns);
	}
	rte_rcu_qsbr_thread_offline(worker->swap->workers, worker->index);
	rte_rcu_qsbr_thread_unregister(worker->swap->workers, worker->index);
	return 0;
}
