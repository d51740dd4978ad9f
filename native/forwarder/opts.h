/* The command line: `glb-forwarder [EAL options] -- [own options]`, or own options alone. */
#ifndef FORWARDER_OPTS_H
#define FORWARDER_OPTS_H

#include <glb/err.h>

enum { OPTS_SETS_MAX = 64 };

struct opts {
	bool help;
	bool version;
	bool check;                 /* validate the configuration and exit */
	bool needs;                 /* print what this machine lacks for it, and exit */
	bool schema;                /* print the configuration's JSON Schema and exit */
	bool show_layout;           /* print which lcore does what, and exit */
	bool replay;                /* end when the ports have run dry; print the counters */
	bool takeover;              /* start muted beside the running process, to take over from it */
	const char *order;          /* replay: file that notes which packets were sent, or NULL */
	const char *config;         /* path of the TOML file, or NULL */
	char *sets[OPTS_SETS_MAX];  /* KEY=VALUE overrides; borrowed from argv */
	unsigned set_count;
	char **eal_argv;            /* EAL options given in front of `--`; borrowed from argv */
	int eal_argc;
};

/* Takes argv apart. Returns 0 or -EINVAL with *error. */
int opts_parse(struct opts *opts, int argc, char **argv, struct glb_error *error);

/* Prints the usage to standard output. */
void opts_print_help(void);

#endif
