/* The way to the kernel for ports that DPDK owns, and back: the exception path.
 *
 *   worker ──token bucket──► ring of the class ──┐                  ┌──► kernel interface (net_tap, virtio-user)
 *                                                ├─ thread "punt" ──┤
 *   first sender ◄── ring ───────────────────────┘                  └──◄ kernel interface
 *
 * A worker decides, and only queues what its class's rate allows, so that a flood is shed where it comes in and one class
 * never takes another's place. A control thread does all that calls the kernel: a kernel that is slow or stuck stalls
 * no worker. What the kernel sends leaves by tx queue 0 of its port, which belongs to the first worker or, in a pipeline, to the first
 * sender. Nothing on a worker's side takes a lock.
 *
 * Ports whose driver leaves the kernel its copy (net_af_packet, net_af_xdp with our program) need none of this.
 */
#ifndef FORWARDER_PUNT_H
#define FORWARDER_PUNT_H

#include "config.h"
#include "port.h"

#include <glb/bucket.h>
#include <glb/punt.h>

#include <jansson.h>
#include <pthread.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

/* What one worker writes. */
struct punt_lane {
	struct glb_bucket bucket[GLB_PUNT_CLASSES];
	uint64_t limited[GLB_PUNT_CLASSES]; /* packets above the rate */
	uint64_t full[GLB_PUNT_CLASSES];    /* packets that the ring did not take */
} __rte_cache_aligned;

struct punt_port {
	struct port *port;            /* borrowed */
	const char *interface;        /* of the kernel's; borrowed from the configuration */
	char device[PORT_NAME_MAX];   /* DPDK's device behind it, and */
	uint16_t id;                  /* its ethdev */
	bool started;
	struct punt_lane *lanes;      /* one for each worker */
	unsigned workers;
	struct rte_ring *to_kernel[GLB_PUNT_CLASSES]; /* workers to thread */
	struct rte_ring *from_kernel; /* thread to the owner of tx queue 0 */
	/* the thread's */
	uint64_t delivered[GLB_PUNT_CLASSES]; /* packets that the kernel took */
	uint64_t refused[GLB_PUNT_CLASSES];   /* packets that it did not */
	uint64_t taken;                       /* packets from the kernel */
	uint64_t taken_full;                  /* of these, dropped: not fetched in time */
	/* the owner of tx queue 0 */
	uint64_t unsent;                      /* of these, dropped: the port's queue was full */
};

struct punt {
	struct punt_port *ports; /* array of `count` */
	unsigned count;
	struct ports *owner;
	pthread_t thread;
	bool running;
	int stop;                /* the thread polls it */
};

/* Makes the interfaces that the configuration asks for, sets port.punt, and starts the thread; does nothing where there are
 * none. No worker may run yet. Returns 0 or a negative errno with *error, and nothing is left then. */
int punt_open(struct punt *punt, const struct config *config, struct ports *ports, struct glb_error *error);

/* Ends the thread and removes the interfaces. No worker may run any more. */
void punt_close(struct punt *punt);

/* Whether the kernel has a use for packets that are punted for this reason: not for those for other MACs, or our own. */
static inline bool punt_wanted(unsigned reason)
{
	return reason != GLB_REASON_OTHER_MAC && reason != GLB_REASON_OWN_MAC && reason != GLB_REASON_MUTED;
}

/* A worker hands over a packet whose verdict is PUNT, with its buffer. Returns the packet's own reason when the buffer was taken, or,
 * for what the kernel has no use for, freed; else why it is to be dropped: then the buffer is still the worker's. */
enum glb_reason punt_offer(struct punt_port *punt, unsigned worker, const struct glb_packet *packet,
			   struct rte_mbuf *mbuf);

/* The owner of tx queue 0 sends what the kernel sends by these ports. Returns how many packets there were. */
unsigned punt_relay(const struct ports *ports);

/* The `punt` field of status: a list, one object for each interface. Main lcore. New reference. */
json_t *punt_status(const struct ports *ports);

#endif
