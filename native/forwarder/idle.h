/* What an lcore does that polls ports and finds nothing (idle = adaptive). */
#ifndef FORWARDER_IDLE_H
#define FORWARDER_IDLE_H

#include <stdint.h>
#include <time.h>

enum {
	IDLE_POLLS = 256,      /* empty polls in a row before the first sleep: some tens of µs */
	IDLE_RING_POLLS = 1024, /* the same for rings, whose polls cost less */
	IDLE_SLEEP_MIN_NS = 10000,
	IDLE_SLEEP_MAX_NS = 700000, /* with waking up and forwarding, the first packet is out within 1 ms */
	IDLE_DRY_POLLS = 16,   /* empty polls in a row that mean that a file has been read to its end */
};

struct idle {
	uint32_t polls;    /* empty ones in a row */
	uint32_t sleep_ns; /* of the last sleep; 0 = none yet */
};

/* How long to sleep next, ns: longer the longer nothing has come, about a thirtieth of that time, so that little is added to the latency of a
 * packet that ends a short pause. */
static inline uint32_t idle_next(struct idle *idle)
{
	const uint32_t ns = idle->sleep_ns == 0 ? IDLE_SLEEP_MIN_NS : idle->sleep_ns + idle->sleep_ns / 32 + 1000;

	idle->sleep_ns = ns < IDLE_SLEEP_MAX_NS ? ns : IDLE_SLEEP_MAX_NS;
	return idle->sleep_ns;
}

static inline void idle_sleep(struct idle *idle)
{
	const struct timespec pause = {.tv_nsec = idle_next(idle)};

	nanosleep(&pause, NULL);
}

#endif
