/* Bursts of which every packet is of the usual kind (glb/fast.h), from buffers to the port's queue. */
#ifndef FORWARDER_FAST_H
#define FORWARDER_FAST_H

#include "loaded.h"
#include "worker.h"

/* Forwards and counts a burst that came in on a port, given by index; or returns false, and has done nothing. Only for a worker that is not
 * muted, and for which nobody captures or traces. The worker's own lcore. */
bool fast_forward(struct worker *worker, const struct loaded *loaded, unsigned index, struct rte_mbuf **mbufs, unsigned n);

#endif
