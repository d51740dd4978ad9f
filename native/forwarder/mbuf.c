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

/* Tells the device of the egress port what is left to it: checksums of the `header_len` bytes in front of the client's packet. */
static void leave_to_device(const struct glb_path *path, const struct glb_egress *egress, struct rte_mbuf *mbuf)
{
	mbuf->ol_flags |= RTE_MBUF_F_TX_IPV4;
	if ((egress->offloads & GLB_OFFLOAD_IPV4_CHECKSUM) != 0)
		mbuf->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
	if ((egress->offloads & GLB_OFFLOAD_UDP_CHECKSUM) != 0 &&
	    path->director.outer_checksum == GLB_OUTER_CHECKSUM_COMPUTED)
		mbuf->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
	mbuf->l2_len = sizeof(struct glb_eth) + (egress->vlan != 0 ? sizeof(struct glb_vlan) : 0);
	mbuf->l3_len = sizeof(struct glb_ipv4);
	mbuf->l4_len = sizeof(struct glb_udp);
}

enum glb_reason mbuf_encap(const struct glb_path *path, struct rte_mbuf *mbuf, struct glb_packet *packet,
			   uint8_t *scratch)
{
	const struct glb_egress *egress = &path->egress[packet->next_hop.port];
	const uint32_t end = packet->l3_offset + packet->l3_len;
	uint8_t *out;

	cut(mbuf, end);
	if (path->director.outer_checksum == GLB_OUTER_CHECKSUM_COMPUTED && packet->data_len < end &&
	    (egress->offloads & GLB_OFFLOAD_UDP_CHECKSUM) == 0) {
		if (end > MBUF_SCRATCH)
			return GLB_REASON_TOO_LONG;
		packet->data = rte_pktmbuf_read(mbuf, 0, end, scratch);
		packet->data_len = end;
	}
	rte_pktmbuf_adj(mbuf, packet->l3_offset);
	if (rte_pktmbuf_headroom(mbuf) < packet->header_len) {
		if (!make_room(mbuf, packet->header_len))
			return GLB_REASON_NO_HEADROOM;
		if (packet->data != scratch)
			packet->data = rte_pktmbuf_mtod(mbuf, const uint8_t *) - packet->l3_offset;
	}
	out = (uint8_t *)rte_pktmbuf_prepend(mbuf, packet->header_len);
	glb_path_encap(path, packet, out);
	if (egress->offloads != 0)
		leave_to_device(path, egress, mbuf);
	return GLB_REASON_FORWARDED;
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

enum glb_reason mbuf_answer(const struct glb_path *path, struct rte_mbuf *mbuf, const struct glb_packet *packet,
			    uint8_t *scratch)
{
	if (packet->reason == GLB_REASON_UNMATCHED_REJECTED)
		return replace(mbuf, scratch, (uint16_t)glb_path_reject(path, packet, scratch)) ? packet->reason
												: GLB_REASON_NO_HEADROOM;
	glb_path_answer(path, packet, rte_pktmbuf_mtod(mbuf, uint8_t *));
	cut(mbuf, packet->l3_offset + packet->l3_len);
	return packet->reason;
}
