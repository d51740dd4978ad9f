/* An IPv4 packet in pieces (glb/path.h): the client's own packet is fragmented, not the one that is sent around it, which whoever
 * unwraps it could not put together.
 *
 * All pieces but the last have as much payload as fits behind the longest header among them, the first one's. RFC 791 (3.2).
 */
#include "checksum.h"
#include "oversize.h"

#include <glb/wire.h>

#include <string.h>

enum {
	UNIT = 8, /* of offsets, bytes */
	HEADER_MAX = 60,
	OPTION_END = 0,
	OPTION_NOTHING = 1,
	OPTION_COPIED = 0x80,
};

static uint32_t header_length(const uint8_t *ip)
{
	return (((const struct glb_ipv4 *)ip)->version_ihl & 0x0fU) * 4;
}

/* Copies the options of a packet that all of its pieces have. What is malformed ends them. Returns how many bytes. */
static uint32_t copy_options(const uint8_t *options, uint32_t len, uint8_t *out)
{
	uint32_t kept = 0;

	for (uint32_t at = 0, size; at < len && options[at] != OPTION_END; at += size) {
		size = options[at] == OPTION_NOTHING ? 1 : at + 1 < len ? options[at + 1] : 0;
		if (options[at] == OPTION_NOTHING)
			continue;
		if (size < 2 || at + size > len)
			break;
		if ((options[at] & OPTION_COPIED) == 0)
			continue;
		memcpy(out + kept, options + at, size);
		kept += size;
	}
	while (kept % 4 != 0)
		out[kept++] = OPTION_END;
	return kept;
}

uint32_t piece_header(const uint8_t *ip, unsigned n, uint8_t *out)
{
	const uint32_t whole = header_length(ip), fixed = sizeof(struct glb_ipv4);
	uint32_t length;

	if (n == 0) {
		memcpy(out, ip, whole);
		return whole;
	}
	memcpy(out, ip, fixed);
	length = fixed + copy_options(ip + fixed, whole - fixed, out + fixed);
	((struct glb_ipv4 *)out)->version_ihl = (uint8_t)(4 << 4 | length / 4);
	return length;
}

static uint32_t payload_of_piece(const struct glb_packet *packet, uint32_t header)
{
	return (packet->mtu - header) / UNIT * UNIT;
}

unsigned glb_path_pieces(const struct glb_packet *packet)
{
	const uint32_t header = header_length(packet->data + packet->l3_offset), each = payload_of_piece(packet, header);

	return (packet->l3_len - header + each - 1) / each;
}

/* The sum of a header, as if its checksum was 0. */
static uint64_t sum_of(const uint8_t *header, uint32_t len)
{
	uint8_t copy[HEADER_MAX];

	memcpy(copy, header, len);
	((struct glb_ipv4 *)copy)->checksum = (glb_be16){{0, 0}};
	return checksum_add(0, copy, len);
}

static void mend(struct glb_ipv4 *now, uint32_t length, const uint8_t *was, uint32_t was_length)
{
	uint16_t before;
	const glb_be16 complement = checksum_finish(sum_of(was, was_length));

	memcpy(&before, &complement, sizeof(before)); /* the complement of what was summed is what is to be added */
	now->checksum = checksum_apply(((const struct glb_ipv4 *)was)->checksum, sum_of((const uint8_t *)now, length) + before);
}

void glb_path_piece(const struct glb_packet *packet, const uint8_t *ip, unsigned n, uint8_t *out, struct glb_packet *piece)
{
	const uint32_t whole = header_length(ip), each = payload_of_piece(packet, whole), from = n * each;
	const uint32_t left = packet->l3_len - whole - from, taken = left < each ? left : each;
	const uint16_t fragment = glb_be16_get(((const struct glb_ipv4 *)ip)->fragment);
	const uint32_t header = piece_header(ip, n, out);
	const uint16_t more = left > each ? GLB_IPV4_MF : fragment & GLB_IPV4_MF;
	struct glb_ipv4 *head = (struct glb_ipv4 *)out;

	head->total_length = glb_be16_put((uint16_t)(header + taken));
	head->fragment = glb_be16_put((uint16_t)((fragment & ~GLB_IPV4_MF) + from / UNIT) | more);
	mend(head, header, ip, whole);
	memcpy(out + header, ip + whole + from, taken);
	*piece = *packet;
	piece->data = out;
	piece->data_len = piece->frame_len = piece->l3_len = header + taken;
	piece->l3_offset = 0;
	piece->l4_offset = (uint16_t)header;
	piece->rewrite_len = 0;
}
