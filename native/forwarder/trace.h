/* A marked packet's way through the running forwarder: `glb trace --live`.
 *
 * There is one mailbox for all lcores. The main lcore puts a packet into it, and the lcore that serves the packet's rx queue (a worker,
 * in a pipeline a receiver) takes it as if it had come from the port; then every stage does with it what it does with any packet, in
 * a burst of its own, and writes down what it found. Whoever has the packet owns the report; the last one hands both back. While there is
 * nothing in the mailbox, an lcore that receives looks at one word per turn of its loop, and nobody else at anything.
 *
 * A packet that is not to be sent is freed where it would have been handed to a driver, and counted as `traced` only.
 */
#ifndef FORWARDER_TRACE_H
#define FORWARDER_TRACE_H

#include "loaded.h"

#include <glb/stats.h>

#include <rte_mbuf.h>

enum {
	TRACE_FRAME_MAX = 2048, /* bytes of a frame to send that are reported */
};

enum trace_state {
	TRACE_FREE = 0,    /* the main lcore's */
	TRACE_WAITING = 1, /* to be taken */
	TRACE_TAKEN = 2,   /* on its way */
	TRACE_DONE = 3,    /* the report is complete; the main lcore's */
};

enum trace_flow { /* what the flow cache said */
	TRACE_FLOW_NOT_ASKED = 0,
	TRACE_FLOW_HIT,
	TRACE_FLOW_MISS,
};

/* What was found on the way. Written by the lcores that the packet passes, one after the other. */
struct trace_report {
	/* receiver, in a pipeline */
	bool steered;
	uint32_t steer_hash;
	unsigned steer_worker;
	/* worker */
	bool decided;                /* it came to one; else the rest is empty */
	unsigned worker;             /* index */
	const struct loaded *loaded; /* by what it was decided; main lcore: good until the next load */
	struct glb_packet packet;    /* after the stages; its data is gone */
	enum trace_flow flow;
	int punt_class;              /* enum glb_punt_class where it is on its way to a kernel interface of the port, else -1 */
	/* what was to be sent */
	bool encapsulated;           /* or answered: there is a frame */
	unsigned out_port;           /* index */
	unsigned out_queue;
	uint32_t frame_len;
	uint32_t frame_kept;         /* bytes in `frame` */
	uint8_t frame[2048];         /* TRACE_FRAME_MAX */
	/* the end */
	uint8_t verdict;             /* enum glb_verdict */
	uint8_t reason;              /* enum glb_reason */
	bool sent;                   /* handed to a driver, or on its way to the kernel */
	uint64_t cycles;             /* of the TSC, from the mailbox to the end */
};

struct trace {
	int state; /* enum trace_state; all lcores that receive read it */
	/* set by the main lcore before TRACE_WAITING */
	unsigned queue __rte_cache_aligned; /* rx queue by which it comes */
	uint16_t port;                      /* index of the port by which it comes */
	bool send;
	struct rte_mbuf *mbuf;
	uint64_t began;                     /* TSC */
	uint64_t hits, misses;              /* of the worker's flow cache, before */
	struct trace_report report;
};

/* Whether something may be in the mailbox for the caller. */
static inline bool trace_waits(const struct trace *trace)
{
	return __builtin_expect(__atomic_load_n(&trace->state, __ATOMIC_RELAXED) == TRACE_WAITING, 0);
}

/* The packet, when it is one for rx queue `queue`; else NULL. It and the report are the caller's then. */
struct rte_mbuf *trace_take(struct trace *trace, unsigned queue);

/* The worker's part, before and behind the stages: whether its flow cache was asked is in its counters. `punts`: the port has a
 * kernel interface of its own. */
void trace_flows_before(struct trace *trace, const struct glb_flow_stats *flows);
void trace_decided(struct trace *trace, unsigned worker, const struct loaded *loaded, const struct glb_packet *packet,
		   bool punts, const struct glb_flow_stats *flows);

/* Whether the packet is in a queue to the kernel, or would be if it were to be sent. */
static inline bool trace_to_kernel(const struct trace *trace, const struct glb_packet *packet)
{
	return trace->report.punt_class >= 0 && packet->verdict == GLB_VERDICT_PUNT;
}

/* It is about to be sent by a port's queue, as `mbuf` is now. */
void trace_leaves(struct trace *trace, unsigned port, unsigned queue, const struct rte_mbuf *mbuf);

/* What became of it. */
void trace_end(struct trace *trace, unsigned reason, bool sent);

/* Gives packet and report back; the caller has freed or sent the packet and does not look at *trace any more. */
void trace_done(struct trace *trace);

#endif
