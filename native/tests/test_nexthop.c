/* Next hops against the real kernel, in a network namespace that goes away with this process (root):
 *
 *    this process  near0 ─────── far0  a child in a namespace of its own
 *    10.0.0.1/20, fd00::1/64           10.0.0.2 (…3, …4), fd00::2 (…3, …4), 1,000 more on demand
 */
#include "check.h"
#include "nexthop.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <arpa/inet.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MANY = 1000, WAIT_MS = 10000 };

static const char one_port[1][IF_NAMESIZE] = {"near0"};
static struct glb_error error;
static pid_t far_process;

static int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Runs a command of the shell; true when it succeeds. */
static bool __attribute__((format(printf, 1, 2))) run(const char *format, ...)
{
	char command[500];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	if (system(command) == 0)
		return true;
	printf("# failed: %s\n", command);
	return false;
}

#define FAR(text) run("nsenter -t %d -n " text, (int)far_process)

static pid_t start_far(void)
{
	int ready[2];
	char byte = 0;
	pid_t pid;

	if (pipe(ready) != 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) != 0 || write(ready[1], &byte, 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	if (pid > 0 && read(ready[0], &byte, 1) != 1)
		pid = -1;
	close(ready[0]);
	return pid;
}

static bool set_up(void)
{
	if (unshare(CLONE_NEWNET) != 0) {
		printf("# a network namespace: %s; this test needs root\n", strerror(errno));
		return false;
	}
	far_process = start_far();
	return far_process > 0 && run("ip link add near0 type veth peer name far0 netns %d", (int)far_process) &&
	       run("ip link add spare0 type veth peer name spare1 && ip link set spare0 up && ip link set spare1 up "
		   "&& ip addr add 10.9.0.1/24 dev spare0") &&
	       run("sysctl -qw net.ipv6.conf.near0.accept_dad=0") &&
	       run("ip link set near0 up && ip addr add 10.0.0.1/20 dev near0 && "
		   "ip addr add fd00::1/64 dev near0 nodad") &&
	       FAR("sysctl -qw net.ipv6.conf.far0.accept_dad=0") &&
	       FAR("ip link set far0 address 02:00:00:00:0f:01 up");
}

static struct glb_addr addr_of(const char *text)
{
	struct glb_addr addr = {.family = strchr(text, ':') != NULL ? GLB_FAMILY_V6 : GLB_FAMILY_V4};

	if (inet_pton(addr.family == GLB_FAMILY_V6 ? AF_INET6 : AF_INET, text, addr.bytes) != 1)
		abort();
	return addr;
}

/* Polls until the word is that next hop (`mac` NULL: not known), within WAIT_MS. */
static bool becomes(struct nexthop *nexthop, const uint64_t *word, const char *mac)
{
	const int64_t until = clock_ms() + WAIT_MS;
	struct glb_next_hop hop;
	char text[18];

	do {
		struct pollfd fd = {.fd = nexthop_fd(nexthop), .events = POLLIN};
		int due = nexthop_poll(nexthop);

		hop = glb_next_hop_load(word);
		snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", hop.mac[0], hop.mac[1], hop.mac[2],
			 hop.mac[3], hop.mac[4], hop.mac[5]);
		if (mac == NULL ? !hop.kind : hop.kind && strcmp(text, mac) == 0)
			return true;
		poll(&fd, 1, due < 0 || due > 100 ? 100 : due);
	} while (clock_ms() < until);
	printf("# is %s (kind %u), not %s\n", text, hop.kind, mac != NULL ? mac : "unknown");
	return false;
}

static struct nexthop *look_after(const struct glb_addr *addrs, uint32_t count, uint64_t *words, unsigned wait_ms)
{
	struct nexthop *nexthop = nexthop_open(one_port, 1, &error);

	memset(words, 0, count * sizeof(*words));
	if (nexthop == NULL || nexthop_adopt(nexthop, addrs, sizeof(*addrs), count, words, wait_ms) != 0) {
		printf("# %s\n", error.text);
		abort();
	}
	return nexthop;
}

/* The same steps for both families: `2` and so on are the far end's addresses. */
struct family {
	const char *two, *three, *beyond, *nowhere, *own, *elsewhere, *bits;
};

static const struct family v4 = {"10.0.0.2", "10.0.0.3", "10.77.0.1", "10.88.0.1", "10.0.0.1", "10.9.0.9", "20"};
static const struct family v6 = {"fd00::2", "fd00::3", "fd77::1", "fd88::1", "fd00::1", "fd09::9", "64"};

static void follows_neighbours(const struct family *family)
{
	const struct glb_addr addrs[] = {addr_of(family->two), addr_of(family->three), addr_of(family->two)};
	struct nexthop *nexthop;
	uint64_t words[3];

	CHECK(run("nsenter -t %d -n ip addr add %s/%s dev far0", (int)far_process, family->two, family->bits));
	nexthop = look_after(addrs, 3, words, 3000); /* asks by itself, and waits */
	CHECK(glb_next_hop_load(&words[0]).kind == GLB_NEXT_HOP_BACKEND && words[0] == words[2]);
	CHECK(becomes(nexthop, &words[0], "02:00:00:00:0f:01"));
	CHECK(nexthop_state(nexthop, 0) == NEXTHOP_KNOWN);
	CHECK(!glb_next_hop_load(&words[1]).kind && nexthop_state(nexthop, 1) == NEXTHOP_NO_NEIGHBOUR);
	/* not resolved, then resolved: it keeps asking */
	CHECK(run("nsenter -t %d -n ip addr add %s/%s dev far0", (int)far_process, family->three, family->bits));
	CHECK(becomes(nexthop, &words[1], "02:00:00:00:0f:01"));
	/* a neighbour changes */
	CHECK(run("ip neigh replace %s lladdr 02:00:00:00:0f:77 dev near0 nud reachable", family->two));
	CHECK(becomes(nexthop, &words[0], "02:00:00:00:0f:77"));
	CHECK(becomes(nexthop, &words[2], "02:00:00:00:0f:77"));
	CHECK(run("ip neigh replace %s lladdr 02:00:00:00:0f:78 dev near0 nud permanent", family->two));
	CHECK(becomes(nexthop, &words[0], "02:00:00:00:0f:78"));
	/* forgotten: asked for again at once */
	CHECK(run("ip neigh del %s dev near0", family->two));
	CHECK(becomes(nexthop, &words[0], "02:00:00:00:0f:01"));
	nexthop_close(nexthop);
	CHECK(run("ip neigh flush dev near0"));
	CHECK(FAR("ip -4 addr flush dev far0") && FAR("ip -6 addr flush dev far0 scope global"));
}

static void follows_routes(const struct family *family)
{
	const struct glb_addr addrs[] = {addr_of(family->beyond), addr_of(family->nowhere), addr_of(family->own),
					 addr_of(family->elsewhere)};
	const char *ip = family == &v6 ? "ip -6" : "ip";
	struct nexthop *nexthop;
	uint64_t words[4];

	CHECK(run("ip neigh replace %s lladdr 02:00:00:00:0f:02 dev near0 nud permanent", family->two));
	CHECK(run("ip neigh replace %s lladdr 02:00:00:00:0f:03 dev near0 nud permanent", family->three));
	CHECK(family != &v6 || run("ip addr add fd09::1/64 dev spare0 nodad"));
	nexthop = look_after(addrs, 4, words, 100);
	for (unsigned i = 0; i < 4; i++)
		CHECK(!glb_next_hop_load(&words[i]).kind);
	CHECK(nexthop_state(nexthop, 0) == NEXTHOP_NO_ROUTE && nexthop_state(nexthop, 1) == NEXTHOP_NO_ROUTE);
	CHECK(nexthop_state(nexthop, 2) == NEXTHOP_OWN_ADDRESS);
	CHECK(nexthop_state(nexthop, 3) == NEXTHOP_OTHER_INTERFACE);
	CHECK(run("%s route add %s via %s", ip, family->beyond, family->two));
	CHECK(becomes(nexthop, &words[0], "02:00:00:00:0f:02"));
	CHECK(run("%s route replace %s via %s", ip, family->beyond, family->three)); /* a new gateway */
	CHECK(becomes(nexthop, &words[0], "02:00:00:00:0f:03"));
	CHECK(run("ip neigh replace %s lladdr 02:00:00:00:0f:33 dev near0 nud permanent", family->three));
	CHECK(becomes(nexthop, &words[0], "02:00:00:00:0f:33"));
	CHECK(run("%s route del %s", ip, family->beyond));
	CHECK(becomes(nexthop, &words[0], NULL) && nexthop_state(nexthop, 0) == NEXTHOP_NO_ROUTE);
	CHECK(run("%s route add default via %s", ip, family->two));
	CHECK(becomes(nexthop, &words[0], "02:00:00:00:0f:02"));
	CHECK(becomes(nexthop, &words[1], "02:00:00:00:0f:02"));
	CHECK(run("%s route add default via %s table 100", ip, family->three));
	CHECK(run("%s rule add to %s lookup 100", ip, family->beyond));
	CHECK(becomes(nexthop, &words[0], "02:00:00:00:0f:33"));
	CHECK(run("%s rule del to %s lookup 100 && %s route del default table 100", ip, family->beyond, ip));
	CHECK(becomes(nexthop, &words[0], "02:00:00:00:0f:02"));
	CHECK(run("%s route add unreachable %s", ip, family->nowhere));
	CHECK(becomes(nexthop, &words[1], NULL));
	CHECK(run("%s route del unreachable %s && %s route del default", ip, family->nowhere, ip));
	nexthop_close(nexthop);
	CHECK(run("ip neigh flush nud permanent dev near0"));
}

static void follows_v4_neighbours(void)
{
	follows_neighbours(&v4);
}

static void follows_v6_neighbours(void)
{
	follows_neighbours(&v6);
}

static void follows_v4_routes(void)
{
	follows_routes(&v4);
}

static void follows_v6_routes(void)
{
	follows_routes(&v6);
}

static void goes_by_v6_to_v4(void)
{
	const struct glb_addr addr = addr_of("10.77.0.1");
	struct nexthop *nexthop;
	uint64_t word;

	CHECK(run("ip -6 neigh replace fd00::2 lladdr 02:00:00:00:0f:02 dev near0 nud permanent"));
	CHECK(run("ip route add 10.77.0.0/16 via inet6 fd00::2 dev near0"));
	nexthop = look_after(&addr, 1, &word, 100);
	CHECK(becomes(nexthop, &word, "02:00:00:00:0f:02"));
	CHECK(run("ip route del 10.77.0.0/16"));
	nexthop_close(nexthop);
	CHECK(run("ip -6 neigh flush nud permanent dev near0"));
}

static void survives_a_link_that_goes(void)
{
	const struct glb_addr addr = addr_of("10.0.0.2");
	struct nexthop *nexthop;
	uint64_t word;

	CHECK(FAR("ip addr add 10.0.0.2/20 dev far0"));
	nexthop = look_after(&addr, 1, &word, 3000);
	CHECK(glb_next_hop_load(&word).kind);
	CHECK(run("ip link set near0 down"));
	CHECK(becomes(nexthop, &word, NULL));
	CHECK(run("ip link set near0 up"));
	CHECK(becomes(nexthop, &word, "02:00:00:00:0f:01"));
	CHECK(FAR("ip link set far0 down")); /* no carrier */
	CHECK(becomes(nexthop, &word, NULL));
	CHECK(FAR("ip link set far0 address 02:00:00:00:0f:09 up"));
	CHECK(becomes(nexthop, &word, "02:00:00:00:0f:09"));
	/* another interface of that name */
	CHECK(run("ip link set near0 name old0 down && ip link set spare0 name near0"));
	CHECK(becomes(nexthop, &word, NULL));
	CHECK(run("ip link set near0 name spare0 && ip link set old0 name near0 up"));
	CHECK(FAR("ip link set far0 address 02:00:00:00:0f:01"));
	CHECK(becomes(nexthop, &word, "02:00:00:00:0f:01") || becomes(nexthop, &word, "02:00:00:00:0f:09"));
	nexthop_close(nexthop);
	CHECK(FAR("ip -4 addr flush dev far0"));
	CHECK(run("ip neigh flush dev near0; ip addr replace fd00::1/64 dev near0 nodad"));
}

/* A quarter are neighbours, the others behind a router: the kernel keeps no more than 1024 mortal neighbours, in all namespaces
 * together. Then all of them are, immortal ones. */
static void looks_after_many(void)
{
	static struct glb_addr addrs[MANY];
	static uint64_t words[MANY];
	struct nexthop *nexthop;
	unsigned known = 0;
	FILE *batch;
	int64_t start;

	CHECK(FAR("ip addr add 10.0.0.2/20 dev far0") && FAR("ip route add local 10.0.4.0/22 dev far0"));
	CHECK(run("ip route add 10.0.5.0/24 via 10.0.0.2 && ip route add 10.0.6.0/23 via 10.0.0.2"));
	for (uint32_t i = 0; i < MANY; i++) {
		addrs[i] = addr_of("10.0.4.0");
		addrs[i].bytes[2] = (uint8_t)(4 + i / 256);
		addrs[i].bytes[3] = (uint8_t)i;
	}
	start = clock_ms();
	nexthop = look_after(addrs, MANY, words, WAIT_MS);
	for (unsigned i = 0; i < MANY; i++)
		known += 0 != glb_next_hop_load(&words[i]).kind;
	printf("# %u of %u known after %d ms\n", known, MANY, (int)(clock_ms() - start));
	CHECK(known == MANY);
	/* every one changes, faster than they are read: some changes may be lost, the end must be right */
	CHECK(run("ip route del 10.0.5.0/24 && ip route del 10.0.6.0/23"));
	batch = popen("ip -batch -", "w");
	CHECK(batch != NULL);
	for (unsigned round = 0; round < 20; round++)
		for (unsigned i = 0; i < MANY; i++)
			fprintf(batch, "neigh replace 10.0.%u.%u lladdr 02:00:00:01:%02x:%02x dev near0 nud permanent\n",
				4 + i / 256, i % 256, round, i % 256);
	CHECK(pclose(batch) == 0);
	start = clock_ms();
	for (unsigned i = 0; i < MANY; i++) {
		char mac[18];

		snprintf(mac, sizeof(mac), "02:00:00:01:13:%02x", i % 256);
		if (!becomes(nexthop, &words[i], mac))
			break;
		known--;
	}
	CHECK(known == 0);
	/* the same addresses again, in other places and with one more: nothing is waited for but that one */
	start = clock_ms();
	addrs[MANY - 1] = addrs[0];
	CHECK(nexthop_adopt(nexthop, addrs, sizeof(*addrs), MANY, words, WAIT_MS) == 0);
	CHECK(words[MANY - 1] == words[0] && glb_next_hop_load(&words[0]).kind);
	CHECK(clock_ms() - start < WAIT_MS);
	nexthop_close(nexthop);
	CHECK(run("ip neigh flush nud permanent dev near0"));
	CHECK(FAR("ip -4 addr flush dev far0"));
}

/* More changes than the socket holds, and the one that matters behind them: it is lost, and asked for. */
static void makes_up_for_changes_that_it_missed(void)
{
	const struct glb_addr addr = addr_of(v4.two);
	const int room = 4096;
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(memory);
	struct nexthop *nexthop;
	uint64_t word;

	CHECK(run("ip neigh replace %s lladdr 02:00:00:00:0f:02 dev near0 nud permanent", v4.two));
	nexthop = look_after(&addr, 1, &word, 100);
	CHECK(becomes(nexthop, &word, "02:00:00:00:0f:02"));
	CHECK(setsockopt(nexthop_fd(nexthop), SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) == 0);
	CHECK(run("for i in $(seq 300); do echo neigh replace 10.0.1.$((i %% 250 + 1)) lladdr 02:00:00:00:0e:$((i %% 90 + 10)) "
		  "dev near0 nud permanent; done | ip -batch -"));
	CHECK(run("ip neigh replace %s lladdr 02:00:00:00:0f:44 dev near0 nud permanent", v4.two));
	CHECK(getsockopt(nexthop_fd(nexthop), SOL_SOCKET, SO_MEMINFO, memory, &len) == 0 && memory[SK_MEMINFO_DROPS] > 0);
	CHECK(becomes(nexthop, &word, "02:00:00:00:0f:44"));
	nexthop_close(nexthop);
	CHECK(run("ip neigh flush nud permanent dev near0"));
}

static void has_nothing_to_do_without_backends(void)
{
	struct nexthop *nexthop = nexthop_open(one_port, 1, &error);

	CHECK(nexthop != NULL);
	CHECK(nexthop_adopt(nexthop, NULL, sizeof(struct glb_addr), 0, NULL, 1000) == 0);
	for (unsigned i = 0; i < 3; i++)
		nexthop_poll(nexthop);
	CHECK(nexthop_poll(nexthop) == -1);
	nexthop_close(nexthop);
	for (unsigned why = 0; why < NEXTHOP_WHY_COUNT; why++)
		CHECK(nexthop_why_name(why) != NULL);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"has nothing to do without backends", has_nothing_to_do_without_backends},
		{"follows IPv4 neighbours", follows_v4_neighbours},
		{"follows IPv6 neighbours", follows_v6_neighbours},
		{"follows IPv4 routes", follows_v4_routes},
		{"follows IPv6 routes", follows_v6_routes},
		{"goes by an IPv6 gateway to IPv4", goes_by_v6_to_v4},
		{"makes up for changes that it missed", makes_up_for_changes_that_it_missed},
		{"survives a link that goes", survives_a_link_that_goes},
		{"looks after a thousand", looks_after_many},
	};
	int status;

	if (!set_up())
		return 1;
	status = check_run(cases, sizeof(cases) / sizeof(cases[0]));
	kill(far_process, SIGKILL);
	waitpid(far_process, NULL, 0);
	return status;
}
