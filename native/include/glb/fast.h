/* The packet path's straight line: whole bursts of TCP and UDP packets for services that are wrapped in GUE over IPv4.
 *
 * Does for them exactly what glb_path_burst() and glb_path_encap() do, in fewer steps. What it does not do (other encapsulations,
 * flow caches, prefixes and ranges of ports, fragments, options, ICMP, anything malformed, too long, or without a next hop)
 * it leaves alone: then the whole burst takes the path, which says what becomes of each packet. So there is one place that
 * decides what is dropped and why, and an attacker can only slow this one down to that one.
 */
#ifndef GLB_FAST_H
#define GLB_FAST_H

#include "path.h"

enum {
	GLB_FAST_HEADROOM = 64 + 4 * 7 - 14, /* bytes in front of a frame that may be written */
};

/* A service at one address, protocol and port. All zero: none. */
struct glb_fast_slot_v4 {
	uint64_t key;      /* destination address, port and protocol as they lie in the frame */
	uint64_t hash_key[2];
	uint32_t table;    /* index into tables */
	uint32_t service;  /* index into the snapshot's services */
};
GLB_STATIC_ASSERT(sizeof(struct glb_fast_slot_v4) == 32, "half a cache line")

struct glb_fast_slot_v6 {
	uint64_t key[3];
	uint64_t hash_key[2];
	uint32_t table;
	uint32_t service;
	uint64_t pad[2];
};
GLB_STATIC_ASSERT(sizeof(struct glb_fast_slot_v6) == 64, "one cache line")

/* A row table, and what is hashed to find a row of it. */
struct glb_fast_table {
	const uint16_t *rows;
	uint32_t row_count;
	uint32_t backend_base;
	uint16_t hops;
	uint8_t power_of_two;   /* of row_count */
	uint8_t hash_fields;
	uint8_t source_bits_v4;
	uint8_t source_bits_v6;
	uint8_t pad[2];
	uint32_t next;          /* one of the same rows, or GLB_INDEX_NONE */
	uint32_t pad2;
};
GLB_STATIC_ASSERT(sizeof(struct glb_fast_table) == 32, "half a cache line")

struct glb_fast_backend {
	uint32_t addr; /* as on the wire */
	uint32_t sum;  /* of its two 16-bit words */
};

/* What precedes the hops, as packets leave by a port; ends at the last byte. */
struct glb_fast_egress {
	uint8_t header[64];
	uint32_t sum;      /* of the IPv4 header's words that do not vary */
	uint32_t ip_max;   /* bytes of IP that may leave */
	uint16_t header_len; /* without hops */
	uint8_t pad[6];
};

/* A hash without collisions from keys to slots: which of them a key could be in. */
struct glb_fast_index {
	uint32_t *multipliers; /* by the hash's upper bits; odd */
	uint8_t multiplier_shift;
	uint8_t slot_shift;
	uint8_t pad[6];
	uint64_t seed;
	uint32_t slot_count;
	uint32_t pad2;
};

struct glb_fast {
	struct glb_fast_egress egress[GLB_PORTS_MAX];
	struct glb_fast_index index_v4, index_v6;
	struct glb_fast_slot_v4 *slots_v4;
	struct glb_fast_slot_v6 *slots_v6;
	struct glb_fast_table *tables;
	struct glb_fast_backend *backends; /* by index in the snapshot */
	uint32_t table_count;
	uint8_t usable;                    /* 0: nothing is ever taken */
	uint8_t pad[3];
};

/* A frame, in and out. */
struct glb_fast_packet {
	uint8_t *data;      /* first byte of the frame, contiguous; out: of the frame to send */
	uint32_t len;       /* bytes at data; out: of the frame to send */
	uint32_t l3_len;    /* out: of the client's packet */
	uint32_t service;   /* out: index into the snapshot */
	uint32_t backend;   /* out: of the first hop */
};

/* Makes what is needed for `path`, whose egress ports it takes (`ports` of them). Nothing being usable is no failure. Returns 0, or -ENOMEM, then there
 * is nothing to free. Any thread; may take some ms for thousands of services. */
int glb_fast_make(struct glb_fast *fast, const struct glb_path *path, unsigned ports, struct glb_error *error);
void glb_fast_free(struct glb_fast *fast);

/* Takes n ≤ GLB_BURST_MAX frames that came in on the path's port, and returns the index of the port that all of them leave by, written; or -1, and
 * nothing has been changed. GLB_FAST_HEADROOM bytes in front of each frame are the caller's to have written. Pure; any thread, with packets of its own. */
int glb_fast_burst(const struct glb_fast *fast, const struct glb_path *path, struct glb_fast_packet *packets, unsigned n);

#endif
