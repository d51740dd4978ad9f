/* A sender: the last stage of a pipeline. Collects what its workers have made and hands it to its tx queue of the port that each packet
 * is for. What a queue does not take is dropped and counted as tx_full. */
#ifndef FORWARDER_SENDER_H
#define FORWARDER_SENDER_H

#include "pulse.h"
#include "rings.h"
#include "timing.h"

#include <glb/stats.h>

struct order; /* order.h */
struct ports; /* port.h */
struct trace; /* trace.h */

struct sender {
	/* set before it starts */
	unsigned index;             /* also its tx queue */
	unsigned lcore;
	unsigned first_worker, end_worker; /* whose rings it collects from */
	struct rings *rings;
	const struct ports *ports;
	struct order *order;        /* replay: where it notes what it sent, or NULL */
	struct trace *trace;        /* of a packet that is marked RINGS_TRACED */
	struct glb_worker_stats *stats;
	/* its own */
	struct pulse pulse;
	struct timing timing;
};

/* Sends what waits, at most a burst of each of its workers. Returns how many packets there were. For a lcore that does something else, too. */
unsigned sender_turn(struct sender *sender);

/* The loop, for rte_eal_remote_launch(). */
int sender_run(void *sender);

#endif
