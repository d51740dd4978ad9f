/* The counter file: layout, what open refuses, and sums over workers. */
#include "check.h"

#include <glb/stats.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 3, SERVICES = 5, BACKENDS = 9 };

/* A ready file; the caller frees it. */
static struct glb_stats_header *make_file(void)
{
	struct glb_stats_header layout, *file;

	glb_stats_layout(&layout, WORKERS, SERVICES, BACKENDS);
	file = calloc(1, layout.file_bytes);
	*file = layout;
	memcpy(file->magic, "GLBSTAT\n", 8);
	return file;
}

static struct glb_worker_stats *block(struct glb_stats_header *file, unsigned worker)
{
	return (void *)((uint8_t *)file + file->workers + worker * file->worker_bytes);
}

static void layout_is_aligned_and_disjoint(void)
{
	struct glb_stats_header h;

	glb_stats_layout(&h, WORKERS, SERVICES, BACKENDS);
	CHECK(h.version == GLB_STATS_VERSION && h.reason_count == GLB_REASON_COUNT);
	CHECK(h.magic[0] == 0); /* whoever makes the file writes the magic last */
	CHECK(h.service_ids % 64 == 0 && h.backend_ids % 64 == 0 && h.workers % 64 == 0);
	CHECK(h.worker_bytes % 64 == 0);
	CHECK(h.service_ids >= sizeof(h));
	CHECK(h.backend_ids >= h.service_ids + 4 * SERVICES);
	CHECK(h.workers >= h.backend_ids + 4 * BACKENDS);
	CHECK(h.worker_bytes >= sizeof(struct glb_worker_stats) + 16 * (SERVICES + BACKENDS));
	CHECK(h.file_bytes == h.workers + WORKERS * h.worker_bytes);
}

static void sums_over_workers(void)
{
	struct glb_stats_header *file = make_file();
	struct glb_worker_stats total;
	struct glb_traffic traffic;
	struct glb_error error;

	for (unsigned i = 0; i < WORKERS; i++) {
		struct glb_worker_stats *worker = block(file, i);
		struct glb_traffic *slots = (void *)(worker + 1);

		worker->rx_packets = 10 + i;
		worker->sleeps = i;
		worker->lcore = 7;
		worker->busy_cycles = 1000 + i;
		worker->stuck = i;
		worker->latency[0] = 1;
		worker->latency[GLB_STATS_LATENCY_MAX - 1] = i;
		worker->reasons[GLB_REASON_NOT_VIP] = 100 * i;
		worker->reasons[GLB_STATS_REASONS_MAX - 1] = 1;
		slots[SERVICES - 1] = (struct glb_traffic){1, 60};
		slots[SERVICES] = (struct glb_traffic){2, 120};
		slots[SERVICES + BACKENDS - 1] = (struct glb_traffic){i, i * 1000};
	}
	CHECK(glb_stats_open(file, file->file_bytes, &error) == 0);
	glb_stats_sum(file, &total);
	CHECK(total.rx_packets == 33 && total.sleeps == 3 && total.lcore == 0);
	CHECK(total.stuck == 2);
	CHECK(total.busy_cycles == 3003 && total.latency[0] == 3 && total.latency[GLB_STATS_LATENCY_MAX - 1] == 3);
	CHECK(total.reasons[GLB_REASON_NOT_VIP] == 300);
	CHECK(total.reasons[GLB_STATS_REASONS_MAX - 1] == WORKERS);
	glb_stats_service(file, SERVICES - 1, &traffic);
	CHECK(traffic.packets == 3 && traffic.bytes == 180);
	glb_stats_backend(file, 0, &traffic);
	CHECK(traffic.packets == 6 && traffic.bytes == 360);
	glb_stats_backend(file, BACKENDS - 1, &traffic);
	CHECK(traffic.packets == 3 && traffic.bytes == 3000);
	free(file);
}

/* In a pipeline, what goes over rings is neither received nor sent once more. */
static void a_pipeline_counts_once(void)
{
	static const enum glb_role roles[WORKERS] = {GLB_ROLE_RING_WORKER, GLB_ROLE_RECEIVER, GLB_ROLE_SENDER};
	struct glb_stats_header *file = make_file();
	struct glb_worker_stats total;

	for (unsigned i = 0; i < WORKERS; i++) {
		struct glb_worker_stats *stats = block(file, i);

		stats->role = roles[i];
		stats->rx_packets = 10 + i;
		stats->rx_bytes = 1000 + i;
		stats->tx_packets = 20 + i;
		stats->tx_bytes = 2000 + i;
		stats->bursts = 1;
	}
	glb_stats_sum(file, &total);
	CHECK(total.rx_packets == 11 && total.rx_bytes == 1001);
	CHECK(total.tx_packets == 22 && total.tx_bytes == 2002);
	CHECK(total.bursts == 3 && total.role == 0 && total.ring_high_water == 0);
	block(file, 0)->role = block(file, 2)->role = GLB_ROLE_LAST_WORKER; /* no senders */
	glb_stats_sum(file, &total);
	CHECK(total.rx_packets == 11 && total.tx_packets == 42);
	CHECK(strcmp(glb_role_name(GLB_ROLE_RING_WORKER), "worker") == 0);
	CHECK(strcmp(glb_role_name(4), "worker") == 0 && strcmp(glb_role_name(5), "unknown") == 0);
	free(file);
}

static void open_refuses(void)
{
	struct glb_stats_header *file = make_file(), good = *file;
	size_t len = file->file_bytes;
	struct glb_error error;

	CHECK(glb_stats_open(file, 0, &error) == -EINVAL);
	CHECK(glb_stats_open(file, sizeof(*file) - 1, &error) == -EINVAL);
	CHECK(glb_stats_open(file, len - 1, &error) == -EINVAL);
	CHECK(strstr(error.text, "its header says") != NULL);
	file->magic[0] = 0;
	CHECK(glb_stats_open(file, len, NULL) == -EINVAL);
	*file = good;
	file->version++;
	CHECK(glb_stats_open(file, len, &error) == -EPROTONOSUPPORT);
	*file = good;
	file->worker_count = UINT32_MAX;
	CHECK(glb_stats_open(file, len, NULL) == -EINVAL);
	*file = good;
	file->backend_slots += 64;
	CHECK(glb_stats_open(file, len, NULL) == -EINVAL);
	*file = good;
	file->workers += 64;
	CHECK(glb_stats_open(file, len, NULL) == -EINVAL);
	*file = good;
	file->reason_count = GLB_STATS_REASONS_MAX + 1;
	CHECK(glb_stats_open(file, len, NULL) == -EINVAL);
	*file = good;
	CHECK(glb_stats_open(file, len, NULL) == 0);
	free(file);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"layout is aligned and disjoint", layout_is_aligned_and_disjoint},
		{"sums over workers", sums_over_workers},
		{"a pipeline counts once", a_pipeline_counts_once},
		{"open refuses what it cannot read", open_refuses},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
