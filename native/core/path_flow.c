/* The flow cache's two stages: recall begins the look-ups, remember ends them, puts a flow's own backend into its chain, and learns.
 *
 * Which packet may teach the cache, and where a remembered backend stands, is decided here; the table is in flow_cache.c.
 */
#include <glb/path.h>
#include <glb/wire.h>

#include <string.h>

static bool is_asked(const struct glb_path *path, const struct glb_packet *packet)
{
	if (packet->verdict != GLB_VERDICT_FORWARD ||
	    (path->snapshot->services[packet->service].flags & GLB_SERVICE_FLOW_CACHE) == 0)
		return false;
	return packet->kind == GLB_PACKET_TCP || packet->kind == GLB_PACKET_UDP || packet->kind == GLB_PACKET_TOO_BIG;
}

static void make_key(const struct glb_path *path, const struct glb_packet *packet, struct glb_flow_key *key)
{
	memcpy(key->src, packet->src.bytes, sizeof(key->src));
	memcpy(key->dst, packet->dst.bytes, sizeof(key->dst));
	key->sport = packet->sport;
	key->dport = packet->dport;
	key->service = path->snapshot->services[packet->service].id;
	key->protocol = packet->protocol;
	key->family = packet->family;
	memset(key->pad, 0, sizeof(key->pad));
}

void glb_path_recall(const struct glb_path *path, struct glb_flow_cache *cache, const struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct glb_flow_lookup *lookup = &cache->lookup[i];

		if (!is_asked(path, &packets[i]))
			continue;
		make_key(path, &packets[i], &lookup->key);
		lookup->hash = glb_flow_cache_hash(cache, &lookup->key);
		__builtin_prefetch(&cache->buckets[glb_flow_cache_first(cache, lookup->hash)]);
		__builtin_prefetch(&cache->buckets[glb_flow_cache_second(cache, lookup->hash)]);
	}
}

/* parse has seen to it that a TCP packet has its whole header. */
static enum glb_flow_event event_of(const struct glb_packet *packet)
{
	const struct glb_tcp *tcp = (const struct glb_tcp *)(packet->data + packet->l4_offset);

	if (packet->kind != GLB_PACKET_TCP)
		return GLB_FLOW_DATA;
	if (tcp->flags & (GLB_TCP_FIN | GLB_TCP_RST))
		return GLB_FLOW_CLOSE;
	return (tcp->flags & (GLB_TCP_SYN | GLB_TCP_ACK)) == GLB_TCP_SYN ? GLB_FLOW_SYN : GLB_FLOW_DATA;
}

static bool is_available(const struct glb_backend *backend)
{
	return backend->state == GLB_STATE_ACTIVE && backend->health != GLB_HEALTH_UNHEALTHY && backend->weight > 0;
}

/* Whether the service's packets can still go to a backend. It need not be in the service's pool any more, but of a family that
 * is: for those, and no others, glb_path_init() has seen to it that this director can send. */
static bool is_there(const struct glb_snapshot *snapshot, const struct glb_packet *packet, uint32_t backend)
{
	const struct glb_service *service = &snapshot->services[packet->service];
	const unsigned families = snapshot->tables[service->table].families | snapshot->tables[service->alt_table].families;

	if (backend == GLB_INDEX_NONE || snapshot->backends[backend].state == GLB_STATE_INACTIVE)
		return false;
	return families & (snapshot->backends[backend].addr.family == GLB_FAMILY_V4 ? GLB_FAMILIES_V4 : GLB_FAMILIES_V6);
}

/* Whether a packet in mid-stream may belong to another hop than the first. The redirect module takes every UDP packet. */
static bool has_second_chance(const struct glb_path *path, const struct glb_packet *packet)
{
	const struct glb_service *service = &path->snapshot->services[packet->service];

	return packet->kind == GLB_PACKET_TCP && service->encap == GLB_ENCAP_GUE &&
	       (path->snapshot->tables[service->table].hops > 1 || service->alt_hash_fields != 0);
}

static bool may_teach(const struct glb_path *path, const struct glb_packet *packet, enum glb_flow_event event)
{
	if (packet->kind == GLB_PACKET_TOO_BIG || event == GLB_FLOW_CLOSE ||
	    !is_available(&path->snapshot->backends[packet->chain[0]]))
		return false;
	return event == GLB_FLOW_SYN || !has_second_chance(path, packet);
}

/* Appends a backend that is not there yet. All hops of a chain are of one family. */
static void append(const struct glb_backend *backends, struct glb_packet *packet, uint32_t backend)
{
	if (packet->chain_len == GLB_HOPS_MAX ||
	    (packet->chain_len > 0 && backends[packet->chain[0]].addr.family != backends[backend].addr.family))
		return;
	for (unsigned i = 0; i < packet->chain_len; i++)
		if (packet->chain[i] == backend)
			return;
	packet->chain[packet->chain_len++] = backend;
}

/* The flow's own backend goes first; an unhealthy one last, since a dead hop hides everything behind it. */
static void put_into_chain(const struct glb_backend *backends, struct glb_packet *packet, uint32_t own)
{
	const bool last = backends[own].health == GLB_HEALTH_UNHEALTHY;
	const unsigned n = packet->chain_len;
	uint32_t row[GLB_HOPS_MAX];

	if (!last && packet->chain[0] == own)
		return;
	memcpy(row, packet->chain, n * sizeof(row[0]));
	packet->chain_len = 0;
	if (!last)
		append(backends, packet, own);
	for (unsigned i = 0; i < n; i++)
		if (row[i] != own)
			append(backends, packet, row[i]);
	append(backends, packet, own);
}

/* A connection that begins anew has no use for what was remembered of the last one with its ports, nor for a backend that takes
 * no new ones. */
static bool is_outlived(const struct glb_flow_cache *cache, uint32_t place, const struct glb_backend *backend,
			enum glb_flow_event event)
{
	return event == GLB_FLOW_SYN &&
	       (!is_available(backend) || glb_flow_cache_state(cache, place) == GLB_FLOW_CLOSING);
}

static void remember(const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now, struct glb_packet *packet,
		     const struct glb_flow_lookup *lookup)
{
	const struct glb_backend *backends = path->snapshot->backends;
	const enum glb_flow_event event = event_of(packet);
	const bool teaches = may_teach(path, packet, event);
	uint32_t place = glb_flow_cache_find(cache, &lookup->key, lookup->hash, now), own = GLB_INDEX_NONE;

	if (place != GLB_FLOW_NONE) {
		own = glb_backend_ids_find(path->backend_ids, path->snapshot, glb_flow_cache_backend(cache, place));
		if (!is_there(path->snapshot, packet, own)) {
			glb_flow_cache_forget(cache, place, GLB_FLOW_END_GONE);
			place = GLB_FLOW_NONE;
		} else if (is_outlived(cache, place, &backends[own], event)) {
			if (!teaches)
				return;
			glb_flow_cache_forget(cache, place, GLB_FLOW_END_REPLACED);
			place = GLB_FLOW_NONE;
		}
	}
	if (place != GLB_FLOW_NONE) {
		put_into_chain(backends, packet, own);
		if (packet->kind != GLB_PACKET_TOO_BIG)
			glb_flow_cache_seen(cache, place, lookup->hash, now, event);
	} else if (teaches) {
		glb_flow_cache_insert(cache, &lookup->key, lookup->hash, backends[packet->chain[0]].id, now);
	}
}

void glb_path_remember(const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now, struct glb_packet *packets,
		       unsigned n)
{
	uint64_t asked = 0; /* select may have dropped some since */

	for (unsigned i = 0; i < n; i++) {
		if (!is_asked(path, &packets[i]))
			continue;
		asked |= UINT64_C(1) << i;
		glb_flow_cache_prefetch(cache, cache->lookup[i].hash);
	}
	for (unsigned i = 0; i < n; i++)
		if (asked >> i & 1)
			remember(path, cache, now, &packets[i], &cache->lookup[i]);
}
