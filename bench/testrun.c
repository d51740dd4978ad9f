/* Runs two eBPF programs in turn on packets, by BPF_PROG_TEST_RUN, and prints how long the kernel says each run took.
 *
 * testrun FD EMPTY_FD IFINDEX ROUNDS: packets on standard input, a 32-bit length before each; IFINDEX 0 is tc, another XDP. Prints three
 * pairs, program and empty program, in tenths of a nanosecond: medians, fastest tenths, and the means of the faster halves, which
 * see less than the 10 ns that the clock's steps may be. A loop of its own, since an interpreter between two runs empties the caches.
 */
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PACKETS = 64, LENGTH = 2048 };

static uint8_t packets[PACKETS][LENGTH];
static uint32_t lengths[PACKETS], count;

static int by_size(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t once(int fd, uint32_t which, uint32_t ifindex)
{
	struct xdp_md context = {.data_end = lengths[which], .ingress_ifindex = ifindex};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = (uintptr_t)packets[which];
	attr.test.data_size_in = lengths[which];
	attr.test.repeat = 1;
	if (ifindex) {
		attr.test.ctx_in = (uintptr_t)&context;
		attr.test.ctx_size_in = sizeof(context);
	}
	if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr))) {
		perror("BPF_PROG_TEST_RUN");
		exit(1);
	}
	return attr.test.duration;
}

/* Of the faster half of `runs` sorted times, in tenths. */
static uint64_t mean_of_half(const uint32_t *times, uint32_t runs)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < runs / 2; i++)
		sum += times[i];
	return sum * 10 / (runs / 2);
}

int main(int argc, char **argv)
{
	const uint32_t rounds = argc == 5 ? (uint32_t)atoi(argv[4]) : 0;
	uint32_t *ours, *empty, runs = 0;

	while (count < PACKETS && fread(&lengths[count], 4, 1, stdin) == 1 && lengths[count] <= LENGTH &&
	       fread(packets[count], lengths[count], 1, stdin) == 1)
		count++;
	ours = calloc(rounds * PACKETS + 1, sizeof(*ours));
	empty = calloc(rounds * PACKETS + 1, sizeof(*empty));
	if (!rounds || !count || rounds * count < 2 || !ours || !empty)
		return 2;
	for (uint32_t round = 0; round < rounds; round++)
		for (uint32_t i = 0; i < count; i++, runs++) {
			empty[runs] = once(atoi(argv[2]), i, (uint32_t)atoi(argv[3]));
			ours[runs] = once(atoi(argv[1]), i, (uint32_t)atoi(argv[3]));
		}
	qsort(ours, runs, sizeof(*ours), by_size);
	qsort(empty, runs, sizeof(*empty), by_size);
	printf("%u0 %u0 %u0 %u0 %lu %lu\n", ours[runs / 2], empty[runs / 2], ours[runs / 10], empty[runs / 10],
	       mean_of_half(ours, runs), mean_of_half(empty, runs));
	return 0;
}
