/* What was found of a traced packet, as JSON (docs/wire/control.md). */
#ifndef FORWARDER_TRACE_REPLY_H
#define FORWARDER_TRACE_REPLY_H

#include "trace.h"
#include "worker.h"

#include <jansson.h>

/* A new reference. Main lcore, before the next load. */
json_t *trace_reply(const struct trace *trace, const struct workers *workers, const struct swap *swap,
		    const struct ports *ports);

#endif
