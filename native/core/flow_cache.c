/* The flow cache's table (glb/flow_cache.h): two buckets for each flow, and who goes when there is no place.
 *
 * Knows nothing of packets, services or snapshots; path_flow.c asks it.
 */
#include <glb/flow_cache.h>
#include <glb/siphash.h>
#include <glb/wire.h>

#include "fast_index.h"
#include "flow_bucket.h"
#include "lanes.h"

/* Established flows in a bucket from which on a new flow may go to its other bucket. Lower spreads flows more evenly, higher has more of them where
 * they are looked for first. */
enum { CROWDED = 5 };

static void count(uint64_t *word, int64_t n)
{
	__atomic_store_n(word, *word + (uint64_t)n, __ATOMIC_RELAXED);
}

static unsigned count_established(const struct glb_flow_bucket *bucket)
{
	return flow_count_of(bucket, FLOW_IS_ESTABLISHED);
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
	cache->timeout[GLB_FLOW_OPENING] = cache->timeout[GLB_FLOW_UDP_FIRST] = timeouts->opening;
	cache->udp_timeout = timeouts->udp;
	cache->timeout[GLB_FLOW_CLOSING] = timeouts->closing;
	cache->timeout[GLB_FLOW_ESTABLISHED] = timeouts->established;
	cache->timeout[GLB_FLOW_UDP] = timeouts->udp;
	*stats = (struct glb_flow_stats){.capacity = (uint64_t)cache->bucket_count * GLB_FLOW_WAYS};
}

void glb_flow_cache_time_udp(struct glb_flow_cache *cache, uint16_t seconds)
{
	const uint16_t opening = cache->timeout[GLB_FLOW_OPENING];

	cache->timeout[GLB_FLOW_UDP] = seconds != 0 ? seconds : cache->udp_timeout;
	cache->timeout[GLB_FLOW_UDP_FIRST] = seconds != 0 && seconds < opening ? seconds : opening;
}

/* Where the flow goes to is in the key, so that the message is short: of IPv4 one word, and of IPv6, whose ports it has, three. */
uint64_t glb_flow_cache_hash(const struct glb_flow_cache *cache, const struct glb_flow_key *key)
{
	const bool v4 = key->family == GLB_FAMILY_V4;
	const size_t len = v4 ? 4 : 16;
	const glb_be16 sport = glb_be16_put(key->sport), dport = glb_be16_put(key->dport);
	uint8_t message[16 + 2 + 2 + 1], *ports = message + len;
	uint64_t salted[2], to[2] = {0, 0};

	memcpy(message, key->src, len);
	memcpy(ports, &sport, 2);
	memcpy(ports + 2, &dport, 2);
	memcpy(to, key->dst, len);
	if (v4)
		to[0] = fast_key_v4((uint32_t)to[0], load16(&dport), key->protocol);
	else
		ports[4] = key->protocol;
	memcpy(salted, cache->key, sizeof(salted));
	salted[0] ^= to[0];
	salted[1] ^= to[1] ^ flow_salt(key->service);
	return flow_hash(glb_siphash24((const uint8_t *)salted, message, v4 ? 6 : 21));
}

/* Frees a place. The caller counts why. */
static void clear(struct glb_flow_cache *cache, struct glb_flow_bucket *bucket, unsigned way)
{
	bucket->signature[way] = 0;
	bucket->state[way] = GLB_FLOW_FREE;
	count(&cache->stats->entries, -1);
}

static void forget_expired(struct glb_flow_cache *cache, struct glb_flow_bucket *bucket, unsigned ways)
{
	for (; ways != 0; ways &= ways - 1) {
		clear(cache, bucket, (unsigned)__builtin_ctz(ways));
		count(&cache->stats->expired, 1);
	}
}

static inline void expire(struct glb_flow_cache *cache, struct glb_flow_bucket *bucket, uint32_t now)
{
	const unsigned ways = flow_ways_expired(bucket, now) & ~flow_ways_free(bucket);

	if (ways != 0)
		forget_expired(cache, bucket, ways);
}

uint32_t glb_flow_cache_find(struct glb_flow_cache *cache, uint64_t hash, uint32_t now)
{
	uint32_t place = flow_find(cache, hash);
	struct glb_flow_bucket *bucket;

	if (place == GLB_FLOW_NONE) {
		count(&cache->stats->misses, 1);
		return place;
	}
	bucket = &cache->buckets[place / GLB_FLOW_WAYS];
	if (!flow_has_expired(bucket, place % GLB_FLOW_WAYS, now)) {
		count(&cache->stats->hits, 1);
		return place;
	}
	clear(cache, bucket, place % GLB_FLOW_WAYS);
	count(&cache->stats->expired, 1);
	count(&cache->stats->misses, 1);
	return GLB_FLOW_NONE;
}

uint32_t glb_flow_cache_backend(const struct glb_flow_cache *cache, uint32_t place)
{
	return cache->buckets[place / GLB_FLOW_WAYS].backend[place % GLB_FLOW_WAYS];
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
	uint16_t left; /* s, that the flow which is there has */
};

/* The best place that a bucket has. A new flow gets no place beyond those for new flows; an established one (`kept`) does. What has expired
 * is gone already. */
GLB_INLINE struct offer look(struct glb_flow_bucket *bucket, uint32_t now, bool kept)
{
	struct offer offer = {.bucket = bucket, .rank = RANK_NONE};

	if (kept || flow_count_of(bucket, FLOW_IS_NEW) < GLB_FLOW_NEW_MAX) {
		const unsigned unused = flow_ways_free(bucket);

		if (unused != 0) {
			offer.rank = RANK_FREE;
			offer.way = (unsigned)__builtin_ctz(unused);
			return offer;
		}
		offer.way = flow_most_idle(bucket, FLOW_IS_FINISHED, now, &offer.left);
		if (offer.way != GLB_FLOW_WAYS) {
			offer.rank = RANK_FINISHED;
			return offer;
		}
	}
	offer.way = flow_most_idle(bucket, FLOW_IS_NEW, now, &offer.left);
	if (offer.way != GLB_FLOW_WAYS)
		offer.rank = RANK_NEW;
	return offer;
}

/* The better of two. No new flow is pushed out when that can be; then it goes where the flow is looked for first, and from a crowded bucket to one
 * with fewer established flows, which spreads them evenly. */
GLB_INLINE struct offer better(struct offer first, struct offer second)
{
	unsigned here, there;

	if (first.rank == RANK_NEW && second.rank == RANK_NEW)
		return first.left <= second.left ? first : second;
	if (first.rank >= RANK_NEW || second.rank >= RANK_NEW)
		return first.rank <= second.rank ? first : second;
	here = count_established(first.bucket);
	there = count_established(second.bucket);
	if (here == there)
		return first.rank <= second.rank ? first : second;
	return here < CROWDED || here < there ? first : second;
}

/* What is there now has to go, unless the place is free. Returns whether something went, which `entries` does not know yet. */
static inline bool push_out(struct glb_flow_stats *stats, const struct offer *offer)
{
	if (offer->rank == RANK_FREE)
		return false;
	count(offer->rank == RANK_NEW ? &stats->evicted_new : &stats->evicted_closing, 1);
	return true;
}

/* Where a new flow goes. Its second bucket matters only when the first is not good enough by itself. */
GLB_INLINE struct offer place_for(struct glb_flow_cache *cache, uint64_t hash, uint32_t now)
{
	struct glb_flow_bucket *bucket = &cache->buckets[glb_flow_cache_first(cache, hash)];
	struct offer first;

	expire(cache, bucket, now);
	first = look(bucket, now, false);
	if (first.rank == RANK_FREE && count_established(bucket) < CROWDED)
		return first;
	bucket = &cache->buckets[glb_flow_cache_second(cache, hash)];
	expire(cache, bucket, now);
	return better(first, look(bucket, now, false));
}

void glb_flow_cache_insert(struct glb_flow_cache *cache, uint64_t hash, uint8_t protocol, uint32_t backend, uint32_t now)
{
	const enum glb_flow_state state = protocol == GLB_IPPROTO_UDP ? GLB_FLOW_UDP_FIRST : GLB_FLOW_OPENING;
	const struct offer offer = place_for(cache, hash, now);
	struct glb_flow_stats *stats = cache->stats;

	if (!push_out(stats, &offer))
		count(&stats->entries, 1);
	offer.bucket->signature[offer.way] = (uint32_t)hash;
	offer.bucket->check[offer.way] = (uint32_t)(hash >> 32);
	offer.bucket->backend[offer.way] = backend;
	offer.bucket->state[offer.way] = (uint8_t)state;
	offer.bucket->expires[offer.way] = (uint16_t)(now + cache->timeout[state]);
	count(&stats->inserts, 1);
}

/* ---- a flow's life ---- */

static void evict_most_idle(struct glb_flow_cache *cache, struct glb_flow_bucket *bucket, uint32_t now)
{
	unsigned victim = GLB_FLOW_WAYS;
	uint16_t most = 0;

	for (unsigned ways = flow_ways_of(bucket, FLOW_IS_ESTABLISHED); ways != 0; ways &= ways - 1) {
		const unsigned way = (unsigned)__builtin_ctz(ways);
		const uint16_t idle = (uint16_t)(now + cache->timeout[bucket->state[way]] - bucket->expires[way]);

		if (victim != GLB_FLOW_WAYS && idle <= most)
			continue;
		victim = way;
		most = idle;
	}
	clear(cache, bucket, victim);
	count(&cache->stats->evicted_established, 1);
}

/* Moves a flow to a place that is offered, and returns the way there. */
static unsigned move(struct glb_flow_bucket *from, unsigned way, const struct offer *offer)
{
	struct glb_flow_bucket *to = offer->bucket;

	to->signature[offer->way] = from->signature[way];
	to->check[offer->way] = from->check[way];
	to->backend[offer->way] = from->backend[way];
	to->state[offer->way] = from->state[way];
	to->expires[offer->way] = from->expires[way];
	from->signature[way] = 0;
	from->state[way] = GLB_FLOW_FREE;
	return offer->way;
}

/* A new flow becomes an established one, in its other bucket when only that has room. */
static void establish(struct glb_flow_cache *cache, uint32_t place, uint32_t now)
{
	const uint32_t at = place / GLB_FLOW_WAYS;
	struct glb_flow_bucket *bucket = &cache->buckets[at];
	unsigned way = place % GLB_FLOW_WAYS;

	count(&cache->stats->established, 1);
	if (count_established(bucket) >= GLB_FLOW_ESTABLISHED_MAX)
		expire(cache, bucket, now);
	if (count_established(bucket) >= GLB_FLOW_ESTABLISHED_MAX) {
		const uint64_t hash = (uint64_t)bucket->check[way] << 32 | bucket->signature[way];
		const uint32_t first = glb_flow_cache_first(cache, hash);
		const uint32_t other = at == first ? glb_flow_cache_second(cache, hash) : first;
		struct offer offer;

		expire(cache, &cache->buckets[other], now);
		offer = look(&cache->buckets[other], now, true);
		if (other != at && count_established(offer.bucket) < GLB_FLOW_ESTABLISHED_MAX) {
			if (push_out(cache->stats, &offer))
				count(&cache->stats->entries, -1);
			way = move(bucket, way, &offer);
			bucket = offer.bucket;
		} else {
			evict_most_idle(cache, bucket, now);
		}
	}
	bucket->state[way] = bucket->state[way] == GLB_FLOW_OPENING ? GLB_FLOW_ESTABLISHED : GLB_FLOW_UDP;
	flow_prolong(cache, bucket, way, now);
}

void glb_flow_cache_seen(struct glb_flow_cache *cache, uint32_t place, uint32_t now, enum glb_flow_event event)
{
	struct glb_flow_bucket *bucket = &cache->buckets[place / GLB_FLOW_WAYS];
	const unsigned way = place % GLB_FLOW_WAYS;

	if (event == GLB_FLOW_CLOSE)
		bucket->state[way] = GLB_FLOW_CLOSING;
	flow_prolong(cache, bucket, way, now); /* before it might expire while it is established */
	if (event == GLB_FLOW_DATA && (bucket->state[way] >> FLOW_IS_NEW & 1))
		establish(cache, place, now);
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
		flow_prefetch(&cache->buckets[cache->sweep]);
	}
}
