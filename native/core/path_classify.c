/* The classify stage: which service a packet belongs to, or why it is not ours. */
#include <glb/path.h>
#include <glb/wire.h>

#include "echo.h"
#include "path_classify.h"
#include "reject.h"
#include "snapshot_layout.h"
#include "verdict.h"

/* An ICMP error belongs to the service that sent the quoted packet. It must be addressed to the same VIP. GLB does not
 * compare the quoted protocol, so where only the other protocol has this port, that is the service. */
static enum glb_reason classify_quote(const struct glb_snapshot *snapshot, struct glb_packet *packet, uint32_t vip)
{
	const uint8_t other = packet->protocol == GLB_IPPROTO_TCP ? GLB_IPPROTO_UDP : GLB_IPPROTO_TCP;

	if (packet->dst.family == GLB_FAMILY_NONE)
		return GLB_REASON_ICMP_NOT_OURS;
	if (!glb_addr_equal(&packet->dst, &packet->vip) && glb_snapshot_find_vip(snapshot, &packet->dst) != vip)
		return GLB_REASON_ICMP_NOT_OURS;
	packet->service = glb_snapshot_find_service(snapshot, vip, packet->protocol, packet->dport);
	if (packet->service == GLB_INDEX_NONE)
		packet->service = glb_snapshot_find_service(snapshot, vip, other, packet->dport);
	return packet->service == GLB_INDEX_NONE ? GLB_REASON_ICMP_NOT_OURS : GLB_REASON_FORWARDED;
}

/* GLB's directors leave all errors but too-big to the kernel. */
static enum glb_reason classify_error(const struct glb_snapshot *snapshot, struct glb_packet *packet, uint32_t vip)
{
	const enum glb_reason reason = classify_quote(snapshot, packet, vip);

	if (reason != GLB_REASON_FORWARDED ||
	    snapshot->tables[snapshot->services[packet->service].table].policy != GLB_POLICY_GLB)
		return reason;
	packet->service = GLB_INDEX_NONE;
	return GLB_REASON_ICMP_NOT_TAKEN;
}

static enum glb_reason echo_reason(const struct glb_director *director, const struct glb_packet *packet)
{
	if (director->echo == GLB_ECHO_ANSWER && echo_answerable(packet))
		return GLB_REASON_ECHO_ANSWERED;
	return GLB_REASON_ICMP_NOT_TAKEN;
}

/* What becomes of a packet to a VIP that no service there takes; `punt`: the reason where it is left to the kernel. */
static enum glb_reason unmatched(const struct glb_vip *vip, const struct glb_packet *packet, enum glb_reason punt)
{
	if (vip->unmatched == GLB_UNMATCHED_PUNT)
		return punt;
	if (vip->unmatched == GLB_UNMATCHED_REJECT && reject_possible(packet))
		return GLB_REASON_UNMATCHED_REJECTED;
	return GLB_REASON_UNMATCHED_DROPPED;
}

/* A reply that comes from a backend behind nat has no port by which it could be given the VIP's address. */
static enum glb_reason classify_echo(const struct glb_path *path, struct glb_packet *packet, uint32_t vip)
{
	const uint32_t service = path->snapshot->vips[vip].echo_service;

	if (path->director.echo != GLB_ECHO_FORWARD)
		return echo_reason(&path->director, packet);
	if (path->snapshot->services[service].encap == GLB_ENCAP_NAT)
		return GLB_REASON_ICMP_NOT_TAKEN;
	packet->service = service;
	return GLB_REASON_FORWARDED;
}

/* The service of which classify_alone() is true, or GLB_INDEX_NONE. */
static uint32_t service_alone(const struct glb_snapshot *snapshot, const struct glb_vip *vip, uint8_t protocol)
{
	enum { ADDRESSES = GLB_HASH_SRC_ADDR | GLB_HASH_DST_ADDR, BINDS_MAX = 16 };
	const struct glb_bind *binds = &snapshot->binds[vip->bind_first];
	const struct glb_service *service;
	uint32_t only = GLB_INDEX_NONE;

	if (!vip->follows || vip->bind_count > BINDS_MAX)
		return GLB_INDEX_NONE;
	for (uint32_t b = 0; b < vip->bind_count; b++) {
		if (binds[b].protocol != protocol)
			continue;
		if (only != GLB_INDEX_NONE && only != binds[b].service)
			return GLB_INDEX_NONE;
		only = binds[b].service;
	}
	if (only == GLB_INDEX_NONE)
		return GLB_INDEX_NONE;
	service = &snapshot->services[only];
	if ((service->flags & (GLB_SERVICE_FRAGMENTS | GLB_SERVICE_FLOW_CACHE | GLB_SERVICE_QUIC)) != GLB_SERVICE_FRAGMENTS ||
	    ((service->hash_fields | service->alt_hash_fields) & ~ADDRESSES) != 0)
		return GLB_INDEX_NONE;
	return only;
}

bool classify_alone(const struct glb_snapshot *snapshot, const struct glb_vip *vip, uint8_t protocol)
{
	return service_alone(snapshot, vip, protocol) != GLB_INDEX_NONE;
}

/* What is for no VIP is none of ours, but for what routers say about outer packets. */
static enum glb_reason no_vip(const struct glb_path *path, const struct glb_packet *packet, uint8_t kind)
{
	struct glb_outer_too_big said;

	return kind == GLB_PACKET_TOO_BIG ? glb_outer_too_big(path, packet, &said) : GLB_REASON_NOT_VIP;
}

enum glb_reason classify_as(const struct glb_path *path, struct glb_packet *packet, uint8_t kind)
{
	const struct glb_snapshot *snapshot = path->snapshot;
	const uint32_t vip = glb_snapshot_find_vip(snapshot, &packet->vip);

	if (vip == GLB_INDEX_NONE)
		return no_vip(path, packet, kind);
	switch ((enum glb_packet_kind)kind) {
	case GLB_PACKET_TCP:
	case GLB_PACKET_UDP:
		packet->service = glb_snapshot_find_service(snapshot, vip, packet->protocol, packet->dport);
		if (packet->service == GLB_INDEX_NONE)
			return unmatched(&snapshot->vips[vip], packet, GLB_REASON_NO_SERVICE);
		return GLB_REASON_FORWARDED;
	case GLB_PACKET_ECHO:
		return classify_echo(path, packet, vip);
	case GLB_PACKET_TOO_BIG:
		return classify_quote(snapshot, packet, vip);
	case GLB_PACKET_ERROR:
		return classify_error(snapshot, packet, vip);
	case GLB_PACKET_ICMP:
		return GLB_REASON_ICMP_NOT_TAKEN;
	case GLB_PACKET_FRAGMENT:
		packet->service = service_alone(snapshot, &snapshot->vips[vip], packet->protocol);
		return packet->service != GLB_INDEX_NONE ? GLB_REASON_FORWARDED : GLB_REASON_LATER_FRAGMENT;
	case GLB_PACKET_OTHER:
		break;
	}
	packet->service = glb_snapshot_find_service(snapshot, vip, GLB_PROTOCOL_OTHER, 0);
	if (packet->service == GLB_INDEX_NONE)
		return unmatched(&snapshot->vips[vip], packet, GLB_REASON_OTHER_PROTOCOL);
	return GLB_REASON_FORWARDED;
}

/* Where GLB's directors run beside this one, both must treat a packet alike, and GLB's take a packet only when TCP, UDP
 * or ICMPv6 is the IPv6 header's own next header. Who rewrites the destination would have to know what is in the extensions: a
 * routing header has the final destination, an authentication header covers it. */
static enum glb_reason refuse_extended(const struct glb_snapshot *snapshot, struct glb_packet *packet)
{
	const struct glb_service *service = &snapshot->services[packet->service];

	if (snapshot->tables[service->table].policy != GLB_POLICY_GLB && service->encap != GLB_ENCAP_L3DSR &&
	    service->encap != GLB_ENCAP_NAT)
		return GLB_REASON_FORWARDED;
	packet->service = GLB_INDEX_NONE;
	return GLB_REASON_IPV6_EXTENSION;
}

void check_extended(const struct glb_path *path, struct glb_packet *packet)
{
	if (packet->extended && packet->verdict == GLB_VERDICT_FORWARD)
		verdict_set(packet, refuse_extended(path->snapshot, packet));
}

void glb_path_classify(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];

		if (packet->verdict != GLB_VERDICT_FORWARD)
			continue;
		verdict_set(packet, path->snapshot == NULL ? GLB_REASON_NO_SNAPSHOT : classify_as(path, packet, packet->kind));
		check_extended(path, packet);
		if (packet->verdict == GLB_VERDICT_FORWARD)
			__builtin_prefetch(&path->snapshot->services[packet->service]);
	}
}
