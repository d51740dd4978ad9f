/* Times eBPF programs by BPF_PROG_TEST_RUN as a busy backend would run them: packet after packet, without a system call in between.
 *
 * turns OBJECT WAY IFINDEX ROUNDS FD ALLOW: OBJECT is turns.bpf.c compiled, WAY tc or xdp, FD the program, ALLOW where glb-redirect's list is
 * pinned. Packets on standard input, a 32-bit length before each. In each round every program has its turn: the empty one, FD, and those of one
 * call each. Prints a line for each: name, and in tenths of a nanosecond the median, the fastest tenth, and the mean of the faster half, which sees
 * less than the 10 ns that the clock's steps may be; the empty program's as they are, and the others' above those.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PACKETS = 64, LENGTH = 256, RUNS = 4096, WARM = 64, MEASURED = 1024, PROGRAMS = 16 };

struct packet {
	uint32_t length;
	uint8_t bytes[LENGTH];
};

struct state { /* turns.bpf.c's variables */
	uint64_t began, runs, sink;
	uint32_t times[RUNS];
};

struct timed {
	const char *name;
	int fd;
	uint32_t *times;
	size_t count;
};

static struct packet packets[PACKETS];
static struct timed programs[PROGRAMS];
static unsigned count;

static void must(int failed, const char *what)
{
	if (!failed)
		return;
	perror(what);
	exit(1);
}

static int by_size(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void add(const char *name, int fd, size_t rounds)
{
	must(count == PROGRAMS, "programs");
	programs[count] = (struct timed){name, fd, calloc(rounds * MEASURED, sizeof(uint32_t)), 0};
	must(!programs[count++].times, "memory");
}

/* Loads the programs of one way; the empty one comes first, then `fd`. Returns the one that makes packets. */
static int load(struct bpf_object *object, const char *way, const char *allow, int fd, size_t rounds)
{
	const size_t prefix = strlen(way);
	struct bpf_program *program;
	int turn = -1;

	bpf_object__for_each_program(program, object) {
		const char *name = bpf_program__name(program);

		bpf_program__set_autoload(program, !strncmp(name, way, prefix) || !strcmp(name + strlen("turn_"), way));
	}
	must(bpf_map__reuse_fd(bpf_object__find_map_by_name(object, "allow"), bpf_obj_get(allow)), "allow-list");
	must(bpf_object__load(object), "load");
	bpf_object__for_each_program(program, object) {
		const char *name = bpf_program__name(program);

		if (!strncmp(name, "turn_", strlen("turn_")) && !strcmp(name + strlen("turn_"), way))
			turn = bpf_program__fd(program);
		if (strncmp(name, way, prefix))
			continue;
		add(name + prefix + 1, bpf_program__fd(program), rounds);
		if (count == 1)
			add("glb-redirect", fd, rounds);
	}
	return turn;
}

static void run(struct timed *program, int turn, int chosen, int state_fd, uint32_t ifindex)
{
	static struct state state;
	struct xdp_md context = {.data_end = packets[0].length, .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packets[0].bytes, .data_size_in = packets[0].length,
		    .repeat = WARM + MEASURED + 1);
	const uint32_t zero = 0;

	if (ifindex) {
		opts.ctx_in = &context;
		opts.ctx_size_in = sizeof(context);
	}
	must(bpf_map_update_elem(chosen, &zero, &program->fd, BPF_ANY), "choose a program");
	memset(&state, 0, sizeof(state));
	must(bpf_map_update_elem(state_fd, &zero, &state, BPF_ANY), "begin");
	must(bpf_prog_test_run_opts(turn, &opts), "BPF_PROG_TEST_RUN");
	must(bpf_map_lookup_elem(state_fd, &zero, &state) || state.runs != WARM + MEASURED, program->name);
	memcpy(program->times + program->count, state.times + WARM, MEASURED * sizeof(uint32_t));
	program->count += MEASURED;
}

static void print(struct timed *program)
{
	static double floor[3];
	double values[3] = {0};

	qsort(program->times, program->count, sizeof(uint32_t), by_size);
	for (size_t i = 0; i < program->count / 2; i++)
		values[2] += program->times[i] / (double)(program->count / 2);
	values[0] = program->times[program->count / 2];
	values[1] = program->times[program->count / 10];
	printf("%s", program->name);
	for (int i = 0; i < 3; i++)
		printf(" %.0f", 10 * (values[i] - floor[i]));
	putchar('\n');
	if (program == programs)
		memcpy(floor, values, sizeof(floor));
}

int main(int argc, char **argv)
{
	const size_t rounds = argc == 7 ? (size_t)atoi(argv[4]) : 0;
	struct bpf_object *object = argc == 7 ? bpf_object__open_file(argv[1], NULL) : NULL;
	struct bpf_map *map, *state = NULL;
	int turn, to, chosen;

	if (!rounds || !object)
		return 2;
	turn = load(object, argv[2], argv[6], atoi(argv[5]), rounds);
	to = bpf_object__find_map_fd_by_name(object, "packets");
	chosen = bpf_object__find_map_fd_by_name(object, "program");
	bpf_object__for_each_map(map, object)
		if (strstr(bpf_map__name(map), ".bss"))
			state = map;
	for (uint32_t i = 0; i < PACKETS; i++) {
		must(fread(&packets[i].length, 4, 1, stdin) != 1 || packets[i].length > LENGTH ||
		     fread(packets[i].bytes, packets[i].length, 1, stdin) != 1, "packets");
		must(bpf_map_update_elem(to, &i, &packets[i], BPF_ANY), "packets");
	}
	for (size_t round = 0; round < rounds; round++)
		for (unsigned i = 0; i < count; i++)
			run(&programs[i], turn, chosen, bpf_map__fd(state), (uint32_t)atoi(argv[3]));
	for (unsigned i = 0; i < count; i++)
		print(&programs[i]);
	return 0;
}
