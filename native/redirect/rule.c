/* glb-redirect iptables: the rules that give packets to `glb-redirect nfqueue run`; prints them, or has iptables add or remove them. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tool.h"

enum { WORDS_MAX = 24, WORD = 16 };

extern char **environ;

struct rule {
	const char *program; /* iptables or ip6tables */
	char words[WORDS_MAX][WORD];
	size_t count;
};

static void say(struct rule *rule, const char *text)
{
	snprintf(rule->words[rule->count++], WORD, "%s", text);
}

static void say_number(struct rule *rule, uint32_t number)
{
	snprintf(rule->words[rule->count++], WORD, "%u", number);
}

/* What comes by `protocol`; with a port for UDP. */
static struct rule make(const char *program, const char *protocol, const struct options *options)
{
	struct rule rule = {.program = program};

	say(&rule, "INPUT");
	say(&rule, "-p");
	say(&rule, protocol);
	if (!strcmp(protocol, "udp")) {
		say(&rule, "--dport");
		say_number(&rule, options->port);
	}
	say(&rule, "-j");
	say(&rule, "NFQUEUE");
	if (options->queue) {
		say(&rule, "--queue-num");
		say_number(&rule, options->queue);
	}
	say(&rule, "--queue-bypass");
	return rule;
}

/* Runs `iptables -w ACTION …`; its exit status, or -errno. With `quiet` it says nothing. */
static int call(const struct rule *rule, const char *action, bool quiet)
{
	char *words[WORDS_MAX + 4] = {(char *)rule->program, "-w", (char *)action};
	posix_spawn_file_actions_t files;
	int status, err;
	pid_t child;

	for (size_t i = 0; i < rule->count; i++)
		words[3 + i] = (char *)rule->words[i];
	posix_spawn_file_actions_init(&files);
	if (quiet)
		posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	err = posix_spawnp(&child, rule->program, &files, NULL, words, environ);
	posix_spawn_file_actions_destroy(&files);
	if (err)
		return -err;
	if (waitpid(child, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static void print(const struct rule *rule)
{
	printf("%s -A", rule->program);
	for (size_t i = 0; i < rule->count; i++)
		printf(" %s", rule->words[i]);
	putchar('\n');
}

static int apply(const struct rule *rule, const struct options *options)
{
	bool install = !strcmp(options->action, "install"), there;
	int status;

	if (!strcmp(options->action, "print")) {
		print(rule);
		return EXIT_DONE;
	}
	status = call(rule, "-C", true);
	if (status < 0)
		return fail_errno(status, "cannot run %s", rule->program);
	there = status == 0;
	if (there == install)
		return EXIT_DONE;
	status = call(rule, install ? "-A" : "-D", false);
	return status ? fail("%s would not %s the rule; it has said why", rule->program, install ? "add" : "remove") : EXIT_DONE;
}

static void print_nft(const struct options *options)
{
	printf("table inet glb_redirect {\n"
	       "\tchain input {\n"
	       "\t\ttype filter hook input priority filter; policy accept;\n"
	       "\t\tudp dport %u queue flags bypass to %u\n", options->port, options->queue);
	if (options->decap & GLB_REDIRECT_DECAP_GRE)
		printf("\t\tmeta l4proto gre queue flags bypass to %u\n", options->queue);
	if (options->decap & GLB_REDIRECT_DECAP_IPIP)
		printf("\t\tmeta l4proto { 4, 41 } queue flags bypass to %u\n", options->queue);
	printf("\t}\n}\n");
}

int command_iptables(const struct options *options)
{
	static const char *const programs[] = {"iptables", "ip6tables"};
	static const struct {
		const char *protocol;
		uint8_t decap; /* 0: always */
	} kinds[] = {{"udp", 0}, {"47", GLB_REDIRECT_DECAP_GRE}, {"4", GLB_REDIRECT_DECAP_IPIP}, {"41", GLB_REDIRECT_DECAP_IPIP}};
	int status = EXIT_DONE;

	if (options->nft) {
		print_nft(options);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < 2; i++)
		for (size_t j = 0; j < sizeof(kinds) / sizeof(kinds[0]) && status == EXIT_DONE; j++)
			if (!kinds[j].decap || options->decap & kinds[j].decap) {
				struct rule rule = make(programs[i], kinds[j].protocol, options);

				status = apply(&rule, options);
			}
	return status;
}
