/* Starting and ending a live capture on the main lcore: the command `capture` of the control socket. */
#ifndef FORWARDER_CAPTURE_CONTROL_H
#define FORWARDER_CAPTURE_CONTROL_H

#include "capture.h"
#include "worker.h"

#include <jansson.h>

enum { CAPTURE_SECONDS_MAX = 3600 };

/* Reads {"at": ["ingress", …], "service": ID, "reason": NAME, "client": "PREFIX", "snaplen": N, "seconds": N}; every field but `seconds` may be
 * missing. Returns 0, or -EINVAL with *error naming the field. */
int capture_read_filter(const json_t *request, struct capture_filter *filter, unsigned *seconds, struct glb_error *error);

/* Starts a capture for some seconds. Returns 0, -EBUSY when one runs, or another negative errno; *error. */
int capture_start(struct workers *workers, const char *path, const struct capture_filter *filter, unsigned seconds,
		  struct glb_error *error);

/* Ends it: no worker uses it any more when this returns. Nothing happens when none runs. */
void capture_stop(struct workers *workers, struct swap *swap);

/* Ends it when its time is over. */
void capture_expire(struct workers *workers, struct swap *swap);

#endif
