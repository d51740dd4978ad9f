/* Rendezvous scores, GLB_LANES backends at a time, and partial selection of the best.
 *
 * All backends of a row share the SipHash state behind the row seed, so that costs one scalar step a
 * row; the rest runs in vectors, which the compiler lowers to whatever the machine has. glb_siphash24() is the twin.
 */
#include "rendezvous.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <glb/siphash.h>
#include <glb/wire.h>

typedef uint64_t lanes __attribute__((vector_size(8 * GLB_LANES)));

/* On integers and on vectors alike. Four names, not an array: an array stays in memory at -O2. */
#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))
#define ROUND(v0, v1, v2, v3) do { \
	v0 += v1; v1 = ROTL(v1, 13) ^ v0; v0 = ROTL(v0, 32); \
	v2 += v3; v3 = ROTL(v3, 16) ^ v2; \
	v0 += v3; v3 = ROTL(v3, 21) ^ v0; \
	v2 += v1; v1 = ROTL(v1, 17) ^ v2; v2 = ROTL(v2, 32); \
} while (0)

static uint32_t padded(uint32_t n)
{
	return (n + GLB_LANES - 1) / GLB_LANES * GLB_LANES;
}

static void place(struct glb_rendezvous *r, uint32_t slot, const struct glb_addr *addr, uint16_t position)
{
	r->position[slot] = position;
	if (addr->family == GLB_FAMILY_V4) { /* one word: address and message length 12 */
		memcpy(&r->words[0][slot], addr->bytes, 4);
		r->words[0][slot] |= 12ULL << 56;
	} else { /* two words of address, then message length 24 */
		memcpy(&r->words[0][slot], addr->bytes, 8);
		memcpy(&r->words[1][slot], addr->bytes + 8, 8);
		r->words[2][slot] = 24ULL << 56;
	}
}

/* Sets up weighted keys where weights differ. */
static int init_weights(struct glb_rendezvous *r, const struct glb_table_config *config)
{
	const uint16_t zero_counts_as = glb_weight_common(config->backends, config->backend_count);

	if (zero_counts_as == 0)
		return 0;
	r->keys = calloc(r->slots + 1ul, sizeof(uint64_t));
	r->inverse = calloc(r->slots + 1ul, sizeof(uint64_t));
	r->log = malloc(sizeof(*r->log));
	if (!r->keys || !r->inverse || !r->log)
		return -ENOMEM;
	glb_weight_log_init(r->log);
	for (uint32_t slot = 0; slot < r->slots; slot++) {
		if (r->position[slot] != GLB_HOP_NONE) {
			const uint16_t weight = config->backends[r->position[slot]].weight;

			r->inverse[slot] = glb_weight_inverse(weight != 0 ? weight : zero_counts_as);
		}
	}
	return 0;
}

int glb_rendezvous_init(struct glb_rendezvous *r, const struct glb_table_config *config)
{
	uint32_t v4 = 0, v6 = 0;

	memset(r, 0, sizeof(*r));
	memcpy(r->seed, config->seed, sizeof(r->seed));
	for (uint32_t i = 0; i < config->backend_count; i++) {
		if (config->backends[i].state == GLB_STATE_INACTIVE)
			continue;
		if (config->backends[i].addr.family == GLB_FAMILY_V4)
			v4++;
		else
			v6++;
	}
	r->count = v4 + v6;
	r->slots_v4 = padded(v4);
	r->slots = r->slots_v4 + padded(v6);

	size_t column = (r->slots + GLB_LANES) * sizeof(uint64_t); /* never 0 */
	r->position = malloc(r->slots * sizeof(uint16_t) + 1);
	r->scores = aligned_alloc(sizeof(lanes), column);
	for (int i = 0; i < 3; i++)
		r->words[i] = aligned_alloc(sizeof(lanes), column);
	if (!r->position || !r->scores || !r->words[0] || !r->words[1] || !r->words[2]) {
		glb_rendezvous_free(r);
		return -ENOMEM;
	}
	for (int i = 0; i < 3; i++)
		memset(r->words[i], 0, column);
	memset(r->position, 0xff, r->slots * sizeof(uint16_t)); /* GLB_HOP_NONE */

	v4 = 0;
	v6 = r->slots_v4;
	for (uint32_t i = 0; i < config->backend_count; i++) {
		const struct glb_addr *addr = &config->backends[i].addr;

		if (config->backends[i].state != GLB_STATE_INACTIVE)
			place(r, addr->family == GLB_FAMILY_V4 ? v4++ : v6++, addr, (uint16_t)i);
	}
	if (init_weights(r, config) != 0) {
		glb_rendezvous_free(r);
		return -ENOMEM;
	}
	return 0;
}

void glb_rendezvous_free(struct glb_rendezvous *r)
{
	free(r->position);
	free(r->scores);
	free(r->keys);
	free(r->inverse);
	free(r->log);
	for (int i = 0; i < 3; i++)
		free(r->words[i]);
	memset(r, 0, sizeof(*r));
}

struct sip {
	uint64_t v0, v1, v2, v3;
};

/* The SipHash state behind the row seed, which begins every message of the row. */
static struct sip start_row(const uint8_t seed[16], uint32_t row)
{
	glb_be32 row_be = glb_be32_put(row);
	uint64_t row_seed = glb_siphash24(seed, row_be.b, 4);
	uint64_t k0, k1;
	struct sip s;

	memcpy(&k0, seed, 8);
	memcpy(&k1, seed + 8, 8);
	s = (struct sip){
		k0 ^ 0x736f6d6570736575,
		k1 ^ 0x646f72616e646f6d,
		k0 ^ 0x6c7967656e657261,
		k1 ^ 0x7465646279746573 ^ row_seed,
	};
	ROUND(s.v0, s.v1, s.v2, s.v3);
	ROUND(s.v0, s.v1, s.v2, s.v3);
	s.v0 ^= row_seed;
	return s;
}

static void score_slots(struct glb_rendezvous *r, const struct sip *start, uint32_t first, uint32_t end,
			unsigned words)
{
	for (uint32_t slot = first; slot < end; slot += GLB_LANES) {
		lanes v0 = (lanes){0} + start->v0, v1 = (lanes){0} + start->v1;
		lanes v2 = (lanes){0} + start->v2, v3 = (lanes){0} + start->v3;

		for (unsigned w = 0; w < words; w++) {
			lanes m = *(const lanes *)__builtin_assume_aligned(&r->words[w][slot], sizeof(lanes));

			v3 ^= m;
			ROUND(v0, v1, v2, v3);
			ROUND(v0, v1, v2, v3);
			v0 ^= m;
		}
		v2 ^= 0xff;
		ROUND(v0, v1, v2, v3);
		ROUND(v0, v1, v2, v3);
		ROUND(v0, v1, v2, v3);
		ROUND(v0, v1, v2, v3);
		v0 ^= v1 ^ v2 ^ v3;
		memcpy(&r->scores[slot], &v0, sizeof(lanes));
	}
	for (uint32_t slot = end; slot > first && r->position[slot - 1] == GLB_HOP_NONE; slot--)
		r->scores[slot - 1] = UINT64_MAX;
}

void glb_rendezvous_score(struct glb_rendezvous *r, uint32_t row)
{
	struct sip start = start_row(r->seed, row);

	score_slots(r, &start, 0, r->slots_v4, 1);
	score_slots(r, &start, r->slots_v4, r->slots, 3);
	for (uint32_t slot = 0; r->keys != NULL && slot < r->slots; slot++)
		r->keys[slot] = r->position[slot] == GLB_HOP_NONE
			? UINT64_MAX
			: glb_weight_key(r->log, __builtin_bswap64(r->scores[slot]), r->inverse[slot]);
}

/* A backend's place in the row's order: the lower one comes first. */
struct place {
	uint64_t key;
	uint64_t score;
	uint16_t position;
};

static struct place place_of(const struct glb_rendezvous *r, uint32_t slot)
{
	const uint64_t score = __builtin_bswap64(r->scores[slot]);

	return (struct place){r->keys != NULL ? r->keys[slot] : score, score, r->position[slot]};
}

static bool before(const struct place *a, const struct place *b)
{
	if (a->key != b->key)
		return a->key < b->key;
	if (a->score != b->score)
		return a->score < b->score;
	return a->position < b->position;
}

unsigned glb_rendezvous_best(const struct glb_rendezvous *r, uint16_t *best, unsigned want)
{
	struct place kept[GLB_HOPS_MAX];
	unsigned n = 0;

	if (want > r->count)
		want = r->count;
	if (want == 0)
		return 0;
	/* Padding is highest in everything, and want ≤ count: it is pushed out again. */
	for (uint32_t slot = 0; slot < r->slots; slot++) {
		const struct place place = place_of(r, slot);
		unsigned at;

		if (n == want && place.key > kept[n - 1].key)
			continue;
		at = n;
		while (at > 0 && before(&place, &kept[at - 1]))
			at--;
		if (at == want)
			continue;
		if (n < want)
			n++;
		memmove(&kept[at + 1], &kept[at], (n - at - 1) * sizeof(kept[0]));
		kept[at] = place;
	}
	for (unsigned i = 0; i < n; i++)
		best[i] = kept[i].position;
	return n;
}

uint16_t glb_rendezvous_first(const struct glb_rendezvous *r, const uint8_t *rank)
{
	struct place first = {UINT64_MAX, UINT64_MAX, GLB_HOP_NONE};

	for (uint32_t slot = 0; slot < r->slots; slot++) {
		const struct place place = place_of(r, slot);

		if (place.position != GLB_HOP_NONE && rank[place.position] == 0 && before(&place, &first))
			first = place;
	}
	return first.position;
}
