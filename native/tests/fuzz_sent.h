/* What fuzz targets hold against its contracts: the frames that the packet path makes of one that came in. */
#ifndef GLB_TESTS_FUZZ_SENT_H
#define GLB_TESTS_FUZZ_SENT_H

#include "checksum.h"
#include "fuzz.h"

#include <glb/path.h>
#include <glb/wire.h>

/* The pieces of a packet are IPv4 packets that fit, have its payload, in order, and all of it. */
static inline void look_at_pieces(const struct glb_path *path, const struct glb_packet *p, const uint8_t *data)
{
	const uint32_t end = p->l3_offset + p->l3_len, whole = (data[p->l3_offset] & 15U) * 4;
	uint8_t *ip, *out, header[GLB_HEADER_MAX];
	uint32_t done = 0;

	if (p->data_len < end)
		return; /* whoever sends puts it together first */
	MUST(p->family == GLB_FAMILY_V4 && glb_path_pieces(p) >= 2);
	ip = malloc(p->l3_len);
	out = malloc(p->mtu);
	MUST(ip != NULL && out != NULL);
	memcpy(ip, data + p->l3_offset, p->l3_len);
	if (p->rewrite_len != 0)
		glb_path_rewrite(path, p, ip);
	for (unsigned n = 0; n < glb_path_pieces(p); n++) {
		struct glb_packet piece;
		uint32_t at;

		glb_path_piece(p, ip, n, out, &piece);
		at = (out[0] & 15U) * 4;
		MUST(piece.l3_len <= p->mtu && piece.l3_len > at && at >= sizeof(struct glb_ipv4));
		MUST(memcmp(out + at, ip + whole + done, piece.l3_len - at) == 0);
		done += piece.l3_len - at;
		glb_path_encap(path, &piece, header);
	}
	MUST(done == p->l3_len - whole);
	free(ip);
	free(out);
}

/* Who is told is no ICMP error, and told what it may believe. */
static inline void look_at_told(const struct glb_packet *p, const uint8_t *ip, uint32_t len)
{
	const bool v4 = p->family == GLB_FAMILY_V4;
	const uint32_t at = v4 ? sizeof(struct glb_ipv4) : sizeof(struct glb_ipv6);
	const glb_be32 pseudo[2] = {glb_be32_put(len - at), glb_be32_put(GLB_IPPROTO_ICMPV6)};
	uint64_t sum = 0;

	MUST(p->kind != GLB_PACKET_TOO_BIG && p->kind != GLB_PACKET_ERROR && p->kind != GLB_PACKET_FRAGMENT);
	MUST(p->mtu >= (v4 ? 68 : 1280) && len <= (v4 ? 576 : 1280));
	MUST(glb_be32_get(((const struct glb_icmp *)(ip + at))->rest) == p->mtu);
	if (!v4)
		sum = checksum_add(checksum_add(0, ip + 8, 32), pseudo, sizeof(pseudo));
	MUST(glb_be16_get(checksum_finish(checksum_add(sum, ip + at, len - at))) == 0);
}

static inline void look_at_forwarded(const struct glb_path *path, const struct glb_packet *p, const uint8_t *data)
{
	const uint32_t end = p->l3_offset + p->l3_len;
	uint8_t *ip, header[GLB_HEADER_MAX];

	MUST(p->service < path->snapshot->service_count && p->chain_len >= 1 && p->chain_len <= GLB_HOPS_MAX);
	for (unsigned i = 0; i < p->chain_len; i++) {
		MUST(p->chain[i] < path->snapshot->backend_count);
		for (unsigned j = 0; j < i; j++)
			MUST(p->chain[i] != p->chain[j]);
	}
	MUST(p->header_len >= 14 && p->header_len <= GLB_HEADER_MAX && end <= p->frame_len);
	if (p->rewrite_len != 0) {
		MUST(p->l3_offset + p->rewrite_len <= p->data_len);
		ip = malloc(p->rewrite_len);
		MUST(ip != NULL);
		memcpy(ip, data + p->l3_offset, p->rewrite_len);
		glb_path_rewrite(path, p, ip);
		free(ip);
	}
	if (p->reason == GLB_REASON_OVERSIZE_FRAGMENTED)
		look_at_pieces(path, p, data);
	else if (!glb_path_sums_payload(path, p) || p->data_len >= end)
		glb_path_encap(path, p, header);
}

static inline void look_at_answer(const struct glb_path *path, const struct glb_packet *p, const uint8_t *data)
{
	static uint8_t out[GLB_REJECT_MAX];
	uint8_t *frame;

	if (p->reason != GLB_REASON_ECHO_ANSWERED) {
		const uint32_t len = glb_path_reject(path, p, out);

		MUST(len <= GLB_REJECT_MAX && len > p->l3_offset);
		if (p->reason == GLB_REASON_OVERSIZE_ANSWERED)
			look_at_told(p, out + p->l3_offset, len - p->l3_offset);
		return;
	}
	frame = malloc(p->data_len);
	MUST(frame != NULL);
	memcpy(frame, data, p->data_len);
	glb_path_answer(path, p, frame);
	free(frame);
}

#endif
