/* Before EAL: our program for net_af_xdp to load, and interfaces free of what a forwarder left (xdp.h). */
#include "log.h"
#include "xdp_own.h"

#include "glb_xdp.skel.h"

#include <bpf/bpf.h>

#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
	FREE_TRIES = 50, /* a program whose process was just killed takes a moment to go */
	FREE_PAUSE_NS = 20000000,
};

/* The value of `key` ("iface=") among comma-separated devargs, or NULL; its length to *len. */
static const char *find_argument(const char *devargs, const char *key, size_t *len)
{
	const char *at = devargs;

	while ((at = strchr(at, ',')) != NULL) {
		at++;
		if (strncmp(at, key, strlen(key)) == 0) {
			at += strlen(key);
			*len = strcspn(at, ",");
			return at;
		}
	}
	return NULL;
}

int xdp_look(unsigned if_index, struct xdp_attached *attached)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	int fd, ret = bpf_xdp_query((int)if_index, 0, &query);

	*attached = (struct xdp_attached){0};
	if (ret != 0)
		return ret;
	attached->id = query.prog_id;
	attached->native = query.attach_mode == XDP_ATTACHED_DRV || query.attach_mode == XDP_ATTACHED_HW;
	if (attached->id == 0)
		return 0;
	fd = bpf_prog_get_fd_by_id(attached->id);
	if (fd < 0)
		return fd;
	ret = bpf_obj_get_info_by_fd(fd, &info, &len);
	if (ret == 0)
		snprintf(attached->name, sizeof(attached->name), "%s", info.name);
	close(fd);
	return ret;
}

/* Takes a program of ours off the interface. One that a living forwarder holds stays: -EBUSY. */
static int take_off(unsigned if_index)
{
	const struct timespec pause = {.tv_nsec = FREE_PAUSE_NS};
	int ret = -EBUSY;

	for (int tries = 0; ret == -EBUSY && tries < FREE_TRIES; tries++) {
		if (tries != 0)
			nanosleep(&pause, NULL);
		ret = bpf_xdp_detach((int)if_index, 0, NULL);
	}
	return ret;
}

static int free_interface(unsigned port, const char *name, unsigned if_index, struct glb_error *error)
{
	struct xdp_attached attached;
	int ret = xdp_look(if_index, &attached);

	if (ret != 0)
		return glb_error_set(error, ret, "port[%u]: cannot ask for the XDP program of %s: %s; it needs root, or "
				     "CAP_SYS_ADMIN, CAP_BPF and CAP_NET_ADMIN", port, name, strerror(-ret));
	if (attached.id == 0)
		return 0;
	if (strcmp(attached.name, XDP_PROGRAM) != 0)
		return glb_error_set(error, -EBUSY, "port[%u]: %s already has the XDP program %s (id %u); take it off with "
				     "`ip link set dev %s xdp off`, or use net_af_packet", port, name, attached.name,
				     attached.id, name);
	ret = take_off(if_index);
	if (ret != 0)
		return glb_error_set(error, ret, "port[%u]: another forwarder is using %s with af_xdp; stop it first",
				     port, name);
	log_info("port[%u]: took the XDP program off %s that an earlier forwarder left", port, name);
	return 0;
}

/* The program as a file for the driver to open, without a place in the file system. It stays open: the
 * driver opens it again for each port. */
static int write_program(struct glb_error *error)
{
	size_t len = 0;
	const void *bytes = glb_xdp_bpf__elf_bytes(&len);
	int fd = memfd_create(XDP_PROGRAM ".bpf.o", MFD_CLOEXEC);

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		return glb_error_set(error, errno != 0 ? -errno : -EIO, "the XDP program cannot be given to the driver: %s",
				     strerror(errno));
	return fd;
}

static int prepare_port(struct config_port *config, unsigned port, int *program, struct glb_error *error)
{
	size_t len = 0, used = strlen(config->devargs);
	const char *interface = find_argument(config->devargs, "iface=", &len);
	char name[IF_NAMESIZE] = "";
	unsigned if_index;
	int ret;

	if (interface == NULL || len >= sizeof(name))
		return glb_error_set(error, -EINVAL, "port[%u].devargs: net_af_xdp needs iface=NAME of a network interface",
				     port);
	memcpy(name, interface, len);
	if_index = if_nametoindex(name);
	if (if_index == 0)
		return glb_error_set(error, -ENODEV, "port[%u].devargs: there is no network interface %s", port, name);
	if (find_argument(config->devargs, "xdp_prog=", &len) != NULL)
		return 0;
	ret = free_interface(port, name, if_index, error);
	if (ret == 0 && *program < 0) {
		ret = write_program(error);
		if (ret >= 0)
			*program = ret;
	}
	if (ret < 0)
		return ret;
	ret = snprintf(config->devargs + used, sizeof(config->devargs) - used, ",xdp_prog=/proc/self/fd/%d", *program);
	if (used + (size_t)ret >= sizeof(config->devargs))
		return glb_error_set(error, -EINVAL, "port[%u].devargs: too long", port);
	return 0;
}

int xdp_prepare(struct config *config, struct glb_error *error)
{
	int program = -1, ret = 0;

	for (unsigned i = 0; i < config->port_count && ret == 0; i++)
		if (strncmp(config->ports[i].devargs, "net_af_xdp", strlen("net_af_xdp")) == 0)
			ret = prepare_port(&config->ports[i], i, &program, error);
	return ret;
}
