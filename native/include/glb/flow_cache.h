/* A flow cache: which backend a flow was sent to, in a table of fixed size that one worker owns.
 *
 * The table has buckets of eight flows; a flow may be in one of two of them, which a keyed hash chooses: in its first one unless that
 * is crowded. So a packet costs at most two buckets, however full the table is, and nobody who does not know the key can aim at a bucket.
 * A bucket is two cache lines; of a flow it has all 64 bits of the keyed hash of its addresses, ports, protocol and service,
 * and the stable id of its backend, so that an entry means the same after a snapshot swap. Two flows that have the same 64 bits are taken for one:
 * of new flows, one in 10^12 where sixteen million are remembered, and nobody can bring it about without the key.
 *
 * A flow is `new` until its second packet, and a bucket has at most GLB_FLOW_NEW_MAX new flows: a flood of first packets only
 * pushes out other new flows. Established flows fill at most seven places of a bucket; when one more comes, the most idle of
 * them goes. Finished flows (FIN or RST seen) are given up before any other.
 *
 * One thread owns a cache; there are no locks, and nothing is allocated: the caller provides the memory. Time comes in as an
 * argument, in ticks of one second of a clock that never steps back. Within 32767 s every bucket must be swept once, or what is
 * long forgotten may look fresh again.
 */
#ifndef GLB_FLOW_CACHE_H
#define GLB_FLOW_CACHE_H

#include "addr.h"
#include "stats.h"

#ifndef GLB_CFFI
#include <string.h>
#endif

enum {
	GLB_FLOW_WAYS = 8,           /* flows in a bucket */
	GLB_FLOW_NEW_MAX = 2,        /* of these, new ones */
	GLB_FLOW_ESTABLISHED_MAX = 7, /* and established ones */
	GLB_FLOW_ENTRIES_MAX = 1 << 24,
	GLB_FLOW_TIMEOUT_MAX = 32767, /* s */
};

enum { GLB_FLOW_NONE = 0xffffffff }; /* no place */

/* A flow as the client sends it, and the service that it belongs to. */
struct glb_flow_key {
	uint8_t src[16];  /* network order; IPv4 in the first 4 */
	uint8_t dst[16];
	uint16_t sport;   /* host order */
	uint16_t dport;
	uint32_t service; /* id */
	uint8_t protocol; /* GLB_IPPROTO_TCP or _UDP */
	uint8_t family;   /* enum glb_family */
};

enum glb_flow_state { /* bit 0: new; 1: UDP; 2: finished; 3: established */
	GLB_FLOW_FREE = 0,
	GLB_FLOW_OPENING = 1,     /* TCP, new: only its first packet has come, or only SYNs */
	GLB_FLOW_UDP_FIRST = 3,   /* UDP, new */
	GLB_FLOW_CLOSING = 4,     /* TCP: a FIN or RST has come */
	GLB_FLOW_ESTABLISHED = 8, /* TCP */
	GLB_FLOW_UDP = 10,        /* UDP: more than one packet has come */
	GLB_FLOW_STATES = 11
};

struct glb_flow_bucket {
	uint32_t signature[8]; /* GLB_FLOW_WAYS; the lower half of the flow's hash, never 0; 0 = free */
	uint16_t expires[8];   /* s, the low bits: the last one in which the flow is remembered, unless a packet comes */
	uint8_t state[8];      /* enum glb_flow_state */
	uint8_t pad[8];
	/* the second cache line */
	uint32_t check[8];     /* the hash's upper half */
	uint32_t backend[8];   /* id */
};
GLB_STATIC_ASSERT(sizeof(struct glb_flow_bucket) == 128, "two cache lines")

/* How long a flow is remembered after its last packet, s, 1..GLB_FLOW_TIMEOUT_MAX each. */
struct glb_flow_timeouts {
	uint16_t opening;     /* a new flow, TCP or UDP */
	uint16_t established; /* TCP */
	uint16_t closing;     /* TCP after a FIN or RST */
	uint16_t udp;
};

/* What a packet means for its flow. */
enum glb_flow_event {
	GLB_FLOW_SYN = 0,   /* TCP SYN without ACK: first packets, and only those */
	GLB_FLOW_DATA = 1,  /* any other */
	GLB_FLOW_CLOSE = 2, /* TCP FIN or RST */
};

/* Why an entry goes. */
enum glb_flow_end {
	GLB_FLOW_END_GONE = 0,     /* its backend is gone */
	GLB_FLOW_END_REPLACED = 1, /* a new connection takes the same ports */
};

struct glb_flow_cache {
	struct glb_flow_bucket *buckets; /* borrowed */
	uint32_t bucket_count;
	uint32_t sweep;                  /* the next bucket to sweep */
	uint16_t timeout[11];            /* s, by enum glb_flow_state; GLB_FLOW_STATES */
	uint16_t udp_timeout;            /* s, of services without one of their own */
	uint8_t key[16];                 /* of the hash */
	struct glb_flow_stats *stats;    /* borrowed; only this cache's owner writes them */
	uint64_t hash[64];               /* of the burst in hand, from one stage to the next; GLB_BURST_MAX */
};

/* Minutes to hours: what TCP's and common applications' keep-alives get by with. */
struct glb_flow_timeouts glb_flow_timeouts_default(void);

/* Bytes of memory for `entries` flows, which are rounded up to whole buckets: 16 for each. */
size_t glb_flow_cache_bytes(uint32_t entries);

/* An empty cache in `memory`: glb_flow_cache_bytes(entries) bytes, all zero, aligned to 128, borrowed like `stats`. `entries` is
 * 1..GLB_FLOW_ENTRIES_MAX. `key` should be random and secret. */
void glb_flow_cache_init(struct glb_flow_cache *cache, void *memory, uint32_t entries, const uint8_t key[16],
			 const struct glb_flow_timeouts *timeouts, struct glb_flow_stats *stats);

/* Hash of a flow, by which all that follows knows it. */
uint64_t glb_flow_cache_hash(const struct glb_flow_cache *cache, const struct glb_flow_key *key);

/* The place of a flow, or GLB_FLOW_NONE; counted as a hit or miss. A place is good until the next call that writes. One that has timed out is forgotten. */
uint32_t glb_flow_cache_find(struct glb_flow_cache *cache, uint64_t hash, uint32_t now);

/* The backend's id, and the state, of the flow at a place. */
uint32_t glb_flow_cache_backend(const struct glb_flow_cache *cache, uint32_t place);
enum glb_flow_state glb_flow_cache_state(const struct glb_flow_cache *cache, uint32_t place);

/* A packet of the flow at `place` has come. The second packet of a flow establishes it, which may cost another flow its place. */
void glb_flow_cache_seen(struct glb_flow_cache *cache, uint32_t place, uint32_t now, enum glb_flow_event event);

/* Remembers a flow of GLB_IPPROTO_TCP or _UDP that is not there. It always gets a place, if need be that of another new or finished flow. */
void glb_flow_cache_insert(struct glb_flow_cache *cache, uint64_t hash, uint8_t protocol, uint32_t backend, uint32_t now);

/* Forgets the flow at `place`. */
void glb_flow_cache_forget(struct glb_flow_cache *cache, uint32_t place, enum glb_flow_end end);

/* Forgets what has timed out in the next `count` buckets. */
void glb_flow_cache_sweep(struct glb_flow_cache *cache, uint32_t now, unsigned count);

/* From now on UDP flows that are inserted or seen are remembered for so many seconds, new ones for no more either; 0: for as long as
 * glb_flow_cache_init() was told. Where services differ, a flow that has less time may be taken for a more idle one than it is. */
void glb_flow_cache_time_udp(struct glb_flow_cache *cache, uint16_t seconds);

#ifndef GLB_CFFI
/* The two buckets of a flow, one from each half of the hash, which may be one and the same. The second one is looked at only when the flow is not in the first. */
static inline uint32_t glb_flow_cache_first(const struct glb_flow_cache *cache, uint64_t hash)
{
	return (uint32_t)((hash >> 32) * cache->bucket_count >> 32);
}

static inline uint32_t glb_flow_cache_second(const struct glb_flow_cache *cache, uint64_t hash)
{
	return (uint32_t)((uint64_t)(uint32_t)hash * cache->bucket_count >> 32);
}
#endif

#endif
