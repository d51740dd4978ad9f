/* The fragment table: who follows, who waits, who is lost, and when it forgets; the clock is the test's. */
#include "check.h"

#include <glb/fragments.h>

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { DATAGRAMS = 64, SLOTS = 64, TIMEOUT = 2000, WAIT = 100, PIECE = 1480 };

struct table {
	struct glb_fragments f;
	void *memory;
};

static struct glb_fragments *open_table(struct table *t)
{
	t->memory = malloc(glb_fragments_bytes(DATAGRAMS, SLOTS));
	glb_fragments_init(&t->f, t->memory, DATAGRAMS, SLOTS, (const uint8_t *)"an-arbitrary-key", TIMEOUT, WAIT);
	return &t->f;
}

static void close_table(struct table *t)
{
	free(t->memory);
}

/* Bytes [from, to) of datagram `id`. */
static struct glb_fragment piece(uint32_t id, uint32_t from, uint32_t to, bool more)
{
	return (struct glb_fragment){
		.src = {192, 0, 2, 7}, .dst = {203, 0, 113, 10}, .id = id, .family = GLB_FAMILY_V4, .protocol = 17, .more = more,
		.offset = from, .len = to - from, .header_len = 20,
	};
}

static enum glb_reason first(struct glb_fragments *f, uint32_t id, uint32_t len, uint64_t now)
{
	const struct glb_fragment_first said = {.sport = (uint16_t)id, .dport = 53, .kind = 2, .taken = 1};
	const struct glb_fragment fragment = piece(id, 0, len, true);
	uint32_t place;

	glb_fragments_tidy(f);
	return glb_fragments_first(f, &fragment, &said, now, &place);
}

enum { WAITS = -1, NO_ROOM = -2 };

/* A later one: WAITS, NO_ROOM, or its reason; one that waits is given `buffer`. */
static int later(struct glb_fragments *f, struct glb_fragment fragment, uint64_t now, void *buffer)
{
	enum glb_reason reason;
	uint32_t place;

	glb_fragments_tidy(f);
	reason = glb_fragments_later(f, &fragment, false, now, &place);
	if (reason == GLB_REASON_FORWARDED && glb_fragments_must_wait(f, place))
		return glb_fragments_wait(f, place, buffer, 3) ? WAITS : NO_ROOM;
	return (int)reason;
}

static int remembered(const struct glb_fragments *f)
{
	return (int)(f->count[0] + f->count[1]);
}

static void later_ones_follow_the_first(void)
{
	struct table t;
	struct glb_fragments *f = open_table(&t);
	const struct glb_fragment second = piece(7, PIECE, 2 * PIECE, true);
	uint32_t place;

	CHECK(first(f, 7, PIECE, 0) == GLB_REASON_FORWARDED && remembered(f) == 1);
	CHECK(glb_fragments_later(f, &second, false, 1, &place) == GLB_REASON_FORWARDED && !glb_fragments_must_wait(f, place));
	CHECK(glb_fragments_said(f, place)->sport == 7 && glb_fragments_said(f, place)->dport == 53);
	CHECK(later(f, piece(7, 2 * PIECE, 2 * PIECE + 100, false), 2, NULL) == GLB_REASON_FORWARDED);
	CHECK(remembered(f) == 0); /* complete */
	CHECK(first(f, 7, PIECE, 3) == GLB_REASON_FORWARDED); /* so the identification can be used again */
	close_table(&t);
}

/* Everything that makes a datagram another one does. */
static void datagrams_are_told_apart(void)
{
	struct table t;
	struct glb_fragments *f = open_table(&t);
	struct glb_fragment other[5];

	for (unsigned i = 0; i < COUNT(other); i++)
		other[i] = piece(7, PIECE, 2 * PIECE, true);
	other[0].id++;
	other[1].src[3]++;
	other[2].dst[3]++;
	other[3].protocol = 6;
	other[4].family = GLB_FAMILY_V6;
	CHECK(first(f, 7, PIECE, 0) == GLB_REASON_FORWARDED);
	for (unsigned i = 0; i < COUNT(other); i++)
		CHECK(later(f, other[i], 0, NULL) == WAITS);
	CHECK(remembered(f) == 6 && f->waiting == 5);
	close_table(&t);
}

static void early_ones_are_released_in_order(void)
{
	struct glb_fragment_slot slot[4];
	int marks[4];
	struct table t;
	struct glb_fragments *f = open_table(&t);

	CHECK(later(f, piece(1, 2 * PIECE, 3 * PIECE, false), 0, &marks[0]) == WAITS);
	CHECK(later(f, piece(1, PIECE, 2 * PIECE, true), 1, &marks[1]) == WAITS);
	CHECK(later(f, piece(2, PIECE, 2 * PIECE, false), 1, &marks[2]) == WAITS);
	CHECK(glb_fragments_release(f, slot, 4) == 0);
	CHECK(first(f, 1, PIECE, 2) == GLB_REASON_FORWARDED);
	/* One that comes before they have been released is not to overtake them. */
	CHECK(later(f, piece(1, 3 * PIECE, 4 * PIECE, true), 2, &marks[3]) == WAITS);
	CHECK(glb_fragments_release(f, slot, 2) == 2);
	CHECK(slot[0].buffer == &marks[0] && slot[0].tag == 3 && slot[1].buffer == &marks[1]);
	CHECK(later(f, piece(1, 2 * PIECE, 3 * PIECE, false), 2, NULL) == GLB_REASON_FORWARDED);
	CHECK(glb_fragments_release(f, slot, 4) == 1 && slot[0].buffer == &marks[3]);
	CHECK(later(f, piece(1, PIECE, 2 * PIECE, true), 2, NULL) == GLB_REASON_FORWARDED);
	CHECK(f->waiting == 1 && remembered(f) == 1); /* datagram 2 */
	close_table(&t);
}

static unsigned lost(struct glb_fragments *f, enum glb_reason reason)
{
	struct glb_fragment_slot slot;
	unsigned n = 0;

	while (glb_fragments_lost(f, &slot))
		n += slot.reason == (uint32_t)reason;
	return n;
}

static void nobody_waits_longer_than_that(void)
{
	struct table t;
	struct glb_fragments *f = open_table(&t);

	CHECK(later(f, piece(1, PIECE, 2 * PIECE, true), 10, NULL) == WAITS);
	CHECK(later(f, piece(1, 2 * PIECE, 3 * PIECE, true), 50, NULL) == WAITS);
	CHECK(first(f, 2, PIECE, 60) == GLB_REASON_FORWARDED);
	glb_fragments_expire(f, 10 + WAIT - 1);
	CHECK(lost(f, GLB_REASON_FRAGMENT_TIMEOUT) == 0 && remembered(f) == 2);
	glb_fragments_expire(f, 10 + WAIT);
	CHECK(lost(f, GLB_REASON_FRAGMENT_TIMEOUT) == 2 && remembered(f) == 1 && f->waiting == 0);
	glb_fragments_expire(f, 60 + TIMEOUT - 1);
	CHECK(later(f, piece(2, PIECE, 2 * PIECE, true), 60 + TIMEOUT - 1, NULL) == GLB_REASON_FORWARDED);
	glb_fragments_expire(f, 60 + TIMEOUT);
	CHECK(later(f, piece(2, 2 * PIECE, 3 * PIECE, true), 60 + TIMEOUT, NULL) == WAITS);
	glb_fragments_flush(f);
	CHECK(lost(f, GLB_REASON_FRAGMENT_TIMEOUT) == 1 && remembered(f) == 0);
	close_table(&t);
}

/* The second time no byte goes by; a datagram in which versions differ is over. */
static void no_byte_goes_by_twice(void)
{
	static const struct { uint32_t from, to; bool more; enum glb_reason again; } wrong[] = {
		{8, 16, true, GLB_REASON_FORWARDED},             /* the same once more: no harm */
		{0, 8, true, GLB_REASON_FORWARDED},
		{0, PIECE + 8, true, GLB_REASON_FRAGMENT_OVERLAP},
		{PIECE - 8, PIECE + 8, true, GLB_REASON_FRAGMENT_OVERLAP},
		{PIECE - 16, PIECE + 3, false, GLB_REASON_FRAGMENT_OVERLAP},
	};

	for (unsigned i = 0; i < COUNT(wrong); i++) {
		struct table t;
		struct glb_fragments *f = open_table(&t);

		CHECK(first(f, 1, PIECE, 0) == GLB_REASON_FORWARDED);
		CHECK(later(f, piece(1, wrong[i].from, wrong[i].to, wrong[i].more), 0, NULL) == GLB_REASON_FRAGMENT_OVERLAP);
		CHECK(later(f, piece(1, 2 * PIECE, 3 * PIECE, true), 0, NULL) == (int)wrong[i].again);
		CHECK(remembered(f) == 1);
		close_table(&t);
	}
}

static void a_datagram_has_one_end(void)
{
	struct table t;
	struct glb_fragments *f = open_table(&t);

	CHECK(first(f, 1, PIECE, 0) == GLB_REASON_FORWARDED);
	CHECK(later(f, piece(1, 2 * PIECE, 3 * PIECE, false), 0, NULL) == GLB_REASON_FORWARDED);
	CHECK(later(f, piece(1, 3 * PIECE, 4 * PIECE, true), 0, NULL) == GLB_REASON_FRAGMENT_OVERLAP);
	CHECK(later(f, piece(1, PIECE, 2 * PIECE, true), 0, NULL) == GLB_REASON_FRAGMENT_OVERLAP);
	CHECK(first(f, 2, PIECE, 0) == GLB_REASON_FORWARDED);
	CHECK(later(f, piece(2, 3 * PIECE, 4 * PIECE, true), 0, NULL) == GLB_REASON_FORWARDED);
	CHECK(later(f, piece(2, 2 * PIECE, 3 * PIECE, false), 0, NULL) == GLB_REASON_FRAGMENT_OVERLAP);
	close_table(&t);
}

static void what_is_wrong_by_itself(void)
{
	struct glb_fragment tcp = piece(1, 8, 16, true), far = piece(1, 65512, 65515, false);

	CHECK(glb_fragment_check(&tcp) == GLB_REASON_FORWARDED);
	tcp.tcp = 1;
	CHECK(glb_fragment_check(&tcp) == GLB_REASON_FRAGMENT_TINY);
	tcp.offset = 16;
	CHECK(glb_fragment_check(&tcp) == GLB_REASON_FRAGMENT_TINY);
	tcp.offset = 24;
	CHECK(glb_fragment_check(&tcp) == GLB_REASON_FORWARDED);
	tcp.len = 7;
	CHECK(glb_fragment_check(&tcp) == GLB_REASON_FRAGMENT_BAD_LENGTH);
	tcp.len = 0;
	CHECK(glb_fragment_check(&tcp) == GLB_REASON_FRAGMENT_BAD_LENGTH);
	CHECK(glb_fragment_check(&far) == GLB_REASON_FORWARDED); /* 65535 with its header */
	far.len++;
	CHECK(glb_fragment_check(&far) == GLB_REASON_FRAGMENT_ENDLESS);
	far.header_len = 0;
	far.len = 23;
	CHECK(glb_fragment_check(&far) == GLB_REASON_FORWARDED);
	far.len++;
	CHECK(glb_fragment_check(&far) == GLB_REASON_FRAGMENT_ENDLESS);
}

/* The longest datagram in the smallest pieces. */
static void eight_bytes_at_a_time(void)
{
	struct table t;
	struct glb_fragments *f = open_table(&t);

	CHECK(first(f, 1, 8, 0) == GLB_REASON_FORWARDED);
	for (uint32_t at = 65504; at > 0; at -= 8)
		CHECK(later(f, piece(1, at, at == 65504 ? 65515 - 8 : at + 8, at != 65504), 0, NULL) == GLB_REASON_FORWARDED);
	CHECK(remembered(f) == 0);
	close_table(&t);
}

/* A flood of either kind only pushes out its own. */
static void floods_do_the_other_kind_no_harm(void)
{
	struct table t;
	struct glb_fragments *f = open_table(&t);
	struct glb_fragment_slot slot;
	int mark;

	CHECK(first(f, 1, PIECE, 0) == GLB_REASON_FORWARDED);
	CHECK(later(f, piece(2, PIECE, 2 * PIECE, true), 0, &mark) == WAITS);
	for (uint32_t id = 1000; id < 1000 + DATAGRAMS - 1; id++)
		CHECK(first(f, id, PIECE, 0) == GLB_REASON_FORWARDED);
	CHECK(f->waiting == 1 && later(f, piece(1, PIECE, 2 * PIECE, true), 0, NULL) == GLB_REASON_FORWARDED);
	for (uint32_t id = 2000; id < 2000 + 5 * SLOTS; id++) {
		const int came = later(f, piece(id, PIECE, 2 * PIECE, true), 0, &mark);

		CHECK(came == WAITS || (came == NO_ROOM && lost(f, GLB_REASON_FRAGMENT_NO_ROOM) >= 1));
		CHECK(came == WAITS || later(f, piece(id, PIECE, 2 * PIECE, true), 0, &mark) == WAITS);
	}
	while (glb_fragments_lost(f, &slot))
		;
	CHECK(f->waiting == SLOTS && f->count[1] == SLOTS && f->count[0] == DATAGRAMS);
	CHECK(later(f, piece(1, 2 * PIECE, 3 * PIECE, true), 0, NULL) == GLB_REASON_FORWARDED);
	CHECK(first(f, 3000, PIECE, 0) == GLB_REASON_FORWARDED && f->count[0] == DATAGRAMS); /* the oldest one goes */
	CHECK(later(f, piece(1, 3 * PIECE, 4 * PIECE, true), 0, NULL) < 0);
	close_table(&t);
}

static void one_datagram_does_not_take_all_the_room(void)
{
	uint32_t more = 2 * SLOTS;
	struct table t;
	struct glb_fragments *f = &t.f;

	t.memory = malloc(glb_fragments_bytes(DATAGRAMS, more));
	glb_fragments_init(f, t.memory, DATAGRAMS, more, (const uint8_t *)"an-arbitrary-key", TIMEOUT, WAIT);
	for (uint32_t i = 0; i < GLB_FRAGMENTS_OF_DATAGRAM_MAX; i++)
		CHECK(later(f, piece(1, 8 + 8 * i, 16 + 8 * i, true), 0, NULL) == WAITS);
	CHECK(later(f, piece(1, 8000, 8008, true), 0, NULL) == NO_ROOM);
	CHECK(later(f, piece(2, 8000, 8008, true), 0, NULL) == WAITS);
	CHECK(lost(f, GLB_REASON_FRAGMENT_NO_ROOM) == 0);
	close_table(&t);
}

static void nobody_waits_for_one_that_was_not_taken(void)
{
	const struct glb_fragment_first said = {.kind = 0};
	const struct glb_fragment fragment = piece(1, 0, PIECE, true);
	struct glb_fragment_slot slot[2];
	struct table t;
	struct glb_fragments *f = open_table(&t);
	uint32_t place;

	CHECK(later(f, piece(1, PIECE, 2 * PIECE, true), 0, NULL) == WAITS);
	CHECK(glb_fragments_first(f, &fragment, &said, 1, &place) == GLB_REASON_FORWARDED);
	CHECK(glb_fragments_release(f, slot, 2) == 1);
	CHECK(later(f, piece(1, 2 * PIECE, 3 * PIECE, true), 2, NULL) == GLB_REASON_LATER_FRAGMENT);
	CHECK(first(f, 1, PIECE, 3) == GLB_REASON_FRAGMENT_OVERLAP); /* another first one changes nothing */
	CHECK(later(f, piece(1, 2 * PIECE, 3 * PIECE, true), 2, NULL) == GLB_REASON_LATER_FRAGMENT);
	close_table(&t);
}

static void who_goes_alone_is_watched_too(void)
{
	const struct glb_fragment second = piece(1, PIECE, 2 * PIECE, true), overlapping = piece(1, PIECE + 8, 3 * PIECE, true);
	struct table t;
	struct glb_fragments *f = open_table(&t);
	uint32_t place;

	CHECK(glb_fragments_later(f, &second, true, 0, &place) == GLB_REASON_FORWARDED && !glb_fragments_must_wait(f, place));
	CHECK(first(f, 1, PIECE, 1) == GLB_REASON_FORWARDED && glb_fragments_said(f, place)->sport == 1);
	CHECK(glb_fragments_later(f, &overlapping, true, 2, &place) == GLB_REASON_FRAGMENT_OVERLAP);
	close_table(&t);
}

/* Anything at all, for as long as that takes: the table stays whole, and no buffer is lost or given back twice. */
static void buffers_are_given_back_once(void)
{
	enum { STEPS = 200000 };
	static uint8_t held[STEPS];
	struct glb_fragment_slot slot[8];
	struct table t;
	struct glb_fragments *f = open_table(&t);
	uint64_t state = 42, now = 0;
	unsigned waits = 0, back = 0;

	memset(held, 0, sizeof(held));
	for (unsigned step = 0; step < STEPS; step++) {
		uint32_t id, at, n;

		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		id = (uint32_t)(state >> 33) % 200;
		at = (uint32_t)(state >> 45) % 6;
		now += (uint32_t)(state >> 50) % 3;
		if (at == 0)
			first(f, id, 16, now);
		else if (later(f, piece(id, at * 16, at * 16 + 16, at != 5), now, &held[step]) == WAITS)
			held[step] = 1, waits++;
		n = (uint32_t)(state >> 60) < 8 ? glb_fragments_release(f, slot, 8) : 0;
		if ((state >> 40) % 4 == 0) {
			glb_fragments_expire(f, now);
			while (n < 8 && glb_fragments_lost(f, &slot[n]))
				n++;
		}
		for (uint32_t i = 0; i < n; i++, back++)
			CHECK((*(uint8_t *)slot[i].buffer)-- == 1);
	}
	CHECK(waits > STEPS / 20 && back + f->waiting == waits && f->waiting <= SLOTS);
	close_table(&t);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"later ones follow the first", later_ones_follow_the_first},
		{"datagrams are told apart", datagrams_are_told_apart},
		{"early ones are released in order", early_ones_are_released_in_order},
		{"nobody waits longer than that", nobody_waits_longer_than_that},
		{"no byte goes by twice", no_byte_goes_by_twice},
		{"a datagram has one end", a_datagram_has_one_end},
		{"what is wrong by itself", what_is_wrong_by_itself},
		{"eight bytes at a time", eight_bytes_at_a_time},
		{"floods do the other kind no harm", floods_do_the_other_kind_no_harm},
		{"one datagram does not take all the room", one_datagram_does_not_take_all_the_room},
		{"nobody waits for one that was not taken", nobody_waits_for_one_that_was_not_taken},
		{"who goes alone is watched, too", who_goes_alone_is_watched_too},
		{"buffers are given back once", buffers_are_given_back_once},
	};

	return check_run(cases, COUNT(cases));
}
