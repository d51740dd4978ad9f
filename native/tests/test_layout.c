/* Lcores to CPUs: the text that EAL gets. */
#include "check.h"

#include "layout.h"

#include <errno.h>
#include <string.h>

static cpu_set_t cpus(const int *list, unsigned n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (unsigned i = 0; i < n; i++)
		CPU_SET((size_t)list[i], &set);
	return set;
}

static const int two[] = {0, 1};

static void floats_by_default(void)
{
	const cpu_set_t allowed = cpus(two, 2);
	struct config config = {.main_lcore = -1};
	char text[256];

	CHECK(layout_lcores(&config, &allowed, text, sizeof(text), NULL) == 0);
	CHECK(strcmp(text, "0@(0-1),1@(0-1)") == 0);
	config.workers = 3;
	CHECK(layout_lcores(&config, &allowed, text, sizeof(text), NULL) == 0);
	CHECK(strcmp(text, "0@(0-1),1@(0-1),2@(0-1),3@(0-1)") == 0);
}

static void pins_as_told(void)
{
	const int list[] = {0, 2, 3, 4, 9};
	const cpu_set_t allowed = cpus(list, 5);
	struct config config = {.main_lcore = 0, .workers = 2, .worker_lcores = {9, 0}, .worker_lcore_count = 2};
	char text[256];

	CHECK(layout_lcores(&config, &allowed, text, sizeof(text), NULL) == 0);
	CHECK(strcmp(text, "0@0,1@9,2@0") == 0); /* shared with main */
	config.worker_lcore_count = 0;
	CHECK(layout_lcores(&config, &allowed, text, sizeof(text), NULL) == 0);
	CHECK(strcmp(text, "0@0,1@(0,2-4,9),2@(0,2-4,9)") == 0);
}

static void refuses_missing_cpus(void)
{
	const cpu_set_t allowed = cpus(two, 2);
	struct config config = {.main_lcore = 2, .workers = 1, .worker_lcores = {7}, .worker_lcore_count = 1};
	struct glb_error error;
	char text[256];

	CHECK(layout_lcores(&config, &allowed, text, sizeof(text), &error) == -EINVAL);
	CHECK(strcmp(error.text, "eal.main_lcore: CPU 2 is not there; this process may use 0-1") == 0);
	config.main_lcore = 0;
	CHECK(layout_lcores(&config, &allowed, text, sizeof(text), &error) == -EINVAL);
	CHECK(strstr(error.text, "eal.worker_lcores: CPU 7") != NULL);
	config.worker_lcores[0] = 1 << 20;
	CHECK(layout_lcores(&config, &allowed, text, sizeof(text), &error) == -EINVAL);
	config.worker_lcores[0] = 1;
	CHECK(layout_lcores(&config, &allowed, text, 5, &error) == -ENOSPC);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"floats by default", floats_by_default},
		{"pins as told", pins_as_told},
		{"refuses missing CPUs", refuses_missing_cpus},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
