/* Roles to lcores, and lcores to CPUs (layout.h). Only text: EAL makes and pins the threads. */
#include "layout.h"
#include "layout_text.h"

#include <errno.h>

static void add_role(struct layout *layout, enum layout_role role, unsigned count, const int64_t *cpus, unsigned listed)
{
	for (unsigned i = 0; i < count; i++)
		layout->lcores[layout->count++] =
			(struct layout_lcore){.role = role, .index = i, .cpu = listed != 0 ? cpus[i] : -1};
}

void layout_plan(const struct config *config, struct layout *layout)
{
	layout->count = 0;
	add_role(layout, LAYOUT_MAIN, 1, &config->main_lcore, 1);
	add_role(layout, LAYOUT_WORKER, config->workers != 0 ? (unsigned)config->workers : 1, config->worker_lcores,
		 config->worker_lcore_count);
	if (config->run_model != CONFIG_PIPELINE)
		return;
	add_role(layout, LAYOUT_RECEIVER, (unsigned)config->receivers, config->receiver_lcores,
		 config->receiver_lcore_count);
	if (!config->receivers_send)
		add_role(layout, LAYOUT_SENDER, (unsigned)config->senders, config->sender_lcores, config->sender_lcore_count);
}

void layout_print_cpus(const cpu_set_t *set, char *out, size_t len)
{
	out[0] = '\0';
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		int last = cpu;

		if (!CPU_ISSET(cpu, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
			last++;
		layout_append(out, len, last > cpu ? "%s%d-%d" : "%s%d", out[0] != '\0' ? "," : "", cpu, last);
		cpu = last;
	}
}

int layout_check(const struct layout *layout, const cpu_set_t *allowed, struct glb_error *error)
{
	static const char *const keys[] = {
		[LAYOUT_MAIN] = "eal.main_lcore", [LAYOUT_WORKER] = "eal.worker_lcores",
		[LAYOUT_RECEIVER] = "eal.receiver_lcores", [LAYOUT_SENDER] = "eal.sender_lcores",
	};
	char cpus[CPU_SETSIZE * 5];

	layout_print_cpus(allowed, cpus, sizeof(cpus));
	for (unsigned i = 0; i < layout->count; i++) {
		const int64_t cpu = layout->lcores[i].cpu;

		if (cpu >= CPU_SETSIZE || (cpu >= 0 && !CPU_ISSET((size_t)cpu, allowed)))
			return glb_error_set(error, -EINVAL, "%s: CPU %d is not there; this process may use %.100s",
					     keys[layout->lcores[i].role], (int)cpu, cpus);
	}
	return 0;
}

int layout_lcores(const struct config *config, const cpu_set_t *allowed, char *out, size_t len,
		  struct glb_error *error)
{
	char cpus[CPU_SETSIZE * 5];
	struct layout layout;
	bool fits = true;
	int ret;

	layout_plan(config, &layout);
	ret = layout_check(&layout, allowed, error);
	if (ret != 0)
		return ret;
	layout_print_cpus(allowed, cpus, sizeof(cpus));
	out[0] = '\0';
	for (unsigned i = 0; i < layout.count && fits; i++) {
		const char *comma = i != 0 ? "," : "";

		if (layout.lcores[i].cpu >= 0)
			fits = layout_append(out, len, "%s%u@%d", comma, i, (int)layout.lcores[i].cpu);
		else
			fits = layout_append(out, len, "%s%u@(%s)", comma, i, cpus);
	}
	return fits ? 0 : glb_error_set(error, -ENOSPC, "lcores: too many CPUs to describe");
}
