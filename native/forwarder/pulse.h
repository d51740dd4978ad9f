/* By what the watchdog knows a thread: its id and its CPU clock. */
#ifndef FORWARDER_PULSE_H
#define FORWARDER_PULSE_H

#include <pthread.h>
#include <time.h>
#include <unistd.h>

struct pulse {
	clockid_t cpu_clock;
	int tid; /* set last; 0 = it does not run yet */
};

/* The thread itself, when it begins. */
static inline void pulse_start(struct pulse *pulse)
{
	pthread_getcpuclockid(pthread_self(), &pulse->cpu_clock);
	__atomic_store_n(&pulse->tid, (int)gettid(), __ATOMIC_RELEASE);
}

#endif
