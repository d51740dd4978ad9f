/* The flow cache on the straight line (fast_cache.h). */
#include "fast_cache.h"
#include "flow_bucket.h"
#include "outer.h"
#include "path_flow.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

static const uint16_t no_row[GLB_HOPS_MAX]; /* what is written for `joined` first, before their own hops */

/* ---- made with a snapshot ---- */

static struct glb_fast_ids ids_of(const struct glb_backend *backend)
{
	const bool healthy = backend->health != GLB_HEALTH_UNHEALTHY;

	return (struct glb_fast_ids){
		.follow = healthy && backend->state != GLB_STATE_INACTIVE ? backend->id : GLB_ID_NONE,
		.learn = healthy && backend->state == GLB_STATE_ACTIVE && backend->weight > 0 ? backend->id : GLB_ID_NONE,
	};
}

int fast_cache_make(struct glb_fast *fast, const struct glb_snapshot *snapshot)
{
	if (!fast->remembers)
		return 0;
	fast->backend_ids = calloc(snapshot->backend_count + 1, sizeof(*fast->backend_ids));
	fast->service_ids = calloc(snapshot->service_count + 1, sizeof(*fast->service_ids));
	if (fast->backend_ids == NULL || fast->service_ids == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < snapshot->backend_count; i++)
		fast->backend_ids[i] = ids_of(&snapshot->backends[i]);
	for (uint32_t i = 0; i < snapshot->service_count; i++)
		fast->service_ids[i] = snapshot->services[i].id;
	return 0;
}

/* ---- ask ---- */

/* Packets whose services remember flows. */
static uint64_t find_asked(const struct glb_fast *fast, const struct fast_work *work)
{
	uint64_t asked = 0;

	if (fast->kind_count == 1)
		return ~(uint64_t)0 >> (GLB_BURST_MAX - work->n);
	for (unsigned i = 0; i < work->n && i < GLB_BURST_MAX; i++) /* the compiler does not know that n is no more */
		asked |= (uint64_t)fast->kinds[work->table[i] >> GLB_FAST_TABLE_BITS].remembers << i;
	return asked;
}

/* The keys and messages of glb_flow_cache_hash(). Returns words of a message. */
GLB_INLINE unsigned put_flows(const struct glb_fast *fast, struct fast_flows *flows, const struct glb_fast_burst *burst,
			      const struct fast_work *work, bool v6)
{
	struct siphash_burst *sip = &flows->sip;
	const uint64_t key0 = load64(flows->cache->key), key1 = load64(flows->cache->key + 8);
	const uint64_t port = ((uint64_t)1 << 48) - 1, length = (uint64_t)6 << 56;

	for (unsigned i = 0; i < work->filled; i++)
		sip->key[1][i] = key1 ^ flow_salt(fast->service_ids[burst->service[i]]);
	if (!v6) {
		for (unsigned i = 0; i < work->filled; i += 4) {
			*(u64x4 *)&sip->key[0][i] = *(const u64x4 *)&work->key[i] ^ key0;
			*(u64x4 *)&sip->word[0][i] = (*(const u64x4 *)&work->source[i] & port) | length;
		}
		return 1;
	}
	for (unsigned i = 0; i < work->filled; i++) {
		const uint8_t *ip = burst->data[i] + IP;

		sip->key[0][i] = key0 ^ load64(ip + 24);
		sip->key[1][i] ^= load64(ip + 32);
		sip->word[0][i] = load64(ip + 8);
		sip->word[1][i] = load64(ip + 16);
		sip->word[2][i] = load32(ip + sizeof(struct glb_ipv6)) | (uint64_t)ip[6] << 32 | (uint64_t)21 << 56;
	}
	return 3;
}

/* The flags of TCP; 0 of UDP. Returns which packets begin or end nothing. */
GLB_INLINE uint64_t read_flags(struct fast_flows *flows, const struct glb_fast_burst *burst, const struct fast_work *work, bool v6)
{
	const unsigned at = (v6 ? V6_L4 : V4_L4) + offsetof(struct glb_tcp, flags);
	const uint64_t each = 0x0101010101010101;
	uint64_t steady = 0;

	for (unsigned i = 0; i < work->filled; i++) {
		const uint8_t *frame = burst->data[i];
		const bool tcp = frame[IP + (v6 ? 6 : 9)] == GLB_IPPROTO_TCP;

		flows->flags[i] = (uint8_t)(frame[tcp ? at : 0] & -tcp);
	}
	for (unsigned i = 0; i < work->filled; i += WIDTH) {
		const uint64_t turns = load64(flows->flags + i) & (GLB_TCP_SYN | GLB_TCP_FIN | GLB_TCP_RST) * each;

		steady |= (~(turns + 0x7f * each) >> 7 & each) * 0x0102040810204080 >> 56 << i;
	}
	return steady;
}

/* Hashes flows, and fetches the first lines of their buckets. */
GLB_INLINE void find_buckets(struct fast_flows *flows, unsigned words, unsigned first, unsigned end)
{
	const struct glb_flow_cache *cache = flows->cache;

	siphash_burst(&flows->sip, words, first, end);
	for (unsigned i = first; i < end; i += 4) {
		const u64x4 hash = *(const u64x4 *)&flows->sip.hash[i];

		*(u64x4 *)&flows->sip.hash[i] = hash | ((u64x4)((hash & 0xffffffff) == 0) & 1); /* flow_hash() */
	}
	for (unsigned i = first; i < end; i++) {
		flows->bucket[i] = &cache->buckets[glb_flow_cache_first(cache, flows->sip.hash[i])];
		__builtin_prefetch(flows->bucket[i]->signature);
	}
}

bool fast_cache_ask(const struct glb_fast *fast, struct fast_flows *flows, const struct glb_fast_burst *burst,
		    const struct fast_work *work, bool v6)
{
	unsigned words;

	flows->asked = find_asked(fast, work);
	flows->joined = 0;
	if (flows->asked == 0)
		return false;
	words = v6 ? put_flows(fast, flows, burst, work, true) : put_flows(fast, flows, burst, work, false);
	for (unsigned i = 0, end; i < work->filled; i = end) {
		end = fast_cache_few(i, work->filled);
		find_buckets(flows, words, i, end);
	}
	flows->steady = v6 ? read_flags(flows, burst, work, true) : read_flags(flows, burst, work, false);
	return true;
}

void fast_cache_fetch(const struct fast_flows *flows, unsigned first, unsigned end)
{
	const struct glb_flow_cache *cache = flows->cache;
	const uint64_t these = ((uint64_t)2 << (end - 1)) - ((uint64_t)1 << first);

	for (unsigned i = first; i < end; i++)
		__builtin_prefetch(flows->bucket[i]->check);
	for (uint64_t left = flows->asked & ~flows->steady & these; left != 0; left &= left - 1) /* new ones, probably */
		flow_prefetch(&cache->buckets[glb_flow_cache_second(cache, flows->sip.hash[__builtin_ctzll(left)])]);
}

/* ---- flows that go on ---- */

/* When entries expire whose flow has a packet now, by state: other values than an entry can have for flows that are not established. */
struct times {
	uint32_t of[GLB_FLOW_STATES];
};

static struct times times_now(const struct glb_flow_cache *cache, uint32_t now)
{
	struct times times;

	for (unsigned state = 0; state < GLB_FLOW_STATES; state++)
		times.of[state] = state >> FLOW_IS_ESTABLISHED & 1 ? (uint16_t)(now + cache->timeout[state]) : 1 << 16;
	return times;
}

/* What a bucket says of a flow, should it be there. */
struct seen {
	size_t way;
	uint32_t differs; /* 0: it is there, and goes to backend `id` */
	uint32_t late;    /* 0: it is established, and had a packet in this second, so that nothing is to be written */
};

static inline struct seen see(const struct times *times, const struct glb_flow_bucket *bucket, uint64_t hash, uint32_t id)
{
	const size_t way = (size_t)__builtin_ctz(flow_ways_alike(bucket, hash) | 1U << GLB_FLOW_WAYS) % GLB_FLOW_WAYS;

	return (struct seen){
		.way = way,
		.differs = (bucket->signature[way] ^ (uint32_t)hash) | (bucket->check[way] ^ (uint32_t)(hash >> 32)) | (bucket->backend[way] ^ id),
		.late = times->of[bucket->state[way]] ^ bucket->expires[way],
	};
}

/* Finds packets of flows that are remembered with their row's first backend, which is healthy: `known`. Returns those with which nothing changes. */
static uint64_t find_usual(const struct glb_fast *fast, struct fast_flows *flows, const struct glb_fast_burst *burst, unsigned n,
			   uint64_t *known)
{
	const struct glb_flow_cache *cache = flows->cache;
	const struct times times = times_now(cache, flows->now);
	uint64_t same = 0, late = 0, others;

	*known = 0;
	if ((flows->asked & flows->steady) == 0)
		return 0;
	for (unsigned i = n; i-- > 0;) {
		const struct seen seen = see(&times, flows->bucket[i], flows->sip.hash[i], fast->backend_ids[burst->backend[i]].follow);

		same = same + same + (seen.differs == 0);
		late = late + late + (seen.late != 0);
	}
	others = flows->asked & flows->steady & ~same;
	for (uint64_t left = others; left != 0; left &= left - 1)
		flow_prefetch(&cache->buckets[glb_flow_cache_second(cache, flows->sip.hash[__builtin_ctzll(left)])]);
	for (uint64_t left = others; left != 0; left &= left - 1) {
		const unsigned i = (unsigned)__builtin_ctzll(left);
		struct glb_flow_bucket *bucket = &cache->buckets[glb_flow_cache_second(cache, flows->sip.hash[i])];
		const struct seen seen = see(&times, bucket, flows->sip.hash[i], fast->backend_ids[burst->backend[i]].follow);

		if (seen.differs != 0)
			continue;
		flows->bucket[i] = bucket;
		same |= (uint64_t)1 << i;
		late = (late & ~((uint64_t)1 << i)) | (uint64_t)(seen.late != 0) << i;
	}
	*known = same & flows->asked & flows->steady;
	return *known & ~late;
}

/* ---- others ---- */

/* The backend that is remembered of a flow and can still be reached, or GLB_INDEX_NONE; changes nothing. */
static uint32_t look_up(const struct glb_path *path, const struct fast_flows *flows, const struct glb_fast_burst *burst, unsigned lane)
{
	const struct glb_snapshot *snapshot = path->snapshot;
	const uint32_t place = flow_find(flows->cache, flows->sip.hash[lane]);
	uint32_t own = burst->backend[lane], id;

	if (place == GLB_FLOW_NONE)
		return GLB_INDEX_NONE;
	id = glb_flow_cache_backend(flows->cache, place);
	if (snapshot->backends[own].id != id)
		own = glb_backend_ids_find(path->backend_ids, snapshot, id);
	return flow_can_go_to(snapshot, &snapshot->services[burst->service[lane]], own) ? own : GLB_INDEX_NONE;
}

/* Whether a packet can go to a backend by the port that the burst leaves by. */
static bool is_near(const struct glb_fast *fast, const struct glb_path *path, const struct fast_work *work, unsigned lane, uint32_t backend)
{
	const struct glb_next_hop next_hop = glb_next_hop_load(&path->next_hops[backend]);

	if (fast_kind(fast, work, lane)->encap == GLB_ENCAP_L2DSR && next_hop.kind != GLB_NEXT_HOP_BACKEND)
		return false;
	return next_hop.kind != GLB_NEXT_HOP_UNKNOWN && next_hop.port == (work->next_hop[0] >> 48 & 0xff);
}

/* Whether, whatever becomes of the flow meanwhile, its packet can go to whom it has to. That is its own backend, or its row's first, which is known to be
 * near; where these are one, and unhealthy, it is the row's second. */
static bool can_go(const struct glb_fast *fast, const struct glb_path *path, const struct fast_flows *flows, const struct glb_fast_burst *burst,
		   const struct fast_work *work, unsigned lane)
{
	const uint32_t own = look_up(path, flows, burst, lane);
	const uint16_t *row = work->row[lane];

	if (own == GLB_INDEX_NONE)
		return true;
	if (own != burst->backend[lane])
		return is_near(fast, path, work, lane, own);
	if (path->snapshot->backends[own].health != GLB_HEALTH_UNHEALTHY || work->of[lane]->hops == 1 || row[1] == GLB_HOP_NONE)
		return true;
	return row[1] != row[0] && is_near(fast, path, work, lane, work->of[lane]->backend_base + row[1]);
}

/* ---- remember ---- */

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
static uint32_t ask(const struct glb_fast *fast, const struct glb_path *path, const struct fast_flows *flows,
		    const struct glb_fast_burst *burst, const struct fast_work *work, unsigned lane)
{
	struct glb_flow_cache *cache = flows->cache;
	const enum glb_flow_event event = flow_event(flows->flags[lane]);
	const uint32_t learn = fast->backend_ids[burst->backend[lane]].learn;
	uint32_t chain[GLB_HOPS_MAX];
	struct flow_packet asking = {.hash = flows->sip.hash[lane], .chain = chain, .event = event};

	if (event == GLB_FLOW_SYN && learn != GLB_ID_NONE && flow_find(cache, asking.hash) == GLB_FLOW_NONE) {
		count(&cache->stats->misses, 1);
		glb_flow_cache_insert(cache, asking.hash, GLB_IPPROTO_TCP, learn, flows->now);
		return GLB_INDEX_NONE;
	}
	asking.service = &path->snapshot->services[burst->service[lane]];
	asking.chain_len = row_chain(work, lane, chain);
	asking.protocol = burst->data[lane][IP + (load16(burst->data[lane] + 12) == load16((const uint8_t[]){0x86, 0xdd}) ? 6 : 9)];
	return flow_own(path, cache, flows->now, &asking);
}

/* A packet of a flow that was known: if it is there still, established and in time, all that changes is the time. */
static inline bool goes_on(const struct fast_flows *flows, const struct times *times, unsigned lane, uint32_t id)
{
	struct glb_flow_bucket *bucket = flows->bucket[lane];
	const struct seen seen = see(times, bucket, flows->sip.hash[lane], id);

	if (seen.differs != 0 || !(bucket->state[seen.way] >> FLOW_IS_ESTABLISHED & 1) ||
	    flow_has_expired(bucket, (unsigned)seen.way, flows->now))
		return false;
	if (seen.late != 0)
		bucket->expires[seen.way] = (uint16_t)times->of[bucket->state[seen.way]];
	return true;
}

/* The two buckets of a flow, as bits of 64: what it does may change others' places there, and nowhere else. */
static inline uint64_t buckets_of(const struct fast_flows *flows, unsigned lane)
{
	const uint64_t hash = flows->sip.hash[lane];

	return (uint64_t)1 << glb_flow_cache_first(flows->cache, hash) % 64 | (uint64_t)1 << glb_flow_cache_second(flows->cache, hash) % 64;
}

/* One after the other, as on the path, from the first packet on that is not `usual`. */
static void remember(const struct glb_fast *fast, const struct glb_path *path, struct fast_flows *flows,
		     struct glb_fast_burst *burst, struct fast_work *work, uint64_t usual, uint64_t known)
{
	const struct glb_backend *backends = path->snapshot->backends;
	const struct times times = times_now(flows->cache, flows->now);
	const uint64_t others = flows->asked & ~usual, packets = flows->asked & -(others & -others);
	uint64_t hits = (uint64_t)__builtin_popcountll(flows->asked & ~packets), changed = 0;

	for (uint64_t left = packets; left != 0; left &= left - 1) {
		const unsigned i = (unsigned)__builtin_ctzll(left);
		const uint64_t bucket = (uint64_t)(flows->bucket[i] - flows->cache->buckets);
		uint32_t own;

		if ((usual >> i & ~(changed >> bucket % 64) & 1) ||
		    ((known >> i & 1) && goes_on(flows, &times, i, fast->backend_ids[burst->backend[i]].follow))) {
			hits++;
			continue;
		}
		own = ask(fast, path, flows, burst, work, i);
		if (own != GLB_INDEX_NONE && (own != burst->backend[i] || backends[own].health == GLB_HEALTH_UNHEALTHY))
			join(fast, path, flows, burst, work, i, own);
		if (known != 0)
			changed |= buckets_of(flows, i);
	}
	count(&flows->cache->stats->hits, hits);
}

/* Whether all of these, which are known, are of established flows that have not timed out: then the time is all that their packets change. */
static bool are_late(const struct fast_flows *flows, uint64_t late)
{
	for (uint64_t left = late; left != 0; left &= left - 1) {
		const unsigned i = (unsigned)__builtin_ctzll(left);
		const struct glb_flow_bucket *bucket = flows->bucket[i];
		const unsigned way = flow_way(bucket, flows->sip.hash[i]);

		if (!(bucket->state[way] >> FLOW_IS_ESTABLISHED & 1) || flow_has_expired(bucket, way, flows->now))
			return false;
	}
	return true;
}

static void prolong(const struct fast_flows *flows, uint64_t late)
{
	for (uint64_t left = late; left != 0; left &= left - 1) {
		const unsigned i = (unsigned)__builtin_ctzll(left);

		flow_prolong(flows->cache, flows->bucket[i], flow_way(flows->bucket[i], flows->sip.hash[i]), flows->now);
	}
}

bool fast_cache_join(const struct glb_fast *fast, const struct glb_path *path, struct fast_flows *flows,
		     struct glb_fast_burst *burst, struct fast_work *work, bool two)
{
	uint64_t known, usual = find_usual(fast, flows, burst, work->n, &known);

	if (known == flows->asked && are_late(flows, known & ~usual)) { /* each flow once a second: most bursts have one of them */
		prolong(flows, known & ~usual);
		count(&flows->cache->stats->hits, (uint64_t)__builtin_popcountll(known));
		return true;
	}
	if (path->next_hops != NULL)
		for (uint64_t left = flows->asked & ~known; left != 0; left &= left - 1)
			if (!can_go(fast, path, flows, burst, work, (unsigned)__builtin_ctzll(left)))
				return false;
	if (two)
		for (unsigned i = 0; i < work->filled; i += WIDTH)
			*(u32x8 *)&work->further[i] = (u32x8){0} + 1;
	remember(fast, path, flows, burst, work, usual, known);
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
