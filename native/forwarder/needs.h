/* What a configuration needs of this machine and of this process, and how to mend what is missing.
 *
 * Asked with --needs (`glb doctor --config`), and to explain a start that failed: drivers say little. Only looks; uses
 * no DPDK. What it does not know is not missing: EAL and the drivers have the last word.
 */
#ifndef FORWARDER_NEEDS_H
#define FORWARDER_NEEDS_H

#include "config.h"
#include "opts.h"

#include <stdbool.h>

enum { NEEDS_MAX = 32 };

struct need {
	char check[32];    /* the key of the configuration that needs it */
	bool fails;        /* else it works, but less well */
	char message[220];
	char mend[200];
};

struct needs {
	struct need list[NEEDS_MAX];
	unsigned count;
	uint64_t capabilities; /* effective ones of this process */
	uint64_t lock_limit;   /* bytes that it may lock; UINT64_MAX = any */
};

/* Finds what is missing. Ports: CONFIG's [[port]]s, not those of EAL options. `memory`: look for hugepages, too; not when EAL has
 * taken what it wanted. */
void needs_look(struct needs *needs, const struct config *config, const struct opts *opts, bool memory);

/* Adds a finding (needs_port.c uses it, too). `mend` may have no conversions; the rest is a message as for printf. */
void needs_add(struct needs *needs, const char *check, bool fails, const char *mend, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* Whether an EAL option is among those of the configuration and the command line; *value is behind it, or NULL. */
bool needs_option(const struct config *config, const struct opts *opts, const char *option, const char **value);

/* The ports' part: what port `index` needs. */
void needs_of_port(struct needs *needs, const struct config *config, const struct opts *opts, unsigned index);

/* {"findings": [{"check", "status": "warn" | "fail", "message", "mend"}]} as a line on standard output. Returns 0, or -1
 * when it cannot be written. */
int needs_print(const struct needs *needs);

#endif
