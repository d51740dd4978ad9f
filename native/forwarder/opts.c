/* The command line (opts.h). Does not interpret EAL options; EAL does. */
#include "opts.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { OPT_HELP = 'h', OPT_VERSION = 'v', OPT_CONFIG = 'c', OPT_SET = 's', OPT_CHECK = 256, OPT_SCHEMA, OPT_TAKEOVER, OPT_REPLAY, OPT_ORDER,
       OPT_SHOW_LAYOUT, OPT_NEEDS };

static const struct option options[] = {
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"set", required_argument, NULL, OPT_SET},
	{"check", no_argument, NULL, OPT_CHECK},
	{"needs", no_argument, NULL, OPT_NEEDS},
	{"schema", no_argument, NULL, OPT_SCHEMA},
	{"takeover", no_argument, NULL, OPT_TAKEOVER},
	{"show-layout", no_argument, NULL, OPT_SHOW_LAYOUT},
	{"replay", no_argument, NULL, OPT_REPLAY},
	{"replay-order", required_argument, NULL, OPT_ORDER},
	{NULL, 0, NULL, 0},
};

void opts_print_help(void)
{
	puts("usage: glb-forwarder --config director.toml [OPTION]...\n"
	     "       glb-forwarder EAL-OPTION... -- [--config director.toml] [OPTION]...\n"
	     "\n"
	     "Forwards packets for virtual addresses to backends, as its snapshot file says.\n"
	     "All settings come from the configuration file; EAL options in front of -- (as in every\n"
	     "DPDK program) come on top of those that it has, and replace its cores.\n"
	     "\n"
	     "  -c, --config FILE     the director's configuration (TOML)\n"
	     "  -s, --set KEY=VALUE   set one key over the file's, for example forward.mtu=1600; repeatable\n"
	     "      --check           validate the configuration and exit\n"
	     "      --needs           print what this machine lacks for the configuration, as JSON, and exit\n"
	     "      --schema          print the configuration's JSON Schema and exit\n"
	     "      --takeover        start muted beside the running forwarder of this configuration, to take\n"
	     "                        over from it when told so (glb upgrade)\n"
	     "      --show-layout     print which lcore does what on which CPU, and exit\n"
	     "      --replay          end when the ports have run dry; print the counters as JSON\n"
	     "      --replay-order FILE  with --replay: note there which packets were sent\n"
	     "  -h, --help            this text\n"
	     "  -v, --version         print the version\n"
	     "\n"
	     "Exit status: 0 stopped as asked, 1 failed, 2 the configuration or the usage is wrong.");
}

/* Splits argv at "--": what is in front of it belongs to EAL. Returns the index of the first own option's predecessor. */
static int split(struct opts *opts, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") != 0)
			continue;
		opts->eal_argv = argv + 1;
		opts->eal_argc = i - 1;
		return i;
	}
	return 0;
}

static int take(struct opts *opts, int option, const char *word, struct glb_error *error)
{
	switch (option) {
	case OPT_HELP:
		opts->help = true;
		return 0;
	case OPT_VERSION:
		opts->version = true;
		return 0;
	case OPT_CHECK:
		opts->check = true;
		return 0;
	case OPT_NEEDS:
		opts->needs = true;
		return 0;
	case OPT_SCHEMA:
		opts->schema = true;
		return 0;
	case OPT_TAKEOVER:
		opts->takeover = true;
		return 0;
	case OPT_SHOW_LAYOUT:
		opts->show_layout = true;
		return 0;
	case OPT_REPLAY:
		opts->replay = true;
		return 0;
	case OPT_ORDER:
		opts->order = optarg;
		return 0;
	case OPT_CONFIG:
		opts->config = optarg;
		return 0;
	case OPT_SET:
		if (opts->set_count == OPTS_SETS_MAX)
			return glb_error_set(error, -EINVAL, "--set: at most %d are taken", OPTS_SETS_MAX);
		opts->sets[opts->set_count++] = optarg;
		return 0;
	case ':':
		return glb_error_set(error, -EINVAL, "%s: needs a value", word);
	default:
		return glb_error_set(error, -EINVAL, "%s: unknown option; EAL options go in front of --, "
				     "see --help", word);
	}
}

int opts_parse(struct opts *opts, int argc, char **argv, struct glb_error *error)
{
	int first, option, ret;

	memset(opts, 0, sizeof(*opts));
	first = split(opts, argc, argv);
	argc -= first;
	argv += first;
	opterr = 0;
	optind = 1;
	for (;;) {
		const char *word = optind < argc ? argv[optind] : "";

		option = getopt_long(argc, argv, "+:hvc:s:", options, NULL);
		if (option == -1)
			break;
		ret = take(opts, option, word, error);
		if (ret != 0)
			return ret;
	}
	if (optind < argc)
		return glb_error_set(error, -EINVAL, "%s: not an option; see --help", argv[optind]);
	if (!opts->help && !opts->version && !opts->schema && opts->config == NULL && opts->set_count == 0)
		return glb_error_set(error, -EINVAL, "--config is missing; see --help");
	return 0;
}
