/* The watchdog's thread (watchdog.h). How a thread is judged is in watch.c. */
#include "watchdog.h"
#include "clock.h"
#include "layout.h"
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

/* One that is watched. */
struct watched {
	const struct pulse *pulse;
	struct glb_worker_stats *stats;
	unsigned index, lcore; /* index: among those with its role */
	struct watch watch;
	uint64_t since_ms;     /* monotonic, when its heart was last seen to beat */
};

struct watchdog {
	pthread_t thread;
	int stop;
	unsigned count;
	struct watched watched[LAYOUT_LCORES_MAX];
};

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

/* Every turn of a loop counts either a burst or an idle poll. */
static uint64_t heartbeats(const struct glb_worker_stats *stats)
{
	return __atomic_load_n(&stats->bursts, __ATOMIC_RELAXED) + __atomic_load_n(&stats->idle_polls, __ATOMIC_RELAXED);
}

static void say(struct watched *it, enum watch_verdict before, enum watch_verdict now, unsigned long long ms)
{
	const char *role = glb_role_name((unsigned)it->stats->role);

	if (now != WATCH_WELL) {
		__atomic_store_n(&it->stats->stalls, it->stats->stalls + 1, __ATOMIC_RELAXED);
		log_error("%s %u (lcore %u) is stuck: it %s; its last turn ended %llu ms ago", role, it->index, it->lcore,
			  watch_verdict_name(now), ms);
	} else if (before != WATCH_WELL) {
		log_warning("%s %u (lcore %u) goes on after %llu ms", role, it->index, it->lcore, ms);
	}
	__atomic_store_n(&it->stats->stuck, (uint64_t)now, __ATOMIC_RELAXED);
}

static void look(struct watched *it)
{
	enum watch_verdict before = it->watch.verdict, now;
	int tid = __atomic_load_n(&it->pulse->tid, __ATOMIC_ACQUIRE);
	uint64_t beats = heartbeats(it->stats);
	bool beat = beats != it->watch.beats;
	struct timespec cpu;

	/* not yet running, or ended: a replay's threads do, by themselves */
	if (tid == 0 || rte_eal_get_lcore_state(it->lcore) != RUNNING ||
	    clock_gettime(it->pulse->cpu_clock, &cpu) != 0)
		return;
	now = watch_look(&it->watch, beats, (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec,
			 beat ? 'R' : thread_state(tid));
	if (now != before)
		say(it, before, now, (unsigned long long)(clock_ms() - it->since_ms));
	if (beat)
		it->since_ms = clock_ms();
}

static void *run(void *context)
{
	const struct timespec pause = {.tv_nsec = WATCH_EVERY_MS * 1000000};
	struct watchdog *dog = context;

	while (__atomic_load_n(&dog->stop, __ATOMIC_RELAXED) == 0) {
		for (unsigned i = 0; i < dog->count; i++)
			look(&dog->watched[i]);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void watch(struct watchdog *dog, const struct pulse *pulse, struct glb_worker_stats *stats, unsigned index,
		  unsigned lcore)
{
	dog->watched[dog->count++] =
		(struct watched){.pulse = pulse, .stats = stats, .index = index, .lcore = lcore};
}

static void watch_all(struct watchdog *dog, const struct workers *workers)
{
	const unsigned receivers = workers->rings != NULL ? workers->rings->receivers : 0;
	const unsigned senders = workers->rings != NULL ? workers->rings->senders : 0;

	for (unsigned i = 0; i < workers->count; i++)
		watch(dog, &workers->worker[i].pulse, workers->worker[i].stats, i, workers->worker[i].lcore);
	for (unsigned i = 0; i < receivers; i++)
		watch(dog, &workers->receivers[i].pulse, workers->receivers[i].stats, i, workers->receivers[i].lcore);
	for (unsigned i = 0; i < senders; i++)
		watch(dog, &workers->senders[i].pulse, workers->senders[i].stats, i, workers->senders[i].lcore);
}

struct watchdog *watchdog_open(const struct workers *workers, struct glb_error *error)
{
	struct watchdog *dog = calloc(1, sizeof(*dog));
	int ret = ENOMEM;

	if (dog != NULL) {
		watch_all(dog, workers);
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
