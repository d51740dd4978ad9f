/* DPDK telemetry: /glb/stats, /glb/workers, /glb/services, /glb/backends and /glb/snapshot, for dpdk-telemetry.py and its kind.
 *
 * EAL answers in threads of its own: what they read is the counter file and what swap_view() copies, nothing else. Lists
 * are paged, because a reply holds 16 kB. Without EAL's telemetry (--no-telemetry) nobody asks.
 */
#ifndef FORWARDER_TELEMETRY_H
#define FORWARDER_TELEMETRY_H

#include "stats_file.h"
#include "swap.h"

/* From now on requests are answered from these two (borrowed). Returns 0, or -ENOMEM with *error. */
int telemetry_open(const struct stats_file *stats, struct swap *swap, struct glb_error *error);

/* From now on they are answered with null: the commands themselves cannot be taken back. */
void telemetry_close(void);

#endif
