/* Which rows can differ, and those anew.
 *
 * A row's candidates are the first `hops` backends of its order, and its chain has them all, unless none of them is available: then an
 * available one from further down (the rescue) is in front and may have pushed the last one out. So, while the ranks of
 * the rest stay, a row stays if nobody in its chain changed, no rescue can be in it, and nobody who came is before the last of its chain.
 */
#include "table_update.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <glb/wire.h>

#include "chain.h"
#include "snapshot_layout.h"

enum {
	COME_MAX = 16, /* each is scored for every row */
};

struct update {
	const struct glb_former *former;
	const struct glb_table_config *config;
	const uint8_t *rank;      /* of the new ones */
	uint16_t *now;            /* [former] its new position, or GLB_HOP_NONE: rows that have it are made anew */
	uint16_t *was;            /* [new] its former position, or GLB_HOP_NONE */
	uint16_t come[COME_MAX];  /* new positions of those that may enter rows */
	uint32_t come_count;
	uint32_t changed;         /* backends on either side */
	bool may_rescue;          /* rows may have a rescue */
	bool all_available;       /* chains are in the order of their rows */
	uint32_t *slot_of;        /* [new] in rendezvous */
	struct glb_rendezvous rendezvous;
};

/* ---- who changed ---- */

struct known {
	const struct glb_addr *addr;
	uint16_t position;
};

static int by_addr(const void *left, const void *right)
{
	const struct known *a = left, *b = right;

	if (a->addr->family != b->addr->family)
		return (int)a->addr->family - b->addr->family;
	return memcmp(a->addr->bytes, b->addr->bytes, glb_addr_len(a->addr->family));
}

static uint32_t list_known(const struct glb_backend_config *backends, uint32_t count, struct known *known)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < count; i++)
		if (backends[i].state != GLB_STATE_INACTIVE)
			known[n++] = (struct known){&backends[i].addr, (uint16_t)i};
	qsort(known, n, sizeof(*known), by_addr);
	return n;
}

/* Pairs those that take part in both, by address. */
static int pair(struct update *update)
{
	const uint32_t former_count = update->former->backend_count, count = update->config->backend_count;
	struct known *old = malloc((former_count + 1ul) * sizeof(*old));
	struct known *new = malloc((count + 1ul) * sizeof(*new));
	uint32_t old_count, new_count;
	int status = -ENOMEM;

	if (old != NULL && new != NULL) {
		status = 0;
		old_count = list_known(update->former->backends, former_count, old);
		new_count = list_known(update->config->backends, count, new);
		memset(update->now, 0xff, former_count * sizeof(*update->now)); /* GLB_HOP_NONE */
		memset(update->was, 0xff, count * sizeof(*update->was));
		for (uint32_t i = 0, j = 0; i < old_count && j < new_count;) {
			const int order = by_addr(&old[i], &new[j]);

			if (order == 0) {
				update->now[old[i].position] = new[j].position;
				update->was[new[j].position] = old[i].position;
			}
			i += order <= 0;
			j += order >= 0;
		}
	}
	free(old);
	free(new);
	return status;
}

static void part(struct update *update, uint16_t position)
{
	update->now[update->was[position]] = GLB_HOP_NONE;
	update->was[position] = GLB_HOP_NONE;
}

/* The pairs that are not in the same order as the others, which decides where scores are equal: seen from the front, or from the back. */
static uint32_t part_disordered(struct update *update, bool from_back, bool really)
{
	const uint32_t count = update->config->backend_count;
	uint32_t parted = 0;
	int32_t last = -1;

	for (uint32_t i = 0; i < count; i++) {
		const uint16_t position = (uint16_t)(from_back ? count - 1 - i : i);
		const uint16_t was = update->was[position];
		const int32_t at = from_back ? (int32_t)update->former->backend_count - 1 - was : was;

		if (was == GLB_HOP_NONE)
			continue;
		if (at > last) {
			last = at;
			continue;
		}
		parted++;
		if (really)
			part(update, position);
	}
	return parted;
}

/* What weight 0 counts as (weight.h), also where all weights are the same. */
static uint16_t highest_weight(const struct glb_backend_config *backends, uint32_t count)
{
	uint16_t highest = 1;

	for (uint32_t i = 0; i < count; i++)
		if (backends[i].state != GLB_STATE_INACTIVE && backends[i].weight > highest)
			highest = backends[i].weight;
	return highest;
}

/* Parts the pairs whose place in orders changed, and lists those who came. */
static void compare_places(struct update *update)
{
	const struct glb_backend_config *old = update->former->backends, *new = update->config->backends;
	const uint16_t zero_was = highest_weight(old, update->former->backend_count);
	const uint16_t zero_is = highest_weight(new, update->config->backend_count);

	part_disordered(update, part_disordered(update, true, false) < part_disordered(update, false, false), true);
	for (uint32_t i = 0; i < update->config->backend_count; i++) {
		const uint16_t was = update->was[i];

		if (was != GLB_HOP_NONE && (old[was].weight ? old[was].weight : zero_was) != (new[i].weight ? new[i].weight : zero_is))
			part(update, (uint16_t)i);
		if (new[i].state == GLB_STATE_INACTIVE || update->was[i] != GLB_HOP_NONE)
			continue;
		if (update->come_count < COME_MAX)
			update->come[update->come_count] = (uint16_t)i;
		update->come_count++;
	}
}

/* Rows of those whose rank changed are made anew, though nobody enters a row by that. Returns false where it is about every row. */
static bool compare_ranks(struct update *update)
{
	const struct glb_backend_config *old = update->former->backends, *new = update->config->backends;
	bool available[2] = {false, false};

	update->all_available = true;
	for (uint32_t i = 0; i < update->former->backend_count; i++) {
		const uint16_t now = update->now[i];

		if (old[i].state == GLB_STATE_INACTIVE)
			continue;
		available[0] |= update->former->rank[i] == 0;
		update->all_available &= update->former->rank[i] == 0;
		if (now != GLB_HOP_NONE &&
		    (update->former->rank[i] != update->rank[now] ||
		     (update->config->policy == GLB_POLICY_GLB &&
		      (old[i].state != new[now].state || old[i].health != new[now].health))))
			update->now[i] = GLB_HOP_NONE;
		update->changed += update->now[i] == GLB_HOP_NONE;
	}
	for (uint32_t i = 0; i < update->config->backend_count; i++)
		available[1] |= new[i].state != GLB_STATE_INACTIVE && update->rank[i] == 0;
	update->may_rescue = update->config->policy == GLB_POLICY_ORDERED && available[0] && !update->all_available;
	return update->config->policy == GLB_POLICY_GLB || available[0] == available[1];
}

static bool mixed(const struct glb_rendezvous *r)
{
	return r->slots_v4 > 0 && r->slots > r->slots_v4;
}

/* ---- rows ---- */

/* Whether a row is made anew, whoever came; else its chain, in new positions. */
static bool changed_inside(const struct update *update, const uint16_t *was, uint16_t *chain)
{
	const unsigned hops = update->config->hops;
	bool rescue = update->may_rescue;

	for (unsigned i = 0; i < hops; i++) {
		chain[i] = was[i] == GLB_HOP_NONE ? GLB_HOP_NONE : update->now[was[i]];
		if (was[i] == GLB_HOP_NONE ? update->come_count > 0 : chain[i] == GLB_HOP_NONE)
			return true;
		if (i > 0 && was[i] != GLB_HOP_NONE && update->former->rank[was[i]] == 0)
			rescue = false;
	}
	return rescue;
}

/* GLB_LANES rows. */
struct block {
	uint32_t first;
	unsigned anew;                            /* a bit for each row that is made anew */
	uint16_t chains[GLB_LANES][GLB_HOPS_MAX]; /* of the others */
};

static void places_of(struct update *update, const struct block *block, unsigned hop, struct glb_place *places)
{
	uint32_t slots[GLB_LANES];

	for (unsigned lane = 0; lane < GLB_LANES; lane++)
		slots[lane] = block->anew >> lane & 1 ? 0 : update->slot_of[block->chains[lane][hop]];
	glb_rendezvous_places(&update->rendezvous, block->first, slots, places);
}

/* Adds the rows that somebody who came enters. */
static void find_entered(struct update *update, struct block *block)
{
	struct glb_place last[GLB_LANES], places[GLB_LANES];
	const unsigned hops = update->config->hops;

	places_of(update, block, hops - 1, last);
	for (unsigned hop = 0; hop + 1 < hops && !update->all_available; hop++) {
		places_of(update, block, hop, places);
		for (unsigned lane = 0; lane < GLB_LANES; lane++)
			if (glb_place_before(&last[lane], &places[lane]))
				last[lane] = places[lane];
	}
	for (uint32_t c = 0; c < update->come_count; c++) {
		uint32_t slots[GLB_LANES];

		for (unsigned lane = 0; lane < GLB_LANES; lane++)
			slots[lane] = update->slot_of[update->come[c]];
		glb_rendezvous_places(&update->rendezvous, block->first, slots, places);
		for (unsigned lane = 0; lane < GLB_LANES; lane++)
			if (glb_place_before(&places[lane], &last[lane]))
				block->anew |= 1u << lane;
	}
}

static void update_block(struct update *update, uint32_t first, uint16_t *rows_out)
{
	const struct glb_table_config *config = update->config;
	struct block block = {.first = first};

	for (unsigned lane = 0; lane < GLB_LANES; lane++)
		if (changed_inside(update, update->former->rows + (size_t)(first + lane) * config->hops, block.chains[lane]))
			block.anew |= 1u << lane;
	if (update->come_count > 0 && block.anew != (1u << GLB_LANES) - 1)
		find_entered(update, &block);
	for (unsigned lane = 0; lane < GLB_LANES; lane++) {
		uint16_t *chain = rows_out + (size_t)(first + lane) * config->hops;

		if (block.anew >> lane & 1) {
			glb_rendezvous_score(&update->rendezvous, first + lane);
			glb_chain_build(config, &update->rendezvous, update->rank, chain);
		} else {
			memcpy(chain, block.chains[lane], config->hops * sizeof(*chain));
		}
	}
}

/* Hashes for a row, against those for a whole one. */
static bool worth_it(const struct update *update)
{
	const uint32_t all = update->rendezvous.count, hops = update->config->hops;
	const uint64_t each = 4 + hops + update->come_count;

	return update->come_count <= COME_MAX && each + (uint64_t)hops * (update->changed + update->come_count) < all;
}

static void update_rows(struct update *update, uint16_t *rows_out)
{
	const struct glb_rendezvous *r = &update->rendezvous;

	for (uint32_t slot = 0; slot < r->slots; slot++)
		if (r->position[slot] != GLB_HOP_NONE)
			update->slot_of[r->position[slot]] = slot;
	for (uint32_t row = 0; row < update->config->rows; row += GLB_LANES)
		update_block(update, row, rows_out);
}

int glb_table_update(const struct glb_former *former, const struct glb_table_config *config, const uint8_t *rank,
		     uint16_t *rows_out)
{
	struct update update = {.former = former, .config = config, .rank = rank};
	int status = glb_rendezvous_init(&update.rendezvous, config);

	if (status != 0)
		return status;
	update.now = malloc((former->backend_count + 1ul) * sizeof(*update.now));
	update.was = malloc((config->backend_count + 1ul) * sizeof(*update.was));
	update.slot_of = calloc(config->backend_count + 1ul, sizeof(*update.slot_of));
	status = update.now && update.was && update.slot_of ? pair(&update) : -ENOMEM;
	if (status == 0) {
		compare_places(&update);
		if (compare_ranks(&update) && worth_it(&update) && !mixed(&update.rendezvous)) {
			update_rows(&update, rows_out);
			status = 1;
		}
	}
	free(update.now);
	free(update.was);
	free(update.slot_of);
	glb_rendezvous_free(&update.rendezvous);
	return status;
}

/* ---- which former table ---- */

static bool alike(const struct glb_backend_config *a, const struct glb_backend_config *b)
{
	if (a->state == GLB_STATE_INACTIVE && b->state == GLB_STATE_INACTIVE)
		return true;
	return a->weight == b->weight && a->state == b->state && a->health == b->health && glb_addr_equal(&a->addr, &b->addr);
}

uint32_t glb_former_distance(const struct glb_former *former, const struct glb_table_config *config)
{
	const struct glb_backend_config *old = former->backends, *new = config->backends;
	const uint32_t old_count = former->backend_count, count = config->backend_count;
	uint32_t i = 0, j = 0, distance = 0;

	while (i < old_count && j < count) {
		const bool same = alike(&old[i], &new[j]);
		const bool gone = !same && i + 1 < old_count && alike(&old[i + 1], &new[j]);
		const bool came = !same && !gone && j + 1 < count && alike(&old[i], &new[j + 1]);

		distance += !same;
		i += !came;
		j += !gone;
	}
	return distance + (old_count - i) + (count - j);
}
