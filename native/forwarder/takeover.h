/* The hand-over from a running forwarder to a new process of the same instance, without losing a packet.
 *
 * The new process (`--takeover`) starts muted, in <run_dir>/next and with an EAL prefix of its own: both receive every packet, the
 * old one forwards. Asked to take over, it makes sure that it has the old one's snapshot, unmutes, and then has the old one
 * yield: that one forwards what was waiting for it, mutes, and stops. Between the two moments packets come out twice, none is
 * lost. Socket, counter file and, once the old process has ended, lock and EAL's directory go by the instance's own names.
 *
 * Only for ports that two processes may have at once. Main lcore only.
 */
#ifndef FORWARDER_TAKEOVER_H
#define FORWARDER_TAKEOVER_H

#include "config.h"
#include "control.h"
#include "stats_file.h"
#include "swap.h"
#include "worker.h"

enum takeover_state {
	TAKEOVER_NONE = 0, /* this process is the instance's own */
	TAKEOVER_WAITING,  /* muted beside a running one */
	TAKEOVER_SETTLING, /* forwards; the old process has not ended yet */
};

struct takeover {
	enum takeover_state state;
	char run_dir[CONFIG_PATH_MAX]; /* the instance's own */
	int lock;                      /* of the directory that is ours so far */
	int64_t since_us;              /* monotonic, when the settling began */
};

/* What a hand-over needs of the program; all borrowed. */
struct takeover_parts {
	struct config *config;
	struct control *control;
	struct stats_file *stats;
	struct swap *swap;
	struct workers *workers;
};

struct takeover_result {
	int64_t old_pid;
	uint64_t overlap_us; /* while both forwarded */
};

/* Before anything is started: checks that the ports can be shared and that there is somebody to take over from, and moves
 * config->run_dir to <run_dir>/next. Returns 0 or a negative errno with *error. */
int takeover_prepare(struct takeover *takeover, struct config *config, struct glb_error *error);

/* The flip. Returns 0, or a negative errno with *error: then this process is still muted, or, when the old one
 * did not say whether it has yielded, both forward and *error says so. */
int takeover_flip(struct takeover *takeover, const struct takeover_parts *parts, struct takeover_result *result,
		  struct glb_error *error);

/* While settling: takes the instance's lock and EAL directory once the old process has ended. Returns whether it is still
 * waiting for that. */
bool takeover_settle(struct takeover *takeover, struct config *config);

#endif
