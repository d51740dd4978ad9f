/* What becomes of the packets of a burst once they are judged: they are encapsulated, answered, left to the kernel, captured, dropped, sent and
 * counted. How they are judged is native/core's; the loop around it is worker.c's. The worker's own lcore calls these.
 *
 * `mbufs` has the buffers of the burst; once they are carried out, those to send, in order, of which packet_of[i] is the packet of mbufs[i],
 * by its index in worker->packets. Buffers that are not to be sent are freed, or belong to whoever took them.
 */
#ifndef FORWARDER_OUTCOME_H
#define FORWARDER_OUTCOME_H

#include "capture.h"
#include "trace.h"
#include "worker.h"

/* Whether this burst is a packet that is traced and not to be sent. */
static inline bool outcome_holds_back(const struct worker *worker)
{
	return worker->tracing != NULL && !worker->tracing->send;
}

static inline bool outcome_passes_on(const struct glb_packet *packet)
{
	return packet->verdict == GLB_VERDICT_FORWARD || packet->verdict == GLB_VERDICT_ANSWER;
}

/* The packet's frame as it came, also where an attempt at encapsulating it failed. */
void outcome_show_received(struct worker *worker, enum glb_capture_at at, const struct glb_packet *packet,
			       const struct rte_mbuf *mbuf);

/* Encapsulates what is to be forwarded and makes replies of what is to be answered, keeping the order; the rest is punted or freed.
 * Returns how many there are to send; what goes in pieces is sent already, and what came before it. */
unsigned outcome_carry_out(struct worker *worker, const struct glb_path *path, unsigned came_by, struct punt_port *punt,
			       struct rte_mbuf **mbufs, uint8_t *packet_of, unsigned n);

/* Sends the first n of `mbufs`, if any, each by its port. */
void outcome_send(struct worker *worker, const struct glb_path *path, unsigned came_by, struct rte_mbuf **mbufs,
			       uint8_t *packet_of, unsigned n);

/* By reason, and as traffic of service and backend. */
void outcome_count(struct worker *worker, const struct loaded *loaded, unsigned n);

#endif
