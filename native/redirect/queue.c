/* A netfilter queue by netlink (NFQUEUE). Knows the messages, not what is in the packets. */
#include "queue.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	BUFFER = 65536 + 4096,
	SOCKET_BUFFER = 8 << 20, /* bytes; packets wait here while the worker does not run */
	PENDING_MAX = 8192,      /* packets that the kernel keeps for a verdict */
	NO_ENOBUFS = 5,          /* NETLINK_NO_ENOBUFS */
};

/* A request with one attribute. */
struct request {
	struct nlmsghdr header;
	struct nfgenmsg about;
	struct nlattr attribute;
	uint8_t value[16];
};

/* `type` is of NFQNL_MSG_*, `attribute` of NFQA_*. */
static int send_request(const struct queue *queue, uint16_t type, uint16_t attribute, const void *value, size_t len, bool answer)
{
	struct request request = {
		.header = {.nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type),
			   .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | (answer ? NLM_F_ACK : 0)),
			   .nlmsg_len = NLMSG_LENGTH(sizeof(struct nfgenmsg)) + (uint32_t)NLA_ALIGN(NLA_HDRLEN + len)},
		.about = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(queue->number)},
		.attribute = {.nla_type = attribute, .nla_len = (uint16_t)(NLA_HDRLEN + len)},
	};

	memcpy(request.value, value, len);
	return send(queue->fd, &request, request.header.nlmsg_len, 0) < 0 ? -errno : 0;
}

/* Reads until the kernel has answered a request; packets that come meanwhile are of a queue that is not ours yet. */
static int read_answer(struct queue *queue)
{
	for (;;) {
		ssize_t received = recv(queue->fd, queue->buffer, BUFFER, 0);
		const struct nlmsghdr *message = (const struct nlmsghdr *)queue->buffer;

		if (received < 0)
			return -errno;
		if (NLMSG_OK(message, (size_t)received) && message->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(message))->error;
	}
}

static int configure(struct queue *queue, uint16_t attribute, const void *value, size_t len)
{
	int err = send_request(queue, NFQNL_MSG_CONFIG, attribute, value, len, true);

	return err ? err : read_answer(queue);
}

int queue_open(struct queue *queue, uint16_t number)
{
	const struct nfqnl_msg_config_cmd take = {.command = NFQNL_CFG_CMD_BIND, .pf = htons(AF_INET)};
	const struct nfqnl_msg_config_params whole = {.copy_range = htonl(0xffff), .copy_mode = NFQNL_COPY_PACKET};
	const struct sockaddr_nl here = {.nl_family = AF_NETLINK};
	const uint32_t most = htonl(PENDING_MAX);
	const int on = 1, size = SOCKET_BUFFER;
	int err = 0;

	*queue = (struct queue){.number = number, .buffer = malloc(BUFFER)};
	queue->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (queue->fd < 0 || bind(queue->fd, (const struct sockaddr *)&here, sizeof(here)))
		err = -errno;
	if (!queue->buffer)
		err = -ENOMEM;
	setsockopt(queue->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(queue->fd, SOL_NETLINK, NO_ENOBUFS, &on, sizeof(on)); /* a lost packet is counted by the kernel: go on */
	if (!err)
		err = configure(queue, NFQA_CFG_CMD, &take, sizeof(take));
	if (!err)
		err = configure(queue, NFQA_CFG_PARAMS, &whole, sizeof(whole));
	if (!err)
		err = configure(queue, NFQA_CFG_QUEUE_MAXLEN, &most, sizeof(most));
	if (err)
		queue_close(queue);
	return err;
}

void queue_close(struct queue *queue)
{
	if (queue->fd >= 0)
		close(queue->fd);
	free(queue->buffer);
	queue->buffer = NULL;
	queue->fd = -1;
}

/* Reads the attributes behind the family header. */
static int read_packet(const uint8_t *at, const uint8_t *end, struct queued *queued)
{
	struct nfqnl_msg_packet_hdr head;
	struct nlattr attribute;
	uint32_t index;
	bool found = false;

	*queued = (struct queued){0};
	while (at + NLA_HDRLEN <= end) {
		memcpy(&attribute, at, sizeof(attribute));
		if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > end - at)
			break;
		switch (attribute.nla_type & NLA_TYPE_MASK) {
		case NFQA_PACKET_HDR:
			memcpy(&head, at + NLA_HDRLEN, sizeof(head));
			queued->id = ntohl(head.packet_id);
			found = true;
			break;
		case NFQA_IFINDEX_INDEV:
			memcpy(&index, at + NLA_HDRLEN, sizeof(index));
			queued->device = ntohl(index);
			break;
		case NFQA_PAYLOAD:
			queued->data = at + NLA_HDRLEN;
			queued->length = attribute.nla_len - (uint32_t)NLA_HDRLEN;
			break;
		default:
			break;
		}
		at += NLA_ALIGN(attribute.nla_len);
	}
	return found ? 0 : -EAGAIN;
}

int queue_take(struct queue *queue, struct queued *queued)
{
	ssize_t received = recv(queue->fd, queue->buffer, BUFFER, 0);
	const struct nlmsghdr *message = (const struct nlmsghdr *)queue->buffer;

	if (received < 0)
		return errno == ENOBUFS ? -EAGAIN : -errno;
	if (!NLMSG_OK(message, (size_t)received) || message->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
		return -EAGAIN;
	return read_packet((const uint8_t *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(struct nfgenmsg)),
			   queue->buffer + message->nlmsg_len, queued);
}

int queue_settle(struct queue *queue, uint32_t id, bool accept)
{
	const struct nfqnl_msg_verdict_hdr verdict = {.verdict = htonl(accept ? NF_ACCEPT : NF_DROP), .id = htonl(id)};

	return send_request(queue, NFQNL_MSG_VERDICT, NFQA_VERDICT_HDR, &verdict, sizeof(verdict), false);
}
