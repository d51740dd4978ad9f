/* Threads that end before the call returns; there is no pool, since starting one takes tens of microseconds. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

bool glb_pieces_take(struct glb_pieces *pieces, uint32_t *first, uint32_t *last)
{
	*first = atomic_fetch_add_explicit(&pieces->next, pieces->size, memory_order_relaxed);
	if (*first >= pieces->end)
		return false;
	*last = pieces->end - *first < pieces->size ? pieces->end : *first + pieces->size;
	return true;
}

unsigned glb_threads(unsigned wanted)
{
	cpu_set_t cpus;

	if (wanted == 0)
		wanted = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus) : 1;
	return wanted < 1 ? 1 : wanted < GLB_THREADS_MAX ? wanted : GLB_THREADS_MAX;
}

struct job {
	int (*work)(void *context);
	void *context;
	int status;
	pthread_t thread;
};

static void *run(void *argument)
{
	struct job *job = argument;

	job->status = job->work(job->context);
	return NULL;
}

int glb_parallel(unsigned threads, int (*work)(void *context), void *context)
{
	struct job jobs[GLB_THREADS_MAX];
	sigset_t all, before;
	unsigned started = 0;
	int status;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* new threads inherit it */
	for (; started + 1 < threads && started < GLB_THREADS_MAX; started++) {
		jobs[started] = (struct job){.work = work, .context = context};
		if (pthread_create(&jobs[started].thread, NULL, run, &jobs[started]) != 0)
			break;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	status = work(context);
	for (unsigned i = 0; i < started; i++) {
		pthread_join(jobs[i].thread, NULL);
		if (status == 0)
			status = jobs[i].status;
	}
	return status;
}
