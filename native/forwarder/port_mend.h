/* Opens a port again whose interface has come back (port_watch.h). */
#ifndef FORWARDER_PORT_MEND_H
#define FORWARDER_PORT_MEND_H

#include "port.h"
#include "swap.h"

/* Looks at all ports and logs what has changed. Returns the index of one that should be opened again, or -1. Cheap; call it
 * about once a second. Main lcore. */
int ports_look(struct ports *ports, const struct config *config);

/* Opens port `index` again. No worker may run meanwhile. Whether it worked is logged and counted. */
void port_mend(struct ports *ports, unsigned index, const struct config *config, struct swap *swap);

#endif
