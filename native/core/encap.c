/* The measure stage, and the outer header: Ethernet with or without a tag, then what the service's encapsulation
 * puts in front of the client's packet (encap_gue.c, encap_tunnel.c). Packets that are changed themselves: rewrite.c.
 */
#include <glb/path.h>
#include <glb/wire.h>

#include "encap_rules.h"
#include "outer.h"
#include "oversize.h"
#include "verdict.h"

enum {
	IP_LENGTH_MAX = 65535, /* what a length field holds */
};

/* Bytes in front of the client's packet behind Ethernet, without hops or a key, and who writes them. */
static const struct kind {
	uint8_t v4, v6;
	void (*write)(const struct glb_path *path, const struct glb_packet *packet, uint32_t length, uint8_t *out);
} kinds[GLB_ENCAP_COUNT] = {
	[GLB_ENCAP_GUE] = {GUE_V4_BYTES, GUE_V6_BYTES, gue_v6_write}, /* over IPv4: glb_path_encap() */
	[GLB_ENCAP_GRE] = {sizeof(struct glb_ipv4) + sizeof(struct glb_gre), sizeof(struct glb_ipv6) + sizeof(struct glb_gre),
			   gre_write},
	[GLB_ENCAP_IPIP] = {.v4 = sizeof(struct glb_ipv4), .write = ip_write},
	[GLB_ENCAP_IP6IP6] = {.v6 = sizeof(struct glb_ipv6), .write = ip_write},
	[GLB_ENCAP_4IN6] = {.v6 = sizeof(struct glb_ipv6), .write = ip_write},
	[GLB_ENCAP_6IN4] = {.v4 = sizeof(struct glb_ipv4), .write = ip_write},
	/* L2DSR, L3DSR, NAT: nothing */
};

/* Sets next_hop, from the table or else to the gateway. */
static void find_next_hops(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	if (path->next_hops == NULL) {
		for (unsigned i = 0; i < n; i++)
			packets[i].next_hop = path->gateway;
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];

		if (packet->verdict != GLB_VERDICT_FORWARD)
			continue;
		packet->next_hop = glb_next_hop_load(&path->next_hops[packet->chain[0]]);
		if (packet->next_hop.kind == GLB_NEXT_HOP_UNKNOWN)
			verdict_set(packet, GLB_REASON_NO_NEXT_HOP);
	}
}

/* Leaves in the chain only hops of the first one's family: no others fit into the header. */
static void keep_family(const struct glb_backend *backends, struct glb_packet *packet)
{
	const uint8_t family = backends[packet->chain[0]].addr.family;
	unsigned kept = 1;

	for (unsigned i = 1; i < packet->chain_len; i++)
		if (backends[packet->chain[i]].addr.family == family)
			packet->chain[kept++] = packet->chain[i];
	packet->chain_len = (uint8_t)kept;
}

/* Bytes at the front of the client's packet that rewriting may change. */
static uint16_t rewrite_length(const struct glb_packet *packet)
{
	const uint32_t headers = packet->l4_offset - packet->l3_offset;
	const uint32_t contiguous = packet->data_len - packet->l3_offset;

	switch ((enum glb_packet_kind)packet->kind) {
	case GLB_PACKET_TCP:
		return (uint16_t)(headers + sizeof(struct glb_tcp));
	case GLB_PACKET_TOO_BIG:
	case GLB_PACKET_ERROR:
		return (uint16_t)(contiguous < packet->l3_len ? contiguous : packet->l3_len);
	case GLB_PACKET_UDP:
	case GLB_PACKET_ECHO:
		return (uint16_t)(headers + sizeof(struct glb_udp)); /* as long as ICMP's */
	default:
		return (uint16_t)headers;
	}
}

/* The encapsulation of the packet's service: which, of what family, how many bytes. Returns those behind Ethernet. */
static uint32_t measure_kind(const struct glb_path *path, struct glb_packet *packet)
{
	const struct glb_service *service = &path->snapshot->services[packet->service];
	const struct kind *kind = &kinds[service->encap];
	uint32_t bytes;

	packet->encap = service->encap;
	packet->outer_tos = (uint8_t)((packet->tos & service->tos_mask) | service->tos);
	packet->outer_family = kind->write != NULL ? path->snapshot->backends[packet->chain[0]].addr.family : packet->family;
	bytes = packet->outer_family == GLB_FAMILY_V4 ? kind->v4 : kind->v6;
	switch ((enum glb_encap_kind)service->encap) {
	case GLB_ENCAP_GUE:
		keep_family(path->snapshot->backends, packet);
		return bytes + (packet->chain_len - 1U) *
			(packet->outer_family == GLB_FAMILY_V4 ? GUE_V4_HOP_BYTES : GUE_V6_HOP_BYTES);
	case GLB_ENCAP_GRE:
		return bytes + (service->flags & GLB_SERVICE_GRE_KEY ? GRE_KEY_BYTES : 0);
	case GLB_ENCAP_L3DSR:
	case GLB_ENCAP_NAT:
		packet->rewrite_len = rewrite_length(packet);
		return bytes;
	default:
		return bytes;
	}
}

/* The length field of IPv6 does not count its own header. */
static uint32_t limit_of(const struct glb_egress *egress, bool v6)
{
	const uint32_t limit = IP_LENGTH_MAX + (v6 ? (uint32_t)sizeof(struct glb_ipv6) : 0);

	return egress->mtu != 0 && egress->mtu < limit ? egress->mtu : limit;
}

/* Bytes behind Ethernet of the longest outer header that a packet of the service can have, with backends of `family`. The service's chains are
 * as long as its rows, those of a second look-up, and a flow's own backend from the cache make them. */
static uint32_t longest(const struct glb_path *path, const struct glb_service *service, uint8_t family)
{
	const struct glb_table *tables = path->snapshot->tables;
	const bool v4 = family == GLB_FAMILY_V4;
	const uint32_t bytes = v4 ? kinds[service->encap].v4 : kinds[service->encap].v6;
	uint32_t hops = tables[service->table].hops;

	if (service->encap == GLB_ENCAP_GRE)
		return bytes + (service->flags & GLB_SERVICE_GRE_KEY ? GRE_KEY_BYTES : 0);
	if (service->encap != GLB_ENCAP_GUE)
		return bytes;
	if (service->alt_hash_fields != 0)
		hops += tables[service->alt_table].hops;
	if (service->flags & GLB_SERVICE_FLOW_CACHE)
		hops++;
	if (hops > GLB_HOPS_MAX)
		hops = GLB_HOPS_MAX;
	return bytes + (hops - 1) * (v4 ? GUE_V4_HOP_BYTES : GUE_V6_HOP_BYTES);
}

static uint32_t lower_of(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The least MTU known of the ways to any backend of the service. */
static uint32_t least_way(const struct glb_path *path, const struct glb_service *service)
{
	if (glb_path_mtus_least(path->mtus) == UINT32_MAX || !encap_rules[service->encap].outer)
		return UINT32_MAX;
	return lower_of(glb_path_mtu(path->mtus->tables, service->table), glb_path_mtu(path->mtus->tables, service->alt_table));
}

/* The longest packet that fits behind any outer header of its service, on any way: the same for all packets of a client. */
static uint32_t always_fits(const struct glb_path *path, const struct glb_packet *packet, const struct glb_egress *egress)
{
	const struct glb_service *service = &path->snapshot->services[packet->service];
	const uint32_t way = least_way(path, service);
	const unsigned families = path->snapshot->tables[service->table].families |
				  path->snapshot->tables[service->alt_table].families;
	uint32_t fits = limit_of(egress, false);

	for (uint8_t family = GLB_FAMILY_V4; family <= GLB_FAMILY_V6; family += GLB_FAMILY_V6 - GLB_FAMILY_V4) {
		const uint32_t limit = lower_of(limit_of(egress, family == GLB_FAMILY_V6), way), bytes = longest(path, service, family);
		const uint32_t left = limit > bytes ? limit - bytes : 0;

		if ((families & encap_family(family)) != 0 && left < fits)
			fits = left;
	}
	return fits;
}

/* A packet that is longer than may be sent. Without an MTU it is longer than IP can be, and nobody's to mend. */
static enum glb_reason too_long(const struct glb_path *path, struct glb_packet *packet, const struct glb_egress *egress)
{
	if (egress->mtu == 0)
		return GLB_REASON_TOO_LONG;
	return oversize(&path->snapshot->services[packet->service], packet, always_fits(path, packet, egress));
}

/* The least MTU known of the ways to the backends of a packet's chain. */
static uint32_t own_way(const struct glb_path *path, const struct glb_packet *packet)
{
	uint32_t least = UINT32_MAX;

	for (unsigned i = 0; i < packet->chain_len; i++)
		least = lower_of(least, glb_path_mtu(path->mtus->backends, packet->chain[i]));
	return least;
}

/* A packet that may be sent, but exceeds `least`, which is known of some way: whether it is too big for its own. Who has obeyed is not told
 * again: what cannot be told less is sent. */
static enum glb_reason check_way(const struct glb_path *path, struct glb_packet *packet, const struct glb_egress *egress)
{
	const struct glb_service *service = &path->snapshot->services[packet->service];
	uint32_t told;

	if (!encap_rules[service->encap].outer || outer_length(packet, egress) <= own_way(path, packet))
		return GLB_REASON_FORWARDED;
	told = always_fits(path, packet, egress);
	if (packet->l3_len <= oversize_told(told, packet->family))
		return GLB_REASON_FORWARDED;
	return oversize(service, packet, told);
}

/* Whether packets of its service can go to a backend of `family`: not always, while a chain has members from before a change. */
static bool reaches(const struct glb_packet *packet, uint8_t encap, uint8_t family)
{
	if (kinds[encap].write != NULL)
		return (family == GLB_FAMILY_V4 ? kinds[encap].v4 : kinds[encap].v6) != 0;
	return encap == GLB_ENCAP_L2DSR || family == packet->family;
}

static enum glb_reason measure_packet(const struct glb_path *path, struct glb_packet *packet, uint32_t least)
{
	const struct glb_egress *egress = &path->egress[packet->next_hop.port];
	const uint8_t encap = path->snapshot->services[packet->service].encap;

	if (!reaches(packet, encap, path->snapshot->backends[packet->chain[0]].addr.family))
		return GLB_REASON_NO_BACKEND;
	packet->header_len = (uint8_t)(outer_tag_length(egress) + sizeof(struct glb_eth) + measure_kind(path, packet));
	if (encap == GLB_ENCAP_L2DSR && packet->next_hop.kind != GLB_NEXT_HOP_BACKEND)
		return GLB_REASON_NOT_ON_LINK;
	if (outer_length(packet, egress) > limit_of(egress, packet->outer_family == GLB_FAMILY_V6))
		return too_long(path, packet, egress);
	return outer_length(packet, egress) > least ? check_way(path, packet, egress) : GLB_REASON_FORWARDED;
}

static void measure_any(const struct glb_path *path, struct glb_packet *packets, unsigned n, uint32_t least)
{
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];

		if (packet->verdict == GLB_VERDICT_FORWARD)
			verdict_set(packet, measure_packet(path, packet, least));
	}
}

void glb_path_measure(const struct glb_path *path, struct glb_packet *packets, unsigned n)
{
	const uint32_t least = glb_path_mtus_least(path->mtus); /* known of any way */

	find_next_hops(path, packets, n);
	if (!path->plain) {
		measure_any(path, packets, n, least);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		struct glb_packet *packet = &packets[i];
		const struct glb_egress *egress;

		if (packet->verdict != GLB_VERDICT_FORWARD)
			continue;
		egress = &path->egress[packet->next_hop.port];
		packet->header_len = (uint8_t)(outer_tag_length(egress) + sizeof(struct glb_eth) + GUE_V4_BYTES +
					       (packet->chain_len - 1U) * GUE_V4_HOP_BYTES);
		if (outer_length(packet, egress) > limit_of(egress, false))
			verdict_set(packet, too_long(path, packet, egress));
		else if (outer_length(packet, egress) > least)
			verdict_set(packet, check_way(path, packet, egress));
	}
}

bool glb_path_sums_payload(const struct glb_path *path, const struct glb_packet *packet)
{
	const bool v6 = !path->plain && packet->outer_family == GLB_FAMILY_V6;
	const uint8_t checksum = v6 ? path->director.outer_checksum_v6 : path->director.outer_checksum;

	if (checksum == GLB_OUTER_CHECKSUM_ZERO || (!path->plain && packet->encap != GLB_ENCAP_GUE))
		return false;
	return (path->egress[packet->next_hop.port].offloads & GLB_OFFLOAD_UDP_CHECKSUM) == 0;
}

static void encap_any(const struct glb_path *path, const struct glb_packet *packet, uint8_t *out)
{
	const struct glb_egress *egress = &path->egress[packet->next_hop.port];
	const bool v4 = packet->outer_family == GLB_FAMILY_V4;
	const uint32_t length = outer_length(packet, egress);
	uint8_t *ip = outer_ethernet(packet, egress, v4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6, out);

	if (packet->encap == GLB_ENCAP_GUE && v4)
		gue_v4_write(path, packet, length, ip);
	else if (kinds[packet->encap].write != NULL)
		kinds[packet->encap].write(path, packet, length, ip);
}

void glb_path_encap(const struct glb_path *path, const struct glb_packet *packet, uint8_t *out)
{
	if (path->plain)
		gue_v4_frame(path, packet, out);
	else
		encap_any(path, packet, out);
}
