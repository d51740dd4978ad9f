/* Counters in shared memory: the layout, and readers that sum it.
 *
 * One file per forwarder instance, made and resized by the forwarder alone. Each worker
 * owns a block that only it writes: aligned 64-bit words, stored whole, so that
 * anybody may map the file read-only and read at any time without disturbing anyone. Words only grow
 * while their slot keeps its id. Byte order is the host's. docs/wire/control.md has the field table.
 *
 * Services and backends have slots: `ids` says whose a slot is (GLB_ID_NONE = free). A slot
 * keeps its id across snapshots, and is given to another id only when no loaded snapshot knows the old one.
 */
#ifndef GLB_STATS_H
#define GLB_STATS_H

#include "guard.h"
#include "verdict.h"

enum {
	GLB_STATS_VERSION = 1,
	GLB_STATS_REASONS_MAX = 96, /* room for reasons, so that adding one does not move anything */
	GLB_STATS_LATENCY_MAX = 31, /* buckets of the latency histogram */
};

struct glb_stats_header {
	uint8_t magic[8];         /* "GLBSTAT\n", written last when the file is ready */
	uint32_t version;         /* GLB_STATS_VERSION */
	uint32_t header_bytes;
	uint64_t file_bytes;
	uint64_t pid;             /* of the forwarder */
	uint64_t start_time_ns;   /* CLOCK_REALTIME */
	uint64_t generation;      /* snapshots loaded since start; 0 = none */
	uint32_t worker_count;
	uint32_t reason_count;    /* GLB_REASON_COUNT of the writer */
	uint32_t service_slots;   /* capacity */
	uint32_t backend_slots;   /* capacity */
	uint64_t service_ids;     /* offset of uint32_t[service_slots] */
	uint64_t backend_ids;     /* offset of uint32_t[backend_slots] */
	uint64_t workers;         /* offset of the first worker's block */
	uint64_t worker_bytes;    /* size of a block, multiple of 64 */
	uint64_t tsc_hz;          /* what busy_cycles counts, per second */
};

struct glb_traffic {
	uint64_t packets;
	uint64_t bytes; /* of client IP packets, without any encapsulation */
};

enum { GLB_FLOW_STATS = 12 }; /* words of struct glb_flow_stats that mean something; they come first */

/* A worker's flow cache (glb/flow_cache.h); all 0 where it has none. */
struct glb_flow_stats {
	uint64_t hits;                /* packets whose flow was there */
	uint64_t misses;              /* packets that asked and found nothing */
	uint64_t inserts;             /* flows remembered */
	uint64_t established;         /* of these, so many had a second packet */
	uint64_t expired;             /* flows forgotten: timed out */
	uint64_t gone;                /* their backend is in no snapshot any more, or inactive */
	uint64_t replaced;            /* a new connection took the same ports */
	uint64_t evicted_closing;     /* pushed out by a new flow: finished ones */
	uint64_t evicted_new;         /* new ones */
	uint64_t evicted_established; /* pushed out by a flow that was established: the most idle one */
	uint64_t entries;             /* flows remembered now */
	uint64_t capacity;            /* most that it can remember */
	uint64_t pad[4];
};
GLB_STATIC_ASSERT(sizeof(struct glb_flow_stats) == 128, "multiple of a cache line")

/* What an lcore with a block of counters does. */
enum glb_role {
	GLB_ROLE_WORKER = 0,       /* run-to-completion: from a port to a port */
	GLB_ROLE_RECEIVER = 1,     /* pipeline: from a port to workers' rings */
	GLB_ROLE_RING_WORKER = 2,  /* pipeline: from its rings to its sender's ring */
	GLB_ROLE_SENDER = 3,       /* pipeline: from workers' rings to a port */
	GLB_ROLE_LAST_WORKER = 4,  /* pipeline without senders: from its rings to a port */
};

/* A worker's block (and, in a pipeline, a receiver's or sender's; their packets are counted where they end): this struct, then struct glb_traffic[service_slots], struct glb_traffic[backend_slots], struct glb_refused[service_slots]. */
struct glb_worker_stats {
	uint64_t rx_packets; /* from a port or ring */
	uint64_t rx_bytes;   /* frames, Ethernet header included */
	uint64_t tx_packets; /* to a port or ring */
	uint64_t tx_bytes;
	uint64_t bursts;    /* polls that returned packets */
	uint64_t idle_polls;
	uint64_t sleeps;    /* times the worker slept (idle = adaptive) */
	uint64_t lcore;     /* its lcore id */
	uint64_t reasons[96]; /* packets by enum glb_reason; GLB_STATS_REASONS_MAX */
	uint64_t role;            /* enum glb_role */
	uint64_t ring_high_water; /* most packets ever seen waiting in one of its rings */
	uint64_t pad[6];
	uint64_t latency[31]; /* of sampled bursts, from received to sent: bucket n counts 2^n..2^(n+1)-1 ns, the first also 0, the last all above */
	uint64_t busy_cycles; /* TSC cycles of polls that returned packets, from rx to the next poll */
	/* a cache line that the main program's watchdog writes, and not the worker */
	uint64_t stalls;      /* times that the watchdog found it stuck */
	uint64_t stuck;       /* now: 0 = no, 1 = it spins, 2 = it stands */
	uint64_t reserved[6];
	struct glb_flow_stats flows;
};
GLB_STATIC_ASSERT(sizeof(struct glb_worker_stats) == 1344, "multiple of a cache line")

/* "worker", "receiver" or "sender"; "unknown" when out of range. Never freed. */
const char *glb_role_name(unsigned role);

/* Word n < GLB_FLOW_STATS of a flow cache's counters, by name and value; "unknown" when out of range. The name is never freed. */
const char *glb_flow_stat_name(unsigned n);
uint64_t glb_flow_stat(const struct glb_flow_stats *flows, unsigned n);

/* Sizes for a file with these capacities; offsets go into *header, the rest of which is zeroed. */
void glb_stats_layout(struct glb_stats_header *header, uint32_t workers, uint32_t service_slots,
		      uint32_t backend_slots);

/* Checks that `len` mapped bytes are a counter file that this library can read: 0, -EINVAL, -EPROTONOSUPPORT. */
int glb_stats_open(const void *data, size_t len, struct glb_error *error);

/* Sums over all workers of an opened file: received is what came from ports, sent is what went to ports. `lcore`, `role` and
 * `ring_high_water` of *total are 0. Slot < service_slots / backend_slots. */
void glb_stats_sum(const void *data, struct glb_worker_stats *total);
void glb_stats_service(const void *data, uint32_t slot, struct glb_traffic *out);
void glb_stats_backend(const void *data, uint32_t slot, struct glb_traffic *out);
void glb_stats_refused(const void *data, uint32_t slot, struct glb_refused *out); /* of a service slot */

#endif
