/* A flow cache: which backend a flow was sent to, in a table of fixed size that one worker owns.
 *
 * The table has buckets of eight flows; a flow may be in one of two of them, which a keyed hash chooses. So a packet costs at
 * most two buckets, however full the table is, and nobody who does not know the key can aim at a bucket. A bucket is a cache line
 * of signatures, times and states, and behind it the flows themselves: the whole key (addresses, ports, protocol, service) and
 * the stable id of the backend, so that a hit is never a guess, and an entry means the same after a snapshot swap.
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

/* A flow as the client sends it, and the service that it belongs to. Compared as bytes, so all of them count. */
struct glb_flow_key {
	uint8_t src[16];  /* network order; IPv4 in the first 4, the rest 0 */
	uint8_t dst[16];
	uint16_t sport;   /* host order */
	uint16_t dport;
	uint32_t service; /* id */
	uint8_t protocol; /* GLB_IPPROTO_TCP or _UDP */
	uint8_t family;   /* enum glb_family */
	uint8_t pad[2];   /* 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_flow_key) == 44, "no padding in a key that is compared as bytes")

struct glb_flow_entry {
	struct glb_flow_key key;
	uint32_t backend; /* id */
};
GLB_STATIC_ASSERT(sizeof(struct glb_flow_entry) == 48, "flow entry")

enum glb_flow_state {
	GLB_FLOW_FREE = 0,
	GLB_FLOW_OPENING = 1,     /* TCP, new: only its first packet has come, or only SYNs */
	GLB_FLOW_UDP_FIRST = 2,   /* UDP, new */
	GLB_FLOW_CLOSING = 3,     /* TCP: a FIN or RST has come */
	GLB_FLOW_ESTABLISHED = 4, /* TCP */
	GLB_FLOW_UDP = 5,         /* UDP: more than one packet has come */
	GLB_FLOW_STATES = 6
};

struct glb_flow_bucket {
	uint32_t signature[8]; /* GLB_FLOW_WAYS; of the key's hash, odd; 0 = free */
	uint16_t seen[8];      /* s, the low bits: when the last packet came */
	uint8_t state[8];      /* enum glb_flow_state */
	uint8_t pad[8];
	struct glb_flow_entry entry[8];
};
GLB_STATIC_ASSERT(sizeof(struct glb_flow_bucket) == 448, "one cache line, and six of flows")

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

/* A packet's key and its hash, kept from one stage to the next. */
struct glb_flow_lookup {
	struct glb_flow_key key;
	uint32_t pad;
	uint64_t hash;
};

struct glb_flow_cache {
	struct glb_flow_bucket *buckets; /* borrowed */
	uint32_t bucket_count;
	uint32_t sweep;                  /* the next bucket to sweep */
	uint16_t timeout[6];             /* s, by enum glb_flow_state; GLB_FLOW_STATES */
	uint8_t key[16];                 /* of the hash */
	struct glb_flow_stats *stats;    /* borrowed; only this cache's owner writes them */
	struct glb_flow_lookup lookup[64]; /* of the burst in hand; GLB_BURST_MAX */
};

/* Minutes to hours: what TCP's and common applications' keep-alives get by with. */
struct glb_flow_timeouts glb_flow_timeouts_default(void);

/* Bytes of memory for `entries` flows, which are rounded up to whole buckets: 56 for each. */
size_t glb_flow_cache_bytes(uint32_t entries);

/* An empty cache in `memory`: glb_flow_cache_bytes(entries) bytes, all zero, aligned to 64, borrowed like `stats`. `entries` is
 * 1..GLB_FLOW_ENTRIES_MAX. `key` should be random and secret. */
void glb_flow_cache_init(struct glb_flow_cache *cache, void *memory, uint32_t entries, const uint8_t key[16],
			 const struct glb_flow_timeouts *timeouts, struct glb_flow_stats *stats);

uint64_t glb_flow_cache_hash(const struct glb_flow_cache *cache, const struct glb_flow_key *key);

/* The place of a flow, or GLB_FLOW_NONE; counted as a hit or miss. A place is good until the next call that writes. One that has timed out is forgotten. */
uint32_t glb_flow_cache_find(struct glb_flow_cache *cache, const struct glb_flow_key *key, uint64_t hash, uint32_t now);

/* Brings those entries that may be the flow's on their way into the processor's cache; their buckets should be there. */
void glb_flow_cache_prefetch(const struct glb_flow_cache *cache, uint64_t hash);

/* The backend's id, and the state, of the flow at a place. */
uint32_t glb_flow_cache_backend(const struct glb_flow_cache *cache, uint32_t place);
enum glb_flow_state glb_flow_cache_state(const struct glb_flow_cache *cache, uint32_t place);

/* A packet of the flow at `place` has come. The second packet of a flow establishes it, which may cost another flow its place. */
void glb_flow_cache_seen(struct glb_flow_cache *cache, uint32_t place, uint64_t hash, uint32_t now,
			 enum glb_flow_event event);

/* Remembers a flow that is not there. It always gets a place, if need be that of another new or finished flow. */
void glb_flow_cache_insert(struct glb_flow_cache *cache, const struct glb_flow_key *key, uint64_t hash, uint32_t backend,
			   uint32_t now);

/* Forgets the flow at `place`. */
void glb_flow_cache_forget(struct glb_flow_cache *cache, uint32_t place, enum glb_flow_end end);

/* Forgets what has timed out in the next `count` buckets. */
void glb_flow_cache_sweep(struct glb_flow_cache *cache, uint32_t now, unsigned count);

#ifndef GLB_CFFI
/* The two buckets of a hash. They may be one and the same. */
static inline uint32_t glb_flow_cache_first(const struct glb_flow_cache *cache, uint64_t hash)
{
	return (uint32_t)((hash >> 32) * cache->bucket_count >> 32);
}

static inline uint32_t glb_flow_cache_second(const struct glb_flow_cache *cache, uint64_t hash)
{
	return (uint32_t)((hash * 0x9e3779b97f4a7c15 >> 32) * cache->bucket_count >> 32);
}
#endif

#endif
