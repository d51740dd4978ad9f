/* A loop in registers: what a CPU does when nothing but its own core can slow it. Prints rounds per ns of CPU time.
 *
 *   build/dev/bench/glb-bench-spin [MILLISECONDS]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
	enum { ROUNDS = 1 << 20 };
	const uint64_t wanted = (argc > 1 ? strtoull(argv[1], NULL, 10) : 300) * 1000000;
	const uint64_t start = now_ns();
	uint64_t a = 1, b = 2, done = 0, passed;

	do {
		for (unsigned i = 0; i < ROUNDS; i++) {
			a = a * 0x9e3779b97f4a7c15 + b;
			b ^= a >> 29;
		}
		__asm__ volatile("" : "+r"(a), "+r"(b));
		done += ROUNDS;
		passed = now_ns() - start;
	} while (passed < wanted);
	printf("%.6f\n", (double)done / (double)passed);
	return 0;
}
