/* Between DPDK's packet buffers and libglb's packets: what a burst looks like, and the outer header in front of one. */
#ifndef FORWARDER_MBUF_H
#define FORWARDER_MBUF_H

#include <glb/path.h>

#include <rte_mbuf.h>

enum { MBUF_SCRATCH = 65536 + 256 }; /* bytes: the longest frame that is put together for its checksum */

/* Sets the input fields of n packets from their buffers. Only the first segment is shown to the stages: headers
 * that do not lie in it are counted as truncated. */
void mbuf_describe(struct rte_mbuf *const *mbufs, struct glb_packet *packets, unsigned n);

/* Turns a frame whose verdict is FORWARD into the frame to send: what is behind the IP packet is cut off, the outer header comes in
 * front. `scratch` (MBUF_SCRATCH bytes) is used when a checksum runs over several segments. Returns the packet's reason, or
 * GLB_REASON_NO_HEADROOM with the frame spoilt. */
enum glb_reason mbuf_encap(const struct glb_path *path, struct rte_mbuf *mbuf, struct glb_packet *packet,
			   uint8_t *scratch);

/* A packet that goes in pieces: makes its bytes, rewritten where its encapsulation rewrites, contiguous at packet->data. Returns the
 * packet's reason, or NO_HEADROOM or TOO_LONG. */
enum glb_reason mbuf_whole(const struct glb_path *path, struct rte_mbuf *mbuf, struct glb_packet *packet, uint8_t *scratch);

/* Then: its n-th piece, to send, in a buffer from the same pool, *out. Returns the packet's reason, or with *out NULL NO_BUFFER, or
 * NO_HEADROOM when a piece does not fit in one buffer. */
enum glb_reason mbuf_piece(const struct glb_path *path, const struct rte_mbuf *mbuf, const struct glb_packet *packet, unsigned n,
			   struct rte_mbuf **out);

/* Turns a packet whose verdict is ANSWER, an echo request or one that is rejected (glb_path_reject()), into the reply to send. Returns its reason,
 * or GLB_REASON_NO_HEADROOM when the buffer is too small for it. `scratch`: MBUF_SCRATCH bytes. */
enum glb_reason mbuf_answer(const struct glb_path *path, struct rte_mbuf *mbuf, const struct glb_packet *packet,
			    uint8_t *scratch);

/* Turns a fragment that is for a peer director into the frame for it. Returns its reason, or GLB_REASON_NO_HEADROOM. */
enum glb_reason mbuf_redirect(const struct glb_path *path, struct rte_mbuf *mbuf, const struct glb_packet *packet);

/* Takes off a fragment from a peer what that put around it, before the kernel gets it. */
void mbuf_unwrap(struct rte_mbuf *mbuf, struct glb_packet *packet);

#endif
