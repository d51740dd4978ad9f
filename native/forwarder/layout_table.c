/* The layout as a table for people: `glb-forwarder --show-layout` (layout_print() of layout.h). */
#include "layout_text.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
	NODES_MAX = 64,
	WORDS = 64, /* bytes of a column */
};

static const char *const roles[] = {
	[LAYOUT_MAIN] = "main", [LAYOUT_WORKER] = "worker", [LAYOUT_RECEIVER] = "receiver", [LAYOUT_SENDER] = "sender",
};

int layout_node_of_cpu(int cpu)
{
	char path[80];

	for (int node = 0; node < NODES_MAX; node++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/node%d", cpu, node);
		if (access(path, F_OK) == 0)
			return node;
	}
	return -1;
}

/* "worker 3", "workers 0-3". */
static void print_range(char *out, size_t len, const char *role, unsigned first, unsigned last)
{
	if (first == last)
		snprintf(out, len, "%s %u", role, first);
	else
		snprintf(out, len, "%ss %u-%u", role, first, last);
}

/* What a receiver that also sends takes besides, and where to. */
static void print_sends(unsigned queue, unsigned first, unsigned last, char *from, char *to)
{
	char workers[WORDS / 2];

	print_range(workers, sizeof(workers), "worker", first, last);
	snprintf(from + strlen(from), WORDS - strlen(from), ", %s", workers);
	snprintf(to + strlen(to), WORDS - strlen(to), ", tx queue %u", queue);
}

static void print_work(const struct config *config, const struct layout_lcore *lcore, char *from, char *to)
{
	const unsigned workers = config->workers != 0 ? (unsigned)config->workers : 1;
	const unsigned receivers = (unsigned)config->receivers, senders = (unsigned)config->senders;

	snprintf(from, WORDS, "rx queue %u", lcore->index);
	snprintf(to, WORDS, "tx queue %u", lcore->index);
	switch (lcore->role) {
	case LAYOUT_MAIN:
		snprintf(from, WORDS, "control socket");
		snprintf(to, WORDS, "-");
		break;
	case LAYOUT_WORKER:
		if (config->run_model != CONFIG_PIPELINE)
			break;
		print_range(from, WORDS, "receiver", 0, receivers - 1);
		if (senders == 0)
			break;
		print_range(to, WORDS, config->receivers_send ? "receiver" : "sender", layout_sender_of(lcore->index, workers, senders),
			    layout_sender_of(lcore->index, workers, senders));
		break;
	case LAYOUT_RECEIVER:
		print_range(to, WORDS, "worker", 0, workers - 1);
		if (config->receivers_send)
			print_sends(lcore->index, layout_first_worker(lcore->index, workers, senders),
				    layout_first_worker(lcore->index + 1, workers, senders) - 1, from, to);
		break;
	case LAYOUT_SENDER:
		print_range(from, WORDS, "worker", layout_first_worker(lcore->index, workers, senders),
			    layout_first_worker(lcore->index + 1, workers, senders) - 1);
		break;
	}
}

int layout_print(const struct config *config, const cpu_set_t *allowed, int (*node_of)(int cpu), char *out, size_t len,
		 struct glb_error *error)
{
	char cpus[CPU_SETSIZE * 5], from[WORDS], to[WORDS], cpu[16], node[16], role[24];
	struct layout layout;
	bool fits;
	int ret;

	layout_plan(config, &layout);
	ret = layout_check(&layout, allowed, error);
	if (ret != 0)
		return ret;
	layout_print_cpus(allowed, cpus, sizeof(cpus));
	out[0] = '\0';
	fits = layout_append(out, len, "%5s  %-12s %-8s %-5s %-16s %s\n", "lcore", "role", "CPU", "node", "takes from",
			     "passes to");
	for (unsigned i = 0; i < layout.count && fits; i++) {
		const struct layout_lcore *lcore = &layout.lcores[i];
		const int at = lcore->cpu >= 0 ? node_of((int)lcore->cpu) : -1;

		snprintf(cpu, sizeof(cpu), "%d", (int)lcore->cpu);
		snprintf(node, sizeof(node), "%d", at);
		snprintf(role, sizeof(role), lcore->role == LAYOUT_MAIN ? "%s" : "%s %u", roles[lcore->role],
			 lcore->index);
		print_work(config, lcore, from, to);
		fits = layout_append(out, len, "%5u  %-12s %-8s %-5s %-16s %s\n", i, role, lcore->cpu >= 0 ? cpu : cpus,
				     at >= 0 ? node : "-", from, to);
	}
	return fits ? 0 : glb_error_set(error, -ENOSPC, "too many CPUs to describe");
}
