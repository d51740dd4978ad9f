/* A token bucket: how many of something may pass, on average `rate` a second, at once `burst`.
 *
 * Time comes in from the caller. One owner; nothing is shared. Fields are the bucket's own after glb_bucket_init().
 */
#ifndef GLB_BUCKET_H
#define GLB_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct glb_bucket {
	uint32_t rate;   /* per second, 1.. */
	uint32_t burst;  /* 1.. */
	uint64_t credit; /* 10^-9 each, 0 .. burst * 10^9 */
	uint64_t now_ns; /* of the last call */
};

/* A full bucket. `rate` and `burst` 0 are taken as 1. */
void glb_bucket_init(struct glb_bucket *bucket, uint32_t rate, uint32_t burst);

/* Takes one if there is one. `now_ns`: of any clock; a step back counts as no time. */
bool glb_bucket_take(struct glb_bucket *bucket, uint64_t now_ns);

#endif
