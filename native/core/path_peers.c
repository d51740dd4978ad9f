/* Fragments between directors: unwrap takes what a peer has redirected here; redirect finds what is for a peer; and what stands around it on its way.
 *
 * Which director is chosen: peers.c. docs/fragments.md, docs/wire/gue.md.
 */
#include "outer.h"
#include "path_classify.h"
#include "peers_mark.h"
#include "snapshot_layout.h"
#include "verdict.h"

#include <glb/path.h>
#include <glb/siphash.h>

enum {
	GUE_BYTES = sizeof(struct gue_header),
};

static const struct glb_addr *own_address(const struct glb_path *path)
{
	return &path->director.peers->of[path->director.peers->own].addr;
}

/* A UDP packet to this director's own address. */
static void unwrap(const struct glb_path *path, struct glb_packet *packet)
{
	struct span bytes = {packet->data + packet->l4_offset, packet->data_len - packet->l4_offset};
	const bool listed = glb_peers_find(path->director.peers, &packet->src) != GLB_PEERS_MAX;
	enum glb_reason reason = GLB_REASON_FRAGMENT_PEER_BAD;
	uint8_t family;

	if (!peers_marked(&bytes, &family))
		return;
	if (!listed) {
		verdict_set(packet, GLB_REASON_FRAGMENT_PEER_UNKNOWN);
		return;
	}
	if (family != GLB_FAMILY_NONE) {
		reason = packet_parse_inside(packet, family, bytes);
		if (reason == GLB_REASON_FORWARDED && !packet->fragment)
			reason = GLB_REASON_FRAGMENT_PEER_BAD;
		packet->from_peer = 1;
	}
	verdict_set(packet, reason);
}

void glb_path_unwrap(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];

		if (packet->verdict == GLB_VERDICT_FORWARD && packet->kind == GLB_PACKET_UDP && packet->dport == GLB_GUE_PORT &&
		    !packet->fragment && glb_addr_equal(&packet->dst, own_address(path)))
			unwrap(path, packet);
	}
}

/* What all fragments of a datagram have in common, but for the identification: as Maglev has it, a client's datagrams stay together. Over IPv6 they need not
 * agree on the protocol. */
static uint64_t hash_of(const struct glb_snapshot *snapshot, const struct glb_vip *vip, const struct ip *ip, uint8_t family)
{
	struct {
		uint8_t src[16];
		uint8_t dst[16];
		uint8_t family;
		uint8_t protocol;
		uint8_t pad[6];
	} key = {.family = family, .protocol = family == GLB_FAMILY_V4 ? ip->protocol : 0};

	memcpy(key.src, ip->src.bytes, sizeof(key.src));
	memcpy(key.dst, ip->dst.bytes, sizeof(key.dst));
	return glb_siphash24(snapshot->services[snapshot->binds[vip->bind_first].service].hash_key, &key, sizeof(key));
}

static uint32_t redirect_length(const struct glb_path *path, const struct glb_packet *packet)
{
	return (own_address(path)->family == GLB_FAMILY_V4 ? sizeof(struct glb_ipv4) : sizeof(struct glb_ipv6)) + GUE_BYTES + packet->l3_len;
}

static enum glb_reason redirect(const struct glb_path *path, struct glb_packet *packet)
{
	const struct span bytes = {packet->data + packet->l3_offset, packet->data_len - packet->l3_offset};
	const uint32_t mtu = path->egress[path->director.port].mtu;
	const struct glb_snapshot *snapshot = path->snapshot;
	const uint32_t vip = glb_snapshot_find_vip(snapshot, &packet->vip);
	uint32_t chosen;
	struct ip ip;

	if (vip == GLB_INDEX_NONE || !snapshot->vips[vip].follows)
		return GLB_REASON_FORWARDED;
	ip_parse(packet->family, bytes, packet->frame_len - packet->l3_offset, &ip);
	if (classify_alone(snapshot, &snapshot->vips[vip], ip.part_protocol))
		return GLB_REASON_FORWARDED;
	chosen = glb_peers_choose(path->director.peers, hash_of(snapshot, &snapshot->vips[vip], &ip, packet->family));
	if (chosen == path->director.peers->own)
		return GLB_REASON_FORWARDED;
	packet->peer = (uint8_t)chosen;
	if (mtu != 0 && redirect_length(path, packet) > mtu)
		return GLB_REASON_FRAGMENT_PEER_TOO_LONG;
	return GLB_REASON_FRAGMENT_REDIRECTED;
}

void glb_path_redirect(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];
		const bool later = packet->verdict == GLB_VERDICT_PUNT && packet->reason == GLB_REASON_LATER_FRAGMENT;
		enum glb_reason reason;

		if (!packet->fragment || packet->from_peer || (packet->verdict != GLB_VERDICT_FORWARD && !later))
			continue;
		reason = redirect(path, packet);
		if (reason != GLB_REASON_FORWARDED)
			verdict_set(packet, reason);
	}
}

uint32_t glb_path_ethernet(const struct glb_packet *packet, uint8_t family, uint8_t *out)
{
	const uint16_t type = family == GLB_FAMILY_V4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6;
	struct span bytes = {packet->data, packet->data_len};
	uint8_t came_as;
	uint32_t len;

	ethernet_parse(&bytes, &came_as);
	len = (uint32_t)(bytes.at - packet->data);
	memcpy(out, packet->data, len);
	*(glb_be16 *)(out + len - sizeof(glb_be16)) = glb_be16_put(type);
	return len;
}

uint32_t peers_ethernet(const struct glb_packet *packet, const uint8_t mac[6], uint8_t family, uint8_t *out)
{
	const uint32_t len = glb_path_ethernet(packet, family, out);
	struct glb_eth *eth = (struct glb_eth *)out;

	memcpy(eth->dst, eth->src, sizeof(eth->dst));
	memcpy(eth->src, mac, sizeof(eth->src));
	return len;
}

uint32_t glb_path_redirect_header(const struct glb_path *path, const struct glb_packet *packet, uint8_t *out)
{
	const struct glb_addr *from = own_address(path), *to = &path->director.peers->of[packet->peer].addr;
	const bool v4 = from->family == GLB_FAMILY_V4;
	const uint32_t length = redirect_length(path, packet), ip_len = v4 ? sizeof(struct glb_ipv4) : sizeof(struct glb_ipv6);
	const struct gue_header gue = gue_header(0, outer_inner_protocol(packet), length - ip_len, GLB_GUE_PRIVATE_FRAGMENT, 0, 0);
	uint8_t *ip = out + peers_ethernet(packet, path->director.local_mac, from->family, out);

	if (v4)
		*(struct glb_ipv4 *)ip = outer_ipv4(from->bytes, to->bytes, 0, GLB_IPPROTO_UDP, length, false);
	else
		*(struct glb_ipv6 *)ip = outer_ipv6(from->bytes, to->bytes, 0, 0, GLB_IPPROTO_UDP, length);
	memcpy(ip + ip_len, &gue, sizeof(gue));
	return (uint32_t)(ip - out) + ip_len + GUE_BYTES;
}
