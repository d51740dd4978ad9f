/* Swapping snapshots under RCU (swap.h). */
#include "swap.h"
#include "clock.h"
#include "egress.h"
#include "keep.h"
#include "log.h"

#include <rte_errno.h>
#include <rte_malloc.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	SWITCH_WAIT_US = 1000000, /* how long a load waits for the workers before it leaves the old one to reclaim */
	SWITCH_SPIN_US = 50,      /* workers that have a CPU of their own and are not idle have moved on by then */
	SWITCH_POLL_NS = 20000,   /* the main lcore may share a CPU with a worker: it sleeps, so that the worker runs */
	WAITING_MAX = 4,
	KEEP_AGAIN_US = 10000000,
};

int swap_open(struct swap *swap, const struct config *config, const struct ports *ports,
	      const struct stats_file *stats, struct nexthop *nexthop, struct guards *guards, struct glb_error *error)
{
	uint32_t workers = (uint32_t)config->workers;

	memset(swap, 0, sizeof(*swap));
	pthread_mutex_init(&swap->lock, NULL);
	swap->config = config;
	swap->ports = ports;
	swap->stats = stats;
	swap->nexthop = nexthop;
	swap->guards = guards;
	swap->current = loaded_read(NULL, config, ports, error);
	if (swap->current == NULL)
		return error->code;
	swap->services = slots_create(stats_file_service_ids(stats), (uint32_t)config->service_slots);
	swap->backends = slots_create(stats_file_backend_ids(stats), (uint32_t)config->backend_slots);
	swap->workers = rte_zmalloc("glb_rcu", rte_rcu_qsbr_get_memsize(workers), RTE_CACHE_LINE_SIZE);
	if (swap->services == NULL || swap->backends == NULL || swap->workers == NULL ||
	    rte_rcu_qsbr_init(swap->workers, workers) != 0) {
		swap_close(swap);
		return glb_error_set(error, -ENOMEM, "no memory for the snapshot's bookkeeping");
	}
	return 0;
}

static void clear_service(void *context, uint32_t slot)
{
	const struct swap *swap = context;

	for (uint32_t i = 0; i < swap->stats->header->worker_count; i++)
		stats_file_services(swap->stats, i)[slot] = (struct glb_traffic){0, 0};
	guards_clear(swap->guards, slot);
}

static void clear_backend(void *context, uint32_t slot)
{
	const struct swap *swap = context;

	for (uint32_t i = 0; i < swap->stats->header->worker_count; i++)
		stats_file_backends(swap->stats, i)[slot] = (struct glb_traffic){0, 0};
}

/* The oldest load that a worker may still be using: slots asked for since then stay with their ids. */
static uint64_t oldest_in_use(const struct swap *swap)
{
	uint64_t oldest = swap->current->epoch;

	for (const struct loaded *old = swap->waiting; old != NULL; old = old->next)
		oldest = old->epoch < oldest ? old->epoch : oldest;
	return oldest;
}

static int assign_slots(struct swap *swap, struct loaded *fresh, struct glb_error *error)
{
	const struct glb_snapshot *snapshot = &fresh->snapshot;
	uint32_t n = snapshot->service_count > snapshot->backend_count ? snapshot->service_count
								       : snapshot->backend_count;
	uint32_t *ids = calloc((size_t)n + 1, sizeof(*ids));
	uint64_t keep_since = oldest_in_use(swap);
	int64_t without;

	if (ids == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < snapshot->service_count; i++)
		ids[i] = snapshot->services[i].id;
	without = slots_assign(swap->services, ids, snapshot->service_count, fresh->service_slot, fresh->epoch,
			       keep_since, clear_service, swap);
	if (without != 0)
		log_warning("%lld services are not counted: raise stats.service_slots", (long long)without);
	fresh->all_counted = without == 0;
	for (uint32_t i = 0; i < snapshot->backend_count; i++)
		ids[i] = snapshot->backends[i].id;
	without = slots_assign(swap->backends, ids, snapshot->backend_count, fresh->backend_slot, fresh->epoch,
			       keep_since, clear_backend, swap);
	if (without != 0)
		log_warning("%lld backends are not counted: raise stats.backend_slots", (long long)without);
	fresh->all_counted &= without == 0;
	free(ids);
	return 0;
}

/* Waits until every worker has been quiescent since `token`; false when that takes too long. */
static bool wait_for_workers(const struct swap *swap, uint64_t token, uint64_t since_us)
{
	const struct timespec pause = {.tv_nsec = SWITCH_POLL_NS};

	while (rte_rcu_qsbr_check(swap->workers, token, false) == 0) {
		if (clock_us() - since_us > SWITCH_WAIT_US)
			return false;
		if (clock_us() - since_us > SWITCH_SPIN_US)
			nanosleep(&pause, NULL);
	}
	return true;
}

/* Returns how many µs it took until the last worker had moved on. */
static uint64_t put_in_force(struct swap *swap, struct loaded *fresh)
{
	struct loaded *old = swap->current;
	uint64_t since_us = clock_us(), took;

	pthread_mutex_lock(&swap->lock);
	__atomic_store_n(&swap->current, fresh, __ATOMIC_RELEASE);
	__atomic_store_n(&swap->stats->header->generation, ++swap->generation, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&swap->lock);
	old->token = rte_rcu_qsbr_start(swap->workers);
	if (wait_for_workers(swap, old->token, since_us)) {
		took = clock_us() - since_us;
		loaded_free(old);
		return took;
	}
	log_warning("a worker has not left the old snapshot after %d ms", SWITCH_WAIT_US / 1000);
	old->next = swap->waiting;
	swap->waiting = old;
	return clock_us() - since_us;
}

static void refuse(struct swap *swap, const char *path, const struct glb_error *error)
{
	pthread_mutex_lock(&swap->lock);
	swap->last_error = *error;
	snprintf(swap->last_error_path, sizeof(swap->last_error_path), "%s", path);
	swap->refused++;
	pthread_mutex_unlock(&swap->lock);
	log_error("snapshot refused: %s", error->text);
}

static bool too_many_wait(const struct swap *swap)
{
	unsigned n = 0;

	for (const struct loaded *old = swap->waiting; old != NULL; old = old->next)
		n++;
	return n >= WAITING_MAX;
}

int swap_load(struct swap *swap, const char *path, struct swap_result *result)
{
	uint64_t start = clock_us();
	struct glb_error error = {0};
	struct loaded *fresh = NULL;
	int ret = 0;

	swap_reclaim(swap);
	if (too_many_wait(swap))
		ret = glb_error_set(&error, -EBUSY, "workers hang: older snapshots are still in use");
	if (ret == 0) {
		fresh = loaded_read(path, swap->config, swap->ports, &error);
		ret = fresh != NULL ? 0 : error.code;
	}
	if (ret == 0) {
		fresh->epoch = ++swap->epoch;
		ret = assign_slots(swap, fresh, &error);
	}
	if (ret == 0 && fresh->remembers)
		ret = flows_want(swap->flows, &error);
	if (ret == 0)
		ret = fragments_want(swap->fragments, &fresh->snapshot, &error);
	if (ret == 0) /* with nothing in force there is nothing to stay with */
		ret = lists_bind(&swap->lists, fresh, swap->current->snapshot.header != NULL, &error);
	if (ret == 0)
		ret = xdp_add_vips(swap->ports, &fresh->snapshot, &error);
	if (ret == 0)
		ret = egress_adopt(swap->nexthop, fresh, &error);
	if (ret == 0)
		ret = guards_adopt(swap->guards, fresh, &error);
	if (ret != 0) {
		loaded_free(fresh);
		refuse(swap, path, &error);
		return ret;
	}
	path_mtus_adopt(swap->path_mtus, fresh);
	result->load_us = clock_us() - start;
	result->switch_us = put_in_force(swap, fresh);
	xdp_drop_vips(swap->ports);
	pthread_mutex_lock(&swap->lock);
	swap->last_error = (struct glb_error){0};
	swap->last = *result;
	pthread_mutex_unlock(&swap->lock);
	return 0;
}

int swap_load_lists(struct swap *swap, const char *path)
{
	return lists_load(&swap->lists, swap->current, swap->workers, path);
}

int swap_keep(struct swap *swap)
{
	struct loaded *current = swap->current;
	const char *place = swap->config->snapshot;
	struct glb_error error = {0};
	int ret = 0;

	if (current->snapshot.header == NULL)
		return 0;
	if (!keep_is_same(current->path, place))
		ret = keep_file(place, "director.snapshot", current->bytes, current->snapshot.header->file_bytes, &error);
	if (ret == 0)
		snprintf(current->path, sizeof(current->path), "%s", place);
	else if (strcmp(error.text, swap->keep_error.text) != 0)
		log_error("%s", error.text);
	swap->keep_error = error;
	swap->keep_again_us = clock_us() + KEEP_AGAIN_US;
	return ret;
}

void swap_keep_again(struct swap *swap)
{
	if (swap->keep_error.code != 0 && clock_us() >= swap->keep_again_us && swap_keep(swap) == 0)
		log_info("what was loaded is at %s now", swap->config->snapshot);
}

void swap_view(struct swap *swap, struct swap_view *view)
{
	const struct glb_snapshot *snapshot;

	memset(view, 0, sizeof(*view));
	pthread_mutex_lock(&swap->lock); /* what is current stays so, and is not freed, while it is held */
	snapshot = &swap->current->snapshot;
	view->generation = swap->generation;
	view->services = snapshot->service_count;
	view->backends = snapshot->backend_count;
	view->refused = swap->refused;
	view->last = swap->last;
	if (snapshot->header != NULL) {
		view->revision = snapshot->header->revision;
		for (unsigned i = 0; i < sizeof(snapshot->header->digest); i++)
			snprintf(view->digest + 2 * i, 3, "%02x", snapshot->header->digest[i]);
	}
	pthread_mutex_unlock(&swap->lock);
}

bool swap_reclaim(struct swap *swap)
{
	struct loaded **link = &swap->waiting;

	while (*link != NULL) {
		struct loaded *old = *link;

		if (rte_rcu_qsbr_check(swap->workers, old->token, false) == 0) {
			link = &old->next;
			continue;
		}
		*link = old->next;
		loaded_free(old);
	}
	return lists_reclaim(&swap->lists, swap->workers) || swap->waiting != NULL;
}

void swap_close(struct swap *swap)
{
	while (swap->waiting != NULL) {
		struct loaded *old = swap->waiting;

		swap->waiting = old->next;
		loaded_free(old);
	}
	loaded_free(swap->current);
	lists_close(&swap->lists);
	slots_free(swap->services);
	slots_free(swap->backends);
	rte_free(swap->workers);
	memset(swap, 0, sizeof(*swap));
}
