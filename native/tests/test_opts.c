/* The command line: EAL's part, our part, and what is refused. */
#include "check.h"

#include "opts.h"

#include <errno.h>
#include <string.h>

static struct opts opts;
static struct glb_error error;

static int parse(const char *const *words)
{
	char *argv[16] = {"glb-forwarder"};
	int argc = 1;

	for (; words[argc - 1] != NULL; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	return opts_parse(&opts, argc, argv, &error);
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static void own_options_alone(void)
{
	CHECK(PARSE("--config", "a.toml", "--set", "forward.mtu=1", "-s", "x.y=z", "--check") == 0);
	CHECK(strcmp(opts.config, "a.toml") == 0 && opts.set_count == 2 && opts.check);
	CHECK(strcmp(opts.sets[1], "x.y=z") == 0 && opts.eal_argc == 0);
	CHECK(PARSE("--replay", "--replay-order", "f", "-ca.toml") == 0);
	CHECK(opts.replay && strcmp(opts.order, "f") == 0 && strcmp(opts.config, "a.toml") == 0);
	CHECK(PARSE("--help") == 0 && opts.help);
	CHECK(PARSE("-v") == 0 && opts.version);
	CHECK(PARSE("--schema") == 0 && opts.schema);
}

static void eal_options_in_front(void)
{
	CHECK(PARSE("-l", "0,1", "--vdev=net_null0", "--", "--config", "a.toml") == 0);
	CHECK(opts.eal_argc == 3 && strcmp(opts.eal_argv[0], "-l") == 0);
	CHECK(strcmp(opts.eal_argv[2], "--vdev=net_null0") == 0 && strcmp(opts.config, "a.toml") == 0);
	CHECK(PARSE("--", "--set", "a.b=c") == 0 && opts.eal_argc == 0 && opts.set_count == 1);
}

static void wrong_usage_is_named(void)
{
	CHECK(PARSE("-l", "0,1") == -EINVAL && strstr(error.text, "EAL options go in front of --") != NULL);
	CHECK(PARSE("--nonsense") == -EINVAL && strstr(error.text, "--nonsense") != NULL);
	CHECK(PARSE("--config") == -EINVAL && strstr(error.text, "needs a value") != NULL);
	CHECK(PARSE("-c", "a", "b") == -EINVAL && strstr(error.text, "b: not an option") != NULL);
	CHECK(PARSE("--check") == -EINVAL && strstr(error.text, "--config is missing") != NULL);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"own options alone", own_options_alone},
		{"EAL options in front", eal_options_in_front},
		{"wrong usage is named", wrong_usage_is_named},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
