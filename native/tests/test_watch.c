/* When a thread is called stuck, and when it is not. */
#include "check.h"

#include "watch.h"

#include <string.h>

enum { MS = 1000000 };

static void a_beating_heart_is_well(void)
{
	struct watch watch = {0};

	for (unsigned i = 1; i < 100; i++)
		CHECK(watch_look(&watch, i, (uint64_t)i * 1000 * MS, 't') == WATCH_WELL);
}

/* Runnable and not run: whoever took the core, the thread can do nothing about it. */
static void a_stolen_core_is_not_stuck(void)
{
	struct watch watch = {0};

	watch_look(&watch, 7, 50 * MS, 'S');
	for (unsigned i = 0; i < 1000; i++)
		CHECK(watch_look(&watch, 7, 50 * MS, 'R') == WATCH_WELL);
}

/* Little by little, on a core that it hardly gets: only its own clock counts. */
static void spinning_counts_in_its_own_time(void)
{
	struct watch watch = {0};
	uint64_t cpu = 50 * MS;

	watch_look(&watch, 7, cpu, 'S');
	for (unsigned i = 0; i < 79; i++)
		CHECK(watch_look(&watch, 7, cpu += MS, 'R') == WATCH_WELL);
	CHECK(watch_look(&watch, 7, cpu += MS, 'R') == WATCH_SPINS);
	CHECK(watch_look(&watch, 7, cpu, 'R') == WATCH_SPINS);
	CHECK(watch_look(&watch, 8, cpu, 'R') == WATCH_WELL);
}

static void stopped_is_noticed_within_100_ms(void)
{
	static const char states[] = {'t', 'T', 'D', 'S'};

	for (unsigned s = 0; s < sizeof(states); s++) {
		struct watch watch = {0};
		unsigned looks = 1; /* the first one may still see the last beat */

		watch_look(&watch, 7, 50 * MS, 'R');
		while (watch_look(&watch, 7, 50 * MS, states[s]) == WATCH_WELL && looks < 100)
			looks++;
		CHECK(watch.verdict == WATCH_STANDS);
		CHECK((looks + 1) * WATCH_EVERY_MS <= 100);
		CHECK(watch_look(&watch, 8, 50 * MS, 'R') == WATCH_WELL);
	}
}

/* It sleeps between polls: asleep at some looks, but its heart has beaten. */
static void one_sign_of_life_starts_the_count_again(void)
{
	struct watch watch = {0};

	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i + 1 < WATCH_LOOKS; i++)
			CHECK(watch_look(&watch, 7, 50 * MS, 'S') == WATCH_WELL);
		CHECK(watch_look(&watch, 7, 50 * MS, 'R') == WATCH_WELL);
	}
}

static void states_are_read_behind_any_name(void)
{
	CHECK(watch_parse_state("17 (rte-worker-1) t 1 2") == 't');
	CHECK(watch_parse_state("17 (a) R (b) S 1 2") == 'S');
	CHECK(watch_parse_state("") == '?');
	CHECK(watch_parse_state("17 (a)") == '?');
	CHECK(strcmp(watch_verdict_name(WATCH_SPINS), "spins") == 0);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"a beating heart is well", a_beating_heart_is_well},
		{"a stolen core is not stuck", a_stolen_core_is_not_stuck},
		{"spinning counts in its own time", spinning_counts_in_its_own_time},
		{"stopped is noticed within 100 ms", stopped_is_noticed_within_100_ms},
		{"one sign of life starts the count again", one_sign_of_life_starts_the_count_again},
		{"states are read behind any name", states_are_read_behind_any_name},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
