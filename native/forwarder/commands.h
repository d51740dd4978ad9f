/* The commands of the control socket: load, status, capture, trace, takeover, yield, stop. One JSON object in, one out (docs/wire/control.md). */
#ifndef FORWARDER_COMMANDS_H
#define FORWARDER_COMMANDS_H

#include "config.h"
#include "port.h"
#include "stats_file.h"
#include "swap.h"
#include "takeover.h"
#include "worker.h"

struct commands {
	const struct config *config;
	const struct ports *ports;
	const struct stats_file *stats;
	struct workers *workers;
	struct swap *swap;
	struct takeover *takeover;
	struct takeover_parts parts; /* what a hand-over needs */
	bool yielded; /* another process has this instance's files now */
	bool stop; /* set when `stop` was asked for */
};

/* Answers one request: a control_answer (control.h) whose context is a struct commands. */
char *commands_answer(void *commands, const char *line, size_t len);

#endif
