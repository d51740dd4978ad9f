/* One socket of the kernel's tables at a time, by sock_diag: what an eBPF program would look up. */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "judge.h"

enum { ANSWER_SECONDS = 2 };

int sockets_open(void)
{
	const struct timeval patience = {.tv_sec = ANSWER_SECONDS};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* The answer to request `sequence`; answers to earlier ones, which came too late, are passed over. */
static struct seen_socket read_answer(int fd, uint32_t sequence)
{
	char reply[2048] __attribute__((aligned(NLMSG_ALIGNTO)));
	const struct nlmsghdr *message = (const struct nlmsghdr *)reply;
	const struct inet_diag_msg *answer;

	for (;;) {
		ssize_t received = recv(fd, reply, sizeof(reply), 0);

		if (received < 0)
			return (struct seen_socket){.state = -errno};
		if (!NLMSG_OK(message, (size_t)received))
			return (struct seen_socket){.state = -EIO};
		if (message->nlmsg_seq != sequence)
			continue;
		if (message->nlmsg_type == NLMSG_ERROR) {
			int err = ((const struct nlmsgerr *)NLMSG_DATA(message))->error;

			return (struct seen_socket){.state = err == -ENOENT ? 0 : err};
		}
		answer = NLMSG_DATA(message);
		return (struct seen_socket){.state = answer->idiag_state, .queue = answer->idiag_rqueue};
	}
}

struct seen_socket sockets_find(int fd, uint8_t protocol, bool is_v6, const uint8_t *local, glb_be16 local_port,
				const uint8_t *remote, glb_be16 remote_port)
{
	static uint32_t sequence;
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 wanted;
	} request = {
		.header = {.nlmsg_len = sizeof(request), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST,
			   .nlmsg_seq = ++sequence},
		.wanted = {.sdiag_family = is_v6 ? AF_INET6 : AF_INET, .sdiag_protocol = protocol, .idiag_states = UINT32_MAX,
			   .id = {.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
	};
	const size_t len = is_v6 ? 16 : 4;
	const bool udp = protocol == IPPROTO_UDP; /* the kernel wants its ends the other way round */

	memcpy(request.wanted.id.idiag_src, udp ? remote : local, len);
	memcpy(request.wanted.id.idiag_dst, udp ? local : remote, len);
	memcpy(&request.wanted.id.idiag_sport, udp ? &remote_port : &local_port, 2);
	memcpy(&request.wanted.id.idiag_dport, udp ? &local_port : &remote_port, 2);
	if (send(fd, &request, sizeof(request), 0) < 0)
		return (struct seen_socket){.state = -errno};
	return read_answer(fd, sequence);
}
