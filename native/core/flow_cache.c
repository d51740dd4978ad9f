/* The flow cache's table (glb/flow_cache.h): two buckets for each flow, and who goes when there is no place.
 *
 * Knows nothing of packets, services or snapshots; path_flow.c asks it.
 */
#include <glb/flow_cache.h>
#include <glb/siphash.h>
#include <glb/wire.h>

static void count(uint64_t *word, int64_t n)
{
	__atomic_store_n(word, *word + (uint64_t)n, __ATOMIC_RELAXED);
}

static bool is_new(uint8_t state)
{
	return state == GLB_FLOW_OPENING || state == GLB_FLOW_UDP_FIRST;
}

static bool is_established(uint8_t state)
{
	return state == GLB_FLOW_ESTABLISHED || state == GLB_FLOW_UDP;
}

static uint16_t idle(const struct glb_flow_bucket *bucket, unsigned way, uint32_t now)
{
	return (uint16_t)(now - bucket->seen[way]);
}

static uint32_t signature(uint64_t hash)
{
	return (uint32_t)hash | 1;
}

struct glb_flow_timeouts glb_flow_timeouts_default(void)
{
	return (struct glb_flow_timeouts){.opening = 30, .established = 3600, .closing = 60, .udp = 180};
}

static uint32_t buckets_for(uint32_t entries)
{
	return (entries + GLB_FLOW_WAYS - 1) / GLB_FLOW_WAYS;
}

size_t glb_flow_cache_bytes(uint32_t entries)
{
	return buckets_for(entries) * sizeof(struct glb_flow_bucket);
}

void glb_flow_cache_init(struct glb_flow_cache *cache, void *memory, uint32_t entries, const uint8_t key[16],
			 const struct glb_flow_timeouts *timeouts, struct glb_flow_stats *stats)
{
	*cache = (struct glb_flow_cache){.buckets = memory, .bucket_count = buckets_for(entries), .stats = stats};
	memcpy(cache->key, key, sizeof(cache->key));
	cache->timeout[GLB_FLOW_FREE] = UINT16_MAX;
	cache->timeout[GLB_FLOW_OPENING] = cache->timeout[GLB_FLOW_UDP_FIRST] = timeouts->opening;
	cache->timeout[GLB_FLOW_CLOSING] = timeouts->closing;
	cache->timeout[GLB_FLOW_ESTABLISHED] = timeouts->established;
	cache->timeout[GLB_FLOW_UDP] = timeouts->udp;
	*stats = (struct glb_flow_stats){.capacity = (uint64_t)cache->bucket_count * GLB_FLOW_WAYS};
}

/* IPv4 keys are packed, so that they cost two words less; the family cannot be confused, since the lengths differ. */
uint64_t glb_flow_cache_hash(const struct glb_flow_cache *cache, const struct glb_flow_key *key)
{
	uint8_t packed[20];

	if (key->family != GLB_FAMILY_V4)
		return glb_siphash24(cache->key, key, sizeof(*key));
	memcpy(packed, key->src, 4);
	memcpy(packed + 4, key->dst, 4);
	memcpy(packed + 8, &key->sport, 12); /* both ports, service, protocol, family, pad */
	return glb_siphash24(cache->key, packed, sizeof(packed));
}

/* Frees a place. The caller counts why. */
static void clear(struct glb_flow_cache *cache, struct glb_flow_bucket *bucket, unsigned way)
{
	bucket->signature[way] = 0;
	bucket->state[way] = GLB_FLOW_FREE;
	count(&cache->stats->entries, -1);
}

static void expire(struct glb_flow_cache *cache, struct glb_flow_bucket *bucket, uint32_t now)
{
	for (unsigned way = 0; way < GLB_FLOW_WAYS; way++) {
		if (bucket->state[way] == GLB_FLOW_FREE || idle(bucket, way, now) <= cache->timeout[bucket->state[way]])
			continue;
		clear(cache, bucket, way);
		count(&cache->stats->expired, 1);
	}
}

static void prefetch_in(const struct glb_flow_bucket *bucket, uint64_t hash)
{
	for (unsigned way = 0; way < GLB_FLOW_WAYS; way++) {
		if (bucket->signature[way] != signature(hash))
			continue;
		__builtin_prefetch(&bucket->entry[way]);
		__builtin_prefetch((const uint8_t *)(&bucket->entry[way] + 1) - 1); /* it may cross into the next line */
	}
}

void glb_flow_cache_prefetch(const struct glb_flow_cache *cache, uint64_t hash)
{
	prefetch_in(&cache->buckets[glb_flow_cache_first(cache, hash)], hash);
	prefetch_in(&cache->buckets[glb_flow_cache_second(cache, hash)], hash);
}

static uint32_t find_in(const struct glb_flow_cache *cache, uint32_t at, const struct glb_flow_key *key, uint64_t hash)
{
	const struct glb_flow_bucket *bucket = &cache->buckets[at];

	for (unsigned way = 0; way < GLB_FLOW_WAYS; way++)
		if (bucket->signature[way] == signature(hash) && memcmp(&bucket->entry[way].key, key, sizeof(*key)) == 0)
			return at * GLB_FLOW_WAYS + way;
	return GLB_FLOW_NONE;
}

uint32_t glb_flow_cache_find(struct glb_flow_cache *cache, const struct glb_flow_key *key, uint64_t hash, uint32_t now)
{
	uint32_t place = find_in(cache, glb_flow_cache_first(cache, hash), key, hash);
	struct glb_flow_bucket *bucket;
	unsigned way;

	if (place == GLB_FLOW_NONE)
		place = find_in(cache, glb_flow_cache_second(cache, hash), key, hash);
	if (place == GLB_FLOW_NONE) {
		count(&cache->stats->misses, 1);
		return place;
	}
	bucket = &cache->buckets[place / GLB_FLOW_WAYS];
	way = place % GLB_FLOW_WAYS;
	if (idle(bucket, way, now) <= cache->timeout[bucket->state[way]]) {
		count(&cache->stats->hits, 1);
		return place;
	}
	clear(cache, bucket, way);
	count(&cache->stats->expired, 1);
	count(&cache->stats->misses, 1);
	return GLB_FLOW_NONE;
}

uint32_t glb_flow_cache_backend(const struct glb_flow_cache *cache, uint32_t place)
{
	return cache->buckets[place / GLB_FLOW_WAYS].entry[place % GLB_FLOW_WAYS].backend;
}

enum glb_flow_state glb_flow_cache_state(const struct glb_flow_cache *cache, uint32_t place)
{
	return (enum glb_flow_state)cache->buckets[place / GLB_FLOW_WAYS].state[place % GLB_FLOW_WAYS];
}

/* ---- a place for a flow ---- */

/* What a flow can get in a bucket; lower ranks come first. */
enum rank { RANK_FREE, RANK_FINISHED, RANK_NEW, RANK_NONE };

struct offer {
	struct glb_flow_bucket *bucket;
	enum rank rank;
	unsigned way;
	uint16_t idle;        /* of the flow that is there */
	unsigned established; /* flows in the bucket */
};

/* The best place that a bucket has. A new flow gets no place beyond those for new flows; an established one (`kept`) does. */
static struct offer look(const struct glb_flow_cache *cache, uint32_t at, uint32_t now, bool kept)
{
	struct offer offer = {.bucket = &cache->buckets[at], .rank = RANK_NONE};
	unsigned fresh = 0;

	for (unsigned way = 0; way < GLB_FLOW_WAYS; way++) {
		fresh += is_new(offer.bucket->state[way]);
		offer.established += is_established(offer.bucket->state[way]);
	}
	for (unsigned way = 0; way < GLB_FLOW_WAYS; way++) {
		const uint8_t state = offer.bucket->state[way];
		const uint16_t idle_for = idle(offer.bucket, way, now);
		enum rank rank = is_new(state) ? RANK_NEW : state == GLB_FLOW_CLOSING ? RANK_FINISHED : RANK_FREE;

		if (is_established(state) || (!kept && rank != RANK_NEW && fresh >= GLB_FLOW_NEW_MAX))
			continue;
		if (rank < offer.rank || (rank == offer.rank && idle_for > offer.idle)) {
			offer.rank = rank;
			offer.way = way;
			offer.idle = idle_for;
		}
	}
	return offer;
}

/* The better of two. No new flow is pushed out when that can be; then it goes where fewer established flows are, which spreads
 * them evenly. */
static struct offer better(struct offer a, struct offer b)
{
	if (a.rank == RANK_NEW && b.rank == RANK_NEW)
		return a.idle >= b.idle ? a : b;
	if (a.rank == RANK_NEW || b.rank == RANK_NEW || a.established == b.established)
		return a.rank <= b.rank ? a : b;
	return a.established < b.established ? a : b;
}

/* Empties the place that is offered. */
static void take(struct glb_flow_cache *cache, const struct offer *offer)
{
	if (offer->rank == RANK_FREE)
		return;
	count(offer->rank == RANK_NEW ? &cache->stats->evicted_new : &cache->stats->evicted_closing, 1);
	clear(cache, offer->bucket, offer->way);
}

void glb_flow_cache_insert(struct glb_flow_cache *cache, const struct glb_flow_key *key, uint64_t hash, uint32_t backend,
			   uint32_t now)
{
	const uint32_t first = glb_flow_cache_first(cache, hash), second = glb_flow_cache_second(cache, hash);
	struct offer offer;

	expire(cache, &cache->buckets[first], now);
	expire(cache, &cache->buckets[second], now);
	offer = better(look(cache, first, now, false), look(cache, second, now, false));
	take(cache, &offer);
	offer.bucket->signature[offer.way] = signature(hash);
	offer.bucket->seen[offer.way] = (uint16_t)now;
	offer.bucket->state[offer.way] = key->protocol == GLB_IPPROTO_UDP ? GLB_FLOW_UDP_FIRST : GLB_FLOW_OPENING;
	offer.bucket->entry[offer.way] = (struct glb_flow_entry){*key, backend};
	count(&cache->stats->entries, 1);
	count(&cache->stats->inserts, 1);
}

/* ---- a flow's life ---- */

static unsigned count_established(const struct glb_flow_bucket *bucket)
{
	unsigned n = 0;

	for (unsigned way = 0; way < GLB_FLOW_WAYS; way++)
		n += is_established(bucket->state[way]);
	return n;
}

static void evict_most_idle(struct glb_flow_cache *cache, struct glb_flow_bucket *bucket, uint32_t now)
{
	unsigned victim = GLB_FLOW_WAYS;

	for (unsigned way = 0; way < GLB_FLOW_WAYS; way++)
		if (is_established(bucket->state[way]) &&
		    (victim == GLB_FLOW_WAYS || idle(bucket, way, now) > idle(bucket, victim, now)))
			victim = way;
	clear(cache, bucket, victim);
	count(&cache->stats->evicted_established, 1);
}

/* A new flow becomes an established one, in its other bucket when only that has room. */
static void establish(struct glb_flow_cache *cache, uint32_t place, uint64_t hash, uint32_t now)
{
	const uint32_t first = glb_flow_cache_first(cache, hash), at = place / GLB_FLOW_WAYS;
	struct glb_flow_bucket *bucket = &cache->buckets[at];
	unsigned way = place % GLB_FLOW_WAYS;

	count(&cache->stats->established, 1);
	if (count_established(bucket) >= GLB_FLOW_ESTABLISHED_MAX)
		expire(cache, bucket, now);
	if (count_established(bucket) >= GLB_FLOW_ESTABLISHED_MAX) {
		const uint32_t other = at == first ? glb_flow_cache_second(cache, hash) : first;
		struct offer offer;

		expire(cache, &cache->buckets[other], now);
		offer = look(cache, other, now, true);
		if (other != at && offer.established < GLB_FLOW_ESTABLISHED_MAX) {
			take(cache, &offer);
			offer.bucket->signature[offer.way] = bucket->signature[way];
			offer.bucket->seen[offer.way] = bucket->seen[way];
			offer.bucket->entry[offer.way] = bucket->entry[way];
			offer.bucket->state[offer.way] = bucket->state[way];
			bucket->signature[way] = 0;
			bucket->state[way] = GLB_FLOW_FREE;
			bucket = offer.bucket;
			way = offer.way;
		} else {
			evict_most_idle(cache, bucket, now);
		}
	}
	bucket->state[way] = bucket->state[way] == GLB_FLOW_OPENING ? GLB_FLOW_ESTABLISHED : GLB_FLOW_UDP;
}

void glb_flow_cache_seen(struct glb_flow_cache *cache, uint32_t place, uint64_t hash, uint32_t now,
			 enum glb_flow_event event)
{
	struct glb_flow_bucket *bucket = &cache->buckets[place / GLB_FLOW_WAYS];
	const unsigned way = place % GLB_FLOW_WAYS;

	if (bucket->seen[way] != (uint16_t)now)
		bucket->seen[way] = (uint16_t)now; /* once a second, so that the line is seldom written */
	if (event == GLB_FLOW_CLOSE)
		bucket->state[way] = GLB_FLOW_CLOSING;
	else if (event == GLB_FLOW_DATA && is_new(bucket->state[way]))
		establish(cache, place, hash, now);
}

void glb_flow_cache_forget(struct glb_flow_cache *cache, uint32_t place, enum glb_flow_end end)
{
	clear(cache, &cache->buckets[place / GLB_FLOW_WAYS], place % GLB_FLOW_WAYS);
	count(end == GLB_FLOW_END_GONE ? &cache->stats->gone : &cache->stats->replaced, 1);
}

void glb_flow_cache_sweep(struct glb_flow_cache *cache, uint32_t now, unsigned buckets)
{
	for (; buckets > 0; buckets--) {
		expire(cache, &cache->buckets[cache->sweep], now);
		cache->sweep = cache->sweep + 1 == cache->bucket_count ? 0 : cache->sweep + 1;
		__builtin_prefetch(&cache->buckets[cache->sweep], 1);
	}
}
