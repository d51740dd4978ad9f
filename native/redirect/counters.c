/* What the program has counted: the reasons' names, and their sums over the CPUs. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include "tool.h"

const struct reason reasons[GLB_REDIRECT_REASON_COUNT] = {
#define REASON(id, name, text) {#name, text},
	GLB_REDIRECT_REASONS(REASON)
#undef REASON
};

int counters_read(int fd, uint64_t counters[GLB_REDIRECT_REASON_COUNT])
{
	int cpus = libbpf_num_possible_cpus(), err = 0;
	uint64_t *values;

	if (cpus < 1)
		return -EINVAL;
	values = calloc((size_t)cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (uint32_t key = 0; key < GLB_REDIRECT_REASON_COUNT && !err; key++) {
		counters[key] = 0;
		if (bpf_map_lookup_elem(fd, &key, values))
			err = -errno;
		for (int cpu = 0; cpu < cpus && !err; cpu++)
			counters[key] += values[cpu];
	}
	free(values);
	return err;
}

/* Reasons are never renumbered: the good ends are those from FORWARDED to LOCAL_L3DSR, NAT_REPLY and FORWARDED_NEW. */
uint64_t counters_good(const uint64_t counters[GLB_REDIRECT_REASON_COUNT])
{
	uint64_t sum = counters[GLB_REDIRECT_NAT_REPLY] + counters[GLB_REDIRECT_FORWARDED_NEW];

	for (int i = GLB_REDIRECT_FORWARDED; i <= GLB_REDIRECT_LOCAL_L3DSR; i++)
		sum += counters[i];
	return sum;
}
