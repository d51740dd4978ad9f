/* Guards' memory, and sharing out (guards.h). */
#include "guards.h"
#include "clock.h"
#include "slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BALANCE_NS = 100000000 };

struct limit_now {
	uint32_t rate[2], burst[2]; /* by enum glb_limit_kind; 0 = none */
};

int guards_open(struct guards *guards, const struct config *config, const struct stats_file *stats, struct glb_error *error)
{
	const size_t slots = (size_t)config->service_slots;
	bool whole = true;

	memset(guards, 0, sizeof(*guards));
	guards->workers = (unsigned)config->workers;
	guards->limits = calloc(slots, sizeof(*guards->limits));
	for (unsigned i = 0; i < guards->workers; i++) {
		struct glb_limiter (*limiters)[2] = calloc(slots, sizeof(*limiters));

		guards->shares[i] = calloc(slots, sizeof(*guards->shares[i]));
		guards->asked[i] = calloc(slots, sizeof(*guards->asked[i]));
		guards->of[i] = (struct glb_guard){
			.limiters = limiters, .shares = (const struct glb_share (*)[2])guards->shares[i],
			.refused = stats_file_refused(stats, i),
		};
		whole &= limiters != NULL && guards->shares[i] != NULL && guards->asked[i] != NULL;
	}
	if (whole && guards->limits != NULL)
		return 0;
	guards_close(guards);
	return glb_error_set(error, -ENOMEM, "no memory for the limits of %zu services; lower stats.service_slots", slots);
}

void guards_close(struct guards *guards)
{
	for (unsigned i = 0; i < guards->workers; i++) {
		free(guards->of[i].limiters);
		free(guards->shares[i]);
		free(guards->asked[i]);
	}
	free(guards->limits);
	memset(guards, 0, sizeof(*guards));
}

static void share_out(const struct guards *guards, uint32_t slot, unsigned kind, const uint64_t *asked, double seconds)
{
	const struct limit_now *limit = &guards->limits[slot];
	struct glb_share shares[CONFIG_WORKERS_MAX];

	glb_limit_share(limit->rate[kind], limit->burst[kind], asked, seconds, guards->workers, shares);
	for (unsigned i = 0; i < guards->workers; i++) {
		__atomic_store(&guards->shares[i][slot][kind].rate, &shares[i].rate, __ATOMIC_RELAXED);
		__atomic_store(&guards->shares[i][slot][kind].burst, &shares[i].burst, __ATOMIC_RELAXED);
	}
}

static void adopt(struct guards *guards, uint32_t slot, unsigned kind, uint32_t rate, uint32_t burst)
{
	static const uint64_t none[CONFIG_WORKERS_MAX];
	struct limit_now *limit = &guards->limits[slot];

	if (limit->rate[kind] == rate && limit->burst[kind] == burst)
		return;
	limit->rate[kind] = rate;
	limit->burst[kind] = burst;
	if (rate != 0)
		share_out(guards, slot, kind, none, 1);
}

int guards_adopt(struct guards *guards, const struct loaded *loaded, struct glb_error *error)
{
	const struct glb_snapshot *snapshot = &loaded->snapshot;

	for (uint32_t i = 0; i < snapshot->protection_count; i++)
		if (loaded->service_slot[snapshot->protections[i].service] == SLOT_NONE)
			return glb_error_set(error, -EINVAL, "service %s has limits and no counter slot: raise stats.service_slots",
					     snapshot->strings + snapshot->services[snapshot->protections[i].service].name);
	for (uint32_t i = 0; i < snapshot->protection_count; i++) {
		const struct glb_protection *protection = &snapshot->protections[i];
		const uint32_t slot = loaded->service_slot[protection->service];

		adopt(guards, slot, GLB_LIMIT_PACKETS, protection->packets_per_second, protection->packets_burst);
		adopt(guards, slot, GLB_LIMIT_FLOWS, protection->flows_per_second, protection->flows_burst);
	}
	return 0;
}

static void balance(struct guards *guards, uint32_t slot, unsigned kind, double seconds)
{
	uint64_t asked[CONFIG_WORKERS_MAX];

	if (guards->limits[slot].rate[kind] == 0)
		return;
	for (unsigned i = 0; i < guards->workers; i++) {
		const uint64_t now = __atomic_load_n(&guards->of[i].limiters[slot][kind].asked, __ATOMIC_RELAXED);

		asked[i] = now - guards->asked[i][slot][kind];
		guards->asked[i][slot][kind] = now;
	}
	share_out(guards, slot, kind, asked, seconds);
}

bool guards_balance(struct guards *guards, const struct loaded *loaded)
{
	const struct glb_snapshot *snapshot = &loaded->snapshot;
	const uint64_t now_ns = clock_ns();
	const double seconds = (double)(now_ns - guards->then_ns) * 1e-9;

	if (guards->workers < 2 || snapshot->protection_count == 0)
		return false;
	if (now_ns - guards->then_ns < BALANCE_NS)
		return true;
	guards->then_ns = now_ns;
	for (uint32_t i = 0; i < snapshot->protection_count; i++) {
		const uint32_t slot = loaded->service_slot[snapshot->protections[i].service];

		balance(guards, slot, GLB_LIMIT_PACKETS, seconds);
		balance(guards, slot, GLB_LIMIT_FLOWS, seconds);
	}
	return true;
}

void guards_clear(struct guards *guards, uint32_t slot)
{
	guards->limits[slot] = (struct limit_now){0};
	for (unsigned i = 0; i < guards->workers; i++) {
		memset(guards->of[i].limiters[slot], 0, sizeof(guards->of[i].limiters[slot]));
		memset(guards->asked[i][slot], 0, sizeof(guards->asked[i][slot]));
		guards->of[i].refused[slot] = (struct glb_refused){0};
	}
}
