/* Copies of matching packets for a reader in another process (glb/capture.h): `glb capture`.
 *
 * The main lcore starts and stops it; there is one at a time, and it ends by itself after some seconds, whatever becomes of its
 * reader. A worker looks at one pointer per burst; when it is NULL, that is all it costs. When it is not, a packet costs the
 * match, and one that matches a copy of its first bytes into the worker's own ring, or a count when that is full.
 */
#ifndef FORWARDER_CAPTURE_H
#define FORWARDER_CAPTURE_H

#include <glb/capture.h>
#include <glb/packet.h>
#include <glb/snapshot.h>

#include <stdbool.h>
#include <stddef.h>

enum { CAPTURE_ANY = -1 };

struct capture_filter {
	unsigned at;         /* enum glb_capture_at bits */
	uint32_t service;    /* id; 0 = any */
	int reason;          /* enum glb_reason, or CAPTURE_ANY */
	struct glb_addr client; /* family NONE = any */
	unsigned client_bits;   /* length of the prefix */
	uint32_t snaplen;       /* bytes of a frame to be copied, 1..GLB_CAPTURE_SNAPLEN_MAX */
};

struct capture;

/* Makes the file at `path` with a ring for each worker. Returns NULL with *error. Main lcore. */
struct capture *capture_create(const char *path, unsigned workers, const struct capture_filter *filter,
			       struct glb_error *error);

/* Unmaps and removes it; no worker may use it any more. NULL is allowed. */
void capture_free(struct capture *capture);

/* ---- for worker `ring` ---- */

/* Before the stages: marks the packets as having neither service nor client, since not all are parsed. */
void capture_prepare(struct glb_packet *packets, unsigned n);

/* A record for a packet whose frame has `frame_len` bytes at this point; NULL when it does not match, or the ring is full. `snapshot` is
 * the one that it was decided by. */
struct glb_capture_record *capture_begin(struct capture *capture, unsigned ring, enum glb_capture_at at,
					 const struct glb_snapshot *snapshot, const struct glb_packet *packet, uint16_t port,
					 uint32_t frame_len);

/* The next bytes of its frame, as far as they fit. */
void capture_add(struct capture *capture, unsigned ring, struct glb_capture_record *record, const uint8_t *data, uint32_t len);

/* The record is complete: the reader may have it. */
void capture_end(struct capture *capture, unsigned ring);

#endif
