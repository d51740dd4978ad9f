/* The source lists in force (glb/lists.h), and their replacement with traffic running, apart from snapshots.
 *
 * Each loaded snapshot has filters, which join it with the lists in force; workers read them by one pointer per burst. New lists get new
 * filters for the snapshot in force, by RCU as snapshots do; a file that is refused changes nothing but `last_error`. A load, of either, after which a
 * service would name a list that is not there is refused; only where no snapshot is in force yet, as at start, it is loaded all
 * the same: a block list that is missing blocks nobody, an allow list that is missing allows nobody. Main lcore.
 */
#ifndef FORWARDER_LISTS_H
#define FORWARDER_LISTS_H

#include "config.h"
#include "loaded.h"

#include <rte_rcu_qsbr.h>

/* A lists file in private memory. Shared by the filters that borrow from it. */
struct lists_file {
	struct glb_lists lists;
	void *bytes;     /* mapping of map_len bytes */
	size_t map_len;
	unsigned users;  /* filters, and `lists` while it is in force; the last one frees it */
	uint64_t prefixes;
	char path[CONFIG_PATH_MAX];
};

/* What a loaded snapshot borrows. */
struct filters {
	struct lists_file *file;  /* NULL: no lists */
	struct filters *next;     /* list of those that wait for the workers */
	uint64_t token;
	struct glb_filter filter[]; /* one for each protection */
};

struct lists {
	struct lists_file *current; /* NULL: none */
	struct filters *waiting;    /* replaced, maybe still in use */
	uint64_t generation;        /* files loaded since start */
	uint64_t refused;
	uint64_t load_us, switch_us; /* of the last good load */
	struct glb_error last_error; /* code 0 = the last load was good */
	char last_error_path[CONFIG_PATH_MAX];
	struct glb_error keep_error;
};

/* Gives a snapshot that is about to be put in force its filters. With `whole`, returns -ENOENT and *error when a list is missing. */
int lists_bind(const struct lists *lists, struct loaded *loaded, bool whole, struct glb_error *error);

/* Loads the file at `path` and puts it in force for `current`. Returns 0, or a negative errno with lists->last_error filled. */
int lists_load(struct lists *lists, struct loaded *current, struct rte_rcu_qsbr *workers, const char *path);

/* Puts what is in force at `place` (director.lists), unless it came from there. Returns 0 or a negative errno with lists->keep_error. */
int lists_keep(struct lists *lists, const char *place);

/* Frees what the workers have left. Returns whether something still waits for them. */
bool lists_reclaim(struct lists *lists, struct rte_rcu_qsbr *workers);

/* A snapshot goes: so do its filters. No worker may use it any more. */
void filters_free(struct filters *filters);

/* Frees all but what snapshots still have. No worker may run any more. */
void lists_close(struct lists *lists);

#endif
