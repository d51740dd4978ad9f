/* Judging one thread (watch.h). Reads no clock and no file. */
#include "watch.h"

#include <string.h>

enum watch_verdict watch_look(struct watch *watch, uint64_t beats, uint64_t cpu_ns, char state)
{
	bool idle = cpu_ns == watch->last_cpu_ns && state != 'R';

	watch->last_cpu_ns = cpu_ns;
	if (beats != watch->beats) {
		watch->beats = beats;
		watch->cpu_ns = cpu_ns;
		watch->still = 0;
		watch->verdict = WATCH_WELL;
		return WATCH_WELL;
	}
	watch->still = idle ? watch->still + 1 : 0;
	if (cpu_ns - watch->cpu_ns >= WATCH_CPU_NS)
		watch->verdict = WATCH_SPINS;
	else if (watch->still >= WATCH_LOOKS)
		watch->verdict = WATCH_STANDS;
	return watch->verdict;
}

const char *watch_verdict_name(enum watch_verdict verdict)
{
	static const char *const names[] = {
		[WATCH_WELL] = "well", [WATCH_SPINS] = "spins", [WATCH_STANDS] = "stands",
	};

	return names[verdict];
}

char watch_parse_state(const char *stat)
{
	const char *end = strrchr(stat, ')'); /* a thread's name may have any bytes in it */

	return end != NULL && end[1] == ' ' && end[2] != '\0' ? end[2] : '?';
}
