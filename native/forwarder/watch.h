/* Is a thread stuck? Judged from outside, by its heartbeat, its CPU clock and the state that the kernel says it has.
 *
 * A heartbeat that stands still is no proof: a core may be stolen by a neighbour or the hypervisor, and then nobody
 * is stuck. Stuck is a thread
 * - that used WATCH_CPU_NS of its own CPU clock without a heartbeat (it spins), or
 * - that WATCH_LOOKS looks in a row found neither beating, nor using CPU, nor wanting to: the kernel says that it is
 *   stopped, or that it waits for something, and not that it could run.
 * Looks are counted, not wall time: a watcher that does not get to run must not accuse anyone. Pure.
 */
#ifndef FORWARDER_WATCH_H
#define FORWARDER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

enum {
	WATCH_EVERY_MS = 15,     /* between looks */
	WATCH_LOOKS = 5,
	WATCH_CPU_NS = 80000000, /* one look more, and 100 ms are not reached */
};

enum watch_verdict {
	WATCH_WELL = 0,
	WATCH_SPINS = 1,   /* uses its CPU, and does not come round */
	WATCH_STANDS = 2,  /* stopped, or waits for something that does not come */
};

struct watch {
	uint64_t beats;
	uint64_t cpu_ns;   /* at the last heartbeat that was seen */
	uint64_t last_cpu_ns;
	unsigned still;    /* looks in a row that found it standing */
	enum watch_verdict verdict;
};

/* One look: the heartbeat's count, the thread's CPU time in ns, and its state letter (proc(5): R, S, D, T, t, …). `beats` and
 * `cpu_ns` only grow. Returns the verdict, which lasts until the heart beats again. */
enum watch_verdict watch_look(struct watch *watch, uint64_t beats, uint64_t cpu_ns, char state);

/* "spins" or "stands"; "well". */
const char *watch_verdict_name(enum watch_verdict verdict);

/* The state letter in the text of /proc/<pid>/task/<tid>/stat, or '?' when there is none. */
char watch_parse_state(const char *stat);

#endif
