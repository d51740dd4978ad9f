/* What routers say of the MTU on the way to backends: too-bigs about outer packets, from the workers that receive them to the snapshot in force.
 *
 * A worker puts what such a packet says into its box and wakes the main lcore, which looks whether there is such a backend, remembers it by address
 * for forward.path_mtu_seconds, and writes it where the workers read it (glb/path_mtu.h). It outlives snapshots, but not the process.
 * docs/mtu.md.
 */
#ifndef FORWARDER_PATH_MTUS_H
#define FORWARDER_PATH_MTUS_H

#include "config.h"
#include "loaded.h"

#include <glb/bucket.h>
#include <glb/path.h>

#include <jansson.h>

enum {
	PATH_MTUS_MAX = 4096,   /* backends of which something is remembered */
	PATH_MTUS_LISTED = 256, /* of these, in status */
	PATH_MTU_BOX = 64,      /* messages that wait for the main lcore, a power of two */
};

/* From one worker to the main lcore. */
struct path_mtu_box {
	struct glb_bucket rate;  /* the worker's */
	uint32_t put;            /* written by the worker */
	int fd;                  /* of the main lcore; set before the worker starts */
	struct glb_outer_too_big said[PATH_MTU_BOX];
	uint32_t taken __attribute__((aligned(64))); /* written by the main lcore */
} __attribute__((aligned(64)));

struct path_mtu {
	struct glb_addr backend;
	uint32_t mtu;
	uint64_t said_ms; /* last; monotonic */
};

/* The main lcore's, but for the boxes. */
struct path_mtus {
	struct path_mtu_box box[CONFIG_WORKERS_MAX]; /* by index of the worker */
	struct path_mtu known[PATH_MTUS_MAX];
	unsigned workers, count;
	uint64_t refused;    /* messages about what is no backend, or that there was no room for */
	uint64_t keep_ms;    /* 0: nothing is ever learned */
	int fd;              /* readable when a box has something */
};

/* Returns 0 or a negative errno with *error. */
int path_mtus_open(struct path_mtus *mtus, const struct config *config, struct glb_error *error);
void path_mtus_close(struct path_mtus *mtus);

/* Worker: a packet whose reason is GLB_REASON_OUTER_TOO_BIG. Never waits; what is above the rate, or has no room, is forgotten. */
void path_mtus_tell(struct path_mtu_box *box, const struct glb_path *path, const struct glb_packet *packet, uint64_t now_ns);

/* Main lcore: takes what the workers said, forgets what is old, and makes the snapshot in force say so. */
void path_mtus_poll(struct path_mtus *mtus, struct loaded *current);

/* Makes a snapshot that is about to be put in force say what is known. */
void path_mtus_adopt(const struct path_mtus *mtus, struct loaded *fresh);

/* What `status` says. New reference. */
json_t *path_mtus_status(const struct path_mtus *mtus, const struct loaded *current);

#endif
