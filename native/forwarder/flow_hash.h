/* The hash by which a received packet finds its worker: the NIC's where it is valid, else libglb's (glb/steer.h). */
#ifndef FORWARDER_FLOW_HASH_H
#define FORWARDER_FLOW_HASH_H

#include <glb/steer.h>

#include <rte_mbuf.h>

static inline uint32_t flow_hash(uint32_t seed, const struct rte_mbuf *mbuf)
{
	if ((mbuf->ol_flags & RTE_MBUF_F_RX_RSS_HASH) != 0)
		return mbuf->hash.rss;
	return glb_steer_hash(seed, rte_pktmbuf_mtod(mbuf, const uint8_t *), rte_pktmbuf_data_len(mbuf),
			      rte_pktmbuf_pkt_len(mbuf));
}

/* On a director with peers: always libglb's, since no NIC looks into what a peer sends. */
static inline uint32_t flow_hash_shared(const struct glb_peers *peers, uint32_t seed, const struct rte_mbuf *mbuf)
{
	if (peers == NULL)
		return flow_hash(seed, mbuf);
	return glb_steer_hash_shared(peers, seed, rte_pktmbuf_mtod(mbuf, const uint8_t *), rte_pktmbuf_data_len(mbuf),
				     rte_pktmbuf_pkt_len(mbuf));
}

#endif
