/* The buffers that packets are received into. */
#ifndef FORWARDER_POOL_H
#define FORWARDER_POOL_H

#include "config.h"

#include <rte_mempool.h>

/* One pool for `ports` ports, as large as is useful and fits into EAL's memory. Returns NULL with *error. */
struct rte_mempool *pool_create(const struct config *config, unsigned ports, struct glb_error *error);

#endif
