/* The flow cache's two stages: recall begins the look-ups, remember ends them, puts a flow's own backend into its chain, and learns.
 *
 * Which packet may teach the cache, and where a remembered backend stands, is decided here; the table is in flow_cache.c.
 */
#include "path_flow.h"
#include "flow_bucket.h"
#include "path_guard.h"
#include "verdict.h"

#include <string.h>

static bool is_asked(const struct glb_path *path, const struct glb_packet *packet)
{
	if (packet->verdict != GLB_VERDICT_FORWARD || packet->by_id ||
	    (path->snapshot->services[packet->service].flags & GLB_SERVICE_FLOW_CACHE) == 0)
		return false;
	return packet->kind == GLB_PACKET_TCP || packet->kind == GLB_PACKET_UDP || glb_packet_quotes(packet->kind);
}

static uint64_t hash_of(const struct glb_path *path, const struct glb_flow_cache *cache, const struct glb_packet *packet)
{
	struct glb_flow_key key = {
		.sport = packet->sport, .dport = packet->dport, .service = path->snapshot->services[packet->service].id,
		.protocol = packet->protocol, .family = packet->family,
	};

	memcpy(key.src, packet->src.bytes, sizeof(key.src));
	memcpy(key.dst, packet->dst.bytes, sizeof(key.dst));
	return glb_flow_cache_hash(cache, &key);
}

void glb_path_recall(const struct glb_path *path, struct glb_flow_cache *cache, const struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!is_asked(path, &packets[i]))
			continue;
		cache->hash[i] = hash_of(path, cache, &packets[i]);
		flow_prefetch(&cache->buckets[glb_flow_cache_first(cache, cache->hash[i])]);
	}
}

/* parse has seen to it that a TCP packet has its whole header. */
static enum glb_flow_event event_of(const struct glb_packet *packet)
{
	const struct glb_tcp *tcp = (const struct glb_tcp *)(packet->data + packet->l4_offset);

	return packet->kind == GLB_PACKET_TCP ? flow_event(tcp->flags) : GLB_FLOW_DATA;
}

static bool is_available(const struct glb_backend *backend)
{
	return backend->state == GLB_STATE_ACTIVE && backend->health != GLB_HEALTH_UNHEALTHY && backend->weight > 0;
}

/* Whether a packet in mid-stream may belong to another hop than the first. The redirect module takes every UDP packet. */
static bool has_second_chance(const struct glb_path *path, const struct flow_packet *packet)
{
	const struct glb_service *service = packet->service;

	return packet->protocol == GLB_IPPROTO_TCP && service->encap == GLB_ENCAP_GUE &&
	       (path->snapshot->tables[service->table].hops > 1 || service->alt_hash_fields != 0);
}

static bool may_teach(const struct glb_path *path, const struct flow_packet *packet)
{
	if (packet->quotes || packet->event == GLB_FLOW_CLOSE || !is_available(&path->snapshot->backends[packet->chain[0]]))
		return false;
	return packet->event == GLB_FLOW_SYN || !has_second_chance(path, packet);
}

static bool is_in_chain(const struct flow_packet *packet, uint32_t backend)
{
	for (unsigned i = 0; i < packet->chain_len; i++)
		if (packet->chain[i] == backend)
			return true;
	return false;
}

/* Appends a backend that is not there yet. All hops of a chain are of one family. */
static unsigned append(const struct glb_backend *backends, uint32_t *chain, unsigned n, uint32_t backend)
{
	if (n == GLB_HOPS_MAX || (n > 0 && backends[chain[0]].addr.family != backends[backend].addr.family))
		return n;
	for (unsigned i = 0; i < n; i++)
		if (chain[i] == backend)
			return n;
	chain[n] = backend;
	return n + 1;
}

unsigned flow_join(const struct glb_backend *backends, uint32_t *chain, unsigned n, uint32_t own)
{
	const bool last = backends[own].health == GLB_HEALTH_UNHEALTHY;
	uint32_t row[GLB_HOPS_MAX];
	unsigned joined = 0;

	if (!last && chain[0] == own)
		return n;
	memcpy(row, chain, n * sizeof(row[0]));
	if (!last)
		joined = append(backends, chain, joined, own);
	for (unsigned i = 0; i < n; i++)
		if (row[i] != own)
			joined = append(backends, chain, joined, row[i]);
	return append(backends, chain, joined, own);
}

/* A connection that begins anew has no use for what was remembered of the last one with its ports, nor for a backend that takes
 * no new ones, nor, with second chance, for one that other directors would not find in its chain. */
static bool is_outlived(const struct glb_path *path, const struct glb_flow_cache *cache, uint32_t place,
			const struct flow_packet *packet, uint32_t own)
{
	if (packet->event != GLB_FLOW_SYN)
		return false;
	if (!is_available(&path->snapshot->backends[own]) || glb_flow_cache_state(cache, place) == GLB_FLOW_CLOSING)
		return true;
	return has_second_chance(path, packet) && !is_in_chain(packet, own);
}

uint32_t flow_own(const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now, const struct flow_packet *packet)
{
	const struct glb_backend *backends = path->snapshot->backends;
	const bool teaches = may_teach(path, packet);
	uint32_t place = glb_flow_cache_find(cache, packet->hash, now), own = GLB_INDEX_NONE;

	if (place != GLB_FLOW_NONE) {
		own = glb_backend_ids_find(path->backend_ids, path->snapshot, glb_flow_cache_backend(cache, place));
		if (!flow_can_go_to(path->snapshot, packet->service, own)) {
			glb_flow_cache_forget(cache, place, GLB_FLOW_END_GONE);
			place = GLB_FLOW_NONE;
		} else if (is_outlived(path, cache, place, packet, own)) {
			if (!teaches)
				return GLB_INDEX_NONE;
			glb_flow_cache_forget(cache, place, GLB_FLOW_END_REPLACED);
			place = GLB_FLOW_NONE;
		}
	}
	if (place != GLB_FLOW_NONE) {
		if (!packet->quotes)
			glb_flow_cache_seen(cache, place, now, packet->event);
		return own;
	}
	if (teaches && packet->guard != NULL && !guard_admits_flow(path, packet->guard, packet->service_index))
		return FLOW_REFUSED;
	if (teaches)
		glb_flow_cache_insert(cache, packet->hash, packet->protocol, backends[packet->chain[0]].id, now);
	return GLB_INDEX_NONE;
}

static void remember(const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now, const struct glb_guard *guard,
		     struct glb_packet *packet, uint64_t hash)
{
	const struct flow_packet asking = {
		.service = &path->snapshot->services[packet->service],
		.hash = hash,
		.chain = packet->chain,
		.chain_len = packet->chain_len,
		.event = event_of(packet),
		.protocol = packet->protocol,
		.quotes = glb_packet_quotes(packet->kind),
		.guard = guard,
		.service_index = packet->service,
	};
	const uint32_t own = flow_own(path, cache, now, &asking);

	if (own == FLOW_REFUSED)
		verdict_set(packet, GLB_REASON_FLOWS_LIMITED);
	else if (own != GLB_INDEX_NONE)
		packet->chain_len = (uint8_t)flow_join(path->snapshot->backends, packet->chain, packet->chain_len, own);
}

void glb_path_remember(const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now, const struct glb_guard *guard,
		       struct glb_packet *packets, unsigned n)
{
	const uint16_t *udp_timeouts = path->snapshot->udp_timeouts;
	uint64_t asked = 0; /* select may have dropped some since */

	for (unsigned i = 0; i < n; i++) {
		if (!is_asked(path, &packets[i]))
			continue;
		asked |= UINT64_C(1) << i;
		if (flow_ways_alike(&cache->buckets[glb_flow_cache_first(cache, cache->hash[i])], cache->hash[i]) == 0)
			flow_prefetch(&cache->buckets[glb_flow_cache_second(cache, cache->hash[i])]);
	}
	for (unsigned i = 0; i < n; i++) {
		if ((asked >> i & 1) == 0)
			continue;
		if (udp_timeouts != NULL)
			glb_flow_cache_time_udp(cache, udp_timeouts[packets[i].service]);
		remember(path, cache, now, guard, &packets[i], cache->hash[i]);
	}
	if (udp_timeouts != NULL)
		glb_flow_cache_time_udp(cache, 0);
}
