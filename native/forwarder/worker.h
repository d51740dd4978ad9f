/* A worker: takes packets in, decides, encapsulates and hands them on, a burst at a time, until it is told to stop.
 *
 * run-to-completion: each worker has its own rx and tx queue on every port. pipeline: it takes packets from a ring of each receiver (receiver.h)
 * and hands them to the ring of its sender (sender.h), or, where there are none, to its own tx queue. Either way it has its own counters, and workers share nothing that
 * they write. The loop allocates no memory, logs nothing and takes no lock.
 */
#ifndef FORWARDER_WORKER_H
#define FORWARDER_WORKER_H

#include "flows.h"
#include "fragments.h"
#include "mbuf.h"
#include "port.h"
#include "pulse.h"
#include "receiver.h"
#include "rings.h"
#include "sender.h"
#include "stats_file.h"
#include "swap.h"
#include "timing.h"

#include <glb/bucket.h>

enum { WORKER_BURST = 32 };

struct order;   /* order.h */
struct capture; /* capture.h */
struct trace;   /* trace.h */

/* What the main lcore wants of the workers. A muted one receives and decides, but sends nothing and counts
 * everything as `muted`. */
enum mute {
	MUTE_OFF = 0,
	MUTE_WHEN_EMPTY = 1, /* once it has taken all that was waiting for it: nothing received before is lost */
	MUTE_NOW = 2,
};

struct worker {
	/* set before it starts */
	uint32_t index;                  /* also its queue, its RCU thread id and its block of counters */
	unsigned lcore;
	bool adaptive;                   /* sleeps when idle */
	bool lossless;                   /* replay: packets come as fast as they can be read, so services' limits mean nothing */
	bool until_dry;                  /* ends by itself when its ports have run dry (replay, run-to-completion) */
	const struct ports *ports;
	struct swap *swap;               /* reads `current` and `workers` */
	struct order *order;             /* replay: where it notes what it sent by itself, or NULL */
	struct rings *rings;             /* pipeline; else NULL */
	struct rte_ring *tx_ring;        /* pipeline: to its sender; NULL: it sends by itself */
	struct bell *sender_bell;
	const int *stop;                 /* set by the main lcore */
	const int *mute;                 /* enum mute; set by the main lcore */
	int muted;                       /* what it does now; its own, the main lcore reads it */
	struct capture *const *capture;  /* set by the main lcore; read once per burst, freed under RCU */
	struct trace *trace;             /* the mailbox for a packet that is traced */
	struct glb_worker_stats *stats;
	struct glb_traffic *services;
	struct glb_traffic *backends;
	struct flow_worker *const *flow_place; /* where its flow cache appears when a snapshot wants one */
	struct fragment_worker *const *fragment_place; /* and its fragment table */
	uint64_t *passed_on;             /* by reason, what it passed on: its counters, or `unread`, where its sender counts that */
	struct glb_guard guard;          /* services' limits; its place's */
	struct path_mtu_box *mtu_box;    /* for what routers say of ways to backends */
	/* its own */
	struct timing timing;
	struct flow_worker *flows;       /* for this turn of the loop, or NULL */
	struct fragment_worker *fragments; /* the same */
	bool again;                      /* this burst has waited: it is counted as received, and captured, already */
	struct capture *capturing;       /* for this burst, or NULL */
	const struct glb_snapshot *captured_by; /* what decided it */
	struct trace *tracing;           /* this burst is the traced packet, and not with the sender yet; or NULL */
	struct pulse pulse;
	struct glb_bucket echo;          /* echo requests that it may answer */
	struct glb_bucket reject;        /* packets that it may reject */
	struct glb_bucket oversize;      /* packets that exceed the MTU whose senders it may tell so */
	bool further;                    /* what is handed on now is a further piece of a packet that is counted already */
	uint64_t unread[GLB_STATS_REASONS_MAX];
	struct glb_packet packets[WORKER_BURST];
	uint8_t scratch[MBUF_SCRATCH];
};

struct workers {
	struct worker *worker;      /* array of `count` */
	unsigned count;
	struct rings *rings;        /* pipeline; else NULL, and there are no receivers and senders */
	struct receiver *receivers; /* array */
	struct sender *senders;     /* array */
	int stop;              /* workers poll it */
	int mute;              /* enum mute; workers poll it. Before workers_start(): how they begin */
	struct trace *trace;     /* the mailbox of all lcores; owned */
	struct capture *capture; /* that runs, or NULL */
	uint64_t capture_end_ms; /* monotonic, at the latest */
};

/* Starts the workers, and in a pipeline the receivers and senders, each on its lcore. `until_dry`: they end by themselves (replay); `order` may be NULL. Returns 0 or a negative errno with *error. */
int workers_start(struct workers *workers, const struct config *config, const struct ports *ports, struct swap *swap,
		  const struct stats_file *stats, bool until_dry, struct order *order, struct glb_error *error);

/* Whether all of them have ended. */
bool workers_done(const struct workers *workers);

/* Tells them what to do from now on, and waits until all do it. False when one does not after `wait_us`. */
bool workers_mute(struct workers *workers, enum mute mute, unsigned wait_us);

/* Tells them to stop and waits; each finishes the burst that it has, and the rings of a pipeline are emptied first. False when
 * one has not ended after `wait_ms`: then it may still
 * use everything, and nothing that it uses may be freed. */
bool workers_stop(struct workers *workers, unsigned wait_ms);

/* The loop itself, for rte_eal_remote_launch(). */
int worker_run(void *worker);

#endif
