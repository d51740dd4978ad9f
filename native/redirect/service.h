/* What operators may choose for a service on this host: who takes its UDP, and whether a new connection is hunted for a less busy
 * host (SRLB: https://arxiv.org/abs/1709.00725).
 *
 * The default, without an entry: the first hop takes every datagram and every SYN.
 */
#ifndef GLB_REDIRECT_SERVICE_H
#define GLB_REDIRECT_SERVICE_H

#include "claim.h"
#include "quic.h"

static __always_inline struct glb_redirect_service *service_of(const struct packet *packet, const struct tuple *tuple,
							       uint8_t protocol)
{
	struct glb_redirect_service_key key = {
		.protocol = protocol,
		.family = tuple->is_v6 ? GLB_REDIRECT_V6 : GLB_REDIRECT_V4,
		.port = tuple->vip_port,
	};

	if (tuple->is_v6)
		__builtin_memcpy(key.addr, tuple->vip, 16);
	else
		__builtin_memcpy(key.addr, tuple->vip, 4);
	return way_service(packet, &key);
}

/* Does a datagram, or an error about one, belong to a socket here as the service wants it? */
static __always_inline bool claims_udp(const struct packet *packet, const struct tuple *tuple)
{
	const struct glb_redirect_service *service = service_of(packet, tuple, GLB_IPPROTO_UDP);
	enum known_as known;

	if (!service || !(service->flags & (GLB_REDIRECT_SERVICE_BOUND | GLB_REDIRECT_SERVICE_CONNECTED)))
		return true;
	known = way_find_udp(packet, tuple);
	return known == KNOWN_CONNECTION || (known == KNOWN_LISTENER && service->flags & GLB_REDIRECT_SERVICE_BOUND);
}

/* Moves a dynamic threshold so that about half of what comes is refused, as SRLB's SRdyn does. Counts of several CPUs may miss one
 * another: it aims, it does not account. */
static __always_inline void learn(struct glb_redirect_service *service, bool accepted)
{
	const uint32_t taken = service->accepted + accepted;

	service->accepted = taken;
	if (++service->seen < GLB_REDIRECT_WINDOW)
		return;
	if (taken < GLB_REDIRECT_FEW)
		service->threshold++;
	else if (taken > GLB_REDIRECT_MANY && service->threshold)
		service->threshold--;
	service->seen = 0;
	service->accepted = 0;
}

/* Is this host busy? A SYN that was seen before goes where it went. */
static __always_inline bool hunts_on(const struct packet *packet, const struct tuple *tuple, struct glb_redirect_service *service,
				     uint32_t queue)
{
	struct glb_redirect_hunted flow = {.client_port = tuple->client_port, .vip_port = tuple->vip_port};
	uint32_t where;

	if (tuple->is_v6) {
		__builtin_memcpy(flow.client, tuple->client, 16);
		__builtin_memcpy(flow.vip, tuple->vip, 16);
	} else {
		__builtin_memcpy(flow.client, tuple->client, 4);
		__builtin_memcpy(flow.vip, tuple->vip, 4);
	}
	where = way_recall(packet, &flow);
	if (!where) {
		where = (service->flags & GLB_REDIRECT_SERVICE_LOAD ? service->load : queue) < service->threshold ? 1 : 2;
		if (service->flags & GLB_REDIRECT_SERVICE_DYNAMIC)
			learn(service, where == 1);
		way_remember(packet, &flow, where);
	}
	return where == 2;
}

/* Is a SYN better sent on, when there is a hop left? Not when a socket here has begun with it. */
static __always_inline bool passes_on(const struct packet *packet, const struct tuple *tuple, struct glb_redirect_service *service)
{
	struct known known = {};

	way_find(packet, tuple, NULL, &known);
	if (known.as == KNOWN_NOT)
		return service->flags & GLB_REDIRECT_SERVICE_LISTENING;
	return known.as == KNOWN_LISTENER && service->flags & (GLB_REDIRECT_SERVICE_QUEUE | GLB_REDIRECT_SERVICE_LOAD) &&
	       hunts_on(packet, tuple, service, known.queue);
}

#endif
