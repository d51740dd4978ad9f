/* EAL's start and end: the argument vector made from the configuration, and what is left on disk afterwards. */
#ifndef FORWARDER_EAL_H
#define FORWARDER_EAL_H

#include "config.h"
#include "opts.h"

/* Makes the arguments and starts EAL. The worker lcores are then those of RTE_LCORE_FOREACH_WORKER, and
 * config->workers says how many there are. Returns 0, -EINVAL (bad cores) or -EIO, with *error. */
int eal_start(struct config *config, const struct opts *opts, struct glb_error *error);

/* After a hand-over: gives EAL's run-time directory the name that instance `name` has, which nobody uses any more. */
void eal_take_name(const char *name);

/* Ends EAL and removes its run-time directory when it was made for this instance. */
void eal_stop(void);

#endif
