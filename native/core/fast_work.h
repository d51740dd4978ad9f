/* What the stages of the straight line (fast_burst.c) know of a burst. */
#ifndef GLB_CORE_FAST_WORK_H
#define GLB_CORE_FAST_WORK_H

#include <glb/fast.h>
#include <glb/wire.h>

#include <stddef.h>

#include "lanes.h"
#include "outer.h"
#include "siphash_burst.h"

enum {
	IP = sizeof(struct glb_eth), /* where it begins in a frame */
	V4_L4 = IP + sizeof(struct glb_ipv4),
	V6_L4 = IP + sizeof(struct glb_ipv6),
	V4_LEAST = V4_L4 + sizeof(struct glb_udp), /* bytes of a frame that may be read */
	V6_LEAST = V6_L4 + sizeof(struct glb_udp),
	WIDTH = 8, /* lanes are filled up to a multiple */
};

/* What is known of the packets so far, by lane. */
struct fast_work {
	struct siphash_burst sip;
	uint64_t key[GLB_BURST_MAX];      /* of IPv4: fast_key_v4() */
	uint64_t source[GLB_BURST_MAX];   /* as in the frame: address (of IPv4), port in bits 32 to 47 */
	uint64_t first[GLB_BURST_MAX];    /* struct glb_fast_backend of the first hop */
	uint64_t next_hop[GLB_BURST_MAX]; /* struct glb_next_hop */
	const uint16_t *row[GLB_BURST_MAX];
	const struct glb_fast_table *of[GLB_BURST_MAX]; /* the row's table */
	uint32_t slot[GLB_BURST_MAX];
	uint32_t table[GLB_BURST_MAX];    /* as in the slot */
	uint32_t pair[GLB_BURST_MAX];     /* where every packet has two hops: both, + 1 */
	uint32_t second[GLB_BURST_MAX];   /* the same: the second's address */
	uint32_t further[GLB_BURST_MAX];  /* elsewhere: hops behind the first */
	unsigned n, filled;               /* lanes that are packets; with the others */
	bool pairs;                       /* every table is of GLB_FAST_PAIRS */
	bool alike;                       /* fast_hash() sets it: all are of one kind */
} __attribute__((aligned(64)));

static inline const struct glb_fast_kind *fast_kind(const struct glb_fast *fast, const struct fast_work *work, unsigned lane)
{
	return &fast->kinds[work->table[lane] >> GLB_FAST_TABLE_BITS];
}

/* What is hashed, and what is sent, of packets of a kind: to be compared. */
static inline uint32_t fast_hashed(const struct glb_fast_kind *kind)
{
	return load32(kind);
}

static inline uint32_t fast_sent(const struct glb_fast_kind *kind)
{
	return load32((const uint8_t *)kind + offsetof(struct glb_fast_kind, encap));
}

/* Whether a kind's outer headers have a TOS, or may have. */
static inline bool fast_is_marked(const struct glb_fast_kind *kind)
{
	return (kind->tos | kind->tos_mask) != 0;
}

/* What outer headers of a marked kind have as their TOS, by the packet's own. */
static inline uint8_t fast_tos(const struct glb_fast_kind *kind, const uint8_t *ip, bool v6)
{
	const uint8_t tos = v6 ? (uint8_t)(ip[0] << 4 | ip[1] >> 4) : ip[1];

	return (uint8_t)((tos & kind->tos_mask) | kind->tos);
}

/* Whether outer headers are IPv6. */
static inline bool fast_is_wide(const struct glb_fast_kind *kind)
{
	return kind->outer >= sizeof(struct glb_ipv6);
}

/* Bytes of a further hop, if they are sent at all. */
static inline uint32_t fast_hop_bytes(const struct glb_fast_kind *kind)
{
	return kind->encap != GLB_ENCAP_GUE ? 0 : fast_is_wide(kind) ? GUE_V6_HOP_BYTES : GUE_V4_HOP_BYTES;
}

struct fast_flows; /* fast_cache.h */

/* Hashes each packet as its service wants it, into work->sip.hash. Meanwhile what was asked of the flow cache is fetched (fast_cache_fetch()); `flows` may be NULL. */
void fast_hash(const struct glb_fast *fast, const struct fast_flows *flows, const struct glb_fast_burst *burst, struct fast_work *work, bool v6);

#endif
