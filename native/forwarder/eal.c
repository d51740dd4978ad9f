/* Starting and ending EAL (eal.h). */
#include "eal.h"
#include "layout.h"
#include "log.h"

#include <rte_devargs.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	ARGS_MAX = CONFIG_EAL_ARGS_MAX + 2 * CONFIG_PORTS_MAX + 256,
	LCORES_TEXT = 16384, /* bytes of a --lcores value */
};

struct args {
	char *words[ARGS_MAX + 1];
	int count;
	bool full;
};

static bool own_prefix; /* EAL's run-time directory belongs to this instance alone */
static char run_time_dir[CONFIG_PATH_MAX];

static void add(struct args *args, const char *word)
{
	if (args->count == ARGS_MAX)
		args->full = true;
	else
		args->words[args->count++] = (char *)(uintptr_t)word; /* EAL reorders, never writes into words */
}

/* Whether one of the options (a list that ends with NULL) was given, as "--x v", "--x=v" or "-xv". */
static bool given(const struct args *args, const char *const *options)
{
	for (int i = 1; i < args->count; i++) {
		for (const char *const *option = options; *option != NULL; option++) {
			size_t len = strlen(*option);

			if (strncmp(args->words[i], *option, len) == 0 &&
			    ((*option)[1] != '-' || args->words[i][len] == '\0' || args->words[i][len] == '='))
				return true;
		}
	}
	return false;
}

/* "0000:03:00.0" or "03:00.0", with or without arguments behind a comma. */
static bool is_pci_address(const char *devargs)
{
	size_t len = strspn(devargs, "0123456789abcdefABCDEF:");

	return len >= 5 && memchr(devargs, ':', len) != NULL && devargs[len] == '.' &&
	       isdigit((unsigned char)devargs[len + 1]) && (devargs[len + 2] == '\0' || devargs[len + 2] == ',');
}

static int make_args(struct args *args, const struct config *config, const struct opts *opts, char *prefix,
		     size_t prefix_len, char *lcores, size_t lcores_len, struct glb_error *error)
{
	static const char *const core_options[] = {"-l", "-c", "--lcores", "--main-lcore", "-s", NULL};
	static const char *const prefix_options[] = {"--file-prefix", "--in-memory", NULL};
	static const char *const page_options[] = {"--no-huge", "--in-memory", "--huge-unlink", NULL};
	cpu_set_t allowed;
	int ret;

	add(args, "glb-forwarder");
	for (int i = 0; i < opts->eal_argc; i++)
		add(args, opts->eal_argv[i]);
	for (unsigned i = 0; i < config->eal_arg_count; i++)
		add(args, config->eal_args[i]);
	if (!given(args, prefix_options)) {
		if (opts->takeover) /* the running process has the plain one */
			snprintf(prefix, prefix_len, "glb-%s.%d", config->name, (int)getpid());
		else
			snprintf(prefix, prefix_len, "glb-%s", config->name);
		add(args, "--file-prefix");
		add(args, prefix);
		own_prefix = true;
	}
	if (!given(args, page_options)) /* else EAL keeps the pages in files when it ends */
		add(args, "--huge-unlink=always");
	if (!given(args, core_options)) {
		if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
			return glb_error_set(error, -errno, "sched_getaffinity: %s", strerror(errno));
		ret = layout_lcores(config, &allowed, lcores, lcores_len, error);
		if (ret != 0)
			return ret;
		add(args, "--lcores");
		add(args, lcores);
		add(args, "--main-lcore");
		add(args, "0");
	}
	for (unsigned i = 0; i < config->port_count; i++) {
		add(args, is_pci_address(config->ports[i].devargs) ? "-a" : "--vdev");
		add(args, config->ports[i].devargs);
	}
	return args->full ? glb_error_set(error, -EINVAL, "eal.args: too many") : 0;
}

/* The cores may have come from EAL options: the configuration's count must agree with them. */
static int settle_workers(struct config *config, struct glb_error *error)
{
	const unsigned others = 1 + (unsigned)config->receivers + (config->receivers_send ? 0 : (unsigned)config->senders);
	const unsigned workers = rte_lcore_count() > others ? rte_lcore_count() - others : 0;

	if (workers == 0 && config->run_model == CONFIG_PIPELINE)
		return glb_error_set(error, -EINVAL, "no worker lcore: the EAL options give %u lcores, and main, receivers "
				     "and senders need %u; give more", rte_lcore_count(), others);
	if (workers == 0)
		return glb_error_set(error, -EINVAL, "no worker lcore: the EAL options give only the main lcore; "
				     "give two, for example --lcores '(0-1)@0'");
	if (workers > CONFIG_WORKERS_MAX)
		return glb_error_set(error, -EINVAL, "%u worker lcores, at most %d are supported", workers,
				     CONFIG_WORKERS_MAX);
	if (config->workers != 0 && (unsigned)config->workers != workers)
		return glb_error_set(error, -EINVAL, "eal.workers: %d, but the EAL options give %u worker lcores",
				     (int)config->workers, workers);
	if (config->senders > workers)
		return glb_error_set(error, -EINVAL, "eal.%s: %d for %u workers; at most one for each",
				     config->receivers_send ? "receivers" : "senders", (int)config->senders, workers);
	config->workers = workers;
	return config_check_peers(config, error);
}

/* EAL's own words do not say which [[port]] has no driver. */
static int explain_failure(const struct config *config, struct glb_error *error)
{
	const int reason = rte_errno;

	for (unsigned i = 0; i < config->port_count; i++) {
		struct rte_devargs devargs = {0};
		const char *words = config->ports[i].devargs;
		const bool known = is_pci_address(words) || rte_devargs_parse(&devargs, words) == 0;

		rte_devargs_reset(&devargs);
		if (!known)
			return glb_error_set(error, -EIO, "port[%u].devargs: this DPDK has no driver for %.80s: correct it, or "
					     "install the driver (`glb doctor` lists those that are there)", i, words);
	}
	return glb_error_set(error, -EIO, "EAL did not start (%s); its reason is above", rte_strerror(reason));
}

int eal_start(struct config *config, const struct opts *opts, struct glb_error *error)
{
	char *lcores = malloc(LCORES_TEXT), prefix[sizeof(config->name) + 24];
	struct args args = {0};
	int ret;

	if (lcores == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory");
	ret = make_args(&args, config, opts, prefix, sizeof(prefix), lcores, LCORES_TEXT, error);
	if (ret == 0 && rte_eal_init(args.count, args.words) < 0)
		ret = explain_failure(config, error);
	free(lcores);
	if (ret != 0)
		return ret;
	snprintf(run_time_dir, sizeof(run_time_dir), "%s", rte_eal_get_runtime_dir());
	ret = settle_workers(config, error);
	if (ret != 0)
		eal_stop();
	return ret;
}

/* Removes `path` and the files in it; it has no directories. */
static void remove_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	rmdir(path);
}

void eal_take_name(const char *name)
{
	char path[CONFIG_PATH_MAX + 64];
	const char *slash = strrchr(run_time_dir, '/');

	if (!own_prefix || slash == NULL)
		return;
	snprintf(path, sizeof(path), "%.*s/glb-%s", (int)(slash - run_time_dir), run_time_dir, name);
	if (strlen(path) >= sizeof(run_time_dir))
		return;
	remove_directory(path); /* of a process that was killed */
	if (rename(run_time_dir, path) != 0)
		log_warning("%s keeps its name: %s", run_time_dir, strerror(errno));
	else
		memcpy(run_time_dir, path, strlen(path) + 1);
}

void eal_stop(void)
{
	if (rte_eal_cleanup() != 0)
		log_warning("EAL did not end cleanly");
	if (own_prefix)
		remove_directory(run_time_dir);
}
