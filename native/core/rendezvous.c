/* Rendezvous scores, GLB_LANES backends at a time, and partial selection of the best.
 *
 * All backends of a row share the SipHash state behind the row seed; those states are made for GLB_LANES rows at a time.
 */
#include "rendezvous.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <glb/siphash.h>
#include <glb/wire.h>

enum {
	ALIGNMENT = GLB_LANES * sizeof(uint64_t),
	AT_ONCE = 4 * GLB_LANES, /* keys that are compared; columns are readable so far behind their last slot */
};

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
	r->keys = aligned_alloc(ALIGNMENT, (r->slots + AT_ONCE) * sizeof(uint64_t));
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
	r->started = UINT32_MAX;
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

	size_t column = (r->slots + AT_ONCE) * sizeof(uint64_t);
	r->position = malloc(r->slots * sizeof(uint16_t) + 1);
	r->scores = aligned_alloc(ALIGNMENT, column);
	for (int i = 0; i < 3; i++)
		r->words[i] = aligned_alloc(ALIGNMENT, column);
	if (!r->position || !r->scores || !r->words[0] || !r->words[1] || !r->words[2]) {
		glb_rendezvous_free(r);
		return -ENOMEM;
	}
	memset(r->scores, 0xff, column);
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

GLB_INLINE void load(glb_lanes out[2], const uint64_t *from)
{
	out[0] = *(const glb_lanes *)__builtin_assume_aligned(from, sizeof(glb_lanes));
	out[1] = *(const glb_lanes *)__builtin_assume_aligned(from + GLB_LANES_REGISTER, sizeof(glb_lanes));
}

GLB_INLINE void store(uint64_t *to, glb_lanes first, glb_lanes second)
{
	*(glb_lanes *)__builtin_assume_aligned(to, sizeof(glb_lanes)) = first;
	*(glb_lanes *)__builtin_assume_aligned(to + GLB_LANES_REGISTER, sizeof(glb_lanes)) = second;
}

/* The states behind the row seeds, which begin every message of their rows. A row seed is the hash of the row's number. */
GLB_LANES_CLONES static void start_rows(const uint8_t seed[16], uint32_t row, uint64_t start[4][GLB_LANES])
{
	struct sip_lanes s[2], begun[2];
	glb_lanes m[2], row_seed[2];
	uint64_t k[2];

	memcpy(k, seed, sizeof(k));
	for (unsigned i = 0; i < 2; i++) {
		begun[i].v0 = (glb_lanes){0} + (k[0] ^ 0x736f6d6570736575);
		begun[i].v1 = (glb_lanes){0} + (k[1] ^ 0x646f72616e646f6d);
		begun[i].v2 = (glb_lanes){0} + (k[0] ^ 0x6c7967656e657261);
		begun[i].v3 = (glb_lanes){0} + (k[1] ^ 0x7465646279746573);
		for (unsigned lane = 0; lane < GLB_LANES_REGISTER; lane++)
			m[i][lane] = 4ULL << 56 | __builtin_bswap32(row + i * GLB_LANES_REGISTER + lane);
		s[i] = begun[i];
	}
	sip_lanes_word(s, m);
	sip_lanes_end(s, row_seed);
	sip_lanes_word(begun, row_seed);
	store(start[0], begun[0].v0, begun[1].v0);
	store(start[1], begun[0].v1, begun[1].v1);
	store(start[2], begun[0].v2, begun[1].v2);
	store(start[3], begun[0].v3, begun[1].v3);
}

GLB_INLINE void score_words(struct glb_rendezvous *r, unsigned lane, uint32_t first, uint32_t end, unsigned words)
{
	const uint64_t v0 = r->start[0][lane], v1 = r->start[1][lane], v2 = r->start[2][lane], v3 = r->start[3][lane];

	for (uint32_t slot = first; slot < end; slot += GLB_LANES) {
		struct sip_lanes s[2];
		glb_lanes m[2], digest[2];

		for (unsigned i = 0; i < 2; i++)
			s[i] = (struct sip_lanes){
				(glb_lanes){0} + v0, (glb_lanes){0} + v1, (glb_lanes){0} + v2, (glb_lanes){0} + v3,
			};
		for (unsigned w = 0; w < words; w++) {
			load(m, &r->words[w][slot]);
			sip_lanes_word(s, m);
		}
		sip_lanes_end(s, digest);
		store(&r->scores[slot], glb_lanes_swap(digest[0]), glb_lanes_swap(digest[1]));
	}
	for (uint32_t slot = end; slot > first && r->position[slot - 1] == GLB_HOP_NONE; slot--)
		r->scores[slot - 1] = UINT64_MAX;
}

GLB_LANES_CLONES static void score_slots(struct glb_rendezvous *r, unsigned lane)
{
	score_words(r, lane, 0, r->slots_v4, 1);
	score_words(r, lane, r->slots_v4, r->slots, 3);
}

/* Readies the states of the rows around this one. */
static void start_at(struct glb_rendezvous *r, uint32_t row)
{
	if (row - row % GLB_LANES == r->started)
		return;
	r->started = row - row % GLB_LANES;
	start_rows(r->seed, r->started, r->start);
}

void glb_rendezvous_score(struct glb_rendezvous *r, uint32_t row)
{
	start_at(r, row);
	score_slots(r, row % GLB_LANES);
	for (uint32_t slot = 0; r->keys != NULL && slot < r->slots; slot++)
		r->keys[slot] = r->position[slot] == GLB_HOP_NONE
			? UINT64_MAX
			: glb_weight_key(r->log, r->scores[slot], r->inverse[slot]);
}

/* Scores of backends of one family, in a row of the block each. */
GLB_LANES_CLONES static void score_rows(const struct glb_rendezvous *r, const uint32_t slots[GLB_LANES], unsigned words,
					uint64_t scores[GLB_LANES])
{
	glb_lanes v[4][2], m[2], digest[2];
	struct sip_lanes s[2];

	for (unsigned i = 0; i < 4; i++)
		load(v[i], r->start[i]);
	for (unsigned i = 0; i < 2; i++)
		s[i] = (struct sip_lanes){v[0][i], v[1][i], v[2][i], v[3][i]};
	for (unsigned w = 0; w < words; w++) {
		for (unsigned lane = 0; lane < GLB_LANES; lane++)
			m[lane / GLB_LANES_REGISTER][lane % GLB_LANES_REGISTER] = r->words[w][slots[lane]];
		sip_lanes_word(s, m);
	}
	sip_lanes_end(s, digest);
	store(scores, glb_lanes_swap(digest[0]), glb_lanes_swap(digest[1]));
}

void glb_rendezvous_places(struct glb_rendezvous *r, uint32_t row, const uint32_t slots[GLB_LANES],
			   struct glb_place places[GLB_LANES])
{
	uint64_t scores[GLB_LANES] __attribute__((aligned(64)));

	start_at(r, row);
	score_rows(r, slots, r->slots_v4 > 0 ? 1 : 3, scores);
	for (unsigned i = 0; i < GLB_LANES; i++)
		places[i] = (struct glb_place){
			.key = r->keys != NULL ? glb_weight_key(r->log, scores[i], r->inverse[slots[i]]) : scores[i],
			.score = scores[i],
			.position = r->position[slots[i]],
		};
}

static struct glb_place place_of(const struct glb_rendezvous *r, uint32_t slot)
{
	const uint64_t score = r->scores[slot];

	return (struct glb_place){r->keys != NULL ? r->keys[slot] : score, score, r->position[slot]};
}

/* Puts a place among the `n` best so far, of at most `want`; returns how many there are now. */
static unsigned keep(struct glb_place *kept, unsigned n, unsigned want, const struct glb_place *place)
{
	unsigned at = n;

	if (n < want)
		n++;
	else if (!glb_place_before(place, &kept[--at]))
		return n;
	for (; at > 0 && glb_place_before(place, &kept[at - 1]); at--)
		kept[at] = kept[at - 1];
	kept[at] = *place;
	return n;
}

/* A bit for each of AT_ONCE keys whose upper half is at most `bound`: those are few, and the only ones that are looked at one by one. */
GLB_INLINE uint32_t find_within(const uint64_t *keys, uint32_t bound)
{
	glb_lanes_u32 bits = {1, 16, 2, 32, 4, 64, 8, 128}, within = {0};
	uint64_t found;

#pragma GCC unroll 4
	for (unsigned i = 0; i < AT_ONCE; i += GLB_LANES) {
		glb_lanes key[2];
		glb_lanes_u32 upper;

		load(key, &keys[i]);
		/* in an order that takes few instructions */
		upper = __builtin_shufflevector((glb_lanes_u32)key[0], (glb_lanes_u32)key[1], 1, 9, 3, 11, 5, 13, 7, 15);
		within |= (glb_lanes_u32)(upper <= bound) & bits;
		bits <<= GLB_LANES;
	}
	found = ((glb_lanes)within)[0] | ((glb_lanes)within)[1] | ((glb_lanes)within)[2] | ((glb_lanes)within)[3];
	return (uint32_t)(found | found >> 32);
}

/* Looks for the `want` best among those whose keys' upper halves are at most `bound`; returns how many there are. */
static unsigned best_within(const struct glb_rendezvous *r, uint32_t bound, struct glb_place *kept, unsigned want)
{
	const uint64_t *keys = r->keys != NULL ? r->keys : r->scores;
	unsigned n = 0;

	for (uint32_t slot = 0; slot < r->slots; slot += AT_ONCE) {
		uint32_t found = find_within(&keys[slot], bound);

		if (r->slots - slot < AT_ONCE)
			found &= (1U << (r->slots - slot)) - 1;
		for (; found != 0; found &= found - 1) {
			const struct glb_place place = place_of(r, slot + (unsigned)__builtin_ctz(found));

			n = keep(kept, n, want, &place);
			if (n == want)
				bound = (uint32_t)(kept[n - 1].key >> 32);
		}
	}
	return n;
}

unsigned glb_rendezvous_best(const struct glb_rendezvous *r, uint16_t *best, unsigned want)
{
	struct glb_place kept[GLB_HOPS_MAX];
	unsigned n = 0;

	if (want > r->count)
		want = r->count;
	if (want == 0)
		return 0;
	/* Scores are uniform: three times as many as wanted are to be expected below this one, and seldom too few. */
	if (r->keys == NULL && r->count > 16 * want)
		n = best_within(r, UINT32_MAX / r->count * 3 * want, kept, want);
	/* Padding is highest in everything, and want ≤ count: it is pushed out again. */
	if (n < want)
		n = best_within(r, UINT32_MAX, kept, want);
	for (unsigned i = 0; i < n; i++)
		best[i] = kept[i].position;
	return n;
}

uint16_t glb_rendezvous_first(const struct glb_rendezvous *r, const uint8_t *rank)
{
	struct glb_place first = {UINT64_MAX, UINT64_MAX, GLB_HOP_NONE};

	for (uint32_t slot = 0; slot < r->slots; slot++) {
		const struct glb_place place = place_of(r, slot);

		if (place.position != GLB_HOP_NONE && rank[place.position] == 0 && glb_place_before(&place, &first))
			first = place;
	}
	return first.position;
}
