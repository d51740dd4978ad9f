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
	return 0;
}

void glb_rendezvous_free(struct glb_rendezvous *r)
{
	free(r->position);
	free(r->scores);
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
}

unsigned glb_rendezvous_best(const struct glb_rendezvous *r, uint16_t *best, unsigned want)
{
	uint64_t kept[GLB_HOPS_MAX];
	unsigned n = 0;

	if (want > r->count)
		want = r->count;
	if (want == 0)
		return 0;
	/* Padding scores highest with the highest position, and want ≤ count: it is pushed out again. */
	for (uint32_t slot = 0; slot < r->slots; slot++) {
		uint64_t score = __builtin_bswap64(r->scores[slot]);
		uint16_t position = r->position[slot];
		unsigned at;

		if (n == want && score > kept[n - 1])
			continue;
		at = n;
		while (at > 0 && (score < kept[at - 1] || (score == kept[at - 1] && position < best[at - 1])))
			at--;
		if (at == want)
			continue;
		if (n < want)
			n++;
		memmove(&kept[at + 1], &kept[at], (n - at - 1) * sizeof(kept[0]));
		memmove(&best[at + 1], &best[at], (n - at - 1) * sizeof(best[0]));
		kept[at] = score;
		best[at] = position;
	}
	return n;
}

uint16_t glb_rendezvous_first(const struct glb_rendezvous *r, const uint8_t *rank)
{
	uint64_t kept = UINT64_MAX;
	uint16_t first = GLB_HOP_NONE;

	for (uint32_t slot = 0; slot < r->slots; slot++) {
		uint64_t score = __builtin_bswap64(r->scores[slot]);
		uint16_t position = r->position[slot];

		if (position == GLB_HOP_NONE || rank[position] != 0)
			continue;
		if (score < kept || (score == kept && position < first)) {
			kept = score;
			first = position;
		}
	}
	return first;
}
