/* The stages' clock (glb/stage.h); only in a build with -Dstages=true. */
#include <glb/stage.h>

#include <stdio.h>

enum {
	LONGEST = 1 << 20, /* cycles; what took longer was interrupted, and is left out */
	TRIES = 10000,
};

static __thread struct {
	uint64_t last;
	uint64_t cycles[GLB_STAGES_COUNT];
	uint64_t ends[GLB_STAGES_COUNT];
} clock;

static uint64_t now(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t ticks;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
#error "no cycle counter known for this processor"
#endif
}

void glb_stage_end(enum glb_stage stage)
{
	const uint64_t at = now(), passed = at - clock.last;

	if (passed < LONGEST) {
		clock.cycles[stage] += passed;
		clock.ends[stage]++;
	}
	clock.last = at;
}

static uint64_t cycles_of_an_end(void)
{
	const uint64_t start = now();

	for (unsigned i = 0; i < TRIES; i++)
		glb_stage_end(GLB_STAGE_loop);
	return (now() - start) / TRIES;
}

#define NAME(name) #name,

void glb_stages_print(uint64_t packets)
{
	static const char *const names[] = {GLB_STAGE_NAMES(NAME)};
	const char *separator = "";
	const typeof(clock) found = clock;

	fprintf(stderr, "{\"packets\": %llu, \"clock\": %llu, \"stages\": {", (unsigned long long)packets,
		(unsigned long long)cycles_of_an_end());
	for (unsigned i = 0; i < GLB_STAGES_COUNT; i++) {
		if (found.ends[i] == 0)
			continue;
		fprintf(stderr, "%s\"%s\": [%llu, %llu]", separator, names[i], (unsigned long long)found.cycles[i],
			(unsigned long long)found.ends[i]);
		separator = ", ";
	}
	fprintf(stderr, "}}\n");
}
