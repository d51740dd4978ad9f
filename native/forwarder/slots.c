/* Counter slots (slots.h): sorted pairs to find an id, one sweep to find room. */
#include "slots.h"

#include <stdlib.h>

struct pair {
	uint32_t id;
	uint32_t slot;
};

struct slots {
	uint32_t *ids;      /* borrowed: in the counter file */
	uint64_t *seen;     /* epoch in which the slot was last asked for */
	struct pair *pairs; /* occupied slots, ascending by id; made anew by each call */
	uint32_t capacity;
};

struct slots *slots_create(uint32_t *ids, uint32_t capacity)
{
	struct slots *slots = calloc(1, sizeof(*slots));

	if (slots == NULL)
		return NULL;
	slots->ids = ids;
	slots->capacity = capacity;
	slots->seen = calloc(capacity, sizeof(*slots->seen));
	slots->pairs = calloc(capacity, sizeof(*slots->pairs));
	if (slots->seen == NULL || slots->pairs == NULL) {
		slots_free(slots);
		return NULL;
	}
	return slots;
}

void slots_free(struct slots *slots)
{
	if (slots == NULL)
		return;
	free(slots->seen);
	free(slots->pairs);
	free(slots);
}

static int by_id(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t sort_pairs(struct slots *slots)
{
	uint32_t n = 0;

	for (uint32_t slot = 0; slot < slots->capacity; slot++)
		if (slots->ids[slot] != GLB_ID_NONE)
			slots->pairs[n++] = (struct pair){slots->ids[slot], slot};
	qsort(slots->pairs, n, sizeof(*slots->pairs), by_id);
	return n;
}

/* The next slot from *cursor on that is free, or, with `reuse`, that nobody may still be using. */
static uint32_t find_room(const struct slots *slots, uint32_t *cursor, bool reuse, uint64_t keep_since)
{
	for (; *cursor < slots->capacity; ++*cursor)
		if (reuse ? slots->seen[*cursor] < keep_since : slots->ids[*cursor] == GLB_ID_NONE)
			return (*cursor)++;
	return SLOT_NONE;
}

int64_t slots_assign(struct slots *slots, const uint32_t *wanted, uint32_t n, uint32_t *slot_of, uint64_t epoch,
		     uint64_t keep_since, void (*clear)(void *context, uint32_t slot), void *context)
{
	uint32_t occupied = sort_pairs(slots), cursor = 0;
	int64_t without = 0;
	bool reuse = false;

	for (uint32_t i = 0; i < n; i++) {
		struct pair key = {.id = wanted[i]};
		const struct pair *found = bsearch(&key, slots->pairs, occupied, sizeof(key), by_id);

		slot_of[i] = found != NULL ? found->slot : SLOT_NONE;
		if (found != NULL)
			slots->seen[found->slot] = epoch;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot;

		if (slot_of[i] != SLOT_NONE)
			continue;
		slot = find_room(slots, &cursor, reuse, keep_since);
		if (slot == SLOT_NONE && !reuse) {
			reuse = true;
			cursor = 0;
			slot = find_room(slots, &cursor, reuse, keep_since);
		}
		slot_of[i] = slot;
		if (slot == SLOT_NONE) {
			without++;
			continue;
		}
		__atomic_store_n(&slots->ids[slot], GLB_ID_NONE, __ATOMIC_RELEASE);
		clear(context, slot);
		slots->seen[slot] = epoch;
		__atomic_store_n(&slots->ids[slot], wanted[i], __ATOMIC_RELEASE);
	}
	return without;
}
