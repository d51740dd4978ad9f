/* The packet path: set-up, the MAC filter, and the order of the stages. The stages themselves are in path_*.c. */
#include <glb/path.h>
#include <glb/stage.h>
#include <glb/wire.h>

#include "encap_rules.h"
#include "verdict.h"

#include <errno.h>
#include <string.h>

static bool has_gateway(const struct glb_director *director)
{
	static const uint8_t none[sizeof(director->gateway_mac)];

	return memcmp(director->gateway_mac, none, sizeof(none)) != 0;
}

/* The families that packets of a kind can be sent over. */
static unsigned families_of(const struct glb_director *director, uint8_t encap)
{
	const bool ports = encap == GLB_ENCAP_GUE; /* else they may come from a prefix */
	unsigned families = 0;

	if (director->outer_source_v4.family != GLB_FAMILY_NONE ||
	    (!ports && director->outer_prefix_v4.addr.family != GLB_FAMILY_NONE))
		families |= GLB_FAMILIES_V4;
	if (director->outer_source_v6.family != GLB_FAMILY_NONE ||
	    (!ports && director->outer_prefix_v6.addr.family != GLB_FAMILY_NONE))
		families |= GLB_FAMILIES_V6;
	return families;
}

/* One service, against what this director can send. */
static int check_service(const struct glb_snapshot *snapshot, const struct glb_service *service,
			 const struct glb_director *director, struct glb_error *error)
{
	const unsigned families = snapshot->tables[service->table].families | snapshot->tables[service->alt_table].families;
	const char *name = snapshot->strings + service->name;

	if (service->encap == GLB_ENCAP_L2DSR && has_gateway(director))
		return glb_error_set(error, -EINVAL, "service %s: encapsulation l2dsr sends to the MAC address of the backend itself, "
				     "and this director sends everything to gateway_mac; leave that out", name);
	if (!encap_rules[service->encap].outer)
		return 0;
	for (unsigned family = GLB_FAMILIES_V4; family <= GLB_FAMILIES_V6; family <<= 1)
		if ((families & ~families_of(director, service->encap) & family) != 0)
			return glb_error_set(error, -EINVAL,
					     "service %s: a backend of pool %s has an IPv%s address, and this director has no "
					     "outer_source_v%s", name,
					     snapshot->strings + snapshot->tables[service->table].pool_name,
					     family == GLB_FAMILIES_V4 ? "4" : "6", family == GLB_FAMILIES_V4 ? "4" : "6");
	return 0;
}

static bool is_plain(const struct glb_snapshot *snapshot, const struct glb_service *service)
{
	return service->encap == GLB_ENCAP_GUE && service->tos == 0 && service->tos_mask == 0 &&
	       (snapshot->tables[service->table].families & GLB_FAMILIES_V6) == 0 &&
	       (snapshot->tables[service->alt_table].families & GLB_FAMILIES_V6) == 0;
}

int glb_path_init(struct glb_path *path, const struct glb_snapshot *snapshot,
		  const struct glb_director *director, struct glb_error *error)
{
	int status = 0;

	*path = (struct glb_path){.snapshot = snapshot, .director = *director};
	path->gateway = (struct glb_next_hop){.port = director->port, .kind = GLB_NEXT_HOP_ROUTER};
	memcpy(path->gateway.mac, director->gateway_mac, sizeof(path->gateway.mac));
	path->egress[director->port].mtu = director->mtu;
	memcpy(path->egress[director->port].mac, director->local_mac, sizeof(path->egress[0].mac));
	if (snapshot == NULL)
		return 0;
	path->plain = 1;
	for (uint32_t i = 0; i < snapshot->service_count && status == 0; i++) {
		status = check_service(snapshot, &snapshot->services[i], director, error);
		path->encaps |= (uint16_t)(1U << snapshot->services[i].encap);
		path->plain &= is_plain(snapshot, &snapshot->services[i]);
		path->protects |= (snapshot->services[i].flags & GLB_SERVICE_PROTECTED) != 0;
		path->follows |= (snapshot->services[i].flags & GLB_SERVICE_FRAGMENTS) != 0;
	}
	return status;
}

void glb_path_route(struct glb_path *path, const uint64_t *next_hops, const struct glb_egress *egress,
		    unsigned ports)
{
	path->next_hops = next_hops;
	memcpy(path->egress, egress, ports * sizeof(*egress));
}

static enum glb_reason filter(const struct glb_director *director, const struct glb_packet *packet)
{
	const struct glb_eth *eth = (const struct glb_eth *)packet->data;

	if (packet->data_len < sizeof(*eth))
		return GLB_REASON_FORWARDED; /* parse knows what it is */
	if (memcmp(eth->src, director->local_mac, sizeof(eth->src)) == 0)
		return GLB_REASON_OWN_MAC;
	if ((eth->dst[0] & 1) == 0 && memcmp(eth->dst, director->local_mac, sizeof(eth->dst)) != 0)
		return GLB_REASON_OTHER_MAC;
	return GLB_REASON_FORWARDED;
}

void glb_path_filter(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	const bool wanted = path->director.filter_mac;

	for (unsigned i = 0; i < n; i++)
		verdict_set(&packets[i], wanted ? filter(&path->director, &packets[i]) : GLB_REASON_FORWARDED);
}

/* What a peer sent here and is forwarded is counted as such. */
static void name_peers(struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (packets[i].from_peer && packets[i].verdict == GLB_VERDICT_FORWARD && packets[i].reason == GLB_REASON_FORWARDED)
			packets[i].reason = GLB_REASON_FRAGMENT_FROM_PEER;
}

void glb_path_burst_with(const struct glb_path *path, const struct glb_path_memory *memory, struct glb_packet *packets, unsigned n)
{
	const bool follows = path->follows && memory->fragments != NULL;
	const struct glb_guard *guard = path->protects && path->service_slots != NULL ? memory->guard : NULL;
	struct glb_flow_cache *cache = memory->cache;
	const bool can_remember = cache != NULL && path->backend_ids != NULL;
	uint8_t flags;
	bool remembers;

	glb_path_filter(path, packets, n);
	STAGE_END(filter);
	glb_packet_parse(packets, n);
	if (path->director.peers != NULL)
		glb_path_unwrap(path, packets, n);
	STAGE_END(parse);
	glb_path_classify(path, packets, n);
	if (path->director.strict)
		glb_path_check(packets, n);
	if (path->director.peers != NULL && path->follows)
		glb_path_redirect(path, packets, n);
	if (follows)
		glb_path_follow(path, memory->fragments, memory->fragments_now, packets, n);
	if (guard != NULL || (path->protects && path->filters != NULL))
		glb_path_guard(path, guard, can_remember, packets, n);
	STAGE_END(classify);
	flags = glb_path_hash(path, packets, n);
	remembers = (flags & GLB_SERVICE_FLOW_CACHE) && can_remember;
	STAGE_END(hash);
	if (remembers)
		glb_path_recall(path, cache, packets, n);
	STAGE_END(recall);
	glb_path_select(path, packets, n);
	if (flags & GLB_SERVICE_QUIC)
		glb_path_quic(path, packets, n);
	STAGE_END(select);
	if (remembers)
		glb_path_remember(path, cache, memory->cache_now, guard, packets, n);
	if (follows)
		glb_path_followed(path, memory->fragments, packets, n);
	STAGE_END(remember);
	glb_path_measure(path, packets, n);
	if (path->director.peers != NULL)
		name_peers(packets, n);
	STAGE_END(measure);
}

void glb_path_burst_cached(const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now,
			   struct glb_packet *packets, unsigned n)
{
	glb_path_burst_with(path, &(struct glb_path_memory){.cache = cache, .cache_now = now}, packets, n);
}

void glb_path_burst(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	glb_path_burst_with(path, &(struct glb_path_memory){.cache = NULL}, packets, n);
}
