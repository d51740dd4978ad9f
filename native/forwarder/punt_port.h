/* One port's interface to the kernel: made, configured, removed (punt.h). */
#ifndef FORWARDER_PUNT_PORT_H
#define FORWARDER_PUNT_PORT_H

#include "punt.h"

/* Makes what config->ports[index] asks for and sets the port's `punt`. On failure, which *error names, punt_port_close() must still be
 * called. */
int punt_port_open(struct punt_port *punt, const struct config *config, unsigned index, struct ports *ports,
		   struct glb_error *error);

/* Removes the interface and frees what is still queued. Neither workers nor the thread may run. */
void punt_port_close(struct punt_port *punt);

#endif
