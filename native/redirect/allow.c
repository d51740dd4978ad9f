/* glb-redirect allow: who may send to this host, and whom it may send to. */
#include <bpf/bpf.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "tool.h"

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

/* Inserts the last item where it belongs; the ones before it are sorted. */
static void sort_last(struct prefixes *prefixes)
{
	for (size_t i = prefixes->count - 1; i > 0; i--) {
		struct glb_redirect_prefix *a = &prefixes->items[i - 1], *b = a + 1, item = *b;
		uint32_t *roles = &prefixes->roles[i - 1], role = roles[1];
		int order = a->family != b->family ? a->family - b->family : memcmp(a->addr, b->addr, sizeof(a->addr));

		if (order < 0 || (order == 0 && a->bits <= b->bits))
			return;
		*b = *a;
		*a = item;
		roles[1] = roles[0];
		roles[0] = role;
	}
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
		err = prefixes_push(prefixes, &key, roles);
		if (!err)
			sort_last(prefixes);
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

int command_allow(const struct options *options)
{
	struct instance instance;
	int status = instance_find(&instance, options);

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
