/* A snapshot as the workers use it: its bytes in private memory, checked, joined with what this director adds.
 *
 * Immutable once made; the workers read it through one RCU pointer (swap.h). */
#ifndef FORWARDER_LOADED_H
#define FORWARDER_LOADED_H

#include "config.h"
#include "port.h"

#include <glb/fast.h>
#include <glb/path.h>

struct loaded {
	struct glb_path paths[CONFIG_PORTS_MAX]; /* by index of the port */
	struct glb_fast fast;                    /* for all of them */
	struct glb_snapshot snapshot;            /* all zero when there is none */
	uint32_t *service_slot;                  /* counter slot by index of the service; SLOT_NONE = not counted */
	uint32_t *backend_slot;
	bool all_counted;                        /* none of them is SLOT_NONE */
	uint64_t *next_hops;                     /* by index of the backend (glb/next_hop.h), written by the main lcore while
						  * workers read; NULL: everything goes to gateway_mac, by the port it came in on */
	struct glb_path_mtus mtus;               /* written by the main lcore while workers read */
	struct glb_backend_ids backend_ids;      /* where `id_slots` is */
	uint32_t *id_slots;                      /* its memory */
	bool remembers;                          /* a service has flow_cache */
	struct filters *filters;                 /* owned: source lists (lists.h); the main lcore's */
	const struct glb_filter *filter;         /* the same as the workers read them, atomically; NULL: none yet */
	void *bytes;                             /* mapping of map_len bytes, huge pages where the kernel has them */
	size_t map_len;
	uint64_t epoch;                          /* number of this load, ascending */
	uint64_t token;                          /* RCU: workers quiescent since then have left it */
	struct loaded *next;                     /* list of those that wait for the workers */
	char path[CONFIG_PATH_MAX];              /* "" when there is none */
};

/* Reads and checks the file at `path`, or makes the empty one (everything is punted) when `path` is NULL. The slots are
 * still to be assigned. Returns NULL with *error. Main lcore. */
struct loaded *loaded_read(const char *path, const struct config *config, const struct ports *ports,
			   struct glb_error *error);

/* Describes the ports anew, after one was opened again. No worker may run. Returns 0 or a negative errno with *error. */
int loaded_ports_changed(struct loaded *loaded, const struct glb_director *director, const struct ports *ports,
			 struct glb_error *error);

/* Frees it. No worker may use it any more. */
void loaded_free(struct loaded *loaded);

#endif
