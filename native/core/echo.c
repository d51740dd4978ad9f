/* Echo requests that the director answers itself (glb/path.h): which ones, and the reply.
 *
 * What needs more than a changed header (fragments, IP options, extension headers) is left to the kernel.
 */
#include "echo.h"
#include "checksum.h"

#include <glb/path.h>
#include <glb/wire.h>

#include <string.h>

enum {
	REPLY_TTL = 64,
};

static bool can_be_answered(const struct glb_addr *addr)
{
	static const struct glb_addr none;
	const uint8_t *b = addr->bytes;

	if (addr->family == GLB_FAMILY_V4)
		return b[0] != 0 && b[0] != 127 && b[0] < 224;
	return b[0] != 0xff && memcmp(b, none.bytes, 15) != 0; /* neither multicast, :: nor ::1 */
}

bool answerable_source(const struct glb_packet *packet)
{
	const struct glb_eth *eth = (const struct glb_eth *)packet->data;

	return (eth->src[0] & 1) == 0 && can_be_answered(&packet->src);
}

bool echo_answerable(const struct glb_packet *packet)
{
	const uint8_t *l3 = packet->data + packet->l3_offset;
	const uint32_t header_len = packet->l4_offset - packet->l3_offset;

	if (!answerable_source(packet))
		return false;
	if (packet->family == GLB_FAMILY_V6)
		return header_len == sizeof(struct glb_ipv6);
	return header_len == sizeof(struct glb_ipv4) &&
	       (glb_be16_get(((const struct glb_ipv4 *)l3)->fragment) & (GLB_IPV4_MF | GLB_IPV4_OFFSET)) == 0;
}

static void swap(uint8_t *a, uint8_t *b, size_t len)
{
	uint8_t was[16];

	memcpy(was, a, len);
	memcpy(a, b, len);
	memcpy(b, was, len);
}

/* TTL and protocol share a word under the header's checksum; swapped addresses sum to the same. */
static void turn_v4(struct glb_ipv4 *ip)
{
	const glb_be16 old = {{ip->ttl, ip->protocol}}, now = {{REPLY_TTL, ip->protocol}};

	ip->ttl = REPLY_TTL;
	ip->checksum = checksum_update(ip->checksum, old, now);
	swap(ip->src, ip->dst, sizeof(ip->src));
}

static void turn_v6(struct glb_ipv6 *ip)
{
	ip->hop_limit = REPLY_TTL;
	swap(ip->src, ip->dst, sizeof(ip->src));
}

void glb_path_answer(const struct glb_path *path, const struct glb_packet *packet, uint8_t *frame)
{
	const bool v4 = packet->family == GLB_FAMILY_V4;
	struct glb_eth *eth = (struct glb_eth *)frame;
	struct glb_icmp *icmp = (struct glb_icmp *)(frame + packet->l4_offset);
	const glb_be16 old = {{icmp->type, icmp->code}};

	memcpy(eth->dst, eth->src, sizeof(eth->dst));
	memcpy(eth->src, path->director.local_mac, sizeof(eth->src));
	if (v4)
		turn_v4((struct glb_ipv4 *)(frame + packet->l3_offset));
	else
		turn_v6((struct glb_ipv6 *)(frame + packet->l3_offset));
	icmp->type = v4 ? GLB_ICMP_ECHO_REPLY : GLB_ICMPV6_ECHO_REPLY;
	icmp->checksum = checksum_update(icmp->checksum, old, (glb_be16){{icmp->type, icmp->code}});
	/* An ICMP reply may be all zeros, and only all ones are the checksum of that; for what else sums to 0 they are as good. */
	if (v4 && glb_be16_get(icmp->checksum) == 0)
		icmp->checksum = glb_be16_put(0xffff);
}
