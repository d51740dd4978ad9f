/* Lcores to CPUs (layout.h). Only text: EAL makes and pins the threads. */
#include "layout.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool append(char *out, size_t len, const char *format, ...) __attribute__((format(printf, 3, 4)));

static bool append(char *out, size_t len, const char *format, ...)
{
	size_t used = strlen(out);
	va_list args;
	int added;

	va_start(args, format);
	added = vsnprintf(out + used, len - used, format, args);
	va_end(args);
	return added >= 0 && (size_t)added < len - used;
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
		append(out, len, last > cpu ? "%s%d-%d" : "%s%d", out[0] != '\0' ? "," : "", cpu, last);
		cpu = last;
	}
}

/* One lcore: "N@CPU", or "N@(CPUS)" when it floats (cpu < 0). */
static int add_lcore(unsigned lcore, int64_t cpu, const char *key, const cpu_set_t *allowed, char *out, size_t len,
		     struct glb_error *error)
{
	char cpus[CPU_SETSIZE * 5];
	bool fits;

	layout_print_cpus(allowed, cpus, sizeof(cpus));
	if (cpu >= CPU_SETSIZE || (cpu >= 0 && !CPU_ISSET((size_t)cpu, allowed)))
		return glb_error_set(error, -EINVAL, "%s: CPU %d is not there; this process may use %.100s", key,
				     (int)cpu, cpus);
	if (cpu >= 0)
		fits = append(out, len, "%s%u@%d", lcore != 0 ? "," : "", lcore, (int)cpu);
	else
		fits = append(out, len, "%s%u@(%s)", lcore != 0 ? "," : "", lcore, cpus);
	return fits ? 0 : glb_error_set(error, -ENOSPC, "%s: too many CPUs to describe", key);
}

int layout_lcores(const struct config *config, const cpu_set_t *allowed, char *out, size_t len,
		  struct glb_error *error)
{
	unsigned workers = config->workers != 0 ? (unsigned)config->workers : 1;
	int ret;

	out[0] = '\0';
	ret = add_lcore(0, config->main_lcore, "eal.main_lcore", allowed, out, len, error);
	for (unsigned i = 0; i < workers && ret == 0; i++)
		ret = add_lcore(i + 1, config->worker_lcore_count != 0 ? config->worker_lcores[i] : -1,
				"eal.worker_lcores", allowed, out, len, error);
	return ret;
}
