/* How a sleeping consumer of rings is woken: by whoever puts something in, and only when it sleeps. */
#ifndef FORWARDER_BELL_H
#define FORWARDER_BELL_H

#include <rte_common.h>

#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct bell {
	uint32_t asleep; /* 1: the consumer sleeps, or is about to */
} __rte_cache_aligned;

/* After something was put in. Any thread. A system call only when the consumer sleeps. */
static inline void bell_ring(struct bell *bell)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* what was put in is seen by a consumer that looks after setting `asleep` */
	if (__atomic_load_n(&bell->asleep, __ATOMIC_RELAXED) == 0)
		return;
	__atomic_store_n(&bell->asleep, 0, __ATOMIC_RELAXED);
	syscall(SYS_futex, &bell->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* The consumer, before it looks for the last time: when there is something after all, it does not sleep. */
static inline void bell_prepare(struct bell *bell)
{
	__atomic_store_n(&bell->asleep, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Sleeps until it is rung, at most `ns` (below one second). */
static inline void bell_sleep(struct bell *bell, long ns)
{
	const struct timespec most = {.tv_nsec = ns};

	syscall(SYS_futex, &bell->asleep, FUTEX_WAIT_PRIVATE, 1, &most, NULL, 0);
}

static inline void bell_done(struct bell *bell)
{
	__atomic_store_n(&bell->asleep, 0, __ATOMIC_RELAXED);
}

#endif
