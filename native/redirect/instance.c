/* One attachment's pinned maps: PIN_DIR/NAME/{config,counters,allow,rewrites,services,hunted,quic,fragments,limits,events}.
 *
 * Pins are how the maps outlive a replaced program, and how commands and exporters find them. Whether an
 * instance is in use is asked of the kernel: a loaded program uses its maps, or none does.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "tool.h"

enum { MAPS_OF_PROGRAM = 16 };

static const char *const pins[] = {"config", "counters", "allow", "rewrites", "services", "hunted", "quic", "fragments", "limits", "events",
				   "ingress", "egress" /* tcx links */};

static int open_pin(const struct instance *instance, const char *map)
{
	char path[PATH_LEN + 16];

	snprintf(path, sizeof(path), "%s/%s", instance->dir, map);
	return bpf_obj_get(path);
}

int instance_open(struct instance *instance, const char *pin_dir, const char *name)
{
	uint32_t zero = 0;
	int err = 0;

	*instance = (struct instance){.config_fd = -1, .counters_fd = -1, .allow_fd = -1, .rewrites_fd = -1, .services_fd = -1};
	if (snprintf(instance->dir, sizeof(instance->dir), "%s/%s", pin_dir, name) >= PATH_LEN)
		return -ENAMETOOLONG;
	snprintf(instance->name, sizeof(instance->name), "%s", name);
	tcx_forget_dead(instance->dir);
	instance->config_fd = open_pin(instance, "config");
	if (instance->config_fd < 0)
		return -errno;
	instance->counters_fd = open_pin(instance, "counters");
	instance->allow_fd = open_pin(instance, "allow");
	instance->rewrites_fd = open_pin(instance, "rewrites");
	instance->services_fd = open_pin(instance, "services");
	if (instance->counters_fd < 0 || instance->allow_fd < 0 || instance->rewrites_fd < 0 ||
	    instance->services_fd < 0 ||
	    bpf_map_lookup_elem(instance->config_fd, &zero, &instance->config)) {
		err = -errno;
		instance_close(instance);
	}
	return err;
}

void instance_close(struct instance *instance)
{
	const int fds[] = {instance->config_fd, instance->counters_fd, instance->allow_fd,
			   instance->rewrites_fd, instance->services_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static bool program_uses(uint32_t program_id, uint32_t map_id)
{
	uint32_t maps[MAPS_OF_PROGRAM] = {0}, len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {.nr_map_ids = MAPS_OF_PROGRAM, .map_ids = (uintptr_t)maps};
	int fd = bpf_prog_get_fd_by_id(program_id);
	bool uses = false;

	if (fd < 0)
		return false;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len))
		for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_OF_PROGRAM; i++)
			uses |= maps[i] == map_id;
	close(fd);
	return uses;
}

bool instance_uses(const struct instance *instance, uint32_t program_id)
{
	struct bpf_map_info map = {0};
	uint32_t len = sizeof(map);

	return !bpf_obj_get_info_by_fd(instance->counters_fd, &map, &len) && program_uses(program_id, map.id);
}

int instance_events(const struct instance *instance)
{
	int fd = open_pin(instance, "events");

	return fd < 0 ? -errno : fd;
}

int instance_set_pins(struct bpf_object *object, const char *pin_dir, const char *name)
{
	char path[PATH_LEN + 16];
	struct bpf_map *map;
	int err = 0;

	for (size_t i = 0; i < sizeof(pins) / sizeof(pins[0]) && !err; i++) {
		map = bpf_object__find_map_by_name(object, pins[i]);
		if (!map)
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", pin_dir, name, pins[i]);
		err = bpf_map__set_pin_path(map, path);
	}
	return err;
}

uint32_t instance_program(const struct instance *instance, uint32_t preferred)
{
	struct bpf_map_info map = {0};
	uint32_t len = sizeof(map), id = 0, found = 0;

	if (bpf_obj_get_info_by_fd(instance->counters_fd, &map, &len))
		return 0;
	if (preferred && program_uses(preferred, map.id))
		return preferred;
	while (!bpf_prog_get_next_id(id, &id))
		if (program_uses(id, map.id))
			found = id; /* the last one: a program that was just replaced may linger */
	return found;
}

uint32_t instance_running(const struct instance *instance)
{
	uint32_t attached = 0;

	/* When the interface is in another network namespace, the program that uses the maps is all there is. */
	if (filter_query((int)if_nametoindex(instance->config.interface), &attached))
		attached = 0;
	return instance_program(instance, attached);
}

int instance_remove(const char *pin_dir, const char *name)
{
	char path[PATH_LEN + 16];

	for (size_t i = 0; i < sizeof(pins) / sizeof(pins[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", pin_dir, name, pins[i]);
		if (unlink(path) && errno != ENOENT && errno != ENOTDIR)
			return -errno;
	}
	snprintf(path, sizeof(path), "%s/%s", pin_dir, name);
	return rmdir(path) && errno != ENOENT ? -errno : 0;
}

/* Like mkdir -p. */
static int make_directories(const char *path)
{
	char part[PATH_LEN];
	char *slash = part;

	if (snprintf(part, sizeof(part), "%s", path) >= PATH_LEN)
		return -ENAMETOOLONG;
	while ((slash = strchr(slash + 1, '/'))) {
		*slash = '\0';
		if (mkdir(part, 0755) && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(part, 0755) && errno != EEXIST ? -errno : 0;
}

/* Is the nearest directory of `path` that exists on a bpf file system? */
static bool on_bpffs(const char *path)
{
	char part[PATH_LEN];
	struct statfs fs;
	char *slash;

	snprintf(part, sizeof(part), "%s", path);
	while (statfs(part, &fs)) {
		slash = strrchr(part, '/');
		if (!slash || slash == part)
			return false;
		*slash = '\0';
	}
	return (uint32_t)fs.f_type == BPF_FS_MAGIC;
}

int instance_prepare(const char *pin_dir, const char *name)
{
	char path[PATH_LEN];
	int err;

	if (!on_bpffs(pin_dir))
		return fail("%s is not on a bpf file system, which the pinned maps need. Mount one: mount -t bpf bpf /sys/fs/bpf\n"
			    "  `ip netns exec` gives each command a /sys of its own: mount it elsewhere, once, from outside "
			    "(mkdir -p /run/glb/bpf && mount -t bpf bpf /run/glb/bpf) and give --pin-dir /run/glb/bpf",
			    pin_dir);
	if (snprintf(path, sizeof(path), "%s/%s", pin_dir, name) >= PATH_LEN)
		return fail("--pin-dir %s: too long", pin_dir);
	err = make_directories(path);
	return err ? fail_errno(err, "cannot make %s", path) : EXIT_DONE;
}

int instance_each(const char *pin_dir, int (*visit)(struct instance *instance, void *context), void *context)
{
	DIR *dir = opendir(pin_dir);
	struct dirent *entry;
	int status = EXIT_DONE;

	while (dir && status == EXIT_DONE && (entry = readdir(dir))) {
		struct instance instance;

		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= NAME_LEN ||
		    instance_open(&instance, pin_dir, entry->d_name))
			continue;
		status = visit(&instance, context);
		instance_close(&instance);
	}
	if (dir)
		closedir(dir);
	return status;
}

struct names {
	char first[NAME_LEN];
	unsigned count;
};

static int note_name(struct instance *instance, void *context)
{
	struct names *names = context;

	if (names->count++ == 0)
		memcpy(names->first, instance->name, NAME_LEN);
	return EXIT_DONE;
}

int instance_find(struct instance *instance, const struct options *options)
{
	const char *name = options->name ? options->name : options->device;
	struct names names = {.count = 0};
	int err;

	if (!name) {
		instance_each(options->pin_dir, note_name, &names);
		if (names.count > 1)
			return fail("%s holds %u instances: say which one with --name (`glb-redirect status` lists them)",
				    options->pin_dir, names.count);
		if (names.count == 0)
			return fail("nothing is attached (no instance in %s): attach first, or give --pin-dir",
				    options->pin_dir);
		name = names.first;
	}
	err = instance_open(instance, options->pin_dir, name);
	if (err == -ENOENT)
		return fail("no instance %s in %s: attach first, or give the --pin-dir and --name that attach was given",
			    name, options->pin_dir);
	if (err)
		return fail_errno(err, "cannot open instance %s in %s", name, options->pin_dir);
	return EXIT_DONE;
}
