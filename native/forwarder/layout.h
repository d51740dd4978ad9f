/* Which lcore does what, on which CPUs. Lcore 0 is the main lcore (control only), then come the workers, then, in a pipeline, receivers
 * and senders. */
#ifndef FORWARDER_LAYOUT_H
#define FORWARDER_LAYOUT_H

#include "config.h"

#include <sched.h>

enum { LAYOUT_LCORES_MAX = 1 + CONFIG_WORKERS_MAX + CONFIG_RECEIVERS_MAX + CONFIG_SENDERS_MAX };

enum layout_role { LAYOUT_MAIN, LAYOUT_WORKER, LAYOUT_RECEIVER, LAYOUT_SENDER };

struct layout_lcore {
	enum layout_role role;
	unsigned index; /* among those with its role */
	int64_t cpu;    /* -1 = floats */
};

struct layout {
	unsigned count;
	struct layout_lcore lcores[LAYOUT_LCORES_MAX]; /* by lcore id */
};

/* The sender that collects from a worker: each has neighbouring workers, and equally many, give or take one. */
static inline unsigned layout_sender_of(unsigned worker, unsigned workers, unsigned senders)
{
	return worker * senders / workers;
}

/* The first worker of a sender; that of `senders` is `workers`. */
static inline unsigned layout_first_worker(unsigned sender, unsigned workers, unsigned senders)
{
	return (sender * workers + senders - 1) / senders;
}

void layout_plan(const struct config *config, struct layout *layout);

/* Writes EAL's --lcores value: each lcore on its CPU, or floating over all `allowed` CPUs where the configuration names none. CPUs may be
 * shared. Returns 0, or -EINVAL with *error when a CPU is not allowed, -ENOSPC when `len` is too small. */
int layout_lcores(const struct config *config, const cpu_set_t *allowed, char *out, size_t len,
		  struct glb_error *error);

/* Writes the same as a table for people: a line for each lcore with role, CPUs, NUMA node, and what it takes from where to
 * where. `node_of` gives a CPU's node, or -1. Returns 0, or as layout_lcores(). */
int layout_print(const struct config *config, const cpu_set_t *allowed, int (*node_of)(int cpu), char *out, size_t len,
		 struct glb_error *error);

/* Writes a line for each [[port]]: its device, the device's node (`node_of_device`, -1 = it has none), and the nodes of its packet buffers.
 * Returns 0, or -ENOSPC with *error. */
int layout_print_ports(const struct config *config, int (*node_of_cpu)(int cpu), int (*node_of_device)(const char *devargs),
		       char *out, size_t len, struct glb_error *error);

/* The NUMA node of a PCI device of this machine, by the beginning of its devargs; -1 for others. */
int layout_node_of_device(const char *devargs);

/* The NUMA node of a CPU of this machine, or -1. */
int layout_node_of_cpu(int cpu);

/* "0-3,8": the CPUs of a set. At least 5 bytes per CPU of room is always enough. */
void layout_print_cpus(const cpu_set_t *set, char *out, size_t len);

#endif
