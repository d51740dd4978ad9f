/* Bursts of which every packet is of the usual kind (glb/fast.h), from buffers to the port's queue. */
#ifndef FORWARDER_FAST_H
#define FORWARDER_FAST_H

#include "loaded.h"
#include "worker.h"

/* Forwards and counts what it can of a burst that came in on a port, given by index: all of it, or all that is IPv4 or IPv6. Returns how many
 * are left, now in front, of which it has done nothing. Only for a worker that is not muted, and for which nobody captures or traces. The
 * worker's own lcore. */
unsigned fast_forward(struct worker *worker, const struct loaded *loaded, unsigned index, struct rte_mbuf **mbufs, unsigned n);

#endif
