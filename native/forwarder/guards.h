/* The workers' guards (glb/guard.h): memory, and sharing services' limits out among the workers.
 *
 * A worker's buckets belong to its place and go by counter slot, so they stay over swaps and while a port is opened again. Pages of
 * slots that no limited service has are never touched. Main lcore, but for what the workers do by their own guard.
 */
#ifndef FORWARDER_GUARDS_H
#define FORWARDER_GUARDS_H

#include "config.h"
#include "loaded.h"
#include "stats_file.h"

struct guards {
	struct glb_guard of[CONFIG_WORKERS_MAX];
	struct glb_share (*shares[CONFIG_WORKERS_MAX])[2]; /* what `of` reads */
	uint64_t (*asked[CONFIG_WORKERS_MAX])[2];          /* by slot: its buckets' `asked` at the last time */
	struct limit_now *limits;                          /* by slot: what is shared out */
	unsigned workers;
	uint64_t then_ns;                                  /* of the last time */
};

/* Takes the memory. Returns 0, or -ENOMEM with *error. */
int guards_open(struct guards *guards, const struct config *config, const struct stats_file *stats, struct glb_error *error);

/* The snapshot is about to be put in force: its limits are shared out, evenly where they are new or changed. Returns 0, or -EINVAL
 * with *error when a service with limits has no counter slot. */
int guards_adopt(struct guards *guards, const struct loaded *loaded, struct glb_error *error);

/* Shares out anew, ten times a second, by what the workers were asked for since. Returns whether it wants to be called that often. */
bool guards_balance(struct guards *guards, const struct loaded *loaded);

/* A slot goes to another service: it begins with full buckets and counters of 0. No worker uses it. */
void guards_clear(struct guards *guards, uint32_t slot);

/* Frees it. No worker may run any more. */
void guards_close(struct guards *guards);

#endif
