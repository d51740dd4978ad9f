/* What a packet of a service with a flow cache gets from it, and gives: for path_flow.c, and fast_cache.c, which must do the same. */
#ifndef GLB_CORE_PATH_FLOW_H
#define GLB_CORE_PATH_FLOW_H

#include <glb/path.h>
#include <glb/wire.h>

struct flow_packet {
	const struct glb_service *service;
	uint64_t hash;             /* of the flow, for the cache */
	const uint32_t *chain;     /* its row's backends, one or more, as indices into the snapshot; borrowed */
	unsigned chain_len;
	enum glb_flow_event event;
	uint8_t protocol;
	bool quotes;               /* an ICMP error that quotes the flow: follows it, and neither teaches nor counts as its packet */
	const struct glb_guard *guard; /* NULL: any number of new flows may begin */
	uint32_t service_index;    /* for the guard */
};

static inline enum glb_flow_event flow_event(uint8_t tcp_flags)
{
	if (tcp_flags & (GLB_TCP_FIN | GLB_TCP_RST))
		return GLB_FLOW_CLOSE;
	return (tcp_flags & (GLB_TCP_SYN | GLB_TCP_ACK)) == GLB_TCP_SYN ? GLB_FLOW_SYN : GLB_FLOW_DATA;
}

/* Whether the service's packets can still go to a backend. It need not be in the service's pool any more, but of a family that
 * is: for those, and no others, glb_path_init() has seen to it that this director can send. */
static inline bool flow_can_go_to(const struct glb_snapshot *snapshot, const struct glb_service *service, uint32_t backend)
{
	const unsigned families = snapshot->tables[service->table].families | snapshot->tables[service->alt_table].families;

	if (backend == GLB_INDEX_NONE || snapshot->backends[backend].state == GLB_STATE_INACTIVE)
		return false;
	return families & (snapshot->backends[backend].addr.family == GLB_FAMILY_V4 ? GLB_FAMILIES_V4 : GLB_FAMILIES_V6);
}

enum { FLOW_REFUSED = GLB_INDEX_NONE - 1 }; /* no index that there can be */

/* The flow's own backend, as an index into the snapshot, or GLB_INDEX_NONE; FLOW_REFUSED: it is new, and the guard does not let it begin. Learns of the flow, and that a packet of it has come. */
uint32_t flow_own(const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now, const struct flow_packet *packet);

/* Puts a flow's own backend into a chain of n ≥ 1 backends, with room for GLB_HOPS_MAX; returns how many there are then. It goes first; an
 * unhealthy one last, since a dead hop hides everything behind it. */
unsigned flow_join(const struct glb_backend *backends, uint32_t *chain, unsigned n, uint32_t own);

#endif
