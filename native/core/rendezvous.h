/* A row's order of backends by GLB's rendezvous hashing, with weights; internal to libglb.
 *
 * The score of a backend in a row is SipHash-2-4(seed, row seed ‖ address), its 8 digest
 * bytes read as a big-endian integer. With equal weights lower scores come first; otherwise lower keys (weight.h), then lower
 * scores. Ties keep configuration order (docs/wire/hashing.md). Knows nothing of policies.
 */
#ifndef GLB_CORE_RENDEZVOUS_H
#define GLB_CORE_RENDEZVOUS_H

#include "sip_lanes.h"
#include "weight.h"

/* The backends that take part, laid out so that GLB_LANES of them are scored at once. */
struct glb_rendezvous {
	uint8_t seed[16];
	uint32_t count;        /* backends that take part: all but the inactive ones */
	uint32_t slots;        /* IPv4, then IPv6, each padded to a multiple of GLB_LANES */
	uint32_t slots_v4;
	uint16_t *position;    /* [slots] index in the configuration; GLB_HOP_NONE in padding */
	uint64_t *scores;      /* [slots] of the current row; padding: all ones */
	uint64_t *keys;        /* [slots] weighted scores of the current row; NULL when all weights are equal */
	uint64_t *inverse;     /* [slots] of the weights, with keys */
	struct glb_weight_log *log; /* with keys */
	uint64_t *words[3];    /* [slots] each: what follows the row seed in the SipHash message */
	uint32_t started;      /* GLB_LANES rows from this one on are in `start`; UINT32_MAX: none */
	uint64_t start[4][GLB_LANES] __attribute__((aligned(64))); /* [v0..v3] SipHash's state behind their row seeds */
};

/* Lays out the backends of `config`. Returns 0 or -ENOMEM. Free with glb_rendezvous_free(). */
int glb_rendezvous_init(struct glb_rendezvous *r, const struct glb_table_config *config);
void glb_rendezvous_free(struct glb_rendezvous *r);

/* Scores every backend for `row`; the two look-ups below are about this row. */
void glb_rendezvous_score(struct glb_rendezvous *r, uint32_t row);

/* A backend's place in a row's order: the lower one comes first. */
struct glb_place {
	uint64_t key;      /* the score, or the weighted one */
	uint64_t score;
	uint16_t position;
};

static inline bool glb_place_before(const struct glb_place *a, const struct glb_place *b)
{
	if (a->key != b->key)
		return a->key < b->key;
	if (a->score != b->score)
		return a->score < b->score;
	return a->position < b->position;
}

/* The places of the backends in slots[0..GLB_LANES-1], each in a row of its own from `row` on, a multiple of GLB_LANES. All slots are of
 * one family. What glb_rendezvous_score() scored stays. */
void glb_rendezvous_places(struct glb_rendezvous *r, uint32_t row, const uint32_t slots[GLB_LANES],
			   struct glb_place places[GLB_LANES]);

/* Writes the first `want` (≤ GLB_HOPS_MAX) backends of the row's order; returns how many there are. */
unsigned glb_rendezvous_best(const struct glb_rendezvous *r, uint16_t *best, unsigned want);

/* The first backend of the row's order whose rank is 0, or GLB_HOP_NONE. */
uint16_t glb_rendezvous_first(const struct glb_rendezvous *r, const uint8_t *rank);

#endif
