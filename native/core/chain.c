/* The two policies: `ordered` (ARCHITECTURE.md, "Chains") and `glb` (GLB's swap of two hops). */
#include "chain.h"

#include <string.h>

#include <glb/wire.h>

enum { RANKS = 4 };

static bool available(const struct glb_backend_config *backend)
{
	return backend->state == GLB_STATE_ACTIVE && backend->health != GLB_HEALTH_UNHEALTHY && backend->weight > 0;
}

void glb_chain_rank(const struct glb_backend_config *backends, uint32_t count, uint8_t *rank)
{
	bool any_available = false;

	for (uint32_t i = 0; i < count; i++)
		any_available |= available(&backends[i]);
	for (uint32_t i = 0; i < count; i++) {
		if (available(&backends[i]))
			rank[i] = 0;
		else if (backends[i].health == GLB_HEALTH_UNHEALTHY)
			rank[i] = RANKS - 1;
		else if (any_available || backends[i].state != GLB_STATE_FILLING)
			rank[i] = 1; /* draining, or of weight 0, which is like it */
		else
			rank[i] = 2; /* nobody is available: filling after draining */
	}
}

/* Rules 1 to 4: the candidates sorted by rank, row order within each; an available backend
 * from further down in front where no candidate is available. */
static unsigned ordered(const struct glb_rendezvous *r, const uint8_t *rank, const uint16_t *candidates,
			unsigned n, unsigned hops, uint16_t *chain)
{
	unsigned filled = 0;

	for (unsigned wanted = 0; wanted < RANKS; wanted++)
		for (unsigned i = 0; i < n; i++)
			if (rank[candidates[i]] == wanted)
				chain[filled++] = candidates[i];

	if (n > 0 && rank[chain[0]] != 0) {
		uint16_t rescue = glb_rendezvous_first(r, rank);

		if (rescue != GLB_HOP_NONE) {
			if (filled < hops)
				filled++;
			memmove(&chain[1], &chain[0], (filled - 1) * sizeof(chain[0]));
			chain[0] = rescue;
		}
	}
	return filled;
}

/* GLB swaps first and second iff the first is draining or not healthy and the second's *state* is
 * active; the second's health is never read, and a filling one is never promoted. */
static void swap_as_glb(const struct glb_backend_config *backends, uint16_t chain[2])
{
	const struct glb_backend_config *a = &backends[chain[0]], *b = &backends[chain[1]];
	uint16_t first = chain[0];

	if ((a->state == GLB_STATE_DRAINING || a->health == GLB_HEALTH_UNHEALTHY) && b->state == GLB_STATE_ACTIVE) {
		chain[0] = chain[1];
		chain[1] = first;
	}
}

void glb_chain_build(const struct glb_table_config *config, const struct glb_rendezvous *r,
		     const uint8_t *rank, uint16_t *chain)
{
	uint16_t candidates[GLB_HOPS_MAX];
	unsigned n = glb_rendezvous_best(r, candidates, config->hops);

	if (config->policy == GLB_POLICY_ORDERED) {
		n = ordered(r, rank, candidates, n, config->hops, chain);
	} else {
		memcpy(chain, candidates, n * sizeof(chain[0]));
		if (n == 2)
			swap_as_glb(config->backends, chain);
	}
	for (; n < config->hops; n++)
		chain[n] = GLB_HOP_NONE;
}
