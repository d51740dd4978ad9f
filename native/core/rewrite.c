/* Packets that are changed instead of wrapped: l3dsr and nat. docs/wire/encapsulations.md, RFC 1624, 5508.
 *
 * Only headers are touched, and checksums follow by how much their words change, so that a damaged packet stays damaged.
 */
#include <glb/path.h>
#include <glb/wire.h>

#include "checksum.h"
#include "parse.h"

#include <string.h>

/* Replaces `len` bytes, and adds to *change what that does to a sum. */
static void put(void *field, const void *now, size_t len, uint64_t *change)
{
	*change += checksum_change(field, now, len);
	memcpy(field, now, len);
}

static void mend(glb_be16 *checksum, uint64_t change)
{
	*checksum = checksum_apply(*checksum, change);
}

/* Sets the upper six bits of an IPv4 header's TOS; `tos` has the lower two already. */
static void put_tos_v4(struct glb_ipv4 *ip, uint8_t tos, uint64_t *change)
{
	const uint8_t word[2] = {ip->version_ihl, tos};

	put(ip, word, sizeof(word), change);
}

static void put_tos_v6(struct glb_ipv6 *ip, uint8_t tos)
{
	const uint32_t word = glb_be32_get(ip->version_class_label);

	ip->version_class_label = glb_be32_put((word & 0xf00fffff) | (uint32_t)tos << 20);
}

/* The IP header: destination, and with l3dsr the DSCP. Returns what becomes of a pseudo header's sum. */
static uint64_t readdress(const struct glb_packet *packet, const uint8_t *backend, uint8_t *header)
{
	struct glb_ipv4 *v4 = (struct glb_ipv4 *)header;
	struct glb_ipv6 *v6 = (struct glb_ipv6 *)header;
	uint64_t addr = 0, change;

	if (packet->family == GLB_FAMILY_V6) {
		put(v6->dst, backend, sizeof(v6->dst), &addr);
		if (packet->encap == GLB_ENCAP_L3DSR)
			put_tos_v6(v6, packet->outer_tos);
		return addr;
	}
	put(v4->dst, backend, sizeof(v4->dst), &addr);
	change = addr;
	if (packet->encap == GLB_ENCAP_L3DSR)
		put_tos_v4(v4, packet->outer_tos, &change);
	mend(&v4->checksum, change);
	return addr;
}

/* The packet that an ICMP error quotes seems to have been sent by the VIP: makes it the backend's again. Returns what becomes of the sum of
 * the message. Parse has seen that the quoted ports are there. */
static uint64_t requote(const struct glb_packet *packet, const uint8_t *backend, const glb_be16 *port, uint8_t *quote,
			uint32_t len)
{
	struct glb_ipv4 *v4 = (struct glb_ipv4 *)quote;
	struct glb_ipv6 *v6 = (struct glb_ipv6 *)quote;
	uint64_t change = 0, addr = 0;
	struct ip ip;

	if (ip_parse(packet->family, (struct span){quote, len}, IP_QUOTED, &ip) != GLB_REASON_FORWARDED ||
	    ip.payload.len < sizeof(*port))
		return 0;
	if (packet->family == GLB_FAMILY_V4) {
		const glb_be16 old = v4->checksum;

		put(v4->src, backend, sizeof(v4->src), &addr);
		mend(&v4->checksum, addr);
		change = checksum_change(&old, &v4->checksum, sizeof(old));
	} else {
		put(v6->src, backend, sizeof(v6->src), &addr);
	}
	if (port != NULL)
		put(quote + (ip.payload.at - quote), port, sizeof(*port), &change);
	return change + addr;
}

/* The transport header's checksum, when its pseudo header's sum has changed by `addr` and its own bytes' by `message`. */
static void mend_transport(const struct glb_packet *packet, uint8_t *l4, uint64_t addr, uint64_t message)
{
	struct glb_udp *udp = (struct glb_udp *)l4;
	struct glb_icmp *icmp = (struct glb_icmp *)l4;

	switch ((enum glb_packet_kind)packet->kind) {
	case GLB_PACKET_TCP:
		mend(&((struct glb_tcp *)l4)->checksum, addr + message);
		break;
	case GLB_PACKET_UDP:
		if (glb_be16_get(udp->checksum) == 0)
			break; /* none */
		mend(&udp->checksum, addr + message);
		if (glb_be16_get(udp->checksum) == 0)
			udp->checksum = glb_be16_put(0xffff);
		break;
	case GLB_PACKET_ECHO:
	case GLB_PACKET_TOO_BIG:
	case GLB_PACKET_ERROR:
		mend(&icmp->checksum, (packet->family == GLB_FAMILY_V6 ? addr : 0) + message);
		break;
	default:
		break; /* a later fragment has none */
	}
}

void glb_path_rewrite(const struct glb_path *path, const struct glb_packet *packet, uint8_t *ip)
{
	const struct glb_service *service = &path->snapshot->services[packet->service];
	const uint8_t *backend = path->snapshot->backends[packet->chain[0]].addr.bytes;
	const uint32_t headers = packet->l4_offset - packet->l3_offset;
	const glb_be16 port = glb_be16_put((uint16_t)service->encap_value);
	const glb_be16 *new_port = service->encap_value != 0 ? &port : NULL;
	uint8_t *l4 = ip + headers;
	uint64_t message = 0;
	const uint64_t addr = readdress(packet, backend, ip);

	if (packet->encap == GLB_ENCAP_NAT && glb_packet_quotes(packet->kind))
		message = requote(packet, backend, new_port, l4 + sizeof(struct glb_icmp),
				  packet->rewrite_len - headers - (uint32_t)sizeof(struct glb_icmp));
	else if (new_port != NULL && (packet->kind == GLB_PACKET_TCP || packet->kind == GLB_PACKET_UDP))
		put(l4 + offsetof(struct glb_udp, dport), new_port, sizeof(*new_port), &message); /* TCP has it there, too */
	mend_transport(packet, l4, addr, message);
}
