/* glb-redirect doctor: what on this backend keeps clients' packets from their sockets, and how to mend it.
 *
 * Looks, and changes nothing. `fail`: packets are lost. `warn`: some may be, or it depends on the network.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <jansson.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "tool.h"

enum {
	FINDINGS_MAX = 64,
	MTU_WANTED = 1540, /* a client's 1500 bytes behind outer IPv4, UDP and GUE with two hops */
	OUTER = MTU_WANTED - 1500,
	TCP_V4 = 40, /* IP and TCP headers: what an MSS does not count */
	TCP_V6 = 60,
};

enum verdict { OK, WARN, FAIL };
static const char *const words[] = {"ok", "warn", "fail"};

struct finding {
	enum verdict verdict;
	const char *check;
	char message[256], mend[256]; /* mend is empty when there is nothing to do */
};

struct findings {
	const struct options *options;
	const char *device, *name;
	struct prefixes on_lo; /* owned */
	struct finding items[FINDINGS_MAX];
	size_t count;
	bool failed;
};

static struct finding *find(struct findings *found, const char *check, enum verdict verdict, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static struct finding *find(struct findings *found, const char *check, enum verdict verdict, const char *format, ...)
{
	struct finding *item = &found->items[found->count < FINDINGS_MAX - 1 ? found->count++ : FINDINGS_MAX - 1];
	va_list arguments;

	*item = (struct finding){.verdict = verdict, .check = check};
	va_start(arguments, format);
	vsnprintf(item->message, sizeof(item->message), format, arguments);
	va_end(arguments);
	found->failed |= verdict == FAIL;
	return item;
}

static void mend(struct finding *item, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void mend(struct finding *item, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(item->mend, sizeof(item->mend), format, arguments);
	va_end(arguments);
}

static void check_kernel(struct findings *found)
{
	struct utsname uts = {0};
	char missing[PROBE_TEXT];
	int tc = probe(WAY_TC, missing);

	uname(&uts);
	if (tc == -ENOTSUP)
		mend(find(found, "kernel", FAIL, "%s has %s", uts.release, missing),
		     "boot a newer one, Debian 12's 6.1 will do; or use `glb-redirect nfqueue run`");
	else if (tc)
		mend(find(found, "kernel", WARN, "%s does not tell everybody what it has", uts.release), "ask as root");
	else if (probe(WAY_XDP, missing))
		mend(find(found, "kernel", WARN, "%s has %s", uts.release, missing), "leave --mode xdp out");
	else
		find(found, "kernel", OK, "%s has what tc and XDP need", uts.release);
	if (machine_sysctl("/proc/sys/net/core/bpf_jit_enable%s", "") == 0)
		mend(find(found, "BPF JIT", WARN, "eBPF is interpreted, which costs several times more a packet"),
		     "sysctl -w net.core.bpf_jit_enable=1");
}

static void check_lists(struct findings *found, const struct instance *instance)
{
	struct prefixes allow = {0};
	size_t peers = 0;

	if (allow_read(instance->allow_fd, &allow))
		return;
	for (size_t i = 0; i < allow.count; i++)
		peers += (allow.roles[i] & GLB_REDIRECT_PEER) != 0;
	if (!allow.count)
		mend(find(found, "allow-list", FAIL, "empty: what comes in tunnels is dropped"),
		     "glb-redirect allow add DIRECTOR… --name %s", found->name);
	else if (!peers)
		mend(find(found, "allow-list", WARN, "has no peers: packets of other backends' connections are dropped, not sent on"),
		     "glb-redirect allow add BACKEND… --peer --name %s", found->name);
	else
		find(found, "allow-list", OK, "%zu prefixes, %zu of them peers", allow.count, peers);
	prefixes_free(&allow);
}

/* What has been dropped so far because something is set up wrongly. */
static void check_counters(struct findings *found, const struct instance *instance)
{
	static const struct {
		enum glb_redirect_reason reason;
		const char *mend;
	} causes[] = {
		{GLB_REDIRECT_NOT_ALLOWED, "if it was a director or a backend: glb-redirect allow add"},
		{GLB_REDIRECT_FORWARD_NOT_PEER, "glb-redirect allow add BACKEND… --peer, all of the pool"},
		{GLB_REDIRECT_GSO_DROP, "ethtool -K DEV rx-udp-gro-forwarding off rx-gro-list off"},
		{GLB_REDIRECT_OUTER_FRAGMENT, "ip link set DEV mtu 1600 on the whole segment, and forward.mtu of the directors"},
		{GLB_REDIRECT_DECAP_FAILED, "report it, with the kernel's version"},
		{GLB_REDIRECT_REWRITE_FAILED, "report it, with the kernel's version"},
		{GLB_REDIRECT_BAD_GRE, "--gre-key of attach must be gre_key of the service"},
		{GLB_REDIRECT_ECN_DROP, "let routers between directors and backends not mark packets that are not ECN-capable"},
	};
	uint64_t counters[GLB_REDIRECT_REASON_COUNT];

	if (counters_read(instance->counters_fd, counters))
		return;
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (counters[causes[i].reason])
			mend(find(found, reasons[causes[i].reason].name, WARN, "%llu packets %s",
				  (unsigned long long)counters[causes[i].reason], reasons[causes[i].reason].text),
			     "%s", causes[i].mend);
}

/* Is each VIP an address of this host? */
static void check_vip(struct findings *found, uint8_t family, const uint8_t addr[16], const char *text)
{
	if (machine_has_address(family, addr))
		find(found, "VIP", OK, "%s is local", text);
	else
		mend(find(found, "VIP", FAIL, "%s is not local: the stack drops what is delivered for it", text),
		     "ip address add %s dev lo", text);
}

static void check_vips(struct findings *found, const struct rewrites *rewrites)
{
	const struct prefixes *asked = &found->options->prefixes;
	char text[PREFIX_TEXT];
	size_t known = asked->count;

	for (size_t i = 0; i < asked->count; i++) {
		prefix_format(&asked->items[i], text);
		check_vip(found, asked->items[i].family, asked->items[i].addr, text);
	}
	for (size_t i = 0; i < rewrites->count; i++) {
		const struct rewrite *each = &rewrites->items[i];

		known++;
		if (each->match.kind != GLB_REDIRECT_DSCP) /* of NAT: the VIP is none of this host's business */
			continue;
		address_format(each->match.family, each->target.addr, text);
		check_vip(found, each->match.family, each->target.addr, text);
	}
	if (!known && found->on_lo.count)
		find(found, "VIP", OK, "%zu addresses on lo; --vip checks for certain ones", found->on_lo.count);
	else if (!known)
		mend(find(found, "VIP", WARN, "lo has no address but its own, where VIPs belong"),
		     "ip address add VIP/32 dev lo, or say --vip VIP where it is elsewhere");
}

/* GUE's port is the program's alone, or, with --deliver kernel, a tunnel of the kernel's must have it. */
static void check_port(struct findings *found, uint32_t port, bool leaves_outer)
{
	const bool bound = machine_udp_bound(port);

	if (leaves_outer && bound)
		find(found, "UDP port", OK, "%u has a socket, which unwraps what is for this host", port);
	else if (leaves_outer)
		mend(find(found, "UDP port", FAIL, "nothing has UDP port %u, and with --deliver kernel glb-redirect unwraps nothing", port),
		     "ip fou add port %u gue, and ip link set tunl0 up (sit0 for IPv6)", port);
	else if (bound)
		mend(find(found, "UDP port", WARN, "a socket has UDP port %u, the kernel's fou or a program: it gets nothing beside glb-redirect", port),
		     "`ip fou show` and `ss -ulnp sport = %u` say whose it is; ip fou del port %u", port, port);
}

static void check_attached(struct findings *found)
{
	struct rewrites rewrites = {0};
	struct instance instance;
	uint32_t port = found->options->port, program = 0;
	bool leaves_outer = false;

	if (!instance_open(&instance, found->options->pin_dir, found->name)) {
		program = instance_running(&instance);
		port = instance.config.port;
		leaves_outer = instance.config.leaves_outer;
		rewrites_read(instance.rewrites_fd, &rewrites);
		if (program)
			find(found, "attached", OK, "as program %u", program);
		if (program)
			check_lists(found, &instance);
		if (program)
			check_counters(found, &instance);
		instance_close(&instance);
	}
	if (!program)
		mend(find(found, "attached", WARN, "glb-redirect is not attached: nothing here takes what directors send"),
		     "glb-redirect attach %s --allow DIRECTOR… --peer BACKEND…", found->device);
	check_vips(found, &rewrites);
	rewrites_free(&rewrites);
	check_port(found, port, leaves_outer);
}

/* Has the route an MSS by which whole packets fit behind the outer headers? A family without a route needs none. */
static bool fits(struct default_route route, unsigned mtu, unsigned headers)
{
	return !route.there || (route.advmss && route.advmss + headers + OUTER <= mtu);
}

static void check_mtu(struct findings *found, unsigned mtu)
{
	int ifindex = (int)if_nametoindex(found->device);
	struct default_route v4 = machine_default_route(AF_INET, ifindex);
	struct default_route v6 = machine_default_route(AF_INET6, ifindex);

	if (mtu >= MTU_WANTED)
		find(found, "MTU", OK, "%u", mtu);
	else if ((v4.there || v6.there) && fits(v4, mtu, TCP_V4) && fits(v6, mtu, TCP_V6))
		find(found, "MTU", OK, "%u, and default routes advertise a smaller MSS", mtu);
	else
		mend(find(found, "MTU", WARN, "%u: clients' packets of 1500 bytes do not fit behind the outer headers", mtu),
		     "ip link set %s mtu 1600 on the whole segment; or on default routes advmss %u, for IPv6 %u", found->device,
		     mtu - OUTER - TCP_V4, mtu - OUTER - TCP_V6);
}

static void check_device(struct findings *found)
{
	static const char *const merging[] = {"rx-udp-gro-forwarding", "rx-gro-list"};
	const char *device = found->device;
	unsigned mtu, v4 = 0;
	bool up;

	if (machine_link(device, &mtu, &up)) {
		mend(find(found, "interface", FAIL, "%s: no such device in this network namespace", device), "`ip link` lists them");
		return;
	}
	if (!up)
		mend(find(found, "interface", FAIL, "%s is down", device), "ip link set %s up", device);
	check_mtu(found, mtu);
	for (size_t i = 0; i < sizeof(merging) / sizeof(merging[0]); i++)
		if (machine_feature(device, merging[i]))
			mend(find(found, "UDP merging", FAIL, "%s is on: merged GUE packets are dropped", merging[i]),
			     "ethtool -K %s %s off", device, merging[i]);
	if (machine_conf("rp_filter", device) == 1)
		mend(find(found, "rp_filter", WARN, "strict: drops clients' packets whose answers leave by another interface"),
		     "sysctl -w net.ipv4.conf.all.rp_filter=2");
	else
		find(found, "rp_filter", OK, "not strict");
	for (size_t i = 0; i < found->on_lo.count; i++)
		v4 += found->on_lo.items[i].family == GLB_REDIRECT_V4;
	if (!v4)
		return;
	if (machine_conf("arp_ignore", device) < 1)
		mend(find(found, "ARP", WARN, "answers ARP requests for the addresses of lo on %s: traffic to a VIP may pass by the directors", device),
		     "sysctl -w net.ipv4.conf.all.arp_ignore=1");
	else
		find(found, "ARP", OK, "for the interface's own addresses only");
	if (machine_conf("arp_announce", device) < 2)
		mend(find(found, "ARP source", WARN, "may ask for neighbours in the name of a VIP"),
		     "sysctl -w net.ipv4.conf.all.arp_announce=2");
}

static void print_json(const struct findings *found)
{
	json_t *items = json_array(), *whole;

	for (size_t i = 0; i < found->count; i++)
		json_array_append_new(items, json_pack("{s:s, s:s, s:s, s:s}", "check", found->items[i].check,
						       "status", words[found->items[i].verdict],
						       "message", found->items[i].message, "mend", found->items[i].mend));
	whole = json_pack("{s:s, s:s, s:b, s:o}", "interface", found->device, "name", found->name, "ok", !found->failed,
			  "findings", items);
	json_dumpf(whole, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(whole);
}

static void print_text(const struct findings *found)
{
	for (size_t i = 0; i < found->count; i++) {
		printf("%-4s  %-16s  %s\n", words[found->items[i].verdict], found->items[i].check, found->items[i].message);
		if (found->items[i].mend[0])
			printf("%24s→ %s\n", "", found->items[i].mend);
	}
	puts(found->failed ? "something fails" : "nothing fails");
}

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

int command_doctor(const struct options *options)
{
	struct findings found = {.options = options, .device = options->device,
				 .name = options->name ? options->name : options->device};

	libbpf_set_print(silent); /* "no such filter" is an answer here */
	if (machine_lo_addresses(&found.on_lo))
		return fail("cannot list the addresses of this host");
	check_kernel(&found);
	check_attached(&found);
	check_device(&found);
	(options->json ? print_json : print_text)(&found);
	prefixes_free(&found.on_lo);
	return found.failed ? EXIT_FAILED : EXIT_DONE;
}
