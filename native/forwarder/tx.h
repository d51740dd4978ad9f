/* Frames to a port's tx queue: the one place where they leave. */
#ifndef FORWARDER_TX_H
#define FORWARDER_TX_H

#include "port.h"

#include <rte_ethdev.h>

enum { TX_TRIES = 8 };

/* Hands over what the queue takes. Returns how many it took, from the front; the rest stays the caller's. */
static inline unsigned tx_send(const struct port *port, unsigned queue, struct rte_mbuf **mbufs, unsigned n)
{
	unsigned sent = 0;

	if (port->offloads != 0) /* some drivers want to see such frames before; one that they refuse ends the burst */
		n = rte_eth_tx_prepare(port->id, (uint16_t)queue, mbufs, (uint16_t)n);
	for (unsigned tries = 0; sent < n && tries < TX_TRIES; tries++)
		sent += rte_eth_tx_burst(port->id, (uint16_t)queue, mbufs + sent, (uint16_t)(n - sent));
	return sent;
}

#endif
