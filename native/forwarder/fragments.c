/* Fragment tables' memory and clock (fragments.h). */
#include "fragments.h"
#include "count.h"
#include "log.h"
#include "pages.h"
#include "rings.h"

#include <rte_cycles.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

enum { HEAD = (sizeof(struct fragment_worker) + 63) / 64 * 64 };

void fragments_open(struct fragments *fragments, const struct config *config)
{
	*fragments = (struct fragments){.config = config};
}

static struct fragment_worker *make(struct fragments *fragments, unsigned index, struct glb_error *error)
{
	const struct config *config = fragments->config;
	const uint32_t datagrams = (uint32_t)config->fragment_datagrams, waiting = (uint32_t)config->fragment_waiting;
	const size_t len = HEAD + glb_fragments_bytes(datagrams, waiting);
	const uint64_t tsc_khz = rte_get_tsc_hz() / 1000;
	struct fragment_worker *made;
	uint8_t key[16];

	if (getrandom(key, sizeof(key), 0) != sizeof(key)) {
		glb_error_set(error, -errno, "no random key for the fragment tables: %s", strerror(errno));
		return NULL;
	}
	made = pages_map(len, (int)rte_lcore_to_socket_id(rings_lcore(index)), &fragments->map_len);
	if (made != NULL && pages_populate(made, fragments->map_len) != 0) {
		munmap(made, fragments->map_len);
		made = NULL;
	}
	if (made == NULL) {
		glb_error_set(error, -ENOMEM, "no memory for the fragment table of worker %u, %zu KiB: lower fragments.datagrams, or "
			      "have no service with fragments = follow", index, len / 1024);
		return NULL;
	}
	glb_fragments_init(&made->table, (uint8_t *)made + HEAD, datagrams, waiting, key,
			   (uint64_t)config->fragment_timeout_ms * tsc_khz, (uint64_t)config->fragment_wait_ms * tsc_khz);
	return made;
}

static bool is_wanted(const struct glb_snapshot *snapshot)
{
	for (uint32_t i = 0; i < snapshot->service_count; i++)
		if (snapshot->services[i].flags & GLB_SERVICE_FRAGMENTS)
			return true;
	return false;
}

int fragments_want(struct fragments *fragments, const struct glb_snapshot *snapshot, struct glb_error *error)
{
	const unsigned workers = (unsigned)fragments->config->workers;
	struct fragment_worker *made[CONFIG_WORKERS_MAX] = {0};

	if (fragments->of[0] != NULL || !is_wanted(snapshot))
		return 0;
	for (unsigned i = 0; i < workers; i++) {
		made[i] = make(fragments, i, error);
		if (made[i] != NULL)
			continue;
		while (i-- > 0)
			munmap(made[i], fragments->map_len);
		fragments->map_len = 0;
		return error->code;
	}
	for (unsigned i = 0; i < workers; i++)
		__atomic_store_n(&fragments->of[i], made[i], __ATOMIC_RELEASE);
	log_info("fragment tables: %u of %u datagrams, %zu KiB each", workers, (unsigned)fragments->config->fragment_datagrams,
		 fragments->map_len / 1024);
	return 0;
}

void fragments_close(struct fragments *fragments)
{
	for (unsigned i = 0; i < CONFIG_WORKERS_MAX; i++) {
		if (fragments->of[i] != NULL)
			munmap(fragments->of[i], fragments->map_len);
		fragments->of[i] = NULL;
	}
	fragments->map_len = 0;
}

bool fragments_wait(struct fragment_worker *fragments, unsigned i, uint32_t port, void *mbuf, struct glb_worker_stats *stats)
{
	struct glb_fragments *table = &fragments->table;

	if (glb_fragments_wait(table, table->place[i], mbuf, port))
		return true;
	fragments_lose(fragments, stats);
	return glb_fragments_wait(table, table->place[i], mbuf, port);
}

void fragments_lose(struct fragment_worker *fragments, struct glb_worker_stats *stats)
{
	struct glb_fragment_slot slot;

	while (glb_fragments_lost(&fragments->table, &slot)) {
		count_add(&stats->reasons[slot.reason], 1);
		rte_pktmbuf_free(slot.buffer);
	}
}

void fragments_end(struct fragment_worker *fragments, struct glb_worker_stats *stats)
{
	glb_fragments_flush(&fragments->table);
	fragments_lose(fragments, stats);
}
