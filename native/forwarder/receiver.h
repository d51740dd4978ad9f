/* A receiver: the first stage of a pipeline. Takes packets from its rx queue of every port, and puts each into the ring of its flow's worker.
 *
 * The flow's hash is the NIC's where it is valid, else libglb's (glb/steer.h): all packets of a flow go to one worker, in order. A worker
 * whose ring is full loses packets, counted as steer_ring_full, and the others notice nothing. Where the kernel is reached through this program,
 * the last places are for ARP, neighbour discovery, BGP and BFD: what else comes is shed first.
 */
#ifndef FORWARDER_RECEIVER_H
#define FORWARDER_RECEIVER_H

#include "port.h"
#include "pulse.h"
#include "rings.h"
#include "timing.h"

#include <glb/stats.h>

struct order;  /* order.h */
struct sender; /* sender.h */
struct trace;  /* trace.h */

struct receiver {
	/* set before it starts */
	unsigned index;          /* also its rx queue */
	unsigned lcore;
	uint32_t seed;           /* of the hash; the same for all receivers */
	bool adaptive;           /* sleeps when idle */
	bool until_dry;          /* ends by itself when its ports have run dry (replay) */
	const struct ports *ports;
	struct rings *rings;
	struct sender *sender;   /* whose work this lcore does, too, or NULL */
	const struct glb_peers *peers; /* directors that share fragments, or NULL */
	struct order *order;     /* replay: numbers the packets, or NULL */
	struct trace *trace;     /* the mailbox for a packet that is traced */
	const int *stop;         /* set by the main lcore */
	struct glb_worker_stats *stats;
	/* its own */
	struct pulse pulse;
	struct timing timing;
	/* what goes where */
	unsigned counts[CONFIG_WORKERS_MAX];
	struct rte_mbuf *mbufs[CONFIG_WORKERS_MAX][RINGS_BURST];
};

/* The loop, for rte_eal_remote_launch(). */
int receiver_run(void *receiver);

#endif
