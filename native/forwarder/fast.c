/* The worker's side of the straight line (fast.h): buffers in, buffers out, counters. */
#include "fast.h"
#include "count.h"
#include "hand_on.h"

#include <glb/stage.h>

#include <rte_ether.h>

/* Two words of a buffer that say whether it may be written anew: offset of the frame, references, segments and port; and flags. */
typedef uint64_t words __attribute__((vector_size(16), may_alias));

static_assert(offsetof(struct rte_mbuf, ol_flags) == offsetof(struct rte_mbuf, rearm_data) + sizeof(uint64_t), "one behind the other");

static inline words first_words(const struct rte_mbuf *mbuf)
{
	words found;

	memcpy(&found, (const uint8_t *)mbuf + offsetof(struct rte_mbuf, rearm_data), sizeof(found));
	return found;
}

/* Fills in what glb_fast_run() wants. Returns false where a buffer is shared, split, or has too little headroom. */
static inline bool describe(struct rte_mbuf *const *mbufs, struct glb_fast_burst *burst, unsigned n, uint64_t *bytes)
{
	const uint16_t data_off = mbufs[0]->data_off;
	const words usual = {data_off | UINT64_C(1) << 16 | UINT64_C(1) << 32, 0};
	const words matters = {0xffffffffffff, RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL}; /* without the port */
	words differ = {0, 0};

	*bytes = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct rte_mbuf *mbuf = mbufs[i];
		uint8_t *data = (uint8_t *)mbuf->buf_addr + data_off;

		rte_prefetch0(data);
		differ |= first_words(mbuf) ^ usual;
		burst->data[i] = data;
		burst->len[i] = mbuf->data_len;
		*bytes += mbuf->data_len;
	}
	differ &= matters;
	return (differ[0] | differ[1]) == 0 && data_off >= GLB_FAST_HEADROOM;
}

/* Makes buffers say what became of the frames. Returns bytes of these. */
static inline uint64_t finish(struct rte_mbuf *const *mbufs, const struct glb_fast_burst *burst, unsigned n)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		mbufs[i]->data_off = (uint16_t)(burst->data[i] - (uint8_t *)mbufs[i]->buf_addr);
		mbufs[i]->data_len = (uint16_t)burst->len[i];
		mbufs[i]->pkt_len = burst->len[i];
		bytes += burst->len[i];
	}
	return bytes;
}

/* `all` have counters. */
static inline void count_traffic(struct worker *worker, const struct loaded *loaded, const struct glb_fast_burst *burst, unsigned n, bool all)
{
	struct glb_traffic *services = worker->services, *backends = worker->backends;
	const uint32_t *service_slot = loaded->service_slot, *backend_slot = loaded->backend_slot;

	for (unsigned i = 0; i < n; i++) {
		hand_on_count(services, service_slot[burst->service[i]], burst->l3_len[i], all);
		hand_on_count(backends, backend_slot[burst->backend[i]], burst->l3_len[i], all);
	}
}

/* Those behind the first `sent`, which were not handed on. Returns their bytes. */
static uint64_t drop(struct worker *worker, struct rte_mbuf **mbufs, unsigned n, unsigned sent)
{
	uint64_t bytes = 0;

	for (unsigned i = sent; i < n; i++)
		bytes += mbufs[i]->pkt_len;
	rte_pktmbuf_free_bulk(mbufs + sent, n - sent);
	count_add(&worker->stats->reasons[worker->tx_ring != NULL ? GLB_REASON_TX_RING_FULL : GLB_REASON_TX_FULL], n - sent);
	return bytes;
}

/* All of them, or none. */
static bool forward(struct worker *worker, const struct loaded *loaded, unsigned index, struct rte_mbuf **mbufs, unsigned n)
{
	struct flow_worker *flows = worker->flows;
	struct glb_worker_stats *stats = worker->stats;
	struct glb_fast_burst burst;
	uint64_t rx_bytes, tx_bytes;
	unsigned sent;
	int port;

	if (!describe(mbufs, &burst, n, &rx_bytes))
		return false;
	STAGE_END(describe);
	port = glb_fast_run_cached(&loaded->fast, &loaded->paths[index], flows != NULL ? &flows->cache : NULL,
				   flows != NULL ? flows->now : 0, &burst, n);
	if (port < 0)
		return false;
	tx_bytes = finish(mbufs, &burst, n);
	STAGE_END(write);
	if (worker->tx_ring != NULL)
		for (unsigned i = 0; i < n; i++)
			hand_on_tell(mbufs[i], (unsigned)port, GLB_REASON_FORWARDED);
	sent = hand_on(worker, (unsigned)port, mbufs, n);
	STAGE_END(send);
	if (sent != n)
		tx_bytes -= drop(worker, mbufs, n, sent);
	if (loaded->all_counted)
		count_traffic(worker, loaded, &burst, sent, true);
	else
		count_traffic(worker, loaded, &burst, sent, false);
	count_add(&worker->passed_on[GLB_REASON_FORWARDED], sent);
	count_add(&stats->tx_packets, sent);
	count_add(&stats->tx_bytes, tx_bytes);
	count_add(&stats->rx_packets, n);
	count_add(&stats->rx_bytes, rx_bytes);
	return true;
}

static bool has_type(const struct rte_mbuf *mbuf, rte_be16_t type)
{
	return mbuf->data_len >= sizeof(struct rte_ether_hdr) && rte_pktmbuf_mtod(mbuf, const struct rte_ether_hdr *)->ether_type == type;
}

/* Takes those of one type, if the straight line is for them all. Returns how many are left, in front; the order of each type's is kept. */
static unsigned forward_type(struct worker *worker, const struct loaded *loaded, unsigned index, rte_be16_t type,
			     struct rte_mbuf **mbufs, unsigned n)
{
	struct rte_mbuf *taken[WORKER_BURST], *left[WORKER_BURST];
	unsigned n_taken = 0, n_left = 0;

	for (unsigned i = 0; i < n; i++)
		if (has_type(mbufs[i], type))
			taken[n_taken++] = mbufs[i];
		else
			left[n_left++] = mbufs[i];
	if (n_taken == 0 || n_left == 0 || !forward(worker, loaded, index, taken, n_taken))
		return n;
	memcpy(mbufs, left, n_left * sizeof(left[0]));
	return n_left;
}

/* A replay's packets leave in the order in which they came. */
static bool is_replay(const struct worker *worker)
{
	return worker->order != NULL || (worker->rings != NULL && worker->rings->lossless);
}

unsigned fast_forward(struct worker *worker, const struct loaded *loaded, unsigned index, struct rte_mbuf **mbufs, unsigned n)
{
	if (!loaded->fast.usable || n == 0)
		return n;
	if (forward(worker, loaded, index, mbufs, n))
		return 0;
	if (is_replay(worker))
		return n;
	n = forward_type(worker, loaded, index, RTE_BE16(RTE_ETHER_TYPE_IPV4), mbufs, n);
	return forward_type(worker, loaded, index, RTE_BE16(RTE_ETHER_TYPE_IPV6), mbufs, n);
}
