/* The QUIC stage: packets whose connection id names a backend get that backend as their first hop. After select, before the flow cache.
 *
 * The chain gets no longer than its row's, so that the room which outer headers take does not vary. A backend that is unhealthy, inactive or gone is
 * not gone to: then the packet goes by the row, as all do whose id names nobody. docs/quic.md.
 */
#include <glb/path.h>
#include <glb/quic.h>
#include <glb/wire.h>

#include "path_flow.h"
#include "snapshot_layout.h"

#include <string.h>

/* The UDP payload, as far as it is contiguous. */
static const uint8_t *payload_of(const struct glb_packet *packet, size_t *len)
{
	const uint32_t begin = packet->l4_offset + (uint32_t)sizeof(struct glb_udp);
	const uint32_t end = packet->l3_offset + packet->l3_len;
	const uint32_t there = end < packet->data_len ? end : packet->data_len;

	*len = there > begin ? there - begin : 0;
	return packet->data + begin;
}

static uint32_t owner_of(const struct glb_snapshot *snapshot, const struct glb_packet *packet)
{
	size_t payload_len, id_len;
	const uint8_t *payload = payload_of(packet, &payload_len);
	const uint8_t *id = glb_quic_server_chosen(payload, payload_len, &id_len);

	return id == NULL ? GLB_INDEX_NONE : glb_quic_find(snapshot, packet->service, id, id_len);
}

/* Of the row's hops the last one makes room, unless the backend is among them. */
static void put_first(const struct glb_backend *backends, struct glb_packet *packet, uint32_t own)
{
	unsigned at = 0;

	while (at + 1 < packet->chain_len && !glb_addr_equal(&backends[packet->chain[at]].addr, &backends[own].addr))
		at++;
	memmove(&packet->chain[1], &packet->chain[0], at * sizeof(packet->chain[0]));
	packet->chain[0] = own;
}

void glb_path_quic(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	const struct glb_snapshot *snapshot = path->snapshot;

	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];
		const struct glb_service *service;
		uint32_t own;

		if (packet->verdict != GLB_VERDICT_FORWARD || packet->kind != GLB_PACKET_UDP)
			continue;
		service = &snapshot->services[packet->service];
		if ((service->flags & GLB_SERVICE_QUIC) == 0)
			continue;
		own = owner_of(snapshot, packet);
		if (!flow_can_go_to(snapshot, service, own) || snapshot->backends[own].health == GLB_HEALTH_UNHEALTHY ||
		    snapshot->backends[own].addr.family != snapshot->backends[packet->chain[0]].addr.family)
			continue;
		put_first(snapshot->backends, packet, own);
		packet->by_id = 1;
	}
}
