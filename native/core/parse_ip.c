/* IPv4 with options and IPv6 with extension headers, of a frame or of a packet quoted by ICMP.
 *
 * Does not verify checksums, reassemble fragments or look into options. RFC 791, 8200, 4302.
 */
#include "parse.h"

#include <string.h>

static void copy_addr(struct glb_addr *out, uint8_t family, const uint8_t *bytes)
{
	*out = (struct glb_addr){.family = family};
	memcpy(out->bytes, bytes, glb_addr_len(family));
}

/* Cuts `bytes`, which begin behind the first `header` bytes of a packet, to the length that the packet claims. */
static bool cut(struct span *bytes, uint32_t header, uint32_t length, uint32_t room)
{
	if (room == IP_QUOTED)
		return true;
	if (length < header || length > room)
		return false;
	if (bytes->len > length - header)
		bytes->len = length - header;
	return true;
}

static void note_fragment(struct ip *ip, uint8_t protocol, uint32_t id, uint32_t offset, bool more, const uint8_t *part)
{
	ip->part_protocol = protocol;
	ip->id = id;
	ip->offset = offset;
	ip->more = more;
	ip->part = part;
}

static enum glb_reason parse_v4(struct span bytes, uint32_t room, struct ip *ip)
{
	const struct glb_ipv4 *header = span_take(&bytes, sizeof(*header));
	uint32_t header_len;

	if (header == NULL)
		return GLB_REASON_IPV4_TRUNCATED;
	if (header->version_ihl >> 4 != 4)
		return GLB_REASON_IPV4_BAD_VERSION;
	header_len = (header->version_ihl & 0x0fU) * 4;
	if (header_len < sizeof(*header) || span_take(&bytes, header_len - sizeof(*header)) == NULL)
		return GLB_REASON_IPV4_TRUNCATED;
	ip->length = glb_be16_get(header->total_length);
	if (!cut(&bytes, header_len, ip->length, room))
		return GLB_REASON_IPV4_BAD_LENGTH;
	copy_addr(&ip->src, GLB_FAMILY_V4, header->src);
	copy_addr(&ip->dst, GLB_FAMILY_V4, header->dst);
	ip->hint = glb_be16_get(header->id);
	ip->protocol = header->protocol;
	ip->tos = header->tos;
	ip->extended = false;
	ip->fragment = (glb_be16_get(header->fragment) & (GLB_IPV4_OFFSET | GLB_IPV4_MF)) != 0;
	ip->later_fragment = (glb_be16_get(header->fragment) & GLB_IPV4_OFFSET) != 0;
	ip->payload = bytes;
	if (ip->fragment)
		note_fragment(ip, ip->protocol, ip->hint, (glb_be16_get(header->fragment) & GLB_IPV4_OFFSET) * 8U,
			      (glb_be16_get(header->fragment) & GLB_IPV4_MF) != 0, bytes.at);
	return GLB_REASON_FORWARDED;
}

/* Length of an extension header that begins with `header`, or 0 when the protocol is none. */
static uint32_t extension_len(uint8_t protocol, const struct glb_ipv6_extension *header)
{
	switch (protocol) {
	case GLB_IPPROTO_HOPOPTS:
	case GLB_IPPROTO_ROUTING:
	case GLB_IPPROTO_DSTOPTS:
		return (header->length + 1U) * 8;
	case GLB_IPPROTO_AH:
		return (header->length + 2U) * 4;
	case GLB_IPPROTO_FRAGMENT:
		return sizeof(*header);
	default:
		return 0;
	}
}

static bool is_extension(uint8_t protocol)
{
	static const struct glb_ipv6_extension any;

	return extension_len(protocol, &any) != 0;
}

static enum glb_reason skip_extensions(struct span *bytes, struct ip *ip)
{
	for (unsigned seen = 0; is_extension(ip->protocol); seen++) {
		const struct glb_ipv6_extension *header = span_take(bytes, sizeof(*header));

		if (header == NULL || seen == GLB_EXTENSIONS_MAX)
			return GLB_REASON_IPV6_BAD_EXTENSION;
		if (span_take(bytes, extension_len(ip->protocol, header) - (uint32_t)sizeof(*header)) == NULL)
			return GLB_REASON_IPV6_BAD_EXTENSION;
		if (ip->protocol == GLB_IPPROTO_FRAGMENT) {
			ip->fragment = (glb_be16_get(header->fragment) & (GLB_IPV6_OFFSET | GLB_IPV6_MF)) != 0;
			ip->later_fragment = (glb_be16_get(header->fragment) & GLB_IPV6_OFFSET) != 0;
			note_fragment(ip, header->next_header, glb_be32_get(header->rest),
				      glb_be16_get(header->fragment) & GLB_IPV6_OFFSET,
				      (glb_be16_get(header->fragment) & GLB_IPV6_MF) != 0, bytes->at);
		} else {
			ip->extended = true;
		}
		ip->protocol = header->next_header;
		if (ip->later_fragment)
			break; /* what follows is payload, whatever the protocol says */
	}
	return GLB_REASON_FORWARDED;
}

static enum glb_reason parse_v6(struct span bytes, uint32_t room, struct ip *ip)
{
	const struct glb_ipv6 *header = span_take(&bytes, sizeof(*header));
	uint32_t version_class_label;
	enum glb_reason reason;

	if (header == NULL)
		return GLB_REASON_IPV6_TRUNCATED;
	version_class_label = glb_be32_get(header->version_class_label);
	if (version_class_label >> 28 != 6)
		return GLB_REASON_IPV6_BAD_VERSION;
	ip->length = (uint32_t)sizeof(*header) + glb_be16_get(header->payload_length);
	if (!cut(&bytes, sizeof(*header), ip->length, room))
		return GLB_REASON_IPV6_BAD_LENGTH;
	copy_addr(&ip->src, GLB_FAMILY_V6, header->src);
	copy_addr(&ip->dst, GLB_FAMILY_V6, header->dst);
	ip->hint = (uint16_t)version_class_label;
	ip->protocol = header->next_header;
	ip->tos = (uint8_t)(version_class_label >> 20);
	ip->extended = ip->fragment = ip->later_fragment = false;
	reason = skip_extensions(&bytes, ip);
	ip->payload = bytes;
	return reason;
}

enum glb_reason ip_parse(uint8_t family, struct span bytes, uint32_t room, struct ip *ip)
{
	return family == GLB_FAMILY_V4 ? parse_v4(bytes, room, ip) : parse_v6(bytes, room, ip);
}
