/* Our filters on a device's ingress and egress: tc's clsact qdisc, direct action. Where there are no tcx links (tcx.c).
 *
 * Priority 1 puts it before other filters; the handle is our own, so nobody else's filter is
 * replaced or removed.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tool.h"

enum {
	PRIORITY = 1,
	HANDLE = GLB_GUE_PORT,
};

static int clsact_query(int ifindex, uint32_t *program_id, enum bpf_tc_attach_point point)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE, .priority = PRIORITY);
	int err = bpf_tc_query(&hook, &opts);

	/* Without a clsact qdisc the kernel says EINVAL. */
	if (err)
		return err == -EINVAL ? -ENOENT : err;
	*program_id = opts.prog_id;
	return 0;
}

int filter_query(int ifindex, uint32_t *program_id)
{
	return tcx_query(ifindex, program_id) ? clsact_query(ifindex, program_id, BPF_TC_INGRESS) : 0;
}

uint32_t filter_egress(int ifindex)
{
	uint32_t program_id = 0;

	return clsact_query(ifindex, &program_id, BPF_TC_EGRESS) ? 0 : program_id;
}

static int attach(int ifindex, int program_fd, enum bpf_tc_attach_point point)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE, .priority = PRIORITY, .prog_fd = program_fd,
			    .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_hook_create(&hook);

	if (err && err != -EEXIST)
		return err;
	return bpf_tc_attach(&hook, &opts);
}

int filter_attach(int ifindex, int program_fd)
{
	return attach(ifindex, program_fd, BPF_TC_INGRESS);
}

int filter_attach_egress(int ifindex, int program_fd)
{
	return attach(ifindex, program_fd, BPF_TC_EGRESS);
}

int filter_detach_egress(int ifindex)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE, .priority = PRIORITY);
	int err = bpf_tc_detach(&hook, &opts);

	return err == -ENOENT || err == -EINVAL ? 0 : err;
}

/* Counts the filters below `parent`; -errno when the kernel does not answer. */
static int filter_count(int ifindex, uint32_t parent)
{
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
	} request = {
		.header = {.nlmsg_len = sizeof(request), .nlmsg_type = RTM_GETTFILTER,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.tc = {.tcm_family = AF_UNSPEC, .tcm_ifindex = ifindex, .tcm_parent = parent},
	};
	char reply[16384] __attribute__((aligned(NLMSG_ALIGNTO)));
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), count = 0;
	bool more = true;

	if (fd < 0 || send(fd, &request, sizeof(request), 0) < 0)
		count = -errno;
	while (more && count >= 0) {
		ssize_t received = recv(fd, reply, sizeof(reply), 0);
		struct nlmsghdr *message = (struct nlmsghdr *)reply;
		size_t left = (size_t)received;

		if (received <= 0)
			count = received < 0 ? -errno : -EIO;
		for (; count >= 0 && more && NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
			more = message->nlmsg_type == RTM_NEWTFILTER;
			count += more;
		}
	}
	if (fd >= 0)
		close(fd);
	return count;
}

int filter_detach(int ifindex)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = ifindex,
			    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE, .priority = PRIORITY);
	uint32_t program_id;
	int err = clsact_query(ifindex, &program_id, BPF_TC_INGRESS);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = bpf_tc_detach(&hook, &opts);
	if (!err)
		err = filter_detach_egress(ifindex);
	if (err)
		return err;
	if (filter_count(ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)) == 0 &&
	    filter_count(ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)) == 0)
		return bpf_tc_hook_destroy(&both);
	return 0;
}
