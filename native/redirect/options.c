/* The command line behind the command's name. */
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "report.h"
#include "tool.h"

enum {
	PORT_DEFAULT = GLB_GUE_PORT,
	LAST_HOP_RATE_DEFAULT = 10000,
	FORWARD_RATE_DEFAULT = 200000,
	RATE_MAX = 100000000,
};

#define COMMON \
	{"pin-dir", required_argument, NULL, 'd'}, \
	{"name", required_argument, NULL, 'n'}, \
	{"help", no_argument, NULL, 'h'}, \
	{0}

/* What the decision goes by, whatever the way in: of `attach` and `nfqueue`. */
#define DECISION \
	{"allow", required_argument, NULL, 'a'}, \
	{"peer", required_argument, NULL, 'p'}, \
	{"port", required_argument, NULL, 'P'}, \
	{"last-hop-rate", required_argument, NULL, 'r'}, \
	{"forward-rate", required_argument, NULL, 'w'}, \
	{"decap", required_argument, NULL, 'D'}, \
	{"gre-key", required_argument, NULL, 'k'}, \
	{"service", required_argument, NULL, 's'}, \
	{"quic", required_argument, NULL, 'Q'}, \
	{"deliver", required_argument, NULL, 'v'}

static const struct option attach_known[] = {
	DECISION,
	{"l3dsr", required_argument, NULL, 'l'},
	{"nat", required_argument, NULL, 't'},
	{"mode", required_argument, NULL, 'm'},
	{"hook", required_argument, NULL, 'H'},
	{"xdp-forward", required_argument, NULL, 'x'},
	COMMON,
};
static const struct option nfqueue_known[] = {
	{"queue", required_argument, NULL, 'q'},
	DECISION,
	{"status", required_argument, NULL, 'O'},
	{"allow-file", required_argument, NULL, 'F'},
	{"help", no_argument, NULL, 'h'},
	{0},
};
static const struct option iptables_known[] = {
	{"queue", required_argument, NULL, 'q'}, {"port", required_argument, NULL, 'P'}, {"decap", required_argument, NULL, 'D'},
	{"nft", no_argument, NULL, 'N'}, {"help", no_argument, NULL, 'h'}, {0}};
static const struct option load_known[] = {{"connections", no_argument, NULL, 'c'}, COMMON};
static const struct option events_known[] = {{"seconds", required_argument, NULL, 'S'}, COMMON};
static const struct option detach_known[] = {{"force", no_argument, NULL, 'f'}, COMMON};
static const struct option status_known[] = {
	{"json", no_argument, NULL, 'j'}, {"connections", no_argument, NULL, 'c'}, {"vip", required_argument, NULL, 'a'}, COMMON};
static const struct option metrics_known[] = {{"output", required_argument, NULL, 'O'}, COMMON};
static const struct option doctor_known[] = {
	{"vip", required_argument, NULL, 'a'}, {"json", no_argument, NULL, 'j'}, COMMON};
static const struct option features_known[] = {{"help", no_argument, NULL, 'h'}, {0}};
static const struct option report_known[] = {
	{"secret", required_argument, NULL, 'e'}, {"port", required_argument, NULL, 'P'}, COMMON};
static const struct option allow_known[] = {
	{"peer", no_argument, NULL, 'o'}, {"json", no_argument, NULL, 'j'}, {"status", required_argument, NULL, 'O'}, COMMON};

/* What reading has come to. */
struct reading {
	struct options *options;
	const char *command;
	uint32_t roles; /* of the prefixes that follow; 0: none may */
};

static int misuse(const struct reading *reading, const char *what, const char *value)
{
	fprintf(stderr, "glb-redirect: %s%s (`glb-redirect %s --help`)\n", what, value ? value : "", reading->command);
	return EXIT_USAGE;
}

static int read_number(const struct reading *reading, uint32_t *number, uint32_t least, uint32_t most)
{
	char *end, message[96];
	unsigned long value = strtoul(optarg, &end, 10);

	if (optarg[0] < '0' || optarg[0] > '9' || *end || value < least || value > most) {
		snprintf(message, sizeof(message), "not a number from %u to %u: ", least, most);
		return misuse(reading, message, optarg);
	}
	*number = (uint32_t)value;
	return EXIT_DONE;
}

/* One prefix, or several with commas between. */
static int read_prefixes(struct reading *reading, const char *text, uint32_t roles)
{
	char *copy = strdup(text), *rest = copy, *one;
	struct glb_redirect_prefix prefix;
	int status = EXIT_DONE;

	while (status == EXIT_DONE && (one = strsep(&rest, ","))) {
		if (prefix_parse(&prefix, one))
			status = misuse(reading, "not a prefix without host bits, such as 10.0.0.0/24, 10.0.0.1 or 2001:db8::/64: ", one);
		else if (prefixes_push(&reading->options->prefixes, &prefix, roles))
			status = fail("out of memory");
	}
	free(copy);
	return status;
}

/* "gre", "ipip" or both with a comma between. */
static int read_decap(const struct reading *reading, const char *text)
{
	char *copy = strdup(text), *rest = copy, *one;
	int status = EXIT_DONE;

	while (status == EXIT_DONE && (one = strsep(&rest, ","))) {
		if (!strcmp(one, "gre"))
			reading->options->decap |= GLB_REDIRECT_DECAP_GRE;
		else if (!strcmp(one, "ipip"))
			reading->options->decap |= GLB_REDIRECT_DECAP_IPIP;
		else
			status = misuse(reading, "--decap takes gre and ipip, not ", one);
	}
	free(copy);
	return status;
}

/* One of several words, each with its number. */
struct choice {
	const char *word;
	int number;
};

static const struct choice modes[] = {{"tc", MODE_TC}, {"xdp", MODE_XDP}, {"xdp-generic", MODE_XDP_GENERIC}, {0}};
static const struct choice deliveries[] = {{"inner", false}, {"kernel", true}, {0}};
static const struct choice hooks[] = {{"clsact", HOOK_CLSACT}, {"tcx", HOOK_TCX}, {"auto", HOOK_AUTO}, {0}};
static const struct choice forwards[] = {{"auto", XDP_FORWARD_AUTO}, {"tc", GLB_REDIRECT_XDP_TO_TC}, {"tx", GLB_REDIRECT_XDP_TX},
					 {"redirect", GLB_REDIRECT_XDP_REDIRECT}, {0}};

/* The number of `optarg`; -1 having said what is possible. */
static int read_choice(const struct reading *reading, const char *option, const struct choice *choices)
{
	char message[128];
	size_t len = (size_t)snprintf(message, sizeof(message), "--%s takes", option);

	for (const struct choice *choice = choices; choice->word; choice++) {
		if (!strcmp(optarg, choice->word))
			return choice->number;
		len += (size_t)snprintf(message + len, sizeof(message) - len, " %s,", choice->word);
	}
	snprintf(message + len, sizeof(message) - len, " not ");
	misuse(reading, message, optarg);
	return -1;
}

static int read_rewrite(const struct reading *reading, const char *text, bool nat)
{
	struct rewrite rewrite;

	if (nat ? rewrite_parse_nat(&rewrite, text) : rewrite_parse_l3dsr(&rewrite, text))
		return misuse(reading, nat ? "--nat takes tcp:PORT=VIP[:PORT] or udp:PORT=VIP[:PORT], an IPv6 VIP in brackets, not "
					   : "--l3dsr takes DSCP=VIP, with a DSCP from 1 to 63, not ", text);
	if (rewrites_contain(&reading->options->rewrites, &rewrite.match))
		return misuse(reading, nat ? "one VIP for a port and protocol; given twice: "
					   : "one VIP of a family for a DSCP; given twice: ", text);
	return rewrites_push(&reading->options->rewrites, &rewrite) ? fail("out of memory") : EXIT_DONE;
}

static int read_service(const struct reading *reading, const char *text)
{
	struct service service;

	if (service_parse(&service, text))
		return misuse(reading, "--service takes tcp:VIP:PORT=listening, queue<N or load<N (N or auto), or udp:VIP:PORT=bound or "
			      "connected, an IPv6 VIP in brackets, not ", text);
	if (services_find(&reading->options->services, &service.key))
		return misuse(reading, "given twice: --service ", text);
	return services_push(&reading->options->services, &service) ? fail("out of memory") : EXIT_DONE;
}

/* What a command's first word may be, "a, b or c"; NULL: it has none. */
static const char *actions_of(const char *command)
{
	return !strcmp(command, "allow") ? "add, remove, list or watch" : !strcmp(command, "nfqueue") ? "run or judge"
	     : !strcmp(command, "iptables") ? "print, install or remove" : NULL;
}

static int read_action(const struct reading *reading, const char *word)
{
	const char *actions = actions_of(reading->command), *found = strstr(actions, word);
	size_t len = strlen(word);
	char message[96];

	if (len > 2 && found && (found == actions || found[-1] == ' ') && (found[len] == ' ' || found[len] == ',' || !found[len])) {
		reading->options->action = word;
		return EXIT_DONE;
	}
	snprintf(message, sizeof(message), "%s what? %s, not ", reading->command, actions);
	return misuse(reading, message, word);
}

/* The service, then its number. */
static int read_load(const struct reading *reading, const char *word)
{
	char *end;
	unsigned long value;

	if (!reading->options->action) {
		reading->options->action = word;
		return EXIT_DONE;
	}
	value = strtoul(word, &end, 10);
	if (word[0] < '0' || word[0] > '9' || *end || value > INT32_MAX || reading->options->given)
		return misuse(reading, "one number, not ", word);
	reading->options->load = (uint32_t)value;
	reading->options->given = true;
	return EXIT_DONE;
}

static int read_word(struct reading *reading, const char *word)
{
	struct options *options = reading->options;
	struct glb_redirect_prefix prefix;
	bool allow = !strcmp(reading->command, "allow");

	if (actions_of(reading->command) && !options->action)
		return read_action(reading, word);
	if (allow && !strcmp(options->action, "watch")) {
		if (options->file)
			return misuse(reading, "one file at a time: ", word);
		options->file = word;
		return EXIT_DONE;
	}
	if (allow)
		return strcmp(options->action, "list") ? read_prefixes(reading, word, GLB_REDIRECT_SOURCE)
						       : misuse(reading, "list takes no prefix: ", word);
	/* `--allow A B C`: prefixes go on until something else comes. */
	if (reading->roles && (options->device || !prefix_parse(&prefix, word) || strchr(word, '/')))
		return read_prefixes(reading, word, reading->roles);
	if (!strcmp(reading->command, "load"))
		return read_load(reading, word);
	if (actions_of(reading->command) || !strcmp(reading->command, "features"))
		return misuse(reading, "one word too many: ", word);
	if (options->device)
		return misuse(reading, "one device at a time: ", word);
	if (strlen(word) >= IFNAMSIZ)
		return misuse(reading, "not a device name: ", word);
	options->device = word;
	return EXIT_DONE;
}

static int read_option(struct reading *reading, int option)
{
	struct options *options = reading->options;
	int number;

	reading->roles = 0;
	switch (option) {
	case 'a':
		reading->roles = GLB_REDIRECT_SOURCE;
		return read_prefixes(reading, optarg, reading->roles);
	case 'p':
		reading->roles = GLB_REDIRECT_SOURCE | GLB_REDIRECT_PEER;
		return read_prefixes(reading, optarg, reading->roles);
	case 'o':
		options->peer = true;
		return EXIT_DONE;
	case 'P':
		return read_number(reading, &options->port, 1, 65535);
	case 'r':
		return read_number(reading, &options->last_hop_rate, 0, RATE_MAX);
	case 'w':
		return read_number(reading, &options->forward_rate, 0, RATE_MAX);
	case 'D':
		return read_decap(reading, optarg);
	case 'k':
		options->gre_has_key = true;
		return read_number(reading, &options->gre_key, 0, UINT32_MAX);
	case 'l':
	case 't':
		return read_rewrite(reading, optarg, option == 't');
	case 'S':
		return read_number(reading, &options->seconds, 1, 1000000);
	case 's':
		return read_service(reading, optarg);
	case 'Q':
		options->quic = optarg;
		return EXIT_DONE;
	case 'q':
		return read_number(reading, &options->queue, 0, 65535);
	case 'N':
		options->nft = true;
		return EXIT_DONE;
	case 'm':
		number = read_choice(reading, "mode", modes);
		options->mode = (enum mode)number;
		return number < 0 ? EXIT_USAGE : EXIT_DONE;
	case 'v':
		number = read_choice(reading, "deliver", deliveries);
		options->leaves_outer = number > 0;
		return number < 0 ? EXIT_USAGE : EXIT_DONE;
	case 'H':
		number = read_choice(reading, "hook", hooks);
		options->hook = (enum hook)number;
		return number < 0 ? EXIT_USAGE : EXIT_DONE;
	case 'x':
		number = read_choice(reading, "xdp-forward", forwards);
		options->xdp_forward = (uint8_t)number;
		return number < 0 ? EXIT_USAGE : EXIT_DONE;
	case 'd':
		options->pin_dir = optarg;
		return EXIT_DONE;
	case 'n':
		if (!*optarg || *optarg == '.' || strchr(optarg, '/') || strlen(optarg) >= NAME_LEN)
			return misuse(reading, "--name must be a file name of at most 63 characters without a leading dot: ",
				      optarg);
		options->name = optarg;
		return EXIT_DONE;
	case 'j':
		options->json = true;
		return EXIT_DONE;
	case 'F':
		options->file = optarg;
		return EXIT_DONE;
	case 'e':
		options->secret = optarg;
		return EXIT_DONE;
	case 'O':
		options->output = optarg;
		return EXIT_DONE;
	case 'c':
		options->connections = true;
		return EXIT_DONE;
	case 'f':
		options->force = true;
		return EXIT_DONE;
	case 'h':
		options->help = true;
		return EXIT_DONE;
	default:
		return misuse(reading, "wrong option", NULL); /* getopt has said which */
	}
}

/* Is everything there that the command needs? */
static int check(struct reading *reading)
{
	struct options *options = reading->options;

	if (options->help)
		return EXIT_DONE;
	if (!options->device && (!strcmp(reading->command, "attach") || !strcmp(reading->command, "detach") ||
				 !strcmp(reading->command, "doctor")))
		return misuse(reading, "which device?", NULL);
	if (!strcmp(reading->command, "report") && !options->secret)
		return misuse(reading, "--secret FILE: with the key that `glb serve --report-secret` has", NULL);
	if (options->gre_has_key && !(options->decap & GLB_REDIRECT_DECAP_GRE))
		return misuse(reading, "--gre-key needs --decap gre", NULL);
	if (!strcmp(reading->command, "status") && options->prefixes.count && !options->connections)
		return misuse(reading, "--vip needs --connections", NULL);
	if (actions_of(reading->command) && !options->action)
		return misuse(reading, "what is it to do? ", actions_of(reading->command));
	if (!strcmp(reading->command, "load") && (!options->action || options->given == options->connections))
		return misuse(reading, "which service, and how busy? A number, or --connections", NULL);
	if (options->quic && quics_load(&options->quics, &options->services, options->quic))
		return EXIT_FAILED;
	if (!strcmp(reading->command, "attach") && quics_encrypted(&options->quics))
		return fail("--quic %s: eBPF cannot read encrypted connection ids. Leave them to directors (`quic` of the service), use "
			    "`glb-redirect nfqueue`, or set `encrypted: false`", options->quic);
	if (options->nft && strcmp(options->action, "print"))
		return misuse(reading, "--nft only prints", NULL);
	if (strcmp(reading->command, "allow"))
		return EXIT_DONE;
	if (!strcmp(options->action, "watch"))
		return !options->file ? misuse(reading, "which file?", NULL)
		     : !options->name ? misuse(reading, "which instance? --name, the device unless attach was given another", NULL) : EXIT_DONE;
	if (strcmp(options->action, "list") && !options->prefixes.count)
		return misuse(reading, "which prefixes?", NULL);
	for (size_t i = 0; options->peer && i < options->prefixes.count; i++)
		options->prefixes.roles[i] |= GLB_REDIRECT_PEER;
	return EXIT_DONE;
}

int options_read(struct options *options, const char *command, int argc, char **argv)
{
	struct reading reading = {.options = options, .command = command};
	const struct option *options_known = !strcmp(command, "attach") ? attach_known
					   : !strcmp(command, "detach") ? detach_known
					   : !strcmp(command, "status") ? status_known
					   : !strcmp(command, "metrics") ? metrics_known
					   : !strcmp(command, "nfqueue") ? nfqueue_known
					   : !strcmp(command, "iptables") ? iptables_known
					   : !strcmp(command, "load") ? load_known
					   : !strcmp(command, "report") ? report_known
					   : !strcmp(command, "events") ? events_known
					   : !strcmp(command, "features") ? features_known
					   : !strcmp(command, "doctor") ? doctor_known : allow_known;
	int option, status = EXIT_DONE;

	*options = (struct options){.pin_dir = "/sys/fs/bpf/glb", .port = PORT_DEFAULT,
				    .last_hop_rate = LAST_HOP_RATE_DEFAULT, .forward_rate = FORWARD_RATE_DEFAULT, .xdp_forward = XDP_FORWARD_AUTO};
	if (!strcmp(command, "report"))
		options->port = REPORT_PORT;
	/* "-": words that are no options come in their place, as option 1. */
	while (status == EXIT_DONE && (option = getopt_long(argc, argv, "-h", options_known, NULL)) != -1)
		status = option == 1 ? read_word(&reading, optarg) : read_option(&reading, option);
	for (; status == EXIT_DONE && optind < argc; optind++)
		status = read_word(&reading, argv[optind]);
	return status ? status : check(&reading);
}
