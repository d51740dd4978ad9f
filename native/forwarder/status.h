/* What the forwarder says about itself: the fields of `status`, and the counters of a replay. */
#ifndef FORWARDER_STATUS_H
#define FORWARDER_STATUS_H

#include "commands.h"

#include <jansson.h>

/* Adds all fields of the `status` reply to the object. */
void status_add(json_t *reply, const struct commands *commands);

/* Adds revision and digest of the snapshot in force, null where there is none. */
void status_add_snapshot(json_t *reply, const struct swap *swap);

/* The lists in force, as in `status`. New reference. */
json_t *status_lists(const struct swap *swap);

/* A replay's result: in, forwarded, answered, punted, dropped, out, and the reasons; with a flow cache also its counters. New reference. */
json_t *status_replay(const struct stats_file *stats);

#endif
