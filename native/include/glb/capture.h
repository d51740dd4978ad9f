/* Live capture: the layout of the file through which the forwarder hands out copies of packets.
 *
 * Made by the forwarder while a capture runs, mapped read-write by its one reader. Each worker has a ring of its own: the
 * worker writes records and `head`, the reader `tail`; both count records and only grow. A full ring loses what comes, and
 * counts it; a worker never waits. Byte order is the host's. docs/wire/control.md says how to ask for one.
 */
#ifndef GLB_CAPTURE_H
#define GLB_CAPTURE_H

#include "err.h"

#include <stdint.h>

enum {
	GLB_CAPTURE_VERSION = 1,
	GLB_CAPTURE_SNAPLEN = 2008, /* bytes of a frame that a record holds, unless asked for otherwise; the rest is cut off */
	GLB_CAPTURE_SNAPLEN_MAX = 16344,
	GLB_CAPTURE_SLOTS = 1024, /* records of a ring, a power of two */
};

enum glb_capture_at { /* bits */
	GLB_CAPTURE_INGRESS = 1, /* as received, with what was decided */
	GLB_CAPTURE_EGRESS = 2,  /* as handed to the port or ring */
	GLB_CAPTURE_DROP = 4,    /* as received; what only the transmit queue refused: as it would have been sent */
};

struct glb_capture_header {
	uint8_t magic[8];    /* "GLBCAPT\n" */
	uint32_t version;    /* GLB_CAPTURE_VERSION */
	uint32_t rings;      /* one for each worker */
	uint32_t slots;      /* of a ring */
	uint32_t record_bytes; /* from record to record: sizeof(struct glb_capture_record) and the data, a multiple of 8 */
	uint64_t first_ring; /* offset */
	uint64_t ring_bytes; /* from ring to ring */
	uint64_t file_bytes;
	uint64_t pad[2];
};
GLB_STATIC_ASSERT(sizeof(struct glb_capture_header) == 64, "a cache line")

/* In front of a ring's records. */
struct glb_capture_ring {
	uint64_t head;   /* records written; by the worker */
	uint64_t missed; /* packets that matched and found the ring full; by the worker */
	uint64_t pad[6];
	uint64_t tail;   /* records read; by the reader */
	uint64_t reserved[7];
};
GLB_STATIC_ASSERT(sizeof(struct glb_capture_ring) == 128, "each side has a cache line")

struct glb_capture_record {
	uint64_t time_ns;   /* since the epoch */
	uint32_t frame_len; /* of the whole frame */
	uint32_t data_len;  /* bytes in data */
	uint32_t service;   /* id, or 0 */
	uint32_t backend;   /* id of the first hop, or 0 */
	uint16_t port;      /* where the packet came in */
	uint8_t at;         /* enum glb_capture_at */
	uint8_t verdict;    /* enum glb_verdict */
	uint8_t reason;     /* enum glb_reason */
	uint8_t hops;       /* of the chain */
	uint8_t pad[10];
	uint8_t data[];
};
GLB_STATIC_ASSERT(sizeof(struct glb_capture_record) == 40, "capture record")

#endif
