/* What a configuration needs of this machine (needs.h): memory, and the order of looking. */
#include "needs.h"
#include "hugepages.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#define HUGETLBFS_SUPER_MAGIC 0x958458f6

void needs_add(struct needs *needs, const char *check, bool fails, const char *mend, const char *format, ...)
{
	struct need *need;
	va_list args;

	if (needs->count == NEEDS_MAX)
		return;
	need = &needs->list[needs->count++];
	snprintf(need->check, sizeof(need->check), "%s", check);
	snprintf(need->mend, sizeof(need->mend), "%s", mend);
	need->fails = fails;
	va_start(args, format);
	vsnprintf(need->message, sizeof(need->message), format, args);
	va_end(args);
}

static bool option_at(char *const *words, unsigned count, unsigned i, const char *option, const char **value)
{
	const size_t len = strlen(option);

	if (strncmp(words[i], option, len) != 0)
		return false;
	if (words[i][len] == '\0')
		*value = i + 1 < count ? words[i + 1] : NULL;
	else if (words[i][len] == '=')
		*value = words[i] + len + 1;
	else if (option[1] != '-')
		*value = words[i] + len;
	else
		return false;
	return true;
}

bool needs_option(const struct config *config, const struct opts *opts, const char *option, const char **value)
{
	const char *unused;

	value = value != NULL ? value : &unused;
	*value = NULL;
	for (unsigned i = 0; i < (unsigned)opts->eal_argc; i++)
		if (option_at(opts->eal_argv, (unsigned)opts->eal_argc, i, option, value))
			return true;
	for (unsigned i = 0; i < config->eal_arg_count; i++)
		if (option_at(config->eal_args, config->eal_arg_count, i, option, value))
			return true;
	return false;
}

/* The effective capabilities of this process. */
static uint64_t capabilities(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long found = 0;
	char line[256];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "CapEff: %llx", &found) == 1)
			break;
	if (file != NULL)
		fclose(file);
	return found;
}

static bool is_hugetlbfs(const char *path)
{
	struct statfs stat;

	return statfs(path, &stat) == 0 && (unsigned long)stat.f_type == HUGETLBFS_SUPER_MAGIC;
}

/* Hugepages, unless the options do without. */
static void look_at_memory(struct needs *needs, const struct config *config, const struct opts *opts)
{
	const bool files = !needs_option(config, opts, "--in-memory", NULL);
	const char *folder, *megabytes;
	struct hugepages_lack lack;

	if (needs_option(config, opts, "--no-huge", NULL))
		return;
	needs_option(config, opts, "-m", &megabytes);
	needs_option(config, opts, "--huge-dir", &folder);
	if (hugepages_too_few(megabytes != NULL ? strtoul(megabytes, NULL, 10) : 0, &lack))
		needs_add(needs, "eal.args", true, lack.mend, "%s", lack.message);
	if (files && folder == NULL && hugepages_not_mounted(&lack))
		needs_add(needs, "eal.args", true, lack.mend, "%s", lack.message);
	if (files && folder != NULL && !is_hugetlbfs(folder))
		needs_add(needs, "eal.args", true, "mount -t hugetlbfs none DIR, or leave --huge-dir out",
			  "--huge-dir %.120s: no hugetlbfs is mounted there", folder);
}

void needs_look(struct needs *needs, const struct config *config, const struct opts *opts, bool memory)
{
	struct rlimit lock = {0};

	memset(needs, 0, sizeof(*needs));
	needs->capabilities = capabilities();
	needs->lock_limit = UINT64_MAX;
	if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0 && lock.rlim_cur != RLIM_INFINITY)
		needs->lock_limit = lock.rlim_cur;
	if (memory)
		look_at_memory(needs, config, opts);
	for (unsigned i = 0; i < config->port_count; i++)
		needs_of_port(needs, config, opts, i);
}

int needs_print(const struct needs *needs)
{
	json_t *list = json_array(), *whole;
	int ret;

	for (unsigned i = 0; i < needs->count; i++) {
		const struct need *need = &needs->list[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "check", need->check, "status",
						      need->fails ? "fail" : "warn", "message", need->message, "mend",
						      need->mend));
	}
	whole = json_pack("{s:o}", "findings", list);
	ret = json_dumpf(whole, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(whole);
	return ret == 0 && fflush(stdout) == 0 ? 0 : -1;
}
