/* glb-redirect allow: who may send to this host, and whom it may send to. */
#include <bpf/bpf.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "tool.h"
#include "watch.h"

enum {
	LOOK_MS = 1000, /* for a file that nobody tells of, and for an instance where there was none */
	COMPARE = 10,   /* looks until the instance's list is compared with what should be in it */
};

int allow_add(int fd, const struct prefixes *prefixes)
{
	for (size_t i = 0; i < prefixes->count; i++) {
		const struct glb_redirect_prefix *prefix = &prefixes->items[i];
		uint32_t roles = prefixes->roles[i], had;

		if (!bpf_map_update_elem(fd, prefix, &roles, BPF_NOEXIST))
			continue;
		/* It is there: the longest match of a prefix with itself is itself. */
		if (errno != EEXIST || bpf_map_lookup_elem(fd, prefix, &had))
			return -errno;
		roles |= had;
		if (bpf_map_update_elem(fd, prefix, &roles, BPF_EXIST))
			return -errno;
	}
	return 0;
}

int allow_read(int fd, struct prefixes *prefixes)
{
	struct glb_redirect_prefix key;
	const void *previous = NULL;
	uint32_t roles;
	int err = 0;

	*prefixes = (struct prefixes){0};
	while (!err && !bpf_map_get_next_key(fd, previous, &key)) {
		previous = &key;
		if (bpf_map_lookup_elem(fd, &key, &roles))
			continue; /* removed meanwhile */
		err = prefixes_insert(prefixes, &key, roles);
	}
	return err;
}

static int add(const struct instance *instance, const struct options *options)
{
	int err = allow_add(instance->allow_fd, &options->prefixes);

	if (err == -ENOSPC)
		return fail("the allow-list is full (%d prefixes): combine some", GLB_REDIRECT_PREFIXES);
	return err ? fail_errno(err, "cannot add to the allow-list") : EXIT_DONE;
}

static int remove_all(const struct instance *instance, const struct options *options)
{
	int status = EXIT_DONE;

	for (size_t i = 0; i < options->prefixes.count; i++) {
		char text[PREFIX_TEXT];

		if (!bpf_map_delete_elem(instance->allow_fd, &options->prefixes.items[i]))
			continue;
		prefix_format(&options->prefixes.items[i], text);
		status = errno == ENOENT ? fail("%s is not in the allow-list (`glb-redirect allow list`)", text)
					 : fail_errno(-errno, "cannot remove %s", text);
	}
	return status;
}

static int list(const struct instance *instance, const struct options *options)
{
	json_t *items = json_array();
	struct prefixes prefixes;
	char text[PREFIX_TEXT];

	if (!items || allow_read(instance->allow_fd, &prefixes))
		return fail("out of memory");
	for (size_t i = 0; i < prefixes.count; i++) {
		const char *role = prefixes.roles[i] & GLB_REDIRECT_PEER ? "peer" : "source";

		prefix_format(&prefixes.items[i], text);
		if (options->json)
			json_array_append_new(items, json_pack("{s:s,s:s}", "prefix", text, "role", role));
		else
			printf("%-18s %s\n", text, role);
	}
	if (options->json) {
		json_dumpf(items, stdout, JSON_COMPACT);
		putchar('\n');
	}
	json_decref(items);
	prefixes_free(&prefixes);
	return EXIT_DONE;
}

/* Makes the map hold `wanted` and nothing else, what is new first. Returns how many entries changed, or -errno. */
static int become(int fd, const struct prefixes *wanted)
{
	struct prefixes present;
	int err = allow_read(fd, &present), changed = 0;

	for (int tries = 0; !err && tries < 2; tries++) {
		for (size_t i = 0; !err && i < wanted->count; i++) {
			uint32_t roles;

			if (!bpf_map_lookup_elem(fd, &wanted->items[i], &roles) && roles == wanted->roles[i] &&
			    prefixes_have(&present, &wanted->items[i]))
				continue;
			err = bpf_map_update_elem(fd, &wanted->items[i], &wanted->roles[i], BPF_ANY) ? -errno : 0;
			changed += !err;
		}
		for (size_t i = 0; (!err || err == -ENOSPC) && i < present.count; i++)
			if (!prefixes_have(wanted, &present.items[i]))
				changed += !bpf_map_delete_elem(fd, &present.items[i]);
		if (err != -ENOSPC)
			break;
		err = 0; /* there is room now */
	}
	prefixes_free(&present);
	return err ? err : changed;
}

static volatile sig_atomic_t stopping;

static void stop(int signal)
{
	(void)signal;
	stopping = 1;
}

/* Replaces the status file in one step. */
static void save_status(const struct watch *watch, const char *path, bool in_force)
{
	json_t *status = json_pack("{s:s, s:b, s:I, s:I, s:I, s:s*}", "file", watch->path, "in_force", in_force, "prefixes",
				   (json_int_t)watch->list.count, "loaded", (json_int_t)watch->loaded, "refused",
				   (json_int_t)watch->refused, "error", watch->why[0] ? watch->why : NULL);
	char fresh[PATH_LEN];

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	if (json_dump_file(status, fresh, JSON_INDENT(2)) || rename(fresh, path))
		fail("cannot write %s", path);
	json_decref(status);
}

/* Puts the list in force in the instance that is there now: it may have been attached afresh. */
static bool put_in_force(const struct watch *watch, const struct options *options, bool said)
{
	const char *name = options->name ? options->name : options->device;
	struct instance instance;
	int err = instance_open(&instance, options->pin_dir, name), changed;

	if (err) {
		if (!said)
			fail("no instance %s in %s (%s): waiting for one", name, options->pin_dir, strerror(-err));
		return false;
	}
	changed = become(instance.allow_fd, &watch->list);
	instance_close(&instance);
	if (changed < 0 && !said)
		fail_errno(changed, "cannot change the allow-list of %s", name);
	else if (changed > 0)
		fprintf(stderr, "glb-redirect: the allow-list of %s has %zu prefixes by %s, %d changed\n", name, watch->list.count,
			watch->path, changed);
	return changed >= 0;
}

static int keep(const struct options *options)
{
	struct sigaction stopped = {.sa_handler = stop};
	struct watch watch;
	bool in_force = false, said = false, news, was;
	int err = watch_open(&watch, options->file);

	if (err)
		return fail_errno(err, "cannot watch %s", options->file);
	sigaction(SIGTERM, &stopped, NULL);
	sigaction(SIGINT, &stopped, NULL);
	news = watch_wait(&watch, 0);
	for (unsigned turn = 0; !stopping; news = watch_wait(&watch, LOOK_MS), turn++) {
		was = in_force;
		if (in_force && !news && turn % COMPARE)
			continue;
		in_force = watch.loaded && put_in_force(&watch, options, said);
		said = watch.loaded && !in_force;
		if (options->output && (news || was != in_force))
			save_status(&watch, options->output, in_force);
	}
	watch_close(&watch);
	return EXIT_DONE;
}

int command_allow(const struct options *options)
{
	struct instance instance;
	int status;

	if (!strcmp(options->action, "watch"))
		return keep(options);
	status = instance_find(&instance, options);
	if (status)
		return status;
	if (!strcmp(options->action, "add"))
		status = add(&instance, options);
	else if (!strcmp(options->action, "remove"))
		status = remove_all(&instance, options);
	else
		status = list(&instance, options);
	instance_close(&instance);
	return status;
}
