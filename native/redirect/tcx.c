/* tcx links: the newer way to put a program on a device's ingress and egress, Linux 6.6.
 *
 * A link needs no qdisc, and nobody replaces it by accident. It is pinned beside the maps, and lasts as long as its pin. Which
 * kernels have it is found out by trying: the others say EINVAL.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "tool.h"

/* Of the kernel's enum bpf_attach_type, which grows only. Debian 12's headers are older. */
enum {
	ATTACH_TCX_INGRESS = 46,
	ATTACH_TCX_EGRESS = 47,
	PROGRAMS = 64, /* the most that the kernel takes on one side of a device */
};

struct pin {
	char path[PATH_LEN + 16];
};

static struct pin pin_of(const char *dir, bool egress)
{
	struct pin pin;

	snprintf(pin.path, sizeof(pin.path), "%s/%s", dir, egress ? "egress" : "ingress");
	return pin;
}

static int open_link(const char *dir, bool egress)
{
	return bpf_obj_get(pin_of(dir, egress).path);
}

static int unpin(const char *dir, bool egress)
{
	return unlink(pin_of(dir, egress).path) && errno != ENOENT ? -errno : 0;
}

int tcx_attach(const char *dir, int ifindex, bool egress, int program_fd)
{
	int link = open_link(dir, egress), err;

	if (link >= 0) {
		err = bpf_link_update(link, program_fd, NULL);
		close(link);
		return err;
	}
	link = bpf_link_create(program_fd, ifindex, (enum bpf_attach_type)(egress ? ATTACH_TCX_EGRESS : ATTACH_TCX_INGRESS), NULL);
	if (link < 0)
		return link;
	err = bpf_obj_pin(link, pin_of(dir, egress).path);
	close(link);
	return err;
}

int tcx_detach(const char *dir, bool egress)
{
	int link = open_link(dir, egress), err = 0;

	if (link < 0)
		return 0;
	if (bpf_link_detach(link))
		err = errno == ENOLINK ? 0 : -errno; /* gone with its device */
	close(link);
	return err ? err : unpin(dir, egress);
}

/* What the kernel says of a link. False: there is none. */
static bool look(const char *dir, bool egress, struct bpf_link_info *info)
{
	uint32_t len = sizeof(*info);
	int link = open_link(dir, egress), err;

	if (link < 0)
		return false;
	memset(info, 0, sizeof(*info));
	err = bpf_obj_get_info_by_fd(link, info, &len);
	close(link);
	return !err;
}

uint32_t tcx_program(const char *dir, bool egress)
{
	struct bpf_link_info info;

	return look(dir, egress, &info) ? info.prog_id : 0;
}

void tcx_forget_dead(const char *dir)
{
	struct bpf_link_info info;

	for (int egress = 0; egress < 2; egress++)
		if (look(dir, egress, &info) && !info.xdp.ifindex) /* every kind that is on a device has it there */
			unpin(dir, egress);
}

/* Is it our ingress program, by its name? */
static bool is_ours(uint32_t program_id)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(program_id);
	bool ours;

	if (fd < 0)
		return false;
	ours = !bpf_obj_get_info_by_fd(fd, &info, &len) && !strcmp(info.name, "glb_redirect");
	close(fd);
	return ours;
}

int tcx_query(int ifindex, uint32_t *program_id)
{
	uint32_t ids[PROGRAMS] = {0}, count = PROGRAMS;

	if (bpf_prog_query(ifindex, (enum bpf_attach_type)ATTACH_TCX_INGRESS, 0, NULL, ids, &count))
		return -ENOENT;
	for (uint32_t i = 0; i < count && i < PROGRAMS; i++) {
		if (!is_ours(ids[i]))
			continue;
		*program_id = ids[i];
		return 0;
	}
	return -ENOENT;
}
