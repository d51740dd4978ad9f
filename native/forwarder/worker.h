/* A worker: receives, decides, encapsulates and sends, a burst at a time, until it is told to stop.
 *
 * Run to completion: each worker has its own rx and tx queue on every port, and its own counters; workers share nothing that
 * they write. The loop allocates no memory, logs nothing and takes no lock.
 */
#ifndef FORWARDER_WORKER_H
#define FORWARDER_WORKER_H

#include "mbuf.h"
#include "port.h"
#include "stats_file.h"
#include "swap.h"

enum { WORKER_BURST = 32 };

struct order; /* order.h */

struct worker {
	/* set before it starts */
	uint32_t index;                  /* also its queue, its RCU thread id and its block of counters */
	unsigned lcore;
	bool adaptive;                   /* sleeps when idle */
	bool until_dry;                  /* ends by itself when its ports have run dry (replay) */
	const struct ports *ports;
	struct swap *swap;               /* reads `current` and `workers` */
	struct order *order;             /* replay: where it notes what it sent, or NULL */
	const int *stop;                 /* set by the main lcore */
	struct glb_worker_stats *stats;
	struct glb_traffic *services;
	struct glb_traffic *backends;
	/* its own */
	struct glb_packet packets[WORKER_BURST];
	uint8_t scratch[MBUF_SCRATCH];
};

struct workers {
	struct worker *worker; /* array of `count` */
	unsigned count;
	int stop;              /* workers poll it */
};

/* Starts one worker on each worker lcore. `until_dry`: they end by themselves (replay); `order` may be NULL. Returns 0 or a negative errno with *error. */
int workers_start(struct workers *workers, const struct config *config, const struct ports *ports, struct swap *swap,
		  const struct stats_file *stats, bool until_dry, struct order *order, struct glb_error *error);

/* Whether all of them have ended. */
bool workers_done(const struct workers *workers);

/* Tells them to stop and waits; each finishes the burst that it has. False when one has not ended after `wait_ms`: then it may still
 * use everything, and nothing that it uses may be freed. */
bool workers_stop(struct workers *workers, unsigned wait_ms);

/* The loop itself, for rte_eal_remote_launch(). */
int worker_run(void *worker);

#endif
