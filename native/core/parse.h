/* What the parse files share: a span of bytes with one bounds check, and the result of an IP header chain. */
#ifndef GLB_CORE_PARSE_H
#define GLB_CORE_PARSE_H

#include <glb/packet.h>
#include <glb/wire.h>

/* Bytes that have not been parsed yet. */
struct span {
	const uint8_t *at;
	uint32_t len;
};

/* Takes `bytes` off the front: their address, or NULL when there are not as many. The only way to read a frame. */
static inline const void *span_take(struct span *span, uint32_t bytes)
{
	const uint8_t *taken = span->at;

	if (span->len < bytes)
		return NULL;
	span->at += bytes;
	span->len -= bytes;
	return taken;
}

/* An IP packet's headers, read. */
struct ip {
	struct span payload; /* from the transport header on, without Ethernet padding */
	uint32_t length;     /* of the packet, bytes, as its header says */
	struct glb_addr src;
	struct glb_addr dst;
	uint16_t hint;       /* IPv4 identification, or the low 16 bits of the IPv6 flow label */
	uint8_t protocol;    /* of the payload, behind all extension headers */
	uint8_t tos;
	bool extended;       /* IPv6 extension headers other than a fragment header */
	bool fragment;       /* one of several */
	bool later_fragment; /* the payload does not begin with a transport header */
	bool more;           /* of a fragment: it is not the last one */
	uint32_t id;         /* of a fragment: the datagram's */
	uint32_t offset;     /* of a fragment, in the datagram, bytes */
	const uint8_t *part; /* of a fragment: where its bytes of the datagram begin */
	uint8_t part_protocol; /* of a fragment: what these are, as the fragment header or IPv4 says */
};

/* Takes the Ethernet header and VLAN tags off `bytes`. Returns GLB_REASON_FORWARDED with the *family of what follows, or why
 * that is not IP. */
enum glb_reason ethernet_parse(struct span *bytes, uint8_t *family);

enum {
	IP_QUOTED = UINT32_MAX, /* as `room`: cut short on purpose, and its length field may be anything */
};

/* Reads the IP header at the start of `bytes`, with options or extension headers. `room` is what the frame holds from
 * there, bytes; a packet that claims more is malformed. Returns GLB_REASON_FORWARDED, or why the packet is dropped. */
enum glb_reason ip_parse(uint8_t family, struct span bytes, uint32_t room, struct ip *ip);

/* Reads an ICMP or ICMPv6 message; ip_parse() has read the headers before it. */
enum glb_reason icmp_parse(struct glb_packet *packet, const struct ip *ip);

/* Reads the packet anew, as the one of `family` at `bytes`, which are inside its frame. */
enum glb_reason packet_parse_inside(struct glb_packet *packet, uint8_t family, struct span bytes);

#endif
