/* A test program is a list of cases; this runs them and speaks TAP.
 *
 * CHECK() records a failure and returns from the case; a case without any CHECK that ran fails, too.
 */
#ifndef GLB_CHECK_H
#define GLB_CHECK_H

#include <stdbool.h>
#include <stdio.h>

struct check_case {
	const char *name;
	void (*run)(void);
};

static bool check_failed;
static unsigned long check_done;

#define CHECK(condition)                                                                 \
	do {                                                                             \
		check_done++;                                                            \
		if (!(condition)) {                                                      \
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition);         \
			check_failed = true;                                             \
			return;                                                          \
		}                                                                        \
	} while (0)

static inline int check_run(const struct check_case *cases, unsigned n)
{
	bool any_failed = false;

	setvbuf(stdout, NULL, _IOLBF, 0); /* what was said stays said when a sanitizer ends us */
	printf("1..%u\n", n);
	for (unsigned i = 0; i < n; i++) {
		check_failed = false;
		check_done = 0;
		cases[i].run();
		if (check_done == 0)
			check_failed = true;
		printf("%s %u - %s\n", check_failed ? "not ok" : "ok", i + 1, cases[i].name);
		any_failed |= check_failed;
	}
	return any_failed;
}

#endif
