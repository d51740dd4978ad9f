/* glb-redirect: puts the second chance on a backend's device, and shows and changes what it does.
 *
 * Commands parse, call and say how it went; the work is in loader.c, status.c, metrics.c, doctor.c and allow.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "tool.h"

static const char usage[] =
"usage: glb-redirect COMMAND …\n"
"\n"
"The backend side of glbpy: takes GUE packets from directors, gives the client's packet\n"
"to this host when it knows the connection, and to the next hop of the chain when not.\n"
"Also ends GRE and IP-in-IP tunnels, and undoes what L3DSR and NAT have rewritten.\n"
"\n"
"  attach DEV    load the eBPF program and put it on DEV's ingress; again: replace it,\n"
"                keeping counters and allow-list\n"
"  detach DEV    take it off and remove the pinned maps\n"
"  status [DEV]  is it attached, and what has it counted\n"
"  metrics [DEV] the same for Prometheus\n"
"  doctor DEV    what on this host keeps clients' packets from their sockets\n"
"  features      what eBPF here needs of the kernel, and whether it is there\n"
"  events [DEV]  packets that are dropped, as it happens\n"
"  load …        says how busy this host is, for services that hunt\n"
"  nfqueue run   the same by a process, for kernels or policies without eBPF\n"
"  iptables …    the rules that give it packets\n"
"  allow …       who may send to this host in tunnels, and whom it may send to\n"
"  report        tell the controller how many connections are left, until it is ended\n"
"\n"
"`glb-redirect COMMAND --help` says more; --version which release it is. Exit status: 0 done, 1 failed, 2 wrong usage.\n";

#define PIN_OPTIONS \
"  --pin-dir DIR        on a bpf file system, holds the pinned maps (default\n" \
"                       /sys/fs/bpf/glb); not below /sys when run by `ip netns exec`\n" \
"  --name NAME          the instance's directory in it (default: DEV); choose one where\n" \
"                       several network namespaces share the directory\n"

static const char attach_help[] =
"usage: glb-redirect attach DEV [--allow PREFIX…] [--peer PREFIX…] [--port N]\n"
"                           [--last-hop-rate N] [--forward-rate N] [--decap KIND,…] [--gre-key N]\n"
"                           [--l3dsr DSCP=VIP]… [--nat PROTO:PORT=VIP[:PORT]]…\n"
"                           [--service PROTO:VIP:PORT=CHOICE,…]…\n"
"                           [--quic FILE] [--deliver inner|kernel]\n"
"                           [--mode tc|xdp|xdp-generic] [--xdp-forward auto|tc|tx|redirect]\n"
"                           [--hook clsact|tcx|auto]\n"
"                           [--pin-dir DIR] [--name NAME]\n"
"\n"
"  --allow PREFIX…      prefixes that may send GUE and other tunnels here: the directors.\n"
"                       With none at all, all of it is dropped. Several: separated by\n"
"                       spaces or commas, or the option again\n"
"  --peer PREFIX…       the other backends: may send here, and may be sent to\n"
"  --port N             UDP port of GUE, 1..65535 (default 19523)\n"
"  --last-hop-rate N    packets of unknown connections with no hop left that the stack may\n"
"                       answer (with RST), per second and CPU; 0 = no limit (default 10000)\n"
"  --forward-rate N     packets of unknown connections that go on to the next hop, per second\n"
"                       and CPU; 0 = no limit (default 200000)\n"
"  --decap KIND,…       tunnels from directors that end here, too: gre, ipip (IPv4 and\n"
"                       IPv6, each in each). The directors' outer_source_prefix belongs\n"
"                       into --allow; such tunnels from elsewhere are dropped\n"
"  --gre-key N          the key that GRE must have; without it GRE must have none\n"
"  --l3dsr DSCP=VIP     packets with this DSCP, 1..63, are for the VIP; one of each family.\n"
"                       Several: the option again\n"
"  --nat PROTO:PORT=VIP[:PORT]\n"
"                       replies from this port, tcp or udp, leave as the VIP's: for services\n"
"                       with encapsulation nat. An IPv6 VIP in brackets. Several: again.\n"
"                       Replies to --allow and --peer addresses stay as they are\n"
"  --service PROTO:VIP:PORT=CHOICE,…\n"
"                       tcp: listening: a SYN goes on where nothing listens; queue<N, load<N:\n"
"                       it goes on unless fewer than N connections wait to be accepted, or the\n"
"                       number of `glb-redirect load` is smaller; N may be auto. udp: bound,\n"
"                       connected: a datagram goes on without such a socket here\n"
"  --quic FILE          as `glb get quic POOL/BACKEND -o json` prints it: datagrams of these\n"
"                       services whose connection id another server chose go on\n"
"  --deliver WHAT       inner (default): clients' packets; kernel: what is for this host keeps\n"
"                       its outer headers, for the kernel's own fou and tunnels to take off\n"
"  --hook HOOK          where tc's programs go: clsact (default), the qdisc; tcx, links of Linux 6.6;\n"
"                       auto, these where the kernel has them\n"
"  --mode MODE          tc (default); xdp: a fast path for GUE in front of tc, native, or\n"
"                       generic where the driver has none; xdp-generic: that at once\n"
"  --xdp-forward HOW    how XDP sends on: tx, redirect, or not at all, tc. auto (default)\n"
"                       is tc on a veth and tx otherwise\n"
PIN_OPTIONS
"\n"
"When DEV has it already, prefixes are added, counters go on; everything else\n"
"becomes what this call says.\n";

static const char detach_help[] =
"usage: glb-redirect detach DEV [--force] [--pin-dir DIR] [--name NAME]\n"
"\n"
"  --force              without looking; otherwise it watches the counters for a second, and\n"
"                       refuses while packets of clients come by, whose connections would break\n"
PIN_OPTIONS
"\n"
"Does nothing, successfully, when DEV has none.\n";

static const char status_help[] =
"usage: glb-redirect status [DEV] [--json] [--pin-dir DIR] [--name NAME]\n"
"       glb-redirect status --connections [--vip PREFIX…] [--json]\n"
"\n"
"  --connections        instead: how many connections of VIPs this host has, by address, port\n"
"                       and protocol: open ones, and those that it closes but the client has\n"
"                       not; of UDP, sockets that are connected\n"
"  --vip PREFIX…        of these; otherwise of the addresses on lo\n"
"  --json               one object; without DEV and --name, an array of one for each\n"
"                       instance in the pin directory\n"
PIN_OPTIONS;

static const char metrics_help[] =
"usage: glb-redirect metrics [DEV] [--output FILE] [--pin-dir DIR] [--name NAME]\n"
"\n"
"Prints counters in Prometheus' text format; without DEV and --name those of all instances.\n"
"\n"
"  --output FILE        into this file, which is replaced in one step, for node_exporter's\n"
"                       textfile collector: DIRECTORY/glb_redirect.prom\n"
PIN_OPTIONS;

static const char doctor_help[] =
"usage: glb-redirect doctor DEV [--vip PREFIX…] [--json] [--pin-dir DIR] [--name NAME]\n"
"\n"
"Looks at kernel, interface, addresses, allow-list and counters, says what is wrong and how\n"
"to mend it, and changes nothing. Exit status 1 when something fails; warnings do not count.\n"
"\n"
"  --vip PREFIX…        these must be local; several: separated by spaces or commas\n"
"  --json               {\"ok\": …, \"findings\": [{\"check\", \"status\", \"message\", \"mend\"}, …]}\n"
PIN_OPTIONS;

static const char features_help[] =
"usage: glb-redirect features\n"
"\n"
"What attach needs of the kernel by name, the Linux that brought it, and whether it is there for\n"
"programs of tc and of XDP (-: not needed). Exit status 1 when something is not. nfqueue needs\n"
"none of it.\n";

static const char allow_help[] =
"usage: glb-redirect allow add PREFIX… [--peer]\n"
"       glb-redirect allow remove PREFIX…\n"
"       glb-redirect allow list [--json]\n"
"       glb-redirect allow watch FILE --name NAME [--status FILE]\n"
"\n"
"The outer source of a tunnel's packet must be in one of the prefixes (such as 10.0.0.0/24,\n"
"10.0.0.1 or 2001:db8::/64), or it is dropped; a next hop must be in one of a peer. The\n"
"longest prefix that matches decides. Adding again may make a prefix a peer, not undo it.\n"
"\n"
"watch: the list is what the file says, at once whenever that changes, and nothing else; until\n"
"SIGTERM. A line for each prefix, then perhaps \"peer\", as list prints them; # begins a comment.\n"
"A file with a wrong line, or with no prefix at all, is refused: the former list stays.\n"
"\n"
"  --peer               these are backends: may also be sent to\n"
"  --status FILE        of watch: what it has read and refused, in JSON\n"
"  --json               [{\"prefix\": …, \"role\": \"source\" | \"peer\"}, …]\n"
"  --pin-dir DIR        as attach was given (default /sys/fs/bpf/glb)\n"
"  --name NAME          as attach was given; needed only where there are several instances\n";

static const char load_help[] =
"usage: glb-redirect load PROTO:VIP:PORT N|--connections [--pin-dir DIR] [--name NAME]\n"
"\n"
"Says how busy this host is with a service that was attached with `--service …=load<N`: any\n"
"number, such as requests being worked on. New connections are accepted while it is smaller.\n"
"\n"
"  --connections        the number of connections that the service's clients have open here,\n"
"                       five times a second, until SIGTERM; then 0\n";

static const char events_help[] =
"usage: glb-redirect events [DEV] [--seconds N] [--pin-dir DIR] [--name NAME]\n"
"\n"
"A line of JSON for each packet that is dropped: reason, length of the frame and its first 128\n"
"bytes; at most 10 a second and CPU. About 400 are kept for a reader that comes later; one\n"
"reader at a time. Until a signal, or for --seconds.\n";

static const char nfqueue_help[] =
"usage: glb-redirect nfqueue run [--queue N] [--allow PREFIX…] [--peer PREFIX…] [--port N]\n"
"                                [--last-hop-rate N] [--forward-rate N] [--decap KIND,…] [--gre-key N] [--status FILE]\n"
"                                [--allow-file FILE]\n"
"       glb-redirect nfqueue judge [the same options] <PACKETS\n"
"\n"
"run: takes packets that a rule of `glb-redirect iptables` gives it and does with them what\n"
"attach would have a program in the kernel do; until SIGTERM. Slower, and it cannot check SYN\n"
"cookies, nor the sequence numbers of half-open connections and TIME_WAIT.\n"
"judge: packets from standard input, a line of hexadecimal digits each, from the IP header on;\n"
"says what run would do, and sends nothing.\n"
"\n"
"  --queue N            of netfilter, 0..65535 (default 0)\n"
"  --status FILE        its counters in JSON, once a second when they have changed, and\n"
"                       at SIGUSR1\n"
"  --allow-file FILE    of run: the allow-list, followed as by `allow watch`; in place of\n"
"                       --allow and --peer once it has been read\n"
"\n"
"The other options are those of attach.\n";

static const char iptables_help[] =
"usage: glb-redirect iptables print|install|remove [--queue N] [--port N] [--decap KIND,…]\n"
"       glb-redirect iptables print --nft [the same]\n"
"\n"
"The rules for `glb-redirect nfqueue run`, for iptables and ip6tables: printed, added where\n"
"they are missing, or removed. While no process has the queue, packets pass by it.\n"
"\n"
"  --nft                print what nftables would read (`nft -f -`) instead\n";

static const char report_help[] =
"usage: glb-redirect report --secret FILE [--port N]\n"
"\n"
"Answers the controller's question how many connections of VIPs this host has, so that\n"
"`glb drain --wait` ends when the last one has. Runs until it is ended; see the unit\n"
"glb-redirect-report.service. Nothing need be attached.\n"
"\n"
"  --secret FILE        32 hex digits (`openssl rand -hex 16`), the same as in the file of\n"
"                       `glb serve --report-secret`; who has them not gets no answer\n"
"  --port N             UDP port, 1..65535 (default 19524), on every address\n";

static const struct command {
	const char *name, *help;
	int (*run)(const struct options *options);
} commands[] = {
	{"attach", attach_help, command_attach},
	{"detach", detach_help, command_detach},
	{"status", status_help, command_status},
	{"metrics", metrics_help, command_metrics},
	{"doctor", doctor_help, command_doctor},
	{"features", features_help, command_features},
	{"allow", allow_help, command_allow},
	{"load", load_help, command_load},
	{"events", events_help, command_events},
	{"nfqueue", nfqueue_help, command_nfqueue},
	{"iptables", iptables_help, command_iptables},
	{"report", report_help, command_report},
};

int fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("glb-redirect: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	return EXIT_FAILED;
}

int fail_errno(int err, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("glb-redirect: ", stderr);
	vfprintf(stderr, format, arguments);
	if (err == -EPERM || err == -EACCES)
		fputs(": not permitted; run as root (or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN)\n",
		      stderr);
	else
		fprintf(stderr, ": %s\n", strerror(-err));
	va_end(arguments);
	return EXIT_FAILED;
}

static int run(const struct command *command, int argc, char **argv)
{
	struct options options;
	int status = options_read(&options, command->name, argc, argv);

	if (status == EXIT_DONE && options.help)
		fputs(command->help, stdout);
	else if (status == EXIT_DONE)
		status = command->run(&options);
	prefixes_free(&options.prefixes);
	rewrites_free(&options.rewrites);
	services_free(&options.services);
	quics_free(&options.quics);
	return status;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
		fputs(usage, stdout);
		return EXIT_DONE;
	}
	if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
		puts("glb-redirect " GLB_PROGRAM_VERSION);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(name, commands[i].name))
			return run(&commands[i], argc - 1, argv + 1);
	fputs(usage, stderr);
	return EXIT_USAGE;
}
