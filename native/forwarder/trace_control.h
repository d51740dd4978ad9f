/* A packet to be traced, from request to reply: the command `trace` of the control socket. Main lcore. */
#ifndef FORWARDER_TRACE_CONTROL_H
#define FORWARDER_TRACE_CONTROL_H

#include "config.h"
#include "trace.h"
#include "worker.h"

#include <jansson.h>

enum {
	TRACE_PACKET_MAX = 9216, /* bytes of a packet or frame that is asked for */
	TRACE_WAIT_MS = 1000,    /* for the lcores that it passes */
};

/* What is asked for. */
struct trace_order {
	uint8_t bytes[TRACE_PACKET_MAX];
	size_t len;
	bool whole;     /* an Ethernet frame; else an IP packet, which gets a header to the director's own MAC */
	unsigned port;  /* index */
	unsigned queue; /* rx queue */
	bool send;
};

/* Reads {"ip": HEX or "frame": HEX, "port": NUMBER, "queue": NUMBER, "send": BOOL}; the last three may be missing. Returns 0, or
 * -EINVAL with *error naming the field. */
int trace_read_order(const json_t *request, const struct ports *ports, const struct config *config,
		     struct trace_order *order, struct glb_error *error);

/* Lets the packet pass and waits for it. Returns what was found, a new reference, or NULL with *error: -EBUSY where an earlier one
 * is still on its way, -ETIMEDOUT where an lcore does not answer, or another. */
json_t *trace_run(struct workers *workers, const struct swap *swap, const struct ports *ports,
		  const struct trace_order *order, struct glb_error *error);

#endif
