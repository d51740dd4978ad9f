/* Rows are checked sixteen at a time, without a branch; who is to blame is found by looking at them one by one. */
#include "snapshot_rows.h"

#include <string.h>

#include <glb/wire.h>

typedef uint16_t places __attribute__((vector_size(32)));

enum { PLACES = sizeof(places) / sizeof(uint16_t) };

/* The twin of sixteen_ok(). */
static bool row_ok(const uint16_t *row, unsigned hops, uint32_t backends)
{
	unsigned n = 0;

	for (; n < hops && row[n] != GLB_HOP_NONE; n++) {
		if (row[n] >= backends)
			return false;
		for (unsigned earlier = 0; earlier < n; earlier++)
			if (row[earlier] == row[n])
				return false;
	}
	for (; n < hops; n++)
		if (row[n] != GLB_HOP_NONE)
			return false;
	return true;
}

/* [distance][vector of sixteen rows]: all ones in places whose row has another one at that distance. */
typedef places masks[GLB_HOPS_MAX][GLB_HOPS_MAX];

static void make_masks(unsigned hops, masks mask)
{
	for (unsigned distance = 1; distance < hops; distance++)
		for (unsigned at = 0; at < hops * PLACES; at++)
			mask[distance][at / PLACES][at % PLACES] = at % hops + distance < hops ? 0xffff : 0;
}

static places load(const uint16_t *from)
{
	places to;

	memcpy(&to, from, sizeof(to));
	return to;
}

/* Reads `hops` places behind them, too. */
static bool sixteen_ok(const uint16_t *rows, unsigned hops, places backends, masks mask)
{
	places wrong = {0};
	uint64_t any[sizeof(wrong) / sizeof(uint64_t)];

	for (unsigned v = 0; v < hops; v++) {
		const places place = load(rows + v * PLACES), none = (places)(place == GLB_HOP_NONE);

		wrong |= (places)(place >= backends) & ~none;
		for (unsigned distance = 1; distance < hops; distance++) {
			const places other = load(rows + v * PLACES + distance);
			const places same = (places)(place == other);

			/* Either the same twice, or one behind the end. */
			wrong |= (same ^ none) & mask[distance][v];
		}
	}
	memcpy(any, &wrong, sizeof(any));
	return (any[0] | any[1] | any[2] | any[3]) == 0;
}

uint32_t glb_rows_check(const uint16_t *rows, uint32_t count, unsigned hops, uint32_t backends)
{
	const places limit = (places){0} + (uint16_t)backends; /* at most GLB_POOL_BACKENDS_MAX */
	uint32_t row = 0;
	masks mask;

	make_masks(hops, mask);
	for (; row + PLACES < count; row += PLACES) /* not the last ones: there is nothing behind them */
		if (!sixteen_ok(rows + (size_t)row * hops, hops, limit, mask))
			break;
	for (; row < count; row++)
		if (!row_ok(rows + (size_t)row * hops, hops, backends))
			break;
	return row;
}
