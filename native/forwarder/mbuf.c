/* Packet buffers (mbuf.h). Allocates nothing: where a buffer's headroom is too small, the packet moves within it. */
#include "mbuf.h"

#include <glb/wire.h>

#include <rte_prefetch.h>

#include <string.h>

void mbuf_describe(struct rte_mbuf *const *mbufs, struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (unsigned i = 0; i < n; i++) {
		packets[i].data = rte_pktmbuf_mtod(mbufs[i], const uint8_t *);
		packets[i].data_len = rte_pktmbuf_data_len(mbufs[i]);
		packets[i].frame_len = rte_pktmbuf_pkt_len(mbufs[i]);
	}
}

/* Shortens the frame to `len` bytes, which must be at least 1 and at most what it has. */
static void cut(struct rte_mbuf *mbuf, uint32_t len)
{
	struct rte_mbuf *last = mbuf;
	uint32_t left = len;

	while (left > last->data_len) {
		left -= last->data_len;
		last = last->next;
	}
	last->data_len = (uint16_t)left;
	mbuf->pkt_len = len;
	if (last->next != NULL) {
		rte_pktmbuf_free(last->next);
		last->next = NULL;
		mbuf->nb_segs = 1;
		for (const struct rte_mbuf *segment = mbuf; segment != last; segment = segment->next)
			mbuf->nb_segs++;
	}
}

/* Makes `len` bytes of headroom by moving the first segment's bytes towards its end. */
static bool make_room(struct rte_mbuf *mbuf, uint16_t len)
{
	uint16_t missing = (uint16_t)(len - rte_pktmbuf_headroom(mbuf));
	uint8_t *data = rte_pktmbuf_mtod(mbuf, uint8_t *);

	if (rte_pktmbuf_tailroom(mbuf) < missing)
		return false;
	memmove(data + missing, data, mbuf->data_len);
	mbuf->data_off = (uint16_t)(mbuf->data_off + missing);
	return true;
}

/* Tells the device of the egress port what is left to it of the `header_len` bytes in front of the client's packet: checksums. */
static void leave_to_device(const struct glb_path *path, const struct glb_egress *egress, uint32_t header_len,
			    struct rte_mbuf *mbuf)
{
	const uint32_t l2_len = sizeof(struct glb_eth) + (egress->vlan != 0 ? sizeof(struct glb_vlan) : 0);
	const uint8_t *ip = rte_pktmbuf_mtod(mbuf, const uint8_t *) + l2_len;
	const bool v4 = *ip >> 4 == 4;
	const uint8_t protocol = v4 ? ((const struct glb_ipv4 *)ip)->protocol : ((const struct glb_ipv6 *)ip)->next_header;
	const uint8_t udp = v4 ? path->director.outer_checksum : path->director.outer_checksum_v6;

	if (header_len == l2_len)
		return; /* no outer header: the client's is not ours to compute */
	mbuf->ol_flags |= v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
	if (v4 && (egress->offloads & GLB_OFFLOAD_IPV4_CHECKSUM) != 0)
		mbuf->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
	if (protocol == GLB_IPPROTO_UDP && udp == GLB_OUTER_CHECKSUM_COMPUTED &&
	    (egress->offloads & GLB_OFFLOAD_UDP_CHECKSUM) != 0)
		mbuf->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
	mbuf->l2_len = l2_len;
	mbuf->l3_len = v4 ? sizeof(struct glb_ipv4) : sizeof(struct glb_ipv6);
	mbuf->l4_len = sizeof(struct glb_udp);
}

/* Makes the first segment's bytes ours alone to write: where they are another buffer's or the application's, which someone else may
 * read, they are copied into the segment's own buffer. */
static bool own_front(struct rte_mbuf *mbuf, uint8_t *scratch)
{
	const uint16_t len = rte_pktmbuf_data_len(mbuf);

	if (rte_mbuf_refcnt_read(mbuf) != 1)
		return false;
	if (RTE_MBUF_DIRECT(mbuf) || (RTE_MBUF_HAS_EXTBUF(mbuf) && rte_mbuf_ext_refcnt_read(mbuf->shinfo) == 1))
		return true;
	if (RTE_MBUF_HAS_PINNED_EXTBUF(mbuf) || rte_pktmbuf_data_room_size(mbuf->pool) < RTE_PKTMBUF_HEADROOM + len)
		return false;
	memcpy(scratch, rte_pktmbuf_mtod(mbuf, const uint8_t *), len);
	rte_pktmbuf_detach(mbuf); /* it is empty now, and its buffer its own */
	mbuf->data_len = len;
	memcpy(rte_pktmbuf_mtod(mbuf, uint8_t *), scratch, len);
	return true;
}

/* The outer UDP checksum is over all of the client's packet: puts it together where it lies in several segments. */
static enum glb_reason gather(struct rte_mbuf *mbuf, struct glb_packet *packet, uint32_t end, uint8_t *scratch)
{
	if (end > MBUF_SCRATCH)
		return GLB_REASON_TOO_LONG;
	packet->data = rte_pktmbuf_read(mbuf, 0, end, scratch);
	packet->data_len = end;
	return GLB_REASON_FORWARDED;
}

enum glb_reason mbuf_encap(const struct glb_path *path, struct rte_mbuf *mbuf, struct glb_packet *packet,
			   uint8_t *scratch)
{
	const struct glb_egress *egress = &path->egress[packet->next_hop.port];
	const uint32_t end = packet->l3_offset + packet->l3_len;
	enum glb_reason reason;
	uint8_t *out;

	cut(mbuf, end);
	if (packet->data_len < end && glb_path_sums_payload(path, packet)) {
		reason = gather(mbuf, packet, end, scratch);
		if (reason != GLB_REASON_FORWARDED)
			return reason;
	}
	if (packet->rewrite_len != 0 && !own_front(mbuf, scratch))
		return GLB_REASON_NO_HEADROOM;
	rte_pktmbuf_adj(mbuf, packet->l3_offset);
	if (rte_pktmbuf_headroom(mbuf) < packet->header_len) {
		if (!make_room(mbuf, packet->header_len))
			return GLB_REASON_NO_HEADROOM;
		if (packet->data != scratch)
			packet->data = rte_pktmbuf_mtod(mbuf, const uint8_t *) - packet->l3_offset;
	}
	if (packet->rewrite_len != 0)
		glb_path_rewrite(path, packet, rte_pktmbuf_mtod(mbuf, uint8_t *));
	out = (uint8_t *)rte_pktmbuf_prepend(mbuf, packet->header_len);
	glb_path_encap(path, packet, out);
	if (egress->offloads != 0)
		leave_to_device(path, egress, packet->header_len, mbuf);
	return packet->reason;
}

enum glb_reason mbuf_whole(const struct glb_path *path, struct rte_mbuf *mbuf, struct glb_packet *packet, uint8_t *scratch)
{
	const uint32_t end = packet->l3_offset + packet->l3_len;

	cut(mbuf, end);
	if (packet->rewrite_len != 0) {
		if (!own_front(mbuf, scratch))
			return GLB_REASON_NO_HEADROOM;
		packet->data = rte_pktmbuf_mtod(mbuf, const uint8_t *);
		glb_path_rewrite(path, packet, rte_pktmbuf_mtod_offset(mbuf, uint8_t *, packet->l3_offset));
	}
	return packet->data_len < end ? gather(mbuf, packet, end, scratch) : packet->reason;
}

enum glb_reason mbuf_piece(const struct glb_path *path, const struct rte_mbuf *mbuf, const struct glb_packet *packet, unsigned n,
			   struct rte_mbuf **out)
{
	const struct glb_egress *egress = &path->egress[packet->next_hop.port];
	struct rte_mbuf *made = rte_pktmbuf_alloc(mbuf->pool);
	struct glb_packet piece;
	uint8_t *ip;

	*out = NULL;
	if (made == NULL)
		return GLB_REASON_NO_BUFFER;
	if (packet->header_len + packet->mtu > made->buf_len) {
		rte_pktmbuf_free(made);
		return GLB_REASON_NO_HEADROOM;
	}
	rte_mbuf_dynfield_copy(made, mbuf);
	ip = (uint8_t *)made->buf_addr + packet->header_len;
	glb_path_piece(packet, packet->data + packet->l3_offset, n, ip, &piece);
	made->data_off = 0;
	made->port = mbuf->port;
	made->data_len = (uint16_t)(packet->header_len + piece.l3_len);
	made->pkt_len = made->data_len;
	glb_path_encap(path, &piece, rte_pktmbuf_mtod(made, uint8_t *));
	if (egress->offloads != 0)
		leave_to_device(path, egress, packet->header_len, made);
	*out = made;
	return packet->reason;
}

/* Puts another frame in the place of the one that is there, into the first segment alone. */
static bool replace(struct rte_mbuf *mbuf, const uint8_t *frame, uint16_t len)
{
	if (len > mbuf->buf_len)
		return false;
	cut(mbuf, 1);
	mbuf->data_off = RTE_MIN(mbuf->data_off, (uint16_t)(mbuf->buf_len - len));
	mbuf->data_len = len;
	mbuf->pkt_len = len;
	memcpy(rte_pktmbuf_mtod(mbuf, uint8_t *), frame, len);
	return true;
}

enum glb_reason mbuf_redirect(const struct glb_path *path, struct rte_mbuf *mbuf, const struct glb_packet *packet)
{
	uint8_t header[GLB_PEER_HEADER_MAX];
	const uint32_t len = glb_path_redirect_header(path, packet, header);

	cut(mbuf, packet->l3_offset + packet->l3_len);
	rte_pktmbuf_adj(mbuf, packet->l3_offset);
	if (rte_pktmbuf_headroom(mbuf) < len && !make_room(mbuf, (uint16_t)len))
		return GLB_REASON_NO_HEADROOM;
	memcpy(rte_pktmbuf_prepend(mbuf, (uint16_t)len), header, len);
	return GLB_REASON_FRAGMENT_REDIRECTED;
}

void mbuf_unwrap(struct rte_mbuf *mbuf, struct glb_packet *packet)
{
	uint8_t header[sizeof(struct glb_eth) + 2 * sizeof(struct glb_vlan)];
	const uint16_t len = (uint16_t)glb_path_ethernet(packet, packet->family, header), inside = (uint16_t)(packet->l3_offset - len);

	cut(mbuf, packet->l3_offset + packet->l3_len);
	packet->data = (const uint8_t *)rte_pktmbuf_adj(mbuf, inside);
	memcpy(rte_pktmbuf_mtod(mbuf, uint8_t *), header, len);
	packet->data_len = rte_pktmbuf_data_len(mbuf);
	packet->frame_len = rte_pktmbuf_pkt_len(mbuf);
	packet->l3_offset = len;
	packet->l4_offset = (uint16_t)(packet->l4_offset - inside);
}

enum glb_reason mbuf_answer(const struct glb_path *path, struct rte_mbuf *mbuf, const struct glb_packet *packet,
			    uint8_t *scratch)
{
	if (packet->reason != GLB_REASON_ECHO_ANSWERED)
		return replace(mbuf, scratch, (uint16_t)glb_path_reject(path, packet, scratch)) ? packet->reason
												: GLB_REASON_NO_HEADROOM;
	glb_path_answer(path, packet, rte_pktmbuf_mtod(mbuf, uint8_t *));
	cut(mbuf, packet->l3_offset + packet->l3_len);
	return packet->reason;
}
