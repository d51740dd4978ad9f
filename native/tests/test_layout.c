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

static struct config pipeline(unsigned workers, unsigned receivers, unsigned senders)
{
	return (struct config){.main_lcore = -1, .run_model = CONFIG_PIPELINE, .workers = workers,
			       .receivers = receivers, .senders = senders};
}

static void pipelines_have_three_kinds(void)
{
	const int list[] = {0, 1, 2, 3, 4};
	const cpu_set_t allowed = cpus(list, 5);
	struct config config = pipeline(2, 1, 2);
	struct glb_error error;
	char text[256];

	config.receiver_lcores[0] = 1;
	config.receiver_lcore_count = 1;
	CHECK(layout_lcores(&config, &allowed, text, sizeof(text), NULL) == 0);
	CHECK(strcmp(text, "0@(0-4),1@(0-4),2@(0-4),3@1,4@(0-4),5@(0-4)") == 0);
	config.receiver_lcores[0] = 9;
	CHECK(layout_lcores(&config, &allowed, text, sizeof(text), &error) == -EINVAL);
	CHECK(strstr(error.text, "eal.receiver_lcores: CPU 9 is not there") != NULL);
}

/* Every number of workers and senders: each worker has one sender, each sender has workers, and shares are even. */
static void senders_share_workers(void)
{
	for (unsigned workers = 1; workers <= CONFIG_WORKERS_MAX; workers++) {
		for (unsigned senders = 1; senders <= CONFIG_SENDERS_MAX && senders <= workers; senders++) {
			CHECK(layout_first_worker(0, workers, senders) == 0);
			CHECK(layout_first_worker(senders, workers, senders) == workers);
			for (unsigned s = 0; s < senders; s++) {
				const unsigned first = layout_first_worker(s, workers, senders);
				const unsigned end = layout_first_worker(s + 1, workers, senders);

				CHECK(end - first >= workers / senders && end - first <= workers / senders + 1);
				for (unsigned w = first; w < end; w++)
					CHECK(layout_sender_of(w, workers, senders) == s);
			}
		}
	}
}

static void the_largest_fits(void)
{
	struct config config = pipeline(CONFIG_WORKERS_MAX, CONFIG_RECEIVERS_MAX, CONFIG_SENDERS_MAX);
	static char text[16384];
	struct layout layout;
	cpu_set_t allowed;

	CPU_ZERO(&allowed);
	for (size_t cpu = 0; cpu < 128; cpu += 2) /* the longest text: no ranges */
		CPU_SET(cpu, &allowed);
	for (unsigned i = 0; i < CONFIG_WORKERS_MAX; i++)
		config.worker_lcores[i] = 2 * i;
	config.worker_lcore_count = CONFIG_WORKERS_MAX;
	layout_plan(&config, &layout);
	CHECK(layout.count == LAYOUT_LCORES_MAX && layout.count == 97);
	CHECK(layout.lcores[0].role == LAYOUT_MAIN && layout.lcores[64].role == LAYOUT_WORKER);
	CHECK(layout.lcores[64].index == 63 && layout.lcores[64].cpu == 126);
	CHECK(layout.lcores[65].role == LAYOUT_RECEIVER && layout.lcores[96].role == LAYOUT_SENDER);
	CHECK(layout.lcores[96].index == 15 && layout.lcores[96].cpu == -1);
	CHECK(layout_lcores(&config, &allowed, text, sizeof(text), NULL) == 0);
	CHECK(strstr(text, ",64@126,65@(0,2,4,") != NULL);
}

static int node_of(int cpu)
{
	return cpu < 2 ? cpu : -1;
}

static void the_table_says_who_does_what(void)
{
	const int list[] = {0, 1, 2};
	const cpu_set_t allowed = cpus(list, 3);
	struct config config = pipeline(3, 2, 1);
	char text[2048];

	config.main_lcore = 1;
	CHECK(layout_print(&config, &allowed, node_of, text, sizeof(text), NULL) == 0);
	CHECK(strcmp(text, "lcore  role         CPU      node  takes from       passes to\n"
			   "    0  main         1        1     control socket   -\n"
			   "    1  worker 0     0-2      -     receivers 0-1    sender 0\n"
			   "    2  worker 1     0-2      -     receivers 0-1    sender 0\n"
			   "    3  worker 2     0-2      -     receivers 0-1    sender 0\n"
			   "    4  receiver 0   0-2      -     rx queue 0       workers 0-2\n"
			   "    5  receiver 1   0-2      -     rx queue 1       workers 0-2\n"
			   "    6  sender 0     0-2      -     workers 0-2      tx queue 0\n") == 0);
	config = pipeline(3, 2, 2);
	config.receivers_send = true;
	CHECK(layout_print(&config, &allowed, node_of, text, sizeof(text), NULL) == 0);
	CHECK(strcmp(text, "lcore  role         CPU      node  takes from       passes to\n"
			   "    0  main         0-2      -     control socket   -\n"
			   "    1  worker 0     0-2      -     receivers 0-1    receiver 0\n"
			   "    2  worker 1     0-2      -     receivers 0-1    receiver 0\n"
			   "    3  worker 2     0-2      -     receivers 0-1    receiver 1\n"
			   "    4  receiver 0   0-2      -     rx queue 0, workers 0-1 workers 0-2, tx queue 0\n"
			   "    5  receiver 1   0-2      -     rx queue 1, worker 2 workers 0-2, tx queue 1\n") == 0);
	config = (struct config){.main_lcore = 0, .worker_lcores = {2}, .worker_lcore_count = 1};
	CHECK(layout_print(&config, &allowed, node_of, text, sizeof(text), NULL) == 0);
	CHECK(strcmp(text, "lcore  role         CPU      node  takes from       passes to\n"
			   "    0  main         0        0     control socket   -\n"
			   "    1  worker 0     2        -     rx queue 0       tx queue 0\n") == 0);
	CHECK(layout_print(&config, &allowed, node_of, text, 100, NULL) == -ENOSPC);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"floats by default", floats_by_default},
		{"pins as told", pins_as_told},
		{"refuses missing CPUs", refuses_missing_cpus},
		{"pipelines have three kinds", pipelines_have_three_kinds},
		{"senders share workers", senders_share_workers},
		{"the largest fits", the_largest_fits},
		{"the table says who does what", the_table_says_who_does_what},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
