/* Starting and stopping workers (worker.h). */
#include "worker.h"

#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
	ECHO_BURST_MIN = 32, /* replies at once, however low the rate */
};

static void prepare(struct worker *worker, uint32_t index, unsigned lcore, const struct stats_file *stats)
{
	worker->index = index;
	worker->lcore = lcore;
	worker->stats = stats_file_worker(stats, index);
	worker->services = stats_file_services(stats, index);
	worker->backends = stats_file_backends(stats, index);
	worker->stats->lcore = lcore;
	worker->timing.ns_per_cycle = 1e9 / (double)rte_get_tsc_hz();
}

int workers_start(struct workers *workers, const struct config *config, const struct ports *ports, struct swap *swap,
		  const struct stats_file *stats, bool until_dry, struct order *order, struct glb_error *error)
{
	unsigned lcore;

	workers->count = 0;
	workers->stop = 0;
	workers->worker = rte_zmalloc("glb_workers", (size_t)config->workers * sizeof(struct worker),
				      RTE_CACHE_LINE_SIZE);
	if (workers->worker == NULL)
		return glb_error_set(error, -ENOMEM, "no memory for the workers; raise -m in eal.args");
	RTE_LCORE_FOREACH_WORKER(lcore) {
		struct worker *worker = &workers->worker[workers->count];

		prepare(worker, workers->count, lcore, stats);
		worker->ports = ports;
		worker->swap = swap;
		worker->order = order;
		glb_bucket_init(&worker->echo, (uint32_t)config->echo_rate,
				(uint32_t)RTE_MAX(config->echo_rate / 10, ECHO_BURST_MIN));
		worker->adaptive = config->idle == CONFIG_IDLE_ADAPTIVE;
		worker->until_dry = until_dry;
		worker->stop = &workers->stop;
		worker->mute = &workers->mute;
		worker->muted = workers->mute != MUTE_OFF;
		if (rte_eal_remote_launch(worker_run, worker, lcore) != 0) {
			workers_stop(workers, 1000);
			return glb_error_set(error, -EBUSY, "lcore %u does not start", lcore);
		}
		workers->count++;
	}
	return 0;
}

bool workers_done(const struct workers *workers)
{
	for (unsigned i = 0; i < workers->count; i++)
		if (rte_eal_get_lcore_state(workers->worker[i].lcore) == RUNNING)
			return false;
	return true;
}

bool workers_mute(struct workers *workers, enum mute mute, unsigned wait_us)
{
	enum { LOOK_US = 20 };
	int wanted = mute != MUTE_OFF;

	__atomic_store_n(&workers->mute, (int)mute, __ATOMIC_RELAXED);
	for (unsigned i = 0, waited = 0; i < workers->count; i++) {
		while (__atomic_load_n(&workers->worker[i].muted, __ATOMIC_ACQUIRE) != wanted) {
			if (waited >= wait_us)
				return false;
			usleep(LOOK_US);
			waited += LOOK_US;
		}
	}
	return true;
}

bool workers_stop(struct workers *workers, unsigned wait_ms)
{
	__atomic_store_n(&workers->stop, 1, __ATOMIC_RELAXED);
	while (!workers_done(workers)) {
		if (wait_ms-- == 0)
			return false;
		usleep(1000);
	}
	rte_eal_mp_wait_lcore();
	rte_free(workers->worker);
	workers->worker = NULL;
	workers->count = 0;
	return true;
}
