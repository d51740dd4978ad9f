/* The buffers that packets are received into. */
#ifndef FORWARDER_POOL_H
#define FORWARDER_POOL_H

#include "config.h"

#include <rte_mempool.h>

/* Around the longest packet: Ethernet header, two tags, the checksum that some devices leave, and what others put in front. */
enum { POOL_AROUND = 64 };

/* Bytes of a frame that one buffer holds: as configured, else for the longest that forward.mtu lets pass. */
uint32_t pool_room(const struct config *config);

/* One pool for `ports` ports, as large as is useful and fits into EAL's memory. Returns NULL with *error. */
struct rte_mempool *pool_create(const struct config *config, unsigned ports, struct glb_error *error);

/* Puts all buffers that are not in the pool back into it, and returns how many those were: the caller knows that a device which is closed
 * had them, and nobody else. No lcore may run that uses the pool. */
unsigned pool_take_back(struct rte_mempool *pool);

#endif
