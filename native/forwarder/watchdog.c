/* The watchdog's thread (watchdog.h). How a worker is judged is in watch.c. */
#include "watchdog.h"
#include "log.h"
#include "watch.h"

#include <rte_launch.h>
#include <rte_lcore.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct watchdog {
	pthread_t thread;
	int stop;
	struct workers *workers;
	struct watch watches[CONFIG_WORKERS_MAX];
	uint64_t since_ms[CONFIG_WORKERS_MAX]; /* monotonic, when its heart was last seen to beat */
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static char thread_state(int tid)
{
	char path[48], text[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return '?';
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return watch_parse_state(text);
}

/* Every turn of a worker's loop counts either a burst or an idle poll. */
static uint64_t heartbeats(const struct glb_worker_stats *stats)
{
	return __atomic_load_n(&stats->bursts, __ATOMIC_RELAXED) + __atomic_load_n(&stats->idle_polls, __ATOMIC_RELAXED);
}

static void say(struct worker *worker, enum watch_verdict before, enum watch_verdict now, unsigned long long ms)
{
	if (now != WATCH_WELL) {
		__atomic_store_n(&worker->stats->stalls, worker->stats->stalls + 1, __ATOMIC_RELAXED);
		log_error("worker %u (lcore %u) is stuck: it %s; its last turn ended %llu ms ago", worker->index,
			  worker->lcore, watch_verdict_name(now), ms);
	} else if (before != WATCH_WELL) {
		log_warning("worker %u (lcore %u) goes on after %llu ms", worker->index, worker->lcore, ms);
	}
	__atomic_store_n(&worker->stats->stuck, (uint64_t)now, __ATOMIC_RELAXED);
}

static void look(struct watchdog *dog, unsigned i)
{
	struct worker *worker = &dog->workers->worker[i];
	struct watch *watch = &dog->watches[i];
	enum watch_verdict before = watch->verdict, now;
	int tid = __atomic_load_n(&worker->tid, __ATOMIC_ACQUIRE);
	uint64_t beats = heartbeats(worker->stats);
	bool beat = beats != watch->beats;
	struct timespec cpu;

	/* not yet running, or ended: a replay's workers do, by themselves */
	if (tid == 0 || rte_eal_get_lcore_state(worker->lcore) != RUNNING || clock_gettime(worker->cpu_clock, &cpu) != 0)
		return;
	now = watch_look(watch, beats, (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec,
			 beat ? 'R' : thread_state(tid));
	if (now != before)
		say(worker, before, now, (unsigned long long)(now_ms() - dog->since_ms[i]));
	if (beat)
		dog->since_ms[i] = now_ms();
}

static void *run(void *context)
{
	const struct timespec pause = {.tv_nsec = WATCH_EVERY_MS * 1000000};
	struct watchdog *dog = context;

	while (__atomic_load_n(&dog->stop, __ATOMIC_RELAXED) == 0) {
		for (unsigned i = 0; i < dog->workers->count; i++)
			look(dog, i);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

struct watchdog *watchdog_open(struct workers *workers, struct glb_error *error)
{
	struct watchdog *dog = calloc(1, sizeof(*dog));
	int ret = ENOMEM;

	if (dog != NULL) {
		dog->workers = workers;
		ret = rte_ctrl_thread_create(&dog->thread, "glb-watchdog", NULL, run, dog);
		ret = ret < 0 ? -ret : ret;
	}
	if (ret == 0)
		return dog;
	free(dog);
	glb_error_set(error, -ret, "watchdog: %s", strerror(ret));
	return NULL;
}

void watchdog_close(struct watchdog *dog)
{
	if (dog == NULL)
		return;
	__atomic_store_n(&dog->stop, 1, __ATOMIC_RELAXED);
	pthread_join(dog->thread, NULL);
	free(dog);
}
