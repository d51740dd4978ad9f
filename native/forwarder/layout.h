/* Which lcore runs on which CPUs. Lcore 0 is the main lcore (control only), lcores 1..N are workers. */
#ifndef FORWARDER_LAYOUT_H
#define FORWARDER_LAYOUT_H

#include "config.h"

#include <sched.h>

/* Writes EAL's --lcores value: lcore 0 and as many worker lcores as asked for, each on its CPU, or floating
 * over all `allowed` CPUs where the configuration names none. CPUs may be shared. Returns 0, or -EINVAL with
 * *error when a CPU is not allowed, -ENOSPC when `len` is too small. */
int layout_lcores(const struct config *config, const cpu_set_t *allowed, char *out, size_t len,
		  struct glb_error *error);

/* "0-3,8": the CPUs of a set. At least 5 bytes per CPU of room is always enough. */
void layout_print_cpus(const cpu_set_t *set, char *out, size_t len);

#endif
