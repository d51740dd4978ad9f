/* Telemetry commands (telemetry.h). Replies are small and built anew each time; there is no state but what is borrowed. */
#include "telemetry.h"

#include <rte_telemetry.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TRAFFIC_PAGE = 128, /* entries of at most 80 bytes */
	WORKERS_PAGE = 16,  /* entries of at most 600 bytes */
	NAME_LEN = 24,
};

static struct {
	pthread_mutex_t lock; /* telemetry_close() waits for the request that is being answered */
	const struct stats_file *stats; /* NULL = closed */
	struct swap *swap;
} source = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* What a request with a parameter may mean: "" or a number. Returns -EINVAL for anything else. */
static int parse_start(const char *params, uint64_t *start)
{
	char *end = NULL;

	*start = 0;
	if (params == NULL || params[0] == '\0')
		return 0;
	if (params[0] < '0' || params[0] > '9')
		return -EINVAL;
	errno = 0;
	*start = strtoull(params, &end, 10);
	return errno == 0 && *end == '\0' ? 0 : -EINVAL;
}

/* Starts a page of a list: {"start", "total", "next" unless it is the last, LIST: {…}}. Returns the dictionary of LIST, or NULL. */
static struct rte_tel_data *start_page(struct rte_tel_data *reply, const char *list, uint64_t start, uint64_t total,
				       unsigned page)
{
	struct rte_tel_data *entries = rte_tel_data_alloc();

	if (entries == NULL)
		return NULL;
	rte_tel_data_start_dict(reply);
	rte_tel_data_add_dict_u64(reply, "start", start);
	rte_tel_data_add_dict_u64(reply, "total", total);
	if (start + page < total)
		rte_tel_data_add_dict_u64(reply, "next", start + page);
	rte_tel_data_start_dict(entries);
	rte_tel_data_add_dict_container(reply, list, entries, 0);
	return entries;
}

static int answer_stats(const char *params, struct rte_tel_data *reply)
{
	struct glb_worker_stats total;

	(void)params;
	glb_stats_sum(source.stats->header, &total);
	rte_tel_data_start_dict(reply);
	rte_tel_data_add_dict_u64(reply, "rx_packets", total.rx_packets);
	rte_tel_data_add_dict_u64(reply, "rx_bytes", total.rx_bytes);
	rte_tel_data_add_dict_u64(reply, "tx_packets", total.tx_packets);
	rte_tel_data_add_dict_u64(reply, "tx_bytes", total.tx_bytes);
	for (unsigned reason = 0; reason < GLB_REASON_COUNT; reason++)
		rte_tel_data_add_dict_u64(reply, glb_reason_name(reason), total.reasons[reason]);
	return 0;
}

static int answer_workers(const char *params, struct rte_tel_data *reply)
{
	const uint32_t count = source.stats->header->worker_count;
	struct rte_tel_data *entries, *entry;
	uint64_t start;
	char name[NAME_LEN];

	if (parse_start(params, &start) != 0)
		return -EINVAL;
	entries = start_page(reply, "workers", start, count, WORKERS_PAGE);
	for (uint64_t i = start; entries != NULL && i < count && i < start + WORKERS_PAGE; i++) {
		const struct glb_worker_stats *stats = stats_file_worker(source.stats, (uint32_t)i);

		entry = rte_tel_data_alloc();
		if (entry == NULL)
			return -ENOMEM;
		rte_tel_data_start_dict(entry);
		rte_tel_data_add_dict_string(entry, "role", glb_role_name((unsigned)load(&stats->role)));
		rte_tel_data_add_dict_u64(entry, "lcore", load(&stats->lcore));
		rte_tel_data_add_dict_u64(entry, "rx_packets", load(&stats->rx_packets));
		rte_tel_data_add_dict_u64(entry, "rx_bytes", load(&stats->rx_bytes));
		rte_tel_data_add_dict_u64(entry, "tx_packets", load(&stats->tx_packets));
		rte_tel_data_add_dict_u64(entry, "tx_bytes", load(&stats->tx_bytes));
		rte_tel_data_add_dict_u64(entry, "bursts", load(&stats->bursts));
		rte_tel_data_add_dict_u64(entry, "idle_polls", load(&stats->idle_polls));
		rte_tel_data_add_dict_u64(entry, "sleeps", load(&stats->sleeps));
		rte_tel_data_add_dict_u64(entry, "ring_high_water", load(&stats->ring_high_water));
		rte_tel_data_add_dict_u64(entry, "busy_cycles", load(&stats->busy_cycles));
		rte_tel_data_add_dict_u64(entry, "stalls", load(&stats->stalls));
		rte_tel_data_add_dict_u64(entry, "stuck", load(&stats->stuck));
		snprintf(name, sizeof(name), "%" PRIu64, i);
		rte_tel_data_add_dict_container(entries, name, entry, 0);
	}
	return entries != NULL ? 0 : -ENOMEM;
}

static int answer_flows(const char *params, struct rte_tel_data *reply)
{
	const uint32_t count = source.stats->header->worker_count;
	struct rte_tel_data *entries, *entry;
	uint64_t start;
	char name[NAME_LEN];

	if (parse_start(params, &start) != 0)
		return -EINVAL;
	entries = start_page(reply, "flows", start, count, WORKERS_PAGE);
	for (uint64_t i = start; entries != NULL && i < count && i < start + WORKERS_PAGE; i++) {
		entry = rte_tel_data_alloc();
		if (entry == NULL)
			return -ENOMEM;
		rte_tel_data_start_dict(entry);
		for (unsigned n = 0; n < GLB_FLOW_STATS; n++)
			rte_tel_data_add_dict_u64(entry, glb_flow_stat_name(n),
						  glb_flow_stat(&stats_file_worker(source.stats, (uint32_t)i)->flows, n));
		snprintf(name, sizeof(name), "%" PRIu64, i);
		rte_tel_data_add_dict_container(entries, name, entry, 0);
	}
	return entries != NULL ? 0 : -ENOMEM;
}

/* One page of slots that have an owner, by id. A slot that changes hands meanwhile is left out, as its words start anew. */
static int answer_traffic(const char *params, struct rte_tel_data *reply, const char *list, const uint32_t *ids,
			  uint32_t slots, void (*read)(const void *data, uint32_t slot, struct glb_traffic *out))
{
	struct rte_tel_data *entries, *entry;
	uint64_t start, total = 0, seen = 0;
	struct glb_traffic traffic;
	char name[NAME_LEN];

	if (parse_start(params, &start) != 0)
		return -EINVAL;
	for (uint32_t slot = 0; slot < slots; slot++)
		total += __atomic_load_n(&ids[slot], __ATOMIC_RELAXED) != GLB_ID_NONE;
	entries = start_page(reply, list, start, total, TRAFFIC_PAGE);
	if (entries == NULL)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < slots && seen < start + TRAFFIC_PAGE; slot++) {
		uint32_t id = __atomic_load_n(&ids[slot], __ATOMIC_ACQUIRE);

		if (id == GLB_ID_NONE || seen++ < start)
			continue;
		read(source.stats->header, slot, &traffic);
		if (__atomic_load_n(&ids[slot], __ATOMIC_ACQUIRE) != id)
			continue;
		entry = rte_tel_data_alloc();
		if (entry == NULL)
			return -ENOMEM;
		rte_tel_data_start_dict(entry);
		rte_tel_data_add_dict_u64(entry, "packets", traffic.packets);
		rte_tel_data_add_dict_u64(entry, "bytes", traffic.bytes);
		snprintf(name, sizeof(name), "%" PRIu32, id);
		rte_tel_data_add_dict_container(entries, name, entry, 0);
	}
	return 0;
}

static int answer_services(const char *params, struct rte_tel_data *reply)
{
	return answer_traffic(params, reply, "services", stats_file_service_ids(source.stats),
			      source.stats->header->service_slots, glb_stats_service);
}

static int answer_backends(const char *params, struct rte_tel_data *reply)
{
	return answer_traffic(params, reply, "backends", stats_file_backend_ids(source.stats),
			      source.stats->header->backend_slots, glb_stats_backend);
}

static int answer_snapshot(const char *params, struct rte_tel_data *reply)
{
	struct swap_view view;

	(void)params;
	swap_view(source.swap, &view);
	rte_tel_data_start_dict(reply);
	rte_tel_data_add_dict_u64(reply, "generation", view.generation);
	rte_tel_data_add_dict_u64(reply, "revision", view.revision);
	rte_tel_data_add_dict_string(reply, "digest", view.digest);
	rte_tel_data_add_dict_u64(reply, "services", view.services);
	rte_tel_data_add_dict_u64(reply, "backends", view.backends);
	rte_tel_data_add_dict_u64(reply, "load_us", view.last.load_us);
	rte_tel_data_add_dict_u64(reply, "switch_us", view.last.switch_us);
	rte_tel_data_add_dict_u64(reply, "refused", view.refused);
	return 0;
}

struct endpoint {
	const char *name;
	int (*answer)(const char *params, struct rte_tel_data *reply);
	const char *help;
};

static const struct endpoint endpoints[] = {
	{"/glb/stats", answer_stats, "Frames and packets by reason, over all workers. Takes no parameters"},
	{"/glb/workers", answer_workers, "Counters of each worker. Parameter: first worker of the page"},
	{"/glb/flows", answer_flows, "Flow cache of each worker. Parameter: first worker of the page"},
	{"/glb/services", answer_services, "Client traffic by service id. Parameter: how many to skip"},
	{"/glb/backends", answer_backends, "Client traffic by backend id. Parameter: how many to skip"},
	{"/glb/snapshot", answer_snapshot, "The snapshot in force and the last load. Takes no parameters"},
};

enum { ENDPOINTS = sizeof(endpoints) / sizeof(endpoints[0]) };

/* EAL's callback for all of them; a negative return makes the reply null. */
static int answer(const char *command, const char *params, struct rte_tel_data *reply)
{
	int ret = -ENODEV;

	pthread_mutex_lock(&source.lock);
	for (unsigned i = 0; source.stats != NULL && i < ENDPOINTS; i++)
		if (strcmp(endpoints[i].name, command) == 0)
			ret = endpoints[i].answer(params, reply);
	pthread_mutex_unlock(&source.lock);
	return ret;
}

int telemetry_open(const struct stats_file *stats, struct swap *swap, struct glb_error *error)
{
	pthread_mutex_lock(&source.lock);
	source.stats = stats;
	source.swap = swap;
	pthread_mutex_unlock(&source.lock);
	for (unsigned i = 0; i < ENDPOINTS; i++) {
		int ret = rte_telemetry_register_cmd(endpoints[i].name, answer, endpoints[i].help);

		if (ret != 0) {
			telemetry_close();
			return glb_error_set(error, ret, "telemetry command %s: %s", endpoints[i].name, strerror(-ret));
		}
	}
	return 0;
}

void telemetry_close(void)
{
	pthread_mutex_lock(&source.lock);
	source.stats = NULL;
	source.swap = NULL;
	pthread_mutex_unlock(&source.lock);
}
