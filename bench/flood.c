/* What a flood does to flows that a flow cache remembers: for each kind of flood, how many of their packets still hit.
 *
 *     build/dev/bench/glb-bench-flood
 *
 * A table of 2^20 places with 400,000 established flows, each of which has a packet every second or every ten. For 15 s of the table's clock new flows come, of
 * one or two packets. What is pushed out is not learnt again, as in mid-stream of a service with second chance. Pure computation; a minute.
 */
#include <glb/flow_cache.h>
#include <glb/wire.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ENTRIES = 1 << 20, FLOWS = 400000, SECONDS = 15, SLICES = 1000 };

struct flood {
	unsigned packets;  /* of each of its flows */
	uint32_t per_s;    /* its flows */
	uint32_t every_s;  /* between packets of the flows that are remembered */
};

struct table {
	struct glb_flow_cache cache;
	struct glb_flow_stats stats;
	uint64_t hits, asked;
};

static uint64_t hash_of(const struct table *table, uint64_t flow)
{
	struct glb_flow_key key = {.dport = 443, .service = 1, .protocol = GLB_IPPROTO_TCP, .family = GLB_FAMILY_V6};

	memcpy(key.src, &flow, sizeof(flow));
	return glb_flow_cache_hash(&table->cache, &key);
}

/* A packet; `learns`: a flow that is not known is remembered. Returns whether it was known. */
static bool packet(struct table *table, uint64_t flow, uint32_t now, bool learns)
{
	const uint64_t hash = hash_of(table, flow);
	const uint32_t place = glb_flow_cache_find(&table->cache, hash, now);

	if (place != GLB_FLOW_NONE)
		glb_flow_cache_seen(&table->cache, place, now, GLB_FLOW_DATA);
	else if (learns)
		glb_flow_cache_insert(&table->cache, hash, GLB_IPPROTO_TCP, 1, now);
	return place != GLB_FLOW_NONE;
}

static void run_slice(struct table *table, const struct flood *flood, uint32_t now, uint32_t slice, uint64_t *next)
{
	const uint32_t in_s = FLOWS / flood->every_s, in_slice = in_s / SLICES;

	for (uint32_t i = 0; i < flood->per_s / SLICES; i++, ++*next)
		for (unsigned p = 0; p < flood->packets; p++)
			packet(table, *next, now, true);
	for (uint32_t i = 0; i < in_slice; i++, table->asked++)
		table->hits += packet(table, now % flood->every_s * in_s + slice * in_slice + i, now, false);
}

static void run(const struct flood *flood)
{
	const struct glb_flow_timeouts timeouts = glb_flow_timeouts_default();
	void *memory = aligned_alloc(128, glb_flow_cache_bytes(ENTRIES));
	struct table table = {.hits = 0};
	uint64_t next = (uint64_t)1 << 40;

	if (memory == NULL)
		abort();
	memset(memory, 0, glb_flow_cache_bytes(ENTRIES));
	glb_flow_cache_init(&table.cache, memory, ENTRIES, (const uint8_t *)"an arbitrary key", &timeouts, &table.stats);
	for (uint64_t flow = 0; flow < FLOWS; flow++)
		for (unsigned p = 0; p < 2; p++)
			packet(&table, flow, 1, true);
	for (uint32_t now = 2; now < 2 + SECONDS; now++)
		for (uint32_t slice = 0; slice < SLICES; slice++)
			run_slice(&table, flood, now, slice, &next);
	printf("| %u | %" PRIu32 " | %" PRIu32 " s | %.2f %% | %" PRIu64 " |\n", flood->packets, flood->per_s, flood->every_s,
	       100.0 * (double)table.hits / (double)table.asked, table.stats.evicted_established);
	fflush(stdout);
	free(memory);
}

int main(void)
{
	static const struct flood floods[] = {
		{1, 100000, 1}, {1, 100000, 10}, {1, 1000000, 1}, {1, 1000000, 10}, {2, 10000, 1}, {2, 10000, 10}, {2, 100000, 1}, {2, 100000, 10},
	};

	puts("| packets of a flow | flows a second | packets of a remembered flow every | hits | established flows pushed out |");
	puts("| --- | --- | --- | --- | --- |");
	for (unsigned i = 0; i < sizeof(floods) / sizeof(floods[0]); i++)
		run(&floods[i]);
	return 0;
}
