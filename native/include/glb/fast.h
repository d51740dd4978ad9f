/* The packet path's straight line: whole bursts of TCP and UDP packets for services of one address and port each.
 *
 * Does for them exactly what glb_path_burst(), glb_path_encap() and glb_path_rewrite() do, in fewer steps. What it does not do (second
 * look-ups, prefixes and ranges of ports, fragments, options, ICMP, anything malformed, too long, or without a next hop)
 * it leaves alone: then the whole burst takes the path, which says what becomes of each packet. So there is one place that
 * decides what is dropped and why, and an attacker can only slow this one down to that one.
 */
#ifndef GLB_FAST_H
#define GLB_FAST_H

#include "path.h"
#include "wire.h"

enum {
	GLB_FAST_LINK = 32, /* bytes written in front of the outer IPv4 header; Ethernet is the last of them */
	GLB_FAST_OUTER_MAX = 40 + 16 + 3 * 16, /* bytes of outer headers behind Ethernet: IPv6, GUE and three further hops; over IPv4 there are fewer */
	GLB_FAST_HEADROOM = GLB_FAST_LINK + GLB_FAST_OUTER_MAX - 14, /* bytes in front of a frame that may be written */
};

enum {
	GLB_FAST_TABLE_BITS = 24, /* of a slot's `table`; its kind is above them */
	GLB_FAST_PAIRS = 1 << 23, /* the uppermost of them: the table's rows have two hops, and are a power of two */
	GLB_FAST_KINDS_MAX = 256,
};

/* A service at one address, protocol and port. All zero: none. */
struct glb_fast_slot_v4 {
	uint64_t key;      /* destination address, port and protocol as they lie in the frame */
	uint64_t hash_key[2];
	uint32_t table;    /* index into tables, GLB_FAST_PAIRS, and above it the index into kinds */
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

/* What services have in common whose packets can be treated alike: first what is hashed, then what is sent. */
struct glb_fast_kind {
	uint8_t hash_fields;
	uint8_t source_bits_v4;
	uint8_t source_bits_v6;
	uint8_t remembers;      /* 1: not hashed, but flows are remembered */
	uint8_t encap;          /* enum glb_encap_kind */
	uint8_t outer;          /* bytes of outer headers behind Ethernet, without hops */
	uint8_t tos, tos_mask;  /* as in struct glb_service */
};
GLB_STATIC_ASSERT(sizeof(struct glb_fast_kind) == 8, "two words, compared as such")

/* A row table of the snapshot; same index. */
struct glb_fast_table {
	const uint16_t *rows;
	const struct glb_fast_backend *backends; /* of the table's pool, by hop + 1, so that no hop (0xffff) is at 0 */
	uint32_t row_count;
	uint32_t row_mask;      /* row_count - 1, or 0 if that is no power of two */
	uint32_t backend_base;
	uint16_t row_bytes;
	uint16_t hops;
};
GLB_STATIC_ASSERT(sizeof(struct glb_fast_table) == 32, "half a cache line")

struct glb_fast_backend {
	uint32_t addr; /* as on the wire */
	uint32_t sum;  /* of its two 16-bit words */
};
GLB_STATIC_ASSERT(sizeof(struct glb_fast_backend) == 8, "one word")

/* An outer IPv4 header where it does not vary; the rest is 0. */
struct glb_fast_ipv4 {
	uint64_t word[2]; /* the first words, as they lie in the frame */
	uint64_t sum;     /* of all 16-bit words */
};

struct glb_fast_link {
	uint8_t bytes[GLB_FAST_LINK]; /* Ethernet, ending at the last one */
};

/* The id of a backend, or GLB_ID_NONE, where flows are remembered. */
struct glb_fast_ids {
	uint32_t follow; /* packets of flows that are remembered with it, and have it as their row's first, go there: it is healthy, and not inactive */
	uint32_t learn;  /* new flows are remembered with it */
};

/* What stands in front of the client's packet when it leaves by a port, where it does not vary; the rest is 0. */
struct glb_fast_egress {
	struct glb_fast_link link_v4, link_v6; /* by what follows */
	struct glb_fast_ipv4 gue;
	struct glb_fast_ipv4 tunnel; /* without a protocol, and with the prefix of outer sources, if there is one */
	uint64_t mac_end;    /* first bytes of the source MAC, where they are in a word that begins with the destination MAC */
	uint32_t ip_max;     /* bytes of IP that may leave */
	uint32_t link_len;   /* bytes of Ethernet */
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
	struct glb_fast_kind kinds[GLB_FAST_KINDS_MAX];
	struct glb_fast_index index_v4, index_v6;
	struct glb_fast_slot_v4 *slots_v4;
	struct glb_fast_slot_v6 *slots_v6;
	struct glb_fast_table *tables;
	struct glb_fast_backend *backends; /* by index in the snapshot + 1 */
	struct glb_fast_ids *backend_ids;  /* by index in the snapshot; where `remembers`, else NULL */
	uint32_t *service_ids;             /* the same */
	uint32_t kind_count;
	uint32_t outer_max;                /* bytes of outer headers behind Ethernet, hops included */
	uint32_t source_mask_v4;           /* bits of tunnels' outer sources that vary, in host order */
	uint64_t source_mask_v6;           /* the same, of the lower half */
	uint8_t usable;                    /* 0: nothing is ever taken */
	uint8_t remembers;                 /* 1: some services' flows are remembered */
	uint8_t on_link;                   /* 1: some services' backends must be on the link (l2dsr) */
	uint8_t odd;                       /* 1: some table's rows are no power of two */
	uint8_t pad[4];
};

#ifndef GLB_CFFI
/* Frames that came in on one port, by lane; the last ones of the arrays are used as scratch. */
struct glb_fast_burst {
	uint8_t *data[GLB_BURST_MAX];    /* first byte of the frame, contiguous; out: of the frame to send */
	uint32_t len[GLB_BURST_MAX];     /* bytes at data; out: of the frame to send */
	uint32_t l3_len[GLB_BURST_MAX];  /* out: of the client's packet */
	uint32_t service[GLB_BURST_MAX]; /* out: index into the snapshot */
	uint32_t backend[GLB_BURST_MAX]; /* out: of the first hop */
} __attribute__((aligned(64)));

/* Makes what is needed for `path`, whose egress ports it takes (`ports` of them). What it makes points into the snapshot, which must outlive it, and is the
 * caller's to free by glb_fast_free(). Nothing being usable is no failure. Returns 0, or -ENOMEM, then there is nothing to free. Any thread; may take
 * some ms for thousands of services. */
int glb_fast_make(struct glb_fast *fast, const struct glb_path *path, unsigned ports, struct glb_error *error);
void glb_fast_free(struct glb_fast *fast);

/* Takes n ≤ GLB_BURST_MAX frames, and returns the index of the port that all of them leave by, written; or -1, and data, len and the frames are as
 * they were. GLB_FAST_HEADROOM bytes in front of each frame are the caller's to have written. All are clients of one address
 * family, or none is taken. Pure; any thread, with frames of its own. */
int glb_fast_run(const struct glb_fast *fast, const struct glb_path *path, struct glb_fast_burst *burst, unsigned n);

/* The same with a flow cache, the caller's own, as glb_path_burst_cached(); where it returns -1, the cache is as it was, too. `cache` may be NULL. */
int glb_fast_run_cached(const struct glb_fast *fast, const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now,
			struct glb_fast_burst *burst, unsigned n);
#endif

#endif
