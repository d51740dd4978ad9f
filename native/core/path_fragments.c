/* The fragment table's two stages: follow notes first fragments and tells later ones what those said; followed notes where they went.
 *
 * Which fragments are followed is decided here; the table is in fragments.c. docs/fragments.md.
 */
#include <glb/path.h>
#include <glb/wire.h>

#include "parse.h"
#include "path_classify.h"
#include "path_flow.h"
#include "verdict.h"

#include <string.h>

/* Reads once more what parse has read already, and had no place for. */
static void read_fragment(const struct glb_packet *packet, struct glb_fragment *out)
{
	const struct span bytes = {packet->data + packet->l3_offset, packet->data_len - packet->l3_offset};
	const bool v4 = packet->family == GLB_FAMILY_V4;
	struct ip ip;

	ip_parse(packet->family, bytes, packet->frame_len - packet->l3_offset, &ip);
	*out = (struct glb_fragment){
		.id = ip.id, .family = packet->family, .protocol = v4 ? ip.protocol : 0, .more = ip.more,
		.tcp = ip.protocol == GLB_IPPROTO_TCP, .offset = ip.offset,
		.len = ip.length - (uint32_t)(ip.part - bytes.at),
		.header_len = v4 ? (uint32_t)(ip.part - bytes.at) : 0,
	};
	memcpy(out->src, ip.src.bytes, sizeof(out->src));
	memcpy(out->dst, ip.dst.bytes, sizeof(out->dst));
}

static bool vip_follows(const struct glb_path *path, const struct glb_packet *packet)
{
	const uint32_t vip = glb_snapshot_find_vip(path->snapshot, &packet->vip);

	return vip != GLB_INDEX_NONE && path->snapshot->vips[vip].follows;
}

static bool is_taken(const struct glb_path *path, const struct glb_packet *packet)
{
	if (packet->verdict != GLB_VERDICT_FORWARD ||
	    (path->snapshot->services[packet->service].flags & GLB_SERVICE_FRAGMENTS) == 0)
		return false;
	return !glb_packet_quotes(packet->kind) && packet->kind != GLB_PACKET_ICMP;
}

/* One that no service follows is noted, too: so that later ones need not wait for it. */
static void follow_first(const struct glb_path *path, struct glb_fragments *fragments, uint64_t now, struct glb_packet *packet,
			 uint32_t *place)
{
	const struct glb_fragment_first first = {
		.sport = packet->sport, .dport = packet->dport, .hint = packet->hint, .kind = packet->kind,
		.protocol = packet->protocol, .taken = is_taken(path, packet),
	};
	enum glb_reason reason = GLB_REASON_FORWARDED;
	struct glb_fragment fragment;

	read_fragment(packet, &fragment);
	if (first.taken)
		reason = glb_fragment_check(&fragment);
	if (reason == GLB_REASON_FORWARDED)
		reason = glb_fragments_first(fragments, &fragment, &first, now, place);
	if (first.taken)
		verdict_set(packet, reason);
}

static void follow_later(const struct glb_path *path, struct glb_fragments *fragments, uint64_t now, struct glb_packet *packet,
			 uint32_t *place)
{
	const bool alone = packet->verdict == GLB_VERDICT_FORWARD;
	const struct glb_fragment_first *first;
	struct glb_fragment fragment;
	enum glb_reason reason;

	read_fragment(packet, &fragment);
	reason = glb_fragment_check(&fragment);
	if (reason == GLB_REASON_FORWARDED)
		reason = glb_fragments_later(fragments, &fragment, alone, now, place);
	verdict_set(packet, reason);
	if (reason != GLB_REASON_FORWARDED)
		return;
	if (glb_fragments_must_wait(fragments, *place)) {
		packet->verdict = GLB_VERDICT_WAIT;
		return;
	}
	if (alone)
		return;
	first = glb_fragments_said(fragments, *place);
	packet->sport = first->sport;
	packet->dport = first->dport;
	packet->hint = first->hint;
	packet->protocol = first->protocol;
	if (classify_as(path, packet, first->kind) != GLB_REASON_FORWARDED) {
		packet->service = GLB_INDEX_NONE; /* it was there when the first one came */
		verdict_set(packet, GLB_REASON_LATER_FRAGMENT);
	}
	check_extended(path, packet);
}

void glb_path_follow(const struct glb_path *path, struct glb_fragments *fragments, uint64_t now, struct glb_packet *packets,
		     unsigned n)
{
	glb_fragments_tidy(fragments);
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];

		fragments->place[i] = GLB_FRAGMENT_NONE;
		if (!packet->fragment || packet->reason == GLB_REASON_FRAGMENT_REDIRECTED || !vip_follows(path, packet))
			continue;
		if (packet->kind != GLB_PACKET_FRAGMENT)
			follow_first(path, fragments, now, packet, &fragments->place[i]);
		else if (packet->verdict == GLB_VERDICT_FORWARD || packet->reason == GLB_REASON_LATER_FRAGMENT)
			follow_later(path, fragments, now, packet, &fragments->place[i]);
	}
}

/* Puts the backend that the first fragment went to into the chain of a later one, unless that cannot be any more. */
static void join(const struct glb_path *path, struct glb_packet *packet, uint32_t backend)
{
	const struct glb_service *service = &path->snapshot->services[packet->service];
	const uint32_t own = glb_backend_ids_find(path->backend_ids, path->snapshot, backend);

	if (flow_can_go_to(path->snapshot, service, own))
		packet->chain_len = (uint8_t)flow_join(path->snapshot->backends, packet->chain, packet->chain_len, own);
}

void glb_path_followed(const struct glb_path *path, struct glb_fragments *fragments, struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];
		struct glb_fragment_first *first;

		if (fragments->place[i] == GLB_FRAGMENT_NONE || packet->verdict != GLB_VERDICT_FORWARD)
			continue;
		first = glb_fragments_said(fragments, fragments->place[i]);
		if (packet->kind != GLB_PACKET_FRAGMENT)
			first->backend = path->snapshot->backends[packet->chain[0]].id;
		else if (first->backend != GLB_ID_NONE && path->backend_ids != NULL)
			join(path, packet, first->backend);
	}
}
