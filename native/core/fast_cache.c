/* The flow cache on the straight line (fast_cache.h). */
#include "fast_cache.h"
#include "flow_bucket.h"
#include "outer.h"
#include "path_flow.h"

static const uint16_t no_row[GLB_HOPS_MAX]; /* what is written for `joined` first, before their own hops */

static struct glb_flow_bucket *first_bucket(const struct fast_flows *flows, unsigned lane)
{
	return &flows->cache->buckets[glb_flow_cache_first(flows->cache, flows->sip.hash[lane])];
}

/* The message of glb_flow_cache_hash(), into its lane. Returns its words. */
static inline unsigned put_flow(const uint8_t *frame, bool v6, struct siphash_burst *sip, unsigned lane)
{
	const uint8_t *addrs = frame + IP + (v6 ? 8 : 12);
	const uint64_t protocol = frame[IP + (v6 ? 6 : 9)];
	const unsigned last = v6 ? 4 : 1;

	for (unsigned w = 0; w < last; w++)
		sip->word[w][lane] = load64(addrs + w * 8);
	sip->word[last][lane] = load32(addrs + last * 8) | protocol << 32 | (uint64_t)(last * 8 + 5) << 56;
	return last + 1;
}

bool fast_cache_ask(const struct glb_fast *fast, const struct glb_path *path, struct fast_flows *flows,
		    const struct glb_fast_burst *burst, const struct fast_work *work, bool v6)
{
	const struct glb_service *services = path->snapshot->services;
	uint64_t asked = 0, key[2];
	unsigned words = 0;

	for (unsigned i = 0; i < work->n && i < GLB_BURST_MAX; i++) /* the compiler does not know that n is no more */
		asked |= (uint64_t)fast->kinds[work->table[i] >> GLB_FAST_TABLE_BITS].remembers << i;
	flows->asked = asked;
	flows->joined = 0;
	if (asked == 0)
		return false;
	memcpy(key, flows->cache->key, sizeof(key));
	for (unsigned i = 0; i < work->filled; i++) {
		flows->sip.key[0][i] = key[0];
		flows->sip.key[1][i] = key[1] ^ (uint64_t)services[burst->service[i]].id << 32;
		words = put_flow(burst->data[i], v6, &flows->sip, i);
	}
	siphash_burst(&flows->sip, words, work->filled);
	for (unsigned i = 0; i < work->n; i++) {
		flows->sip.hash[i] = flow_hash(flows->sip.hash[i]);
		flow_prefetch(first_bucket(flows, i));
	}
	return true;
}

/* ---- look up ---- */

/* Which backend is remembered of a flow, if any; changes nothing. */
static inline void look_up(const struct glb_path *path, struct fast_flows *flows, const struct glb_fast_burst *burst, unsigned lane)
{
	const struct glb_snapshot *snapshot = path->snapshot;
	const struct glb_flow_cache *cache = flows->cache;
	const uint64_t hash = flows->sip.hash[lane];
	uint32_t at = glb_flow_cache_first(cache, hash), own = burst->backend[lane], id;
	unsigned way = flow_way(&cache->buckets[at], hash);

	flows->own[lane] = GLB_INDEX_NONE;
	flows->place[lane] = GLB_FLOW_NONE;
	if (way == GLB_FLOW_WAYS) {
		at = glb_flow_cache_second(cache, hash);
		way = flow_way(&cache->buckets[at], hash);
		if (way == GLB_FLOW_WAYS)
			return;
	}
	id = cache->buckets[at].backend[way];
	if (snapshot->backends[own].id != id)
		own = glb_backend_ids_find(path->backend_ids, snapshot, id);
	if (!flow_can_go_to(snapshot, &snapshot->services[burst->service[lane]], own))
		return;
	flows->id[lane] = id;
	flows->own[lane] = own;
	flows->place[lane] = at * GLB_FLOW_WAYS + way;
}

static void look_all_up(const struct glb_path *path, struct fast_flows *flows, const struct glb_fast_burst *burst, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const uint64_t hash = flows->sip.hash[i];

		if (flow_ways_alike(first_bucket(flows, i), hash) == 0)
			flow_prefetch(&flows->cache->buckets[glb_flow_cache_second(flows->cache, hash)]);
		__builtin_prefetch(&path->snapshot->backends[burst->backend[i]]);
	}
	for (unsigned i = 0; i < n; i++)
		look_up(path, flows, burst, i);
}

/* Whether packets can go to a backend by the port that the burst leaves by. */
static bool is_near(const struct glb_path *path, const struct fast_work *work, uint32_t backend)
{
	const struct glb_next_hop next_hop = glb_next_hop_load(&path->next_hops[backend]);

	return next_hop.kind != GLB_NEXT_HOP_UNKNOWN && next_hop.port == (work->next_hop[0] >> 48 & 0xff);
}

/* Whether, whatever becomes of the flow meanwhile, its packet can go to whom it has to. That is its own backend, or its row's first, which is known to be
 * near; where these are one, and unhealthy, it is the row's second. */
static bool can_go(const struct glb_path *path, const struct fast_flows *flows, const struct glb_fast_burst *burst,
		   const struct fast_work *work, unsigned lane)
{
	const uint32_t own = flows->own[lane];
	const uint16_t *row = work->row[lane];

	if (own == GLB_INDEX_NONE)
		return true;
	if (own != burst->backend[lane])
		return is_near(path, work, own);
	if (path->snapshot->backends[own].health != GLB_HEALTH_UNHEALTHY || work->of[lane]->hops == 1 || row[1] == GLB_HOP_NONE)
		return true;
	return row[1] != row[0] && is_near(path, work, work->of[lane]->backend_base + row[1]);
}

/* ---- remember ---- */

static enum glb_flow_event event_of(const uint8_t *frame, uint8_t *protocol)
{
	const bool v6 = load16(frame + 12) == load16((const uint8_t[]){0x86, 0xdd});
	const struct glb_tcp *tcp = (const struct glb_tcp *)(frame + (v6 ? V6_L4 : V4_L4));

	*protocol = frame[IP + (v6 ? 6 : 9)];
	return *protocol == GLB_IPPROTO_TCP ? flow_event(tcp->flags) : GLB_FLOW_DATA;
}

/* A flow that was established when it was looked up, and still is: all that its packet changes is the time. */
static inline bool goes_on(struct fast_flows *flows, unsigned lane, enum glb_flow_event event)
{
	const uint32_t place = flows->place[lane];
	const uint64_t hash = flows->sip.hash[lane];
	struct glb_flow_bucket *bucket;
	unsigned way;

	if (place == GLB_FLOW_NONE || event != GLB_FLOW_DATA)
		return false;
	bucket = &flows->cache->buckets[place / GLB_FLOW_WAYS];
	way = place % GLB_FLOW_WAYS;
	if (bucket->signature[way] != (uint32_t)hash || bucket->check[way] != (uint32_t)(hash >> 32) ||
	    bucket->backend[way] != flows->id[lane] || !(bucket->state[way] >> FLOW_IS_ESTABLISHED & 1) ||
	    flow_has_expired(bucket, way, flows->now))
		return false;
	flow_prolong(flows->cache, bucket, way, flows->now);
	return true;
}

/* The chain of the packet's row. Returns how many there are. */
static unsigned row_chain(const struct fast_work *work, unsigned lane, uint32_t *chain)
{
	const unsigned n = work->further[lane] + 1;

	for (unsigned i = 0; i < n; i++)
		chain[i] = work->of[lane]->backend_base + work->row[lane][i];
	return n;
}

/* The packet's chain is that of its row, with the flow's own backend. */
static void join(const struct glb_fast *fast, const struct glb_path *path, struct fast_flows *flows,
		 struct glb_fast_burst *burst, struct fast_work *work, unsigned lane, uint32_t own)
{
	uint32_t *chain = flows->chain[lane];
	struct glb_next_hop next_hop;

	flows->chain_len[lane] = (uint8_t)flow_join(path->snapshot->backends, chain, row_chain(work, lane, chain), own);
	if (fast_kind(fast, work, lane)->encap != GLB_ENCAP_GUE)
		flows->chain_len[lane] = 1; /* is all that is written */
	flows->joined |= (uint64_t)1 << lane;
	burst->backend[lane] = chain[0];
	work->first[lane] = load64(&fast->backends[chain[0] + 1]);
	work->further[lane] = flows->chain_len[lane] - 1U;
	work->row[lane] = no_row;
	if (path->next_hops == NULL)
		return;
	next_hop = glb_next_hop_load(&path->next_hops[chain[0]]);
	memcpy(&work->next_hop[lane], &next_hop, sizeof(next_hop));
}

/* Lanes behind the last packet are the first one once more. */
static void fill_up(struct fast_work *work)
{
	for (unsigned i = work->n; i < work->filled; i++) {
		work->first[i] = work->first[0];
		work->further[i] = work->further[0];
	}
}

static inline void count(uint64_t *word, uint64_t n)
{
	__atomic_store_n(word, *word + n, __ATOMIC_RELAXED);
}

/* What the path does for a packet. Returns the flow's own backend, or GLB_INDEX_NONE. */
static uint32_t ask(const struct glb_path *path, const struct fast_flows *flows, const struct glb_fast_burst *burst,
		    const struct fast_work *work, unsigned lane, enum glb_flow_event event, uint8_t protocol)
{
	uint32_t chain[GLB_HOPS_MAX];
	const struct flow_packet asking = {
		.service = &path->snapshot->services[burst->service[lane]],
		.hash = flows->sip.hash[lane],
		.chain = chain,
		.chain_len = row_chain(work, lane, chain),
		.event = event,
		.protocol = protocol,
	};

	return flow_own(path, flows->cache, flows->now, &asking);
}

static void remember(const struct glb_fast *fast, const struct glb_path *path, struct fast_flows *flows,
		     struct glb_fast_burst *burst, struct fast_work *work)
{
	const struct glb_backend *backends = path->snapshot->backends;
	uint64_t hits = 0;

	for (uint64_t left = flows->asked; left != 0; left &= left - 1) {
		const unsigned i = (unsigned)__builtin_ctzll(left);
		uint32_t own = flows->own[i];
		uint8_t protocol;
		const enum glb_flow_event event = event_of(burst->data[i], &protocol);

		if (goes_on(flows, i, event))
			hits++;
		else
			own = ask(path, flows, burst, work, i, event, protocol);
		if (own != GLB_INDEX_NONE && (own != burst->backend[i] || backends[own].health == GLB_HEALTH_UNHEALTHY))
			join(fast, path, flows, burst, work, i, own);
	}
	count(&flows->cache->stats->hits, hits);
}

bool fast_cache_join(const struct glb_fast *fast, const struct glb_path *path, struct fast_flows *flows,
		     struct glb_fast_burst *burst, struct fast_work *work, bool two)
{
	look_all_up(path, flows, burst, work->n);
	if (path->next_hops != NULL)
		for (uint64_t left = flows->asked; left != 0; left &= left - 1)
			if (!can_go(path, flows, burst, work, (unsigned)__builtin_ctzll(left)))
				return false;
	if (two)
		for (unsigned i = 0; i < work->filled; i++)
			work->further[i] = 1;
	remember(fast, path, flows, burst, work);
	if (flows->joined != 0)
		fill_up(work);
	return true;
}

void fast_cache_write(const struct glb_fast *fast, const struct fast_flows *flows, const struct glb_fast_burst *burst, uint32_t header_len)
{
	for (uint64_t left = flows->joined; left != 0; left &= left - 1) {
		const unsigned i = (unsigned)__builtin_ctzll(left);
		uint8_t *hops = burst->data[i] + header_len;

		for (unsigned h = 1; h < flows->chain_len[i]; h++)
			memcpy(hops + (h - 1) * GUE_V4_HOP_BYTES, &fast->backends[flows->chain[i][h] + 1].addr, GUE_V4_HOP_BYTES);
	}
}
