/* What a port's device computes instead of the workers: outer checksums, when it can and may. */
#ifndef FORWARDER_OFFLOAD_H
#define FORWARDER_OFFLOAD_H

#include "port.h"

#include <rte_ethdev.h>

/* Sets port->offloads from what the device says that it has, and what the configuration wants. Returns the bits of
 * rte_eth_txmode.offloads that go with it. */
uint64_t offload_choose(struct port *port, const struct config *config, const struct rte_eth_dev_info *info);

/* A name of one bit of enum glb_offload, for people. */
const char *offload_name(enum glb_offload offload);

/* "ipv4_checksum, udp_checksum", or "none". */
void offload_print(uint8_t offloads, char *out, size_t len);

#endif
