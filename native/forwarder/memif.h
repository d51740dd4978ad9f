/* The sockets of net_memif ports: one that a killed process left, and whether somebody listens. No DPDK. */
#ifndef FORWARDER_MEMIF_H
#define FORWARDER_MEMIF_H

#include "config.h"

#include <stdbool.h>

/* Removes the socket files of memif servers behind which nobody listens any more: the driver does not bind over them. Those in use
 * stay, and the driver says so. */
void memif_prepare(const struct config *config);

/* Whether the port is a client, and there is a server where it would connect to, which notices nothing. */
bool memif_server_listens(const char *devargs);

#endif
