/* Maglev: permutations, the population in turns, and a row's two places. */
#include "maglev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <glb/siphash.h>
#include <glb/wire.h>

#include "weight.h"

bool glb_is_prime(uint32_t n)
{
	for (uint32_t d = 2; d * d <= n; d++)
		if (n % d == 0)
			return false;
	return n >= 2;
}

uint32_t glb_nearest_prime(uint32_t n)
{
	if (n < GLB_MAGLEV_ROWS_MIN)
		n = GLB_MAGLEV_ROWS_MIN;
	if (n > GLB_TABLE_ROWS_MAX)
		n = GLB_TABLE_ROWS_MAX;
	for (uint32_t distance = 0;; distance++) {
		if (n + distance <= GLB_TABLE_ROWS_MAX && glb_is_prime(n + distance))
			return n + distance;
		if (n - distance >= GLB_MAGLEV_ROWS_MIN && glb_is_prime(n - distance))
			return n - distance;
	}
}

/* ---- the population ---- */

/* A backend's next claim, in the order of turns and, within a turn, of backends: the smallest is next. */
static uint64_t claim_at(uint64_t turn, uint32_t backend)
{
	return turn << 16 | backend;
}

/* Restores a heap of `n` claims whose first may be too large. */
static void sift_down(uint64_t *heap, uint32_t n)
{
	const uint64_t claim = heap[0];
	uint32_t at = 0;

	for (uint32_t child = 1; child < n; child = 2 * at + 1) {
		if (child + 1 < n && heap[child + 1] < heap[child])
			child++;
		if (claim <= heap[child])
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = claim;
}

/* A backend's way through its permutation. */
struct walk {
	uint32_t next; /* row to look at */
	uint32_t skip;
};

enum {
	LAST = 64, /* free rows that are listed */
	AHEAD = 8, /* walks whose next rows are fetched */
};

struct population {
	uint16_t *out;
	uint32_t rows;
	uint32_t left;       /* rows that are free; LAST or fewer: */
	uint32_t free[LAST];
};

/* Of both sums that one which is a row is the smaller one. Dividing would be three times the work of the rest, and a branch as much. */
static inline uint32_t step(uint32_t row, uint32_t skip, uint32_t rows)
{
	const uint32_t on = row + skip, back = row + (skip - rows);

	return on < back ? on : back;
}

/* The number by which `n` gives 1, modulo a prime above it. */
static uint32_t inverse(uint32_t n, uint32_t prime)
{
	int32_t a = (int32_t)n, b = (int32_t)prime, x = 1, y = 0;

	while (a > 1) {
		const int32_t quotient = b / a, rest = b % a, next = y - quotient * x;

		b = a;
		a = rest;
		y = x;
		x = next;
	}
	return (uint32_t)(x < 0 ? x + (int32_t)prime : x);
}

static __attribute__((noinline)) void list_free(struct population *p)
{
	uint32_t n = 0;

	for (uint32_t row = 0; row < p->rows; row++)
		if (p->out[row] == GLB_HOP_NONE)
			p->free[n++] = row;
}

/* Where few rows are free, it takes a walk long to meet one. How many steps there are to each is known without going them. */
static __attribute__((noinline)) uint32_t find_last(struct population *p, const struct walk *walk)
{
	const uint64_t factor = inverse(walk->skip, p->rows);
	uint32_t least = UINT32_MAX, nearest = 0, row;

	for (uint32_t i = 0; i < p->left; i++) {
		const uint64_t way = p->free[i] + (p->free[i] < walk->next ? p->rows : 0) - walk->next;
		const uint32_t steps = (uint32_t)(way * factor % p->rows);

		nearest = steps < least ? i : nearest;
		least = steps < least ? steps : least;
	}
	row = p->free[nearest];
	p->free[nearest] = p->free[p->left - 1];
	return row;
}

static inline void claim_row(struct population *p, struct walk *walk, uint16_t backend)
{
	uint32_t row = walk->next;

	if (p->left <= LAST)
		row = find_last(p, walk);
	while (p->out[row] != GLB_HOP_NONE)
		row = step(row, walk->skip, p->rows);
	p->out[row] = backend;
	walk->next = step(row, walk->skip, p->rows);
	if (--p->left == LAST)
		list_free(p);
}

/* Everybody claims once a turn. */
static void take_turns(struct population *p, struct walk *walks, uint32_t count)
{
	for (;;) {
		for (uint32_t i = 0; i < count; i++) {
			__builtin_prefetch(&p->out[walks[i + AHEAD].next]);
			claim_row(p, &walks[i], (uint16_t)i);
			if (p->left == 0)
				return;
		}
	}
}

/* A claim is due in the turn in which weight × turn reaches the next multiple of the largest weight. */
static int take_weighted_turns(struct population *p, const struct glb_maglev_backend *backends, uint32_t largest,
			       struct walk *walks, uint32_t count)
{
	uint64_t *heap = malloc(count * sizeof(*heap));     /* next claims */
	uint32_t *claims = calloc(count, sizeof(*claims));  /* [backend] made so far */
	const int status = heap != NULL && claims != NULL ? 0 : -ENOMEM;

	for (uint32_t i = 0; status == 0 && i < count; i++) /* all before anything: ascending by backend is a heap */
		heap[i] = claim_at(0, i);
	/* Everybody's entry is looked at once, in turn 0, which claims nothing. */
	while (status == 0 && p->left > 0) {
		const uint32_t i = heap[0] & 0xffff;

		if (heap[0] >> 16 != 0) {
			claim_row(p, &walks[i], (uint16_t)i);
			claims[i]++;
		}
		heap[0] = claim_at(((claims[i] + 1ULL) * largest + backends[i].weight - 1) / backends[i].weight, i);
		sift_down(heap, count);
	}
	free(heap);
	free(claims);
	return status;
}

int glb_maglev_populate(const struct glb_maglev_backend *backends, uint32_t count, uint32_t rows, uint16_t *out)
{
	struct walk *walks = calloc(count + (size_t)AHEAD, sizeof(*walks));
	struct population p = {.out = out, .rows = rows, .left = rows};
	uint32_t least = UINT32_MAX, largest = 1;
	int status = 0;

	memset(out, 0xff, rows * sizeof(*out)); /* GLB_HOP_NONE */
	if (walks == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		walks[i] = (struct walk){backends[i].offset, backends[i].skip};
		least = backends[i].weight < least ? backends[i].weight : least;
		largest = backends[i].weight > largest ? backends[i].weight : largest;
	}
	if (rows <= LAST)
		list_free(&p);
	if (count > 0 && least == largest)
		take_turns(&p, walks, count);
	else if (count > 0)
		status = take_weighted_turns(&p, backends, largest, walks, count);
	free(walks);
	return status;
}

/* ---- a pool's tables ---- */

static uint64_t hash_addr(const uint8_t seed[16], const struct glb_addr *addr, uint8_t what)
{
	uint8_t message[17];
	const unsigned len = glb_addr_len(addr->family);

	memcpy(message, addr->bytes, len);
	message[len] = what;
	return glb_siphash24(seed, message, len + 1);
}

struct member {
	struct glb_addr addr;
	uint16_t position; /* in the configuration */
	uint16_t weight;   /* that it counts with, at least 1 */
};

/* By address, so that the order of the configuration does not matter. */
static int by_addr(const void *left, const void *right)
{
	const struct member *a = left, *b = right;

	if (a->addr.family != b->addr.family)
		return (int)a->addr.family - b->addr.family;
	return memcmp(a->addr.bytes, b->addr.bytes, sizeof(a->addr.bytes));
}

/* Lists all but the inactive ones, in order of address. */
static uint32_t list_members(const struct glb_table_config *config, struct member *members)
{
	const uint16_t common = glb_weight_common(config->backends, config->backend_count);
	uint32_t n = 0;

	for (uint32_t i = 0; i < config->backend_count; i++) {
		const struct glb_backend_config *backend = &config->backends[i];

		if (backend->state == GLB_STATE_INACTIVE)
			continue;
		members[n++] = (struct member){
			.addr = backend->addr,
			.position = (uint16_t)i,
			.weight = common == 0 ? 1 : backend->weight != 0 ? backend->weight : common,
		};
	}
	qsort(members, n, sizeof(*members), by_addr);
	return n;
}

/* Populates a table of the members whose rank is at most `rank_max`, and turns them into positions. */
static int populate(const struct glb_table_config *config, const struct member *members, uint32_t n,
		    const uint8_t *rank, uint8_t rank_max, uint16_t *table)
{
	struct glb_maglev_backend *chosen = malloc((n + 1ul) * sizeof(*chosen));
	uint16_t *position = malloc((n + 1ul) * sizeof(*position));
	uint32_t count = 0;
	int status = -ENOMEM;

	if (chosen != NULL && position != NULL) {
		for (uint32_t i = 0; i < n; i++) {
			const struct member *member = &members[i];

			if (rank[member->position] > rank_max)
				continue;
			position[count] = member->position;
			chosen[count++] = (struct glb_maglev_backend){
				.offset = (uint32_t)(hash_addr(config->seed, &member->addr, 0) % config->rows),
				.skip = (uint32_t)(hash_addr(config->seed, &member->addr, 1) % (config->rows - 1)) + 1,
				.weight = member->weight,
			};
		}
		status = glb_maglev_populate(chosen, count, config->rows, table);
	}
	for (uint32_t row = 0; status == 0 && row < config->rows; row++)
		if (table[row] != GLB_HOP_NONE)
			table[row] = position[table[row]];
	free(chosen);
	free(position);
	return status;
}

int glb_maglev_build(const struct glb_table_config *config, const uint8_t *rank, uint16_t *rows_out)
{
	struct member *members = malloc((config->backend_count + 1ul) * sizeof(*members));
	uint16_t *first = malloc(config->rows * sizeof(*first)), *all = malloc(config->rows * sizeof(*all));
	uint8_t lowest = UINT8_MAX, highest = 0;
	int status = -ENOMEM;
	uint32_t n = 0;

	if (members != NULL && first != NULL && all != NULL) {
		n = list_members(config, members);
		for (uint32_t i = 0; i < n; i++) {
			lowest = rank[members[i].position] < lowest ? rank[members[i].position] : lowest;
			highest = rank[members[i].position] > highest ? rank[members[i].position] : highest;
		}
		status = populate(config, members, n, rank, lowest, first);
		if (status == 0 && lowest < highest && config->hops > 1)
			status = populate(config, members, n, rank, highest, all);
		else
			memcpy(all, first, config->rows * sizeof(*all));
	}
	for (uint32_t row = 0; status == 0 && row < config->rows; row++) {
		uint16_t *chain = &rows_out[(size_t)row * config->hops];

		for (unsigned i = 0; i < config->hops; i++)
			chain[i] = GLB_HOP_NONE;
		chain[0] = first[row];
		if (all[row] != first[row])
			chain[1] = all[row];
	}
	free(members);
	free(first);
	free(all);
	return status;
}
