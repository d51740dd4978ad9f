/* The snapshot in force, and its replacement with traffic running.
 *
 * Workers read `current` once per burst and report a quiescent state after it (RCU QSBR). The main lcore replaces the pointer, waits
 * for the workers a bounded time, and frees the old one when all of them have moved on; one that does not in
 * time is freed later. A file that is refused changes nothing but `last_error`.
 */
#ifndef FORWARDER_SWAP_H
#define FORWARDER_SWAP_H

#include "flows.h"
#include "fragments.h"
#include "guards.h"
#include "lists.h"
#include "loaded.h"
#include "nexthop.h"
#include "path_mtus.h"
#include "slots.h"
#include "stats_file.h"

#include <rte_rcu_qsbr.h>

#include <pthread.h>

struct swap_result {
	uint64_t load_us;   /* reading, checking and joining with this director */
	uint64_t switch_us; /* until the last worker had moved on */
};

struct swap {
	pthread_mutex_t lock;         /* held by the main lcore while it changes what swap_view() reads; workers never take it */
	struct loaded *current;       /* never NULL; workers load it atomically */
	struct rte_rcu_qsbr *workers; /* thread id = index of the worker */
	struct loaded *waiting;       /* replaced, maybe still in use; newest first */
	struct slots *services;
	struct slots *backends;
	const struct config *config;  /* borrowed */
	const struct ports *ports;    /* borrowed */
	const struct stats_file *stats; /* borrowed */
	struct nexthop *nexthop;      /* borrowed; NULL: everything goes to gateway_mac */
	struct fragments *fragments;  /* the same */
	struct flows *flows;          /* borrowed; its memory is taken when a snapshot wants it. never NULL once workers run */
	struct guards *guards;        /* borrowed; never NULL */
	struct path_mtus *path_mtus;  /* the same, once workers run */
	struct lists lists;           /* source lists in force; main lcore only */
	uint64_t epoch;               /* loads tried */
	uint64_t generation;          /* loads done */
	struct glb_error last_error;  /* code 0 = the last load was good */
	char last_error_path[CONFIG_PATH_MAX];
	uint64_t refused;             /* loads refused since start */
	struct swap_result last;      /* of the last good load */
	struct glb_error keep_error;  /* code 0 = what is in force is at director.snapshot, or nothing is; main lcore only */
	uint64_t keep_again_us;       /* when to try that again */
};

/* What other threads may know about the snapshot in force. */
struct swap_view {
	uint64_t generation;
	uint64_t revision; /* 0 when there is no snapshot */
	char digest[33];   /* hex; "" when there is no snapshot */
	uint32_t services;
	uint32_t backends;
	uint64_t refused;
	struct swap_result last;
};

/* Starts without a snapshot: everything is punted. Returns 0 or -ENOMEM with *error. */
int swap_open(struct swap *swap, const struct config *config, const struct ports *ports,
	      const struct stats_file *stats, struct nexthop *nexthop, struct guards *guards, struct glb_error *error);

/* Loads the file at `path` and puts it in force. Returns 0, or a negative errno with swap->last_error filled: then what was
 * in force stays. */
int swap_load(struct swap *swap, const char *path, struct swap_result *result);

/* The same for a lists file; the snapshot in force stays. What went wrong is in swap->lists.last_error. */
int swap_load_lists(struct swap *swap, const char *path);

/* Puts what is in force at director.snapshot, from which the next start begins, unless it came from there. Returns 0, or a
 * negative errno with swap->keep_error filled: then swap_keep_again() tries again from time to time. */
int swap_keep(struct swap *swap);
void swap_keep_again(struct swap *swap);

/* A copy of what is in force, for any thread but a worker. */
void swap_view(struct swap *swap, struct swap_view *view);

/* Frees what the workers have left. Returns whether something still waits for them. */
bool swap_reclaim(struct swap *swap);

/* Frees everything. No worker may run any more. */
void swap_close(struct swap *swap);

#endif
