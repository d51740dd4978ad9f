/* What no honest sender sends, though it can be parsed: martian sources, flags that no TCP has, lengths that do not fit.
 *
 * Of a packet for a service whose headers are known to be whole. docs/protection.md.
 */
#ifndef GLB_CORE_STRICT_H
#define GLB_CORE_STRICT_H

#include <glb/verdict.h>
#include <glb/wire.h>

#include <string.h>

/* A packet's headers, as strict_check() wants them. */
struct strict {
	const uint8_t *ip;
	const uint8_t *l4;
	uint32_t l4_len;   /* bytes of the IP packet from there on */
	uint32_t readable; /* so many of them may be read; a fixed header at least */
	uint8_t protocol;  /* GLB_IPPROTO_TCP, _UDP; any other: only addresses are looked at */
	bool v6;
	bool fragment;     /* a first one: lengths say nothing */
};

enum {
	STRICT_END = 0, /* kinds of TCP options */
	STRICT_NOP = 1,
};

/* Not an address that packets to a VIP can come from: this network, loopback, multicast, reserved; IPv6 ::/64 (unspecified, loopback,
 * IPv4 in IPv6 form). */
static inline bool strict_martian(const uint8_t *ip, bool v6)
{
	const uint8_t *src = v6 ? ((const struct glb_ipv6 *)ip)->src : ((const struct glb_ipv4 *)ip)->src;
	uint64_t upper;

	if (!v6)
		return src[0] == 0 || src[0] == 127 || src[0] >= 224;
	memcpy(&upper, src, sizeof(upper));
	return upper == 0 || src[0] == 0xff;
}

static inline bool strict_land(const uint8_t *ip, bool v6)
{
	const struct glb_ipv4 *v4 = (const struct glb_ipv4 *)ip;
	const struct glb_ipv6 *six = (const struct glb_ipv6 *)ip;

	return v6 ? memcmp(six->src, six->dst, sizeof(six->src)) == 0 : memcmp(v4->src, v4->dst, sizeof(v4->src)) == 0;
}

/* At most one of SYN, FIN and RST; and SYN, RST or ACK. */
static inline bool strict_flags(uint8_t flags)
{
	const uint8_t begin_end = flags & (GLB_TCP_SYN | GLB_TCP_FIN | GLB_TCP_RST);

	return (begin_end & (begin_end - 1)) == 0 && (flags & (GLB_TCP_SYN | GLB_TCP_RST | GLB_TCP_ACK)) != 0;
}

/* Whether options of `len` bytes end where they should; those that cannot be read count as right. */
static inline bool strict_options(const uint8_t *options, uint32_t len, uint32_t readable)
{
	for (uint32_t at = 0; at < len && at < readable;) {
		if (options[at] == STRICT_END)
			return true;
		if (options[at] == STRICT_NOP) {
			at++;
			continue;
		}
		if (at + 1 >= len)
			return false;
		if (at + 1 >= readable)
			return true;
		if (options[at + 1] < 2 || options[at + 1] > len - at)
			return false;
		at += options[at + 1];
	}
	return true;
}

static inline enum glb_reason strict_tcp(const struct strict *packet)
{
	const struct glb_tcp *tcp = (const struct glb_tcp *)packet->l4;
	const uint32_t header_len = (tcp->data_offset >> 4) * 4U, fixed = sizeof(*tcp);

	if (!strict_flags(tcp->flags))
		return GLB_REASON_TCP_BAD_FLAGS;
	if (header_len < fixed || (header_len > packet->l4_len && !packet->fragment))
		return GLB_REASON_TCP_BAD_HEADER;
	if (header_len > fixed && !strict_options(packet->l4 + fixed, header_len - fixed, packet->readable - fixed))
		return GLB_REASON_TCP_BAD_HEADER;
	return GLB_REASON_FORWARDED;
}

static inline enum glb_reason strict_udp(const struct strict *packet)
{
	const uint16_t length = glb_be16_get(((const struct glb_udp *)packet->l4)->length);

	if (length < sizeof(struct glb_udp) || (length > packet->l4_len && !packet->fragment))
		return GLB_REASON_UDP_BAD_LENGTH;
	return GLB_REASON_FORWARDED;
}

static inline enum glb_reason strict_check(const struct strict *packet)
{
	uint16_t ports[2];

	if (strict_martian(packet->ip, packet->v6))
		return GLB_REASON_SOURCE_MARTIAN;
	if (strict_land(packet->ip, packet->v6))
		return GLB_REASON_SOURCE_IS_VIP;
	if (packet->protocol != GLB_IPPROTO_TCP && packet->protocol != GLB_IPPROTO_UDP)
		return GLB_REASON_FORWARDED;
	memcpy(ports, packet->l4, sizeof(ports));
	if (ports[0] == 0 || ports[1] == 0)
		return GLB_REASON_PORT_ZERO;
	return packet->protocol == GLB_IPPROTO_TCP ? strict_tcp(packet) : strict_udp(packet);
}

#endif
