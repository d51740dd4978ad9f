/* Counter slots: ids keep theirs, and lose it only when nobody can be using it. */
#include "check.h"

#include "slots.h"

#include <string.h>

enum { CAPACITY = 4 };

static uint32_t ids[CAPACITY];
static unsigned cleared[CAPACITY];
static struct slots *slots;

static void clear(void *context, uint32_t slot)
{
	(void)context;
	cleared[slot]++;
}

static int64_t assign(const uint32_t *wanted, uint32_t n, uint32_t *out, uint64_t epoch, uint64_t keep_since)
{
	return slots_assign(slots, wanted, n, out, epoch, keep_since, clear, NULL);
}

static void start(void)
{
	memset(ids, 0, sizeof(ids));
	memset(cleared, 0, sizeof(cleared));
	slots = slots_create(ids, CAPACITY);
}

static void ids_keep_their_slots(void)
{
	const uint32_t first[] = {10, 20, 30}, second[] = {30, 10, 40};
	uint32_t a[3], b[3];

	start();
	CHECK(assign(first, 3, a, 1, 0) == 0);
	CHECK(ids[a[0]] == 10 && ids[a[1]] == 20 && ids[a[2]] == 30);
	CHECK(assign(second, 3, b, 2, 1) == 0);
	CHECK(b[0] == a[2] && b[1] == a[0]);
	CHECK(ids[b[2]] == 40 && b[2] != a[1]); /* a free one before one with an owner */
	CHECK(ids[a[1]] == 20);
	slots_free(slots);
}

static void slots_in_use_are_not_taken(void)
{
	const uint32_t first[] = {1, 2, 3, 4}, second[] = {5, 6}, third[] = {5, 6, 7, 8, 9};
	uint32_t a[5];

	start();
	CHECK(assign(first, 4, a, 1, 0) == 0);
	CHECK(assign(second, 2, a, 2, 1) == 2); /* load 1 is still in force */
	CHECK(a[0] == SLOT_NONE && a[1] == SLOT_NONE);
	CHECK(assign(second, 2, a, 3, 2) == 0); /* load 1 is gone */
	CHECK(a[0] != a[1] && ids[a[0]] == 5 && ids[a[1]] == 6);
	CHECK(cleared[a[0]] == 2 && cleared[a[1]] == 2); /* once for each owner */
	CHECK(assign(third, 5, a, 4, 3) == 1);
	CHECK(ids[a[0]] == 5 && ids[a[2]] == 7 && ids[a[3]] == 8 && a[4] == SLOT_NONE);
	slots_free(slots);
}

static void nothing_to_assign(void)
{
	uint32_t none[1] = {0};

	start();
	CHECK(assign(none, 0, none, 1, 0) == 0);
	CHECK(ids[0] == GLB_ID_NONE);
	slots_free(slots);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"ids keep their slots", ids_keep_their_slots},
		{"slots in use are not taken", slots_in_use_are_not_taken},
		{"nothing to assign", nothing_to_assign},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
