/* Watches the workers, and in a pipeline receivers and senders, from a thread of its own, because the main lcore may be busy with a load. What it finds is in the
 * log, in the status and in their words of the counter file. It mends nothing. */
#ifndef FORWARDER_WATCHDOG_H
#define FORWARDER_WATCHDOG_H

#include "worker.h"

struct watchdog;

/* Starts the thread. The workers (borrowed) run until watchdog_close(). Returns NULL with *error. */
struct watchdog *watchdog_open(const struct workers *workers, struct glb_error *error);

/* Ends it. NULL is allowed. */
void watchdog_close(struct watchdog *watchdog);

#endif
