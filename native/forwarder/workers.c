/* Starting and stopping workers, and in a pipeline receivers and senders (worker.h). Blocks of counters and lcores come in the order of layout.h. */
#include "worker.h"
#include "layout.h"
#include "trace.h"

#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_random.h>

#include <errno.h>
#include <unistd.h>

enum {
	RECEIVERS_US = 10000, /* in which receivers that are not overloaded pass on what waits on the ports */
	ANSWER_BURST_MIN = 32, /* replies at once, however low the rate */
};

/* What all of them are made from. */
struct making {
	struct workers *workers;
	const struct config *config;
	const struct ports *ports;
	struct swap *swap;
	const struct stats_file *stats;
	bool replay;
	struct order *order;
};

static struct glb_worker_stats *block(const struct making *making, unsigned index, unsigned lcore, enum glb_role role)
{
	struct glb_worker_stats *stats = stats_file_worker(making->stats, index);

	stats->lcore = lcore;
	stats->role = role;
	return stats;
}

/* `rate` replies a second. */
static void limit(struct glb_bucket *bucket, int64_t rate)
{
	glb_bucket_init(bucket, (uint32_t)rate, (uint32_t)RTE_MAX(rate / 10, ANSWER_BURST_MIN));
}

static void make_worker(const struct making *making, unsigned index)
{
	struct rings *rings = making->workers->rings;
	struct worker *worker = &making->workers->worker[index];

	worker->index = index;
	worker->lcore = rings_lcore(index);
	worker->stats = block(making, index, worker->lcore, rings == NULL ? GLB_ROLE_WORKER : rings->senders != 0 ?
			      GLB_ROLE_RING_WORKER : GLB_ROLE_LAST_WORKER);
	worker->services = stats_file_services(making->stats, index);
	worker->backends = stats_file_backends(making->stats, index);
	worker->ports = making->ports;
	worker->swap = making->swap;
	worker->flow_place = &making->swap->flows->of[index];
	worker->guard = making->swap->guards->of[index];
	worker->mtu_box = &making->swap->path_mtus->box[index];
	worker->lossless = making->replay;
	worker->fragment_place = &making->swap->fragments->of[index];
	limit(&worker->echo, making->config->echo_rate);
	limit(&worker->reject, making->config->reject_rate);
	limit(&worker->oversize, making->config->oversize_rate);
	worker->adaptive = making->config->idle == CONFIG_IDLE_ADAPTIVE;
	worker->stop = &making->workers->stop;
	worker->capture = &making->workers->capture;
	worker->trace = making->workers->trace;
	worker->mute = &making->workers->mute;
	worker->muted = making->workers->mute != MUTE_OFF;
	worker->timing.ns_per_cycle = 1e9 / (double)rte_get_tsc_hz();
	worker->rings = rings;
	worker->until_dry = rings == NULL && making->replay;
	if (rings == NULL || rings->senders == 0) {
		worker->order = making->order;
		worker->passed_on = worker->stats->reasons;
	} else {
		worker->tx_ring = rings->tx[index];
		worker->sender_bell = &rings->sender_bell[layout_sender_of(index, rings->workers, rings->senders)];
		worker->passed_on = worker->unread;
	}
}

static void make_receiver(const struct making *making, unsigned index, uint32_t seed)
{
	const unsigned place = (unsigned)making->config->workers + index;
	const unsigned lcore = rings_lcore(place);

	making->workers->receivers[index] = (struct receiver){
		.index = index, .lcore = lcore, .seed = seed, .peers = making->config->director.peers, .adaptive = making->config->idle == CONFIG_IDLE_ADAPTIVE,
		.until_dry = making->replay, .ports = making->ports, .rings = making->workers->rings,
		.order = making->order, .trace = making->workers->trace, .stop = &making->workers->stop,
		.stats = block(making, place, lcore, GLB_ROLE_RECEIVER),
	};
}

static void make_sender(const struct making *making, unsigned index)
{
	struct rings *rings = making->workers->rings;
	const unsigned place = rings->workers + rings->receivers + index;
	struct receiver *receiver = making->config->receivers_send ? &making->workers->receivers[index] : NULL;
	const unsigned lcore = receiver != NULL ? receiver->lcore : rings_lcore(place);

	if (receiver != NULL)
		receiver->sender = &making->workers->senders[index];
	making->workers->senders[index] = (struct sender){
		.index = index, .lcore = lcore, .rings = rings, .ports = making->ports, .order = making->order,
		.trace = making->workers->trace,
		.first_worker = layout_first_worker(index, rings->workers, rings->senders),
		.end_worker = layout_first_worker(index + 1, rings->workers, rings->senders),
		.stats = block(making, place, lcore, GLB_ROLE_SENDER),
	};
}

static int make_all(const struct making *making, struct glb_error *error)
{
	const struct config *config = making->config;
	struct workers *workers = making->workers;
	const uint32_t seed = (uint32_t)rte_rand();

	if (config->run_model == CONFIG_PIPELINE) {
		workers->rings = rings_open(config, making->replay, error);
		if (workers->rings == NULL)
			return error->code;
	}
	workers->worker = rte_calloc("glb_workers", (size_t)config->workers, sizeof(struct worker), RTE_CACHE_LINE_SIZE);
	workers->receivers = rte_calloc("glb_receivers", (size_t)config->receivers + 1, sizeof(struct receiver),
					RTE_CACHE_LINE_SIZE);
	workers->senders = rte_calloc("glb_senders", (size_t)config->senders + 1, sizeof(struct sender),
				      RTE_CACHE_LINE_SIZE);
	workers->trace = rte_zmalloc("glb_trace", sizeof(struct trace), RTE_CACHE_LINE_SIZE);
	if (workers->worker == NULL || workers->receivers == NULL || workers->senders == NULL || workers->trace == NULL)
		return glb_error_set(error, -ENOMEM, "no memory for the workers; raise -m in eal.args");
	for (unsigned i = 0; i < config->workers; i++)
		make_worker(making, i);
	for (unsigned i = 0; i < config->receivers; i++)
		make_receiver(making, i, seed);
	for (unsigned i = 0; i < config->senders; i++)
		make_sender(making, i);
	return 0;
}

static void release(struct workers *workers)
{
	rings_close(workers->rings);
	rte_free(workers->worker);
	rte_free(workers->receivers);
	rte_free(workers->senders);
	rte_free(workers->trace);
	*workers = (struct workers){.mute = workers->mute};
}

static int launch(lcore_function_t *run, void *context, unsigned lcore, struct glb_error *error)
{
	if (rte_eal_remote_launch(run, context, lcore) == 0)
		return 0;
	return glb_error_set(error, -EBUSY, "lcore %u does not start", lcore);
}

static int launch_all(struct workers *workers, const struct config *config, struct glb_error *error)
{
	int ret = 0;

	for (unsigned i = 0; i < config->senders && !config->receivers_send && ret == 0; i++)
		ret = launch(sender_run, &workers->senders[i], workers->senders[i].lcore, error);
	for (unsigned i = 0; i < config->workers && ret == 0; i++)
		ret = launch(worker_run, &workers->worker[i], workers->worker[i].lcore, error);
	for (unsigned i = 0; i < config->receivers && ret == 0; i++)
		ret = launch(receiver_run, &workers->receivers[i], workers->receivers[i].lcore, error);
	return ret;
}

int workers_start(struct workers *workers, const struct config *config, const struct ports *ports, struct swap *swap,
		  const struct stats_file *stats, bool until_dry, struct order *order, struct glb_error *error)
{
	const struct making making = {
		.workers = workers, .config = config, .ports = ports, .swap = swap, .stats = stats, .replay = until_dry,
		.order = order,
	};
	int ret;

	workers->count = 0;
	workers->stop = 0;
	ret = make_all(&making, error);
	if (ret != 0) {
		release(workers);
		return ret;
	}
	workers->count = (unsigned)config->workers;
	ret = launch_all(workers, config, error);
	if (ret != 0) {
		if (workers->rings != NULL)
			rings_abandon(workers->rings);
		workers_stop(workers, 1000);
	}
	return ret;
}

bool workers_done(const struct workers *workers)
{
	unsigned lcore;

	(void)workers;
	RTE_LCORE_FOREACH_WORKER(lcore)
		if (rte_eal_get_lcore_state(lcore) == RUNNING)
			return false;
	return true;
}

bool workers_mute(struct workers *workers, enum mute mute, unsigned wait_us)
{
	enum { LOOK_US = 20 };
	int wanted = mute != MUTE_OFF;

	if (mute == MUTE_WHEN_EMPTY && workers->rings != NULL)
		usleep(RECEIVERS_US);
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
	release(workers);
	return true;
}
