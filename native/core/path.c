/* The packet path: set-up, the MAC filter, and the order of the stages. The stages themselves are in path_*.c. */
#include <glb/path.h>
#include <glb/wire.h>

#include "verdict.h"

#include <errno.h>
#include <string.h>

/* The backends of one table, against what this director can send. */
static int check_table(const struct glb_snapshot *snapshot, const struct glb_table *table,
		       const struct glb_director *director, struct glb_error *error)
{
	for (uint32_t i = 0; i < table->backend_count; i++) {
		const struct glb_backend *backend = &snapshot->backends[table->backend_base + i];

		if (backend->addr.family != GLB_FAMILY_V4)
			return glb_error_set(error, -EINVAL,
					     "backend %s of pool %s has an IPv6 address: packets to backends go over IPv4 "
					     "only in this version; give it an IPv4 address",
					     snapshot->strings + backend->name, snapshot->strings + table->pool_name);
		if (director->outer_source_v4.family != GLB_FAMILY_V4)
			return glb_error_set(error, -EINVAL,
					     "backend %s of pool %s has an IPv4 address, and this director has no "
					     "outer_source_v4",
					     snapshot->strings + backend->name, snapshot->strings + table->pool_name);
	}
	return 0;
}

int glb_path_init(struct glb_path *path, const struct glb_snapshot *snapshot,
		  const struct glb_director *director, struct glb_error *error)
{
	int status = 0;

	*path = (struct glb_path){.snapshot = snapshot, .director = *director};
	path->gateway = (struct glb_next_hop){.port = director->port, .resolved = 1};
	memcpy(path->gateway.mac, director->gateway_mac, sizeof(path->gateway.mac));
	path->egress[director->port].mtu = director->mtu;
	memcpy(path->egress[director->port].mac, director->local_mac, sizeof(path->egress[0].mac));
	if (snapshot == NULL)
		return 0;
	for (uint32_t i = 0; i < snapshot->table_count && status == 0; i++)
		status = check_table(snapshot, &snapshot->tables[i], director, error);
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

void glb_path_burst_cached(const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now,
			   struct glb_packet *packets, unsigned n)
{
	bool remembers;

	glb_path_filter(path, packets, n);
	glb_packet_parse(packets, n);
	glb_path_classify(path, packets, n);
	remembers = (glb_path_hash(path, packets, n) & GLB_SERVICE_FLOW_CACHE) && cache != NULL && path->backend_ids != NULL;
	if (remembers)
		glb_path_recall(path, cache, packets, n);
	glb_path_select(path, packets, n);
	if (remembers)
		glb_path_remember(path, cache, now, packets, n);
	glb_path_measure(path, packets, n);
}

void glb_path_burst(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	glb_path_burst_cached(path, NULL, 0, packets, n);
}
