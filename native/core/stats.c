/* The counter file's layout, its check, and readers that sum over workers (glb/stats.h).
 *
 * Writers are elsewhere (native/forwarder). Words change while they are read, so each is loaded whole; a
 * sum over several words is not a moment in time, and need not be.
 */
#include <glb/stats.h>

#include <errno.h>
#include <string.h>

static const uint8_t stats_magic[8] = "GLBSTAT\n";

static uint64_t align64(uint64_t bytes)
{
	return (bytes + 63) & ~UINT64_C(63);
}

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

void glb_stats_layout(struct glb_stats_header *header, uint32_t workers, uint32_t service_slots,
		      uint32_t backend_slots)
{
	memset(header, 0, sizeof(*header));
	header->version = GLB_STATS_VERSION;
	header->header_bytes = sizeof(*header);
	header->worker_count = workers;
	header->reason_count = GLB_REASON_COUNT;
	header->service_slots = service_slots;
	header->backend_slots = backend_slots;
	header->service_ids = align64(sizeof(*header));
	header->backend_ids = align64(header->service_ids + 4 * (uint64_t)service_slots);
	header->workers = align64(header->backend_ids + 4 * (uint64_t)backend_slots);
	header->worker_bytes = align64(sizeof(struct glb_worker_stats) +
		sizeof(struct glb_traffic) * ((uint64_t)service_slots + backend_slots) +
		sizeof(struct glb_refused) * (uint64_t)service_slots);
	header->file_bytes = header->workers + workers * header->worker_bytes;
}

/* Everything that follows from the capacities must be what glb_stats_layout() makes of them. */
static int check_layout(const struct glb_stats_header *header, size_t len, struct glb_error *error)
{
	struct glb_stats_header wanted;

	if (header->worker_count > 1024 || header->service_slots > 1 << 24 || header->backend_slots > 1 << 24)
		return glb_error_set(error, -EINVAL, "counter file: capacities are out of range");
	if (header->reason_count > GLB_STATS_REASONS_MAX)
		return glb_error_set(error, -EINVAL, "counter file: %u reasons, at most %d fit",
				     header->reason_count, GLB_STATS_REASONS_MAX);
	glb_stats_layout(&wanted, header->worker_count, header->service_slots, header->backend_slots);
	if (header->header_bytes != wanted.header_bytes || header->service_ids != wanted.service_ids ||
	    header->backend_ids != wanted.backend_ids || header->workers != wanted.workers ||
	    header->worker_bytes != wanted.worker_bytes || header->file_bytes != wanted.file_bytes)
		return glb_error_set(error, -EINVAL, "counter file: its offsets do not fit its capacities");
	if (len < header->file_bytes)
		return glb_error_set(error, -EINVAL, "counter file: %zu bytes, its header says %llu", len,
				     (unsigned long long)header->file_bytes);
	return 0;
}

int glb_stats_open(const void *data, size_t len, struct glb_error *error)
{
	const struct glb_stats_header *header = data;

	if (len < sizeof(*header))
		return glb_error_set(error, -EINVAL, "counter file: %zu bytes, shorter than its header", len);
	if (memcmp(header->magic, stats_magic, sizeof(stats_magic)) != 0)
		return glb_error_set(error, -EINVAL, "counter file: not one, or not ready (wrong magic)");
	if (header->version != GLB_STATS_VERSION)
		return glb_error_set(error, -EPROTONOSUPPORT, "counter file: version %u, this library reads %d",
				     header->version, GLB_STATS_VERSION);
	return check_layout(header, len, error);
}

static const struct glb_worker_stats *worker_block(const void *data, uint32_t worker)
{
	const struct glb_stats_header *header = data;

	return (const void *)((const uint8_t *)data + header->workers + worker * header->worker_bytes);
}

static void add_flows(struct glb_flow_stats *total, const struct glb_flow_stats *flows)
{
	uint64_t *to = &total->hits;

	for (unsigned i = 0; i < GLB_FLOW_STATS; i++)
		to[i] += glb_flow_stat(flows, i);
}

void glb_stats_sum(const void *data, struct glb_worker_stats *total)
{
	const struct glb_stats_header *header = data;

	memset(total, 0, sizeof(*total));
	for (uint32_t i = 0; i < header->worker_count; i++) {
		const struct glb_worker_stats *worker = worker_block(data, i);

		if (worker->role == GLB_ROLE_WORKER || worker->role == GLB_ROLE_RECEIVER) {
			total->rx_packets += load(&worker->rx_packets);
			total->rx_bytes += load(&worker->rx_bytes);
		}
		if (worker->role == GLB_ROLE_WORKER || worker->role == GLB_ROLE_SENDER || worker->role == GLB_ROLE_LAST_WORKER) {
			total->tx_packets += load(&worker->tx_packets);
			total->tx_bytes += load(&worker->tx_bytes);
		}
		total->bursts += load(&worker->bursts);
		total->idle_polls += load(&worker->idle_polls);
		total->sleeps += load(&worker->sleeps);
		total->busy_cycles += load(&worker->busy_cycles);
		total->stalls += load(&worker->stalls);
		total->stuck += load(&worker->stuck) != 0;
		for (unsigned reason = 0; reason < GLB_STATS_REASONS_MAX; reason++)
			total->reasons[reason] += load(&worker->reasons[reason]);
		for (unsigned bucket = 0; bucket < GLB_STATS_LATENCY_MAX; bucket++)
			total->latency[bucket] += load(&worker->latency[bucket]);
		add_flows(&total->flows, &worker->flows);
	}
}

/* Sums the traffic words of one slot: `first` is the index of the slot behind the workers' structs. */
static void sum_slot(const void *data, uint64_t first, struct glb_traffic *out)
{
	const struct glb_stats_header *header = data;

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < header->worker_count; i++) {
		const struct glb_traffic *slots = (const void *)(worker_block(data, i) + 1);

		out->packets += load(&slots[first].packets);
		out->bytes += load(&slots[first].bytes);
	}
}

void glb_stats_service(const void *data, uint32_t slot, struct glb_traffic *out)
{
	sum_slot(data, slot, out);
}

void glb_stats_backend(const void *data, uint32_t slot, struct glb_traffic *out)
{
	const struct glb_stats_header *header = data;

	sum_slot(data, (uint64_t)header->service_slots + slot, out);
}

void glb_stats_refused(const void *data, uint32_t slot, struct glb_refused *out)
{
	const struct glb_stats_header *header = data;

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < header->worker_count; i++) {
		const struct glb_traffic *traffic = (const void *)(worker_block(data, i) + 1);
		const struct glb_refused *refused = (const void *)(traffic + header->service_slots + header->backend_slots);

		out->packets_limited += load(&refused[slot].packets_limited);
		out->flows_limited += load(&refused[slot].flows_limited);
		out->blocked += load(&refused[slot].blocked);
		out->not_allowed += load(&refused[slot].not_allowed);
	}
}

const char *glb_role_name(unsigned role)
{
	static const char *const names[] = {
		[GLB_ROLE_WORKER] = "worker", [GLB_ROLE_RECEIVER] = "receiver", [GLB_ROLE_RING_WORKER] = "worker",
		[GLB_ROLE_SENDER] = "sender", [GLB_ROLE_LAST_WORKER] = "worker",
	};

	return role < sizeof(names) / sizeof(names[0]) ? names[role] : "unknown";
}

const char *glb_flow_stat_name(unsigned n)
{
	static const char *const names[GLB_FLOW_STATS] = {
		"hits", "misses", "inserts", "established", "expired", "gone", "replaced", "evicted_closing",
		"evicted_new", "evicted_established", "entries", "capacity",
	};

	return n < GLB_FLOW_STATS ? names[n] : "unknown";
}

uint64_t glb_flow_stat(const struct glb_flow_stats *flows, unsigned n)
{
	return n < GLB_FLOW_STATS ? load(&flows->hits + n) : 0;
}
