/* The choice among directors that share fragments: even, the same for any order of the list, and little moves when the list changes. */
#include "check.h"
#include "snapshot_layout.h"
#include "world.h"

#include <glb/siphash.h>

#include <errno.h>

enum { DIRECTORS = 5, HASHES = 50000 };

static const struct glb_addr nobody = {.family = GLB_FAMILY_NONE};

static struct glb_addr director(unsigned i)
{
	return make_v4(10, 0, 0, (uint8_t)(2 + i));
}

static uint64_t hash_number(uint64_t i)
{
	return glb_siphash24((const uint8_t *)"an-arbitrary-key", &i, sizeof(i));
}

/* The directors `from`, `from` + 1, …, round; the first of them is this one. */
static bool set(struct glb_peers *peers, unsigned from, unsigned count)
{
	struct glb_addr addrs[GLB_PEERS_MAX];

	for (unsigned i = 0; i < count; i++)
		addrs[i] = director((from + i) % count);
	return glb_peers_set(peers, addrs, count, &addrs[0], &nobody, NULL) == 0;
}

static void each_gets_its_share(void)
{
	unsigned got[DIRECTORS] = {0};
	struct glb_peers peers;

	CHECK(set(&peers, 0, DIRECTORS));
	for (uint64_t i = 0; i < HASHES; i++)
		got[glb_peers_choose(&peers, hash_number(i))]++;
	for (unsigned i = 0; i < DIRECTORS; i++)
		CHECK(got[i] > HASHES / DIRECTORS * 95 / 100 && got[i] < HASHES / DIRECTORS * 105 / 100);
}

static void order_does_not_matter(void)
{
	struct glb_peers first, other;

	CHECK(set(&first, 0, DIRECTORS));
	for (unsigned from = 1; from < DIRECTORS; from++) {
		CHECK(set(&other, from, DIRECTORS));
		CHECK(glb_addr_equal(&other.of[other.own].addr, &other.of[0].addr));
		for (uint64_t i = 0; i < 2000; i++)
			CHECK(glb_addr_equal(&first.of[glb_peers_choose(&first, hash_number(i))].addr,
					     &other.of[glb_peers_choose(&other, hash_number(i))].addr));
	}
}

static void one_that_leaves_moves_its_own_alone(void)
{
	struct glb_peers all, left;
	unsigned moved = 0;

	CHECK(set(&all, 0, DIRECTORS) && set(&left, 0, DIRECTORS - 1));
	for (uint64_t i = 0; i < HASHES; i++) {
		const uint32_t before = glb_peers_choose(&all, hash_number(i)), after = glb_peers_choose(&left, hash_number(i));

		CHECK(before == after || before == DIRECTORS - 1);
		moved += before != after;
	}
	CHECK(moved > HASHES / DIRECTORS * 95 / 100 && moved < HASHES / DIRECTORS * 105 / 100);
}

static bool refused(const struct glb_addr *addrs, uint32_t count, const char *words)
{
	const struct glb_addr own = director(0), own_v6 = make_v6(1);
	struct glb_error error = {.code = 0};
	struct glb_peers peers;

	return glb_peers_set(&peers, addrs, count, &own, &own_v6, &error) == -EINVAL && strstr(error.text, words) != NULL;
}

static void lists_that_are_refused(void)
{
	const struct glb_addr twice[] = {director(0), director(1), director(1)}, mixed[] = {director(0), make_v6(2)};
	const struct glb_addr others[] = {director(1), director(2)}, others_v6[] = {make_v6(2), make_v6(3)};
	static struct glb_addr many[GLB_PEERS_MAX + 1];

	for (unsigned i = 0; i <= GLB_PEERS_MAX; i++)
		many[i] = director(i);
	CHECK(refused(twice, 3, "10.0.0.3 is there twice"));
	CHECK(refused(mixed, 2, "by its address of one of them"));
	CHECK(refused(others, 2, "outer_source_v4"));
	CHECK(refused(others_v6, 2, "outer_source_v6"));
	CHECK(refused(many, 1, "2 to 64"));
	CHECK(refused(many, GLB_PEERS_MAX + 1, "2 to 64"));
	CHECK(!refused(many, GLB_PEERS_MAX, ""));
}

int main(void)
{
	static const struct check_case cases[] = {
		{"each gets its share", each_gets_its_share},
		{"order does not matter", order_does_not_matter},
		{"one that leaves moves its own alone", one_that_leaves_moves_its_own_alone},
		{"lists that are refused", lists_that_are_refused},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
