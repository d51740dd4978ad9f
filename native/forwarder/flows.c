/* Flow caches' memory and clock (flows.h). */
#include "flows.h"
#include "log.h"
#include "pages.h"
#include "rings.h"

#include <rte_cycles.h>
#include <rte_lcore.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

enum {
	STEP_MAX_S = 16384, /* so that a machine that was asleep for long does not confuse what is old with what is fresh */
	MIB = 1 << 20,
};

/* The buckets begin behind the worker's struct, where pairs of cache lines do. */
static size_t head_bytes(void)
{
	const size_t align = sizeof(struct glb_flow_bucket);

	return (sizeof(struct flow_worker) + align - 1) & ~(align - 1);
}

uint64_t flows_bytes(const struct config *config)
{
	const uint64_t workers = config->workers != 0 ? (uint64_t)config->workers : 1;

	if (config->flow_entries == 0)
		return 0;
	return workers * (head_bytes() + glb_flow_cache_bytes((uint32_t)config->flow_entries));
}

void flows_open(struct flows *flows, const struct config *config, const struct stats_file *stats)
{
	*flows = (struct flows){.config = config, .stats = stats};
}

static int make_key(uint8_t key[16], struct glb_error *error)
{
	if (getrandom(key, 16, 0) == 16)
		return 0;
	return glb_error_set(error, -errno, "no random key for the flow caches: %s", strerror(errno));
}

/* The cache of worker `index`, ready for use. */
static int make(struct flows *flows, unsigned index, struct flow_worker **out, struct glb_error *error)
{
	const struct config *config = flows->config;
	const size_t len = head_bytes() + glb_flow_cache_bytes((uint32_t)config->flow_entries);
	const struct glb_flow_timeouts timeouts = {
		.opening = (uint16_t)config->flow_opening_s, .established = (uint16_t)config->flow_established_s,
		.closing = (uint16_t)config->flow_closing_s, .udp = (uint16_t)config->flow_udp_s,
	};
	struct flow_worker *made;
	uint8_t key[16];
	int ret = make_key(key, error);

	if (ret != 0)
		return ret;
	made = pages_map(len, (int)rte_lcore_to_socket_id(rings_lcore(index)), &flows->map_len);
	if (made != NULL && pages_populate(made, flows->map_len) != 0) {
		munmap(made, flows->map_len);
		made = NULL;
	}
	if (made == NULL)
		return glb_error_set(error, -ENOMEM, "no memory for the flow cache of worker %u, %zu MiB: lower "
				     "flow_cache.entries, or switch flow_cache off in the services", index, len / MIB);
	glb_flow_cache_init(&made->cache, (uint8_t *)made + head_bytes(), (uint32_t)config->flow_entries, key,
			    &timeouts, &stats_file_worker(flows->stats, index)->flows);
	made->tsc_hz = rte_get_tsc_hz();
	made->next_tick = rte_rdtsc() + made->tsc_hz;
	*out = made;
	return 0;
}

int flows_want(struct flows *flows, struct glb_error *error)
{
	const unsigned workers = (unsigned)flows->config->workers;
	struct flow_worker *made[CONFIG_WORKERS_MAX] = {0};
	int ret = 0;

	if (flows->config->flow_entries == 0 || flows->of[0] != NULL)
		return 0;
	for (unsigned i = 0; i < workers && ret == 0; i++)
		ret = make(flows, i, &made[i], error);
	if (ret != 0) {
		for (unsigned i = 0; i < workers && made[i] != NULL; i++)
			munmap(made[i], flows->map_len);
		flows->map_len = 0;
		return ret;
	}
	for (unsigned i = 0; i < workers; i++)
		__atomic_store_n(&flows->of[i], made[i], __ATOMIC_RELEASE);
	log_info("flow caches: %u of %u flows, %zu MiB each", workers, (unsigned)flows->config->flow_entries,
		 flows->map_len / MIB);
	return 0;
}

void flows_close(struct flows *flows)
{
	for (unsigned i = 0; i < CONFIG_WORKERS_MAX; i++) {
		if (flows->of[i] != NULL)
			munmap(flows->of[i], flows->map_len);
		flows->of[i] = NULL;
	}
	flows->map_len = 0;
}

void flows_tick(struct flow_worker *flows, uint64_t tsc)
{
	const uint64_t passed = (tsc - flows->next_tick) / flows->tsc_hz + 1;

	flows->next_tick += passed * flows->tsc_hz;
	flows->now += passed < STEP_MAX_S ? (uint32_t)passed : STEP_MAX_S;
	flows->to_sweep = flows->cache.bucket_count / FLOWS_SWEEP_S + 1;
}
