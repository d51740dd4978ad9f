/* Limits of a service on this director: how many packets, and how many new flows, may pass in a second.
 *
 * Each worker has token buckets of its own, which only it writes. What belongs to the service as a whole is shared out among them
 * by another thread, from time to time, as their parts of the traffic are; so the sum keeps to the limit, and workers share
 * nothing that they write. Buckets go by the service's counter slot, so they outlive snapshots.
 */
#ifndef GLB_GUARD_H
#define GLB_GUARD_H

#include <stdbool.h>
#include <stdint.h>

enum glb_limit_kind {
	GLB_LIMIT_PACKETS = 0,
	GLB_LIMIT_FLOWS = 1,
	GLB_LIMIT_KINDS
};

/* A worker's bucket. All zero is a full one. */
struct glb_limiter {
	double tokens;
	uint64_t then_ns; /* of the last call; 0 = none yet */
	uint64_t asked;   /* calls, ever: what sharing out goes by */
	uint64_t pad;
};

/* A worker's part of a limit; written by the thread that shares out. */
struct glb_share {
	double rate;  /* a second */
	double burst; /* at least 1 */
};

/* Of each service slot, packets that were refused; a worker's own, in the counter file. */
struct glb_refused {
	uint64_t packets_limited; /* above the limit of packets */
	uint64_t flows_limited;   /* above the limit of new flows */
	uint64_t blocked;         /* from a source of its block list */
	uint64_t not_allowed;     /* from a source that is not in its allow list */
};

/* What a worker limits by; each array by service slot. */
struct glb_guard {
	struct glb_limiter (*limiters)[2];    /* by enum glb_limit_kind */
	const struct glb_share (*shares)[2];
	struct glb_refused *refused;
	uint64_t now_ns;                      /* of this burst, of any clock; not 0 */
};

/* Takes one, if there is one. A step back in time counts as no time. */
bool glb_limiter_take(struct glb_limiter *limiter, const struct glb_share *share, uint64_t now_ns);

/* Shares `rate` out among n ≥ 1 workers that asked for `asked[i]` each in the last `seconds` > 0. Below the rate, each gets what it asked for and
 * an equal part of the rest; above, parts as what they asked for, and a seventeenth of the rate equally, so that a worker whose first packet
 * comes need not wait. The sum is `rate`; bursts are in the same proportion, 1 at least. */
void glb_limit_share(double rate, double burst, const uint64_t *asked, double seconds, unsigned n, struct glb_share *out);

#endif
