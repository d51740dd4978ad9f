/* Ways out: by which port, to which MAC. Chooses between forward.gateway_mac and the kernel's next hops (nexthop.h), tells which
 * of the kernel's interfaces belongs to which port, and says in `status` what is missing. Main lcore only.
 */
#ifndef FORWARDER_EGRESS_H
#define FORWARDER_EGRESS_H

#include "config.h"
#include "loaded.h"
#include "nexthop.h"
#include "port.h"

#include <jansson.h>

/* Sets *nexthop, or leaves it NULL where forward.gateway_mac is given. Returns 0 or a negative errno with *error. */
int egress_open(struct nexthop **nexthop, const struct config *config, const struct ports *ports,
		struct glb_error *error);

/* Fills in the next hops of a snapshot that is about to be put in force, and looks after them from now on. Nothing to do
 * without `nexthop`. Returns 0 or -ENOMEM with *error. */
int egress_adopt(struct nexthop *nexthop, struct loaded *loaded, struct glb_error *error);

/* What `status` says of the snapshot in force. New reference. */
json_t *egress_status(const struct nexthop *nexthop, const struct loaded *loaded);

/* A descriptor that is readable when one of them has something; `nexthop` may be NULL. -1 when it cannot be made. */
int egress_wake(int fd, int other, const struct nexthop *nexthop);

/* Takes up changes. Returns in how many ms it must be called again, at most `wait_ms`. */
int egress_poll(struct nexthop *nexthop, int wait_ms);

#endif
