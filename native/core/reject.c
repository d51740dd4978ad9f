/* Rejections (glb/path.h): a reset for TCP, port unreachable for UDP; too-big for what exceeds the MTU. What cannot be answered is
 * dropped by classify and measure.
 *
 * The reply takes the request's Ethernet header and tags, turned round, and is otherwise made from nothing.
 * RFC 9293 (3.5.2), 792, 1122 (3.2.2), 1191, 4443 (3.1, 3.2, 2.4).
 */
#include "reject.h"
#include "checksum.h"
#include "echo.h"
#include "peers_mark.h"

#include <glb/path.h>
#include <glb/wire.h>

#include <string.h>

enum {
	TTL = 64,
	QUOTE_V4_MAX = 576 - sizeof(struct glb_ipv4) - sizeof(struct glb_icmp),
	QUOTE_V6_MAX = 1280 - sizeof(struct glb_ipv6) - sizeof(struct glb_icmp),
};

bool reject_possible(const struct glb_packet *packet)
{
	const struct glb_tcp *tcp = (const struct glb_tcp *)(packet->data + packet->l4_offset);

	if (!answerable_source(packet))
		return false;
	return packet->kind == GLB_PACKET_UDP || (packet->kind == GLB_PACKET_TCP && (tcp->flags & GLB_TCP_RST) == 0);
}

/* Writes the reply's IP header for a payload of `length` bytes of `protocol` that is already behind it; *sum_at is its checksum. */
static void put_ip(const struct glb_packet *packet, uint8_t protocol, uint8_t *out, uint32_t length, glb_be16 *sum_at)
{
	const uint8_t *payload = out + (packet->family == GLB_FAMILY_V4 ? sizeof(struct glb_ipv4) : sizeof(struct glb_ipv6));
	const uint8_t *vip = packet->vip.bytes, *client = packet->src.bytes;
	const glb_be32 pseudo[2] = {glb_be32_put(length), glb_be32_put(protocol)};
	const size_t len = glb_addr_len(packet->family);
	uint64_t sum = 0;

	if (packet->family == GLB_FAMILY_V4) {
		struct glb_ipv4 ip = {
			.version_ihl = 0x45,
			.total_length = glb_be16_put((uint16_t)(sizeof(ip) + length)),
			.fragment = glb_be16_put(GLB_IPV4_DF),
			.ttl = TTL,
			.protocol = protocol,
		};

		memcpy(ip.src, vip, len);
		memcpy(ip.dst, client, len);
		ip.checksum = checksum_finish(checksum_add(0, &ip, sizeof(ip)));
		memcpy(out, &ip, sizeof(ip));
	} else {
		struct glb_ipv6 ip = {
			.version_class_label = glb_be32_put(6U << 28),
			.payload_length = glb_be16_put((uint16_t)length),
			.next_header = protocol,
			.hop_limit = TTL,
		};

		memcpy(ip.src, vip, len);
		memcpy(ip.dst, client, len);
		memcpy(out, &ip, sizeof(ip));
	}
	if (protocol != GLB_IPPROTO_ICMP) /* ICMP alone has no pseudo-header */
		sum = checksum_add(checksum_add(checksum_add(0, vip, len), client, len), pseudo, sizeof(pseudo));
	*sum_at = checksum_finish(checksum_add(sum, payload, length));
}

static uint32_t put_reset(const struct glb_packet *packet, uint8_t *out)
{
	const uint32_t ip_len = packet->family == GLB_FAMILY_V4 ? sizeof(struct glb_ipv4) : sizeof(struct glb_ipv6);
	const struct glb_tcp *asked = (const struct glb_tcp *)(packet->data + packet->l4_offset);
	const uint32_t before = (uint32_t)(packet->l4_offset - packet->l3_offset) + (asked->data_offset >> 4) * 4U;
	struct glb_tcp *tcp = (struct glb_tcp *)(out + ip_len);
	uint32_t taken = packet->l3_len > before ? packet->l3_len - before : 0;

	taken += (asked->flags & GLB_TCP_SYN) != 0;
	taken += (asked->flags & GLB_TCP_FIN) != 0;
	*tcp = (struct glb_tcp){
		.sport = asked->dport,
		.dport = asked->sport,
		.data_offset = sizeof(*tcp) / 4 << 4,
		.flags = GLB_TCP_RST,
	};
	if ((asked->flags & GLB_TCP_ACK) != 0) {
		tcp->seq = asked->ack;
	} else {
		tcp->flags |= GLB_TCP_ACK;
		tcp->ack = glb_be32_put(glb_be32_get(asked->seq) + taken);
	}
	put_ip(packet, GLB_IPPROTO_TCP, out, sizeof(*tcp), &tcp->checksum);
	return ip_len + (uint32_t)sizeof(*tcp);
}

/* An ICMP error that quotes the packet. */
static uint32_t put_error(const struct glb_packet *packet, uint8_t type, uint8_t code, uint32_t rest, uint8_t *out)
{
	const bool v4 = packet->family == GLB_FAMILY_V4;
	const uint32_t ip_len = v4 ? sizeof(struct glb_ipv4) : sizeof(struct glb_ipv6), most = v4 ? QUOTE_V4_MAX : QUOTE_V6_MAX;
	const uint32_t present = packet->data_len - packet->l3_offset;
	struct glb_icmp *icmp = (struct glb_icmp *)(out + ip_len);
	uint32_t quote = packet->l3_len < present ? packet->l3_len : present;

	if (quote > most)
		quote = most;
	*icmp = (struct glb_icmp){
		.type = type,
		.code = code,
		.rest = glb_be32_put(rest),
	};
	memcpy(icmp + 1, packet->data + packet->l3_offset, quote);
	put_ip(packet, v4 ? GLB_IPPROTO_ICMP : GLB_IPPROTO_ICMPV6, out, (uint32_t)sizeof(*icmp) + quote, &icmp->checksum);
	return ip_len + (uint32_t)sizeof(*icmp) + quote;
}

static uint32_t put_unreachable(const struct glb_packet *packet, uint8_t *out)
{
	if (packet->family == GLB_FAMILY_V4)
		return put_error(packet, GLB_ICMP_UNREACHABLE, GLB_ICMP_PORT_UNREACHABLE, 0, out);
	return put_error(packet, GLB_ICMPV6_UNREACHABLE, GLB_ICMPV6_PORT_UNREACHABLE, 0, out);
}

/* RFC 1191, 4: the MTU is in the lower half. RFC 4443, 3.2. */
static uint32_t put_too_big(const struct glb_packet *packet, uint8_t *out)
{
	if (packet->family == GLB_FAMILY_V4)
		return put_error(packet, GLB_ICMP_UNREACHABLE, GLB_ICMP_FRAG_NEEDED, packet->mtu, out);
	return put_error(packet, GLB_ICMPV6_TOO_BIG, 0, packet->mtu, out);
}

static uint32_t put_answer(const struct glb_packet *packet, uint8_t *out)
{
	if (packet->reason == GLB_REASON_OVERSIZE_ANSWERED)
		return put_too_big(packet, out);
	return packet->kind == GLB_PACKET_TCP ? put_reset(packet, out) : put_unreachable(packet, out);
}

uint32_t glb_path_reject(const struct glb_path *path, const struct glb_packet *packet, uint8_t *out)
{
	const uint32_t l2_len = peers_ethernet(packet, path->director.local_mac, packet->family, out);

	return l2_len + put_answer(packet, out + l2_len);
}
