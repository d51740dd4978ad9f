/* The guard stage: source lists and limits of services that have some. A packet's service is known, its backend not yet.
 *
 * New flows of services with a flow cache are known in the remember stage only, which asks guard_admits_flow().
 */
#include "path_guard.h"
#include "verdict.h"

#include <glb/wire.h>

static void count(uint64_t *word)
{
	__atomic_store_n(word, *word + 1, __ATOMIC_RELAXED);
}

/* Not a service that this director counts: a forwarder loads no such snapshot. */
static uint32_t slot_of(const struct glb_path *path, uint32_t service)
{
	return path->service_slots[service];
}

static bool begins_connection(const struct glb_packet *packet)
{
	const struct glb_tcp *tcp = (const struct glb_tcp *)(packet->data + packet->l4_offset);

	return packet->kind == GLB_PACKET_TCP && (tcp->flags & (GLB_TCP_SYN | GLB_TCP_ACK)) == GLB_TCP_SYN;
}

bool guard_admits_flow(const struct glb_path *path, const struct glb_guard *guard, uint32_t service)
{
	const struct glb_protection *protection = glb_snapshot_protection(path->snapshot, service);
	uint32_t slot;

	if (protection == NULL || protection->flows_per_second == 0)
		return true;
	slot = slot_of(path, service);
	if (glb_limiter_take(&guard->limiters[slot][GLB_LIMIT_FLOWS], &guard->shares[slot][GLB_LIMIT_FLOWS], guard->now_ns))
		return true;
	count(&guard->refused[slot].flows_limited);
	return false;
}

static bool admits_packet(const struct glb_guard *guard, uint32_t slot)
{
	if (glb_limiter_take(&guard->limiters[slot][GLB_LIMIT_PACKETS], &guard->shares[slot][GLB_LIMIT_PACKETS], guard->now_ns))
		return true;
	count(&guard->refused[slot].packets_limited);
	return false;
}

/* By the lists alone. A packet's source is its flow's: of an ICMP error the client's whose packet it quotes. */
static enum glb_reason judge_source(const struct glb_protection *protection, const struct glb_filter *filter, const struct glb_packet *packet)
{
	if (protection->block != 0 && glb_list_has(&filter->block, &packet->src))
		return GLB_REASON_BLOCKED;
	if (protection->allow != 0 && !glb_list_has(&filter->allow, &packet->src))
		return GLB_REASON_NOT_ALLOWED;
	return GLB_REASON_FORWARDED;
}

static void count_source(const struct glb_path *path, const struct glb_guard *guard, uint32_t service, enum glb_reason reason)
{
	struct glb_refused *refused = &guard->refused[slot_of(path, service)];

	count(reason == GLB_REASON_BLOCKED ? &refused->blocked : &refused->not_allowed);
}

static enum glb_reason judge(const struct glb_path *path, const struct glb_guard *guard, const struct glb_protection *protection,
			     const struct glb_packet *packet, bool remembers)
{
	const uint8_t flags = path->snapshot->services[packet->service].flags;

	if (protection->packets_per_second != 0 && !admits_packet(guard, slot_of(path, packet->service)))
		return GLB_REASON_PACKETS_LIMITED;
	if (protection->flows_per_second == 0 || (remembers && (flags & GLB_SERVICE_FLOW_CACHE) != 0) || !begins_connection(packet))
		return GLB_REASON_FORWARDED;
	return guard_admits_flow(path, guard, packet->service) ? GLB_REASON_FORWARDED : GLB_REASON_FLOWS_LIMITED;
}

void glb_path_guard(const struct glb_path *path, const struct glb_guard *guard, bool remembers, struct glb_packet *packets,
		    unsigned n)
{
	const struct glb_filter *filters = path->filters != NULL ? __atomic_load_n(path->filters, __ATOMIC_ACQUIRE) : NULL;
	const struct glb_protection *protection = NULL;

	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];
		enum glb_reason reason = GLB_REASON_FORWARDED;

		if (packet->verdict != GLB_VERDICT_FORWARD ||
		    (path->snapshot->services[packet->service].flags & GLB_SERVICE_PROTECTED) == 0)
			continue;
		if (protection == NULL || protection->service != packet->service)
			protection = glb_snapshot_protection(path->snapshot, packet->service);
		if (filters != NULL)
			reason = judge_source(protection, &filters[protection - path->snapshot->protections], packet);
		if (reason != GLB_REASON_FORWARDED && guard != NULL)
			count_source(path, guard, packet->service, reason);
		if (reason == GLB_REASON_FORWARDED && guard != NULL)
			reason = judge(path, guard, protection, packet, remembers);
		verdict_set(packet, reason);
	}
}
