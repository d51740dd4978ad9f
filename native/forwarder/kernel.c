/* Routes and neighbours over netlink (kernel.h): libmnl, one socket for questions and one for changes. */
#include "kernel.h"

#include <libmnl/libmnl.h>
#include <linux/if_ether.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

enum {
	BUFFER = 32768,         /* the kernel's parts of a dump are up to this long */
	CHANGES_RCVBUF = 4 << 20,
	READS_MAX = 256,        /* messages of changes in one call */
	ANSWER_WAIT_S = 2,      /* the kernel answers at once; a lost answer must not hang the program */
};

struct kernel {
	struct mnl_socket *questions;
	struct mnl_socket *changes;
	unsigned seq;
	char buffer[BUFFER];
};

static struct mnl_socket *open_socket(void)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);

	if (socket != NULL && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) != 0) {
		mnl_socket_close(socket);
		socket = NULL;
	}
	return socket;
}

static int subscribe(const struct mnl_socket *socket)
{
	static const int groups[] = {
		RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,
		RTNLGRP_IPV6_RULE, RTNLGRP_NEXTHOP, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
	};
	int size = CHANGES_RCVBUF;

	/* beyond net.core.rmem_max only with CAP_NET_ADMIN; a smaller one only means that more is asked again */
	setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	for (unsigned i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) != 0)
			return -errno;
	}
	return 0;
}

struct kernel *kernel_open(struct glb_error *error)
{
	const struct timeval wait = {.tv_sec = ANSWER_WAIT_S};
	struct kernel *kernel = calloc(1, sizeof(*kernel));
	int ret = -ENOMEM;

	if (kernel != NULL) {
		kernel->questions = open_socket();
		kernel->changes = open_socket();
		ret = kernel->questions != NULL && kernel->changes != NULL ? subscribe(kernel->changes) : -errno;
	}
	if (ret == 0 && setsockopt(mnl_socket_get_fd(kernel->questions), SOL_SOCKET, SO_RCVTIMEO, &wait,
				   sizeof(wait)) != 0)
		ret = -errno;
	if (ret == 0)
		return kernel;
	kernel_close(kernel);
	glb_error_set(error, ret, "the kernel's routes cannot be read over netlink: %s", strerror(-ret));
	return NULL;
}

void kernel_close(struct kernel *kernel)
{
	if (kernel == NULL)
		return;
	if (kernel->questions != NULL)
		mnl_socket_close(kernel->questions);
	if (kernel->changes != NULL)
		mnl_socket_close(kernel->changes);
	free(kernel);
}

int kernel_fd(const struct kernel *kernel)
{
	return mnl_socket_get_fd(kernel->changes);
}

/* Sends the request in the buffer and runs `read` over all that is answered. */
static int ask(struct kernel *kernel, struct nlmsghdr *request, mnl_cb_t read, void *context)
{
	const unsigned own = mnl_socket_get_portid(kernel->questions);
	int ret = MNL_CB_OK;

	request->nlmsg_seq = ++kernel->seq;
	if (mnl_socket_sendto(kernel->questions, request, request->nlmsg_len) < 0)
		return -errno;
	while (ret > MNL_CB_STOP) {
		ssize_t len = mnl_socket_recvfrom(kernel->questions, kernel->buffer, sizeof(kernel->buffer));

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return -errno;
		ret = mnl_cb_run(kernel->buffer, (size_t)len, kernel->seq, own, read, context);
		if (ret < 0 && (errno == EPROTO || errno == ESRCH)) /* the rest of an older answer */
			ret = MNL_CB_OK;
		else if (ret < 0)
			return -errno;
	}
	return 0;
}

static struct nlmsghdr *request_of(struct kernel *kernel, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(kernel->buffer);

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	return request;
}

static uint8_t family_of(const struct glb_addr *addr)
{
	return addr->family == GLB_FAMILY_V4 ? AF_INET : AF_INET6;
}

/* Reads an address attribute of `len` bytes; false when it has no address's length. */
static bool read_addr(struct glb_addr *addr, const void *bytes, size_t len)
{
	if (len != 4 && len != 16)
		return false;
	*addr = (struct glb_addr){.family = len == 4 ? GLB_FAMILY_V4 : GLB_FAMILY_V6};
	memcpy(addr->bytes, bytes, len);
	return true;
}

struct route_answer {
	struct kernel_route *route;
	uint8_t type; /* RTN_… */
};

static int read_route(const struct nlmsghdr *message, void *context)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(message);
	struct route_answer *answer = context;
	const struct nlattr *attr;

	if (message->nlmsg_type != RTM_NEWROUTE)
		return MNL_CB_OK;
	answer->type = header->rtm_type;
	mnl_attr_for_each(attr, message, sizeof(*header)) {
		const uint8_t *bytes = mnl_attr_get_payload(attr);
		const uint16_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == RTA_OIF && len == sizeof(uint32_t))
			answer->route->if_index = mnl_attr_get_u32(attr);
		else if (mnl_attr_get_type(attr) == RTA_GATEWAY)
			read_addr(&answer->route->neighbour, bytes, len);
		else if (mnl_attr_get_type(attr) == RTA_VIA && len > sizeof(struct rtvia)) /* IPv4 by an IPv6 gateway */
			read_addr(&answer->route->neighbour, bytes + sizeof(struct rtvia), len - sizeof(struct rtvia));
	}
	return MNL_CB_STOP;
}

int kernel_find_route(struct kernel *kernel, const struct glb_addr *destination, struct kernel_route *route)
{
	struct nlmsghdr *request = request_of(kernel, RTM_GETROUTE, 0);
	struct rtmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	const unsigned len = glb_addr_len(destination->family);
	struct route_answer answer = {.route = route};
	int ret;

	header->rtm_family = family_of(destination);
	header->rtm_dst_len = (uint8_t)(8 * len);
	mnl_attr_put(request, RTA_DST, len, destination->bytes);
	*route = (struct kernel_route){.neighbour = *destination};
	ret = ask(kernel, request, read_route, &answer);
	if (ret != 0)
		return ret;
	if (answer.type == RTN_LOCAL)
		return -EADDRINUSE;
	return answer.type == RTN_UNICAST ? 0 : -ENETUNREACH;
}

struct listener {
	kernel_neighbour_fn tell;
	void *context;
	unsigned changes; /* enum kernel_change bits */
};

static void read_neighbour(const struct nlmsghdr *message, const struct listener *listener)
{
	const struct ndmsg *header = mnl_nlmsg_get_payload(message);
	struct kernel_neighbour neighbour = {.if_index = (unsigned)header->ndm_ifindex};
	const struct nlattr *attr;

	if ((header->ndm_family != AF_INET && header->ndm_family != AF_INET6) || header->ndm_flags & NTF_PROXY)
		return;
	mnl_attr_for_each(attr, message, sizeof(*header)) {
		const void *bytes = mnl_attr_get_payload(attr);
		const uint16_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == NDA_DST) {
			read_addr(&neighbour.addr, bytes, len);
		} else if (mnl_attr_get_type(attr) == NDA_LLADDR && len == ETH_ALEN) {
			memcpy(neighbour.mac, bytes, ETH_ALEN);
			neighbour.has_mac = true;
		}
	}
	neighbour.state = message->nlmsg_type == RTM_NEWNEIGH ? header->ndm_state : NUD_NONE;
	if (neighbour.addr.family != GLB_FAMILY_NONE)
		listener->tell(listener->context, &neighbour);
}

static int read_message(const struct nlmsghdr *message, void *context)
{
	struct listener *listener = context;

	switch (message->nlmsg_type) {
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		read_neighbour(message, listener);
		listener->changes |= KERNEL_NEIGHBOURS;
		break;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		listener->changes |= KERNEL_LINKS;
		break;
	default:
		listener->changes |= KERNEL_ROUTES;
		break;
	}
	return MNL_CB_OK;
}

int kernel_list_neighbours(struct kernel *kernel, kernel_neighbour_fn tell, void *context)
{
	struct nlmsghdr *request = request_of(kernel, RTM_GETNEIGH, NLM_F_DUMP);
	struct listener listener = {.tell = tell, .context = context};

	mnl_nlmsg_put_extra_header(request, sizeof(struct ndmsg)); /* AF_UNSPEC: both families */
	return ask(kernel, request, read_message, &listener);
}

int kernel_solicit(struct kernel *kernel, unsigned if_index, const struct glb_addr *addr)
{
	struct nlmsghdr *request = request_of(kernel, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE);
	struct ndmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	header->ndm_family = family_of(addr);
	header->ndm_ifindex = (int)if_index;
	header->ndm_state = NUD_NONE;
	header->ndm_flags = NTF_USE;
	mnl_attr_put(request, NDA_DST, glb_addr_len(addr->family), addr->bytes);
	return ask(kernel, request, NULL, NULL);
}

unsigned kernel_read_changes(struct kernel *kernel, kernel_neighbour_fn tell, void *context)
{
	struct listener listener = {.tell = tell, .context = context};

	for (unsigned reads = 0; reads < READS_MAX; reads++) {
		ssize_t len = recv(kernel_fd(kernel), kernel->buffer, sizeof(kernel->buffer), MSG_DONTWAIT);

		if (len < 0 && errno == ENOBUFS) {
			listener.changes |= KERNEL_LOST;
			continue;
		}
		if (len <= 0)
			return listener.changes;
		if (mnl_cb_run(kernel->buffer, (size_t)len, 0, 0, read_message, &listener) < 0)
			listener.changes |= KERNEL_LOST;
	}
	return listener.changes | KERNEL_MORE;
}
