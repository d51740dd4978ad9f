/* glb-redirect status --connections: how many connections of each VIP this host has.
 *
 * The kernel's own list (sock_diag), at this moment; nothing is kept. Of TCP what is in TIME_WAIT has ended and does not
 * count. Of UDP a socket that is connected to a client counts as one that is open; what others serve has no trace there.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tool.h"

enum {
	NEW_SYN_RECV = 12, /* the kernel's name for a request: glibc's list ends before it */
	OPEN = 1u << TCP_ESTABLISHED | 1u << TCP_SYN_RECV | 1u << NEW_SYN_RECV | 1u << TCP_CLOSE_WAIT,
	CLOSING = 1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2 | 1u << TCP_LAST_ACK | 1u << TCP_CLOSING,
	CONNECTED = 1u << TCP_ESTABLISHED, /* what the kernel calls a UDP socket that has a peer */
	REPLY = 65536,
};

static bool is_vip(const struct prefixes *vips, uint8_t family, const uint8_t addr[16])
{
	for (size_t i = 0; i < vips->count; i++)
		if (prefix_contains(&vips->items[i], family, addr))
			return true;
	return false;
}

/* The tally of a protocol, address and port, made when it is new; NULL: out of memory. */
static struct tally *tally_of(struct tallies *found, uint8_t protocol, uint8_t family, const uint8_t addr[16], uint16_t port)
{
	struct tally *items;

	for (size_t i = 0; i < found->count; i++) {
		struct tally *each = &found->items[i];

		if (each->protocol == protocol && each->family == family && each->port == port && !memcmp(each->addr, addr, 16))
			return each;
	}
	items = realloc(found->items, (found->count + 1) * sizeof(*items));
	if (!items)
		return NULL;
	found->items = items;
	items[found->count] = (struct tally){.protocol = protocol, .family = family, .port = port};
	memcpy(items[found->count].addr, addr, 16);
	return &items[found->count++];
}

static int add_socket(struct tallies *found, uint8_t protocol, const struct inet_diag_msg *socket)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	uint8_t family = socket->idiag_family == AF_INET6 ? GLB_REDIRECT_V6 : GLB_REDIRECT_V4, addr[16] = {0};
	struct tally *tally;

	memcpy(addr, socket->id.idiag_src, family == GLB_REDIRECT_V6 ? 16 : 4);
	/* An IPv4 client of a listener for both families. */
	if (family == GLB_REDIRECT_V6 && !memcmp(addr, mapped, sizeof(mapped))) {
		family = GLB_REDIRECT_V4;
		memcpy(addr, addr + 12, 4);
		memset(addr + 4, 0, 12);
	}
	if (!is_vip(found->vips, family, addr))
		return 0;
	tally = tally_of(found, protocol, family, addr, ntohs(socket->id.idiag_sport));
	if (!tally)
		return -ENOMEM;
	if (OPEN & 1u << socket->idiag_state)
		tally->open++;
	else
		tally->closing++;
	return 0;
}

/* Reads one message; 1: it was the last. */
static int add_message(struct tallies *found, uint8_t protocol, const struct nlmsghdr *message)
{
	if (message->nlmsg_type == NLMSG_DONE)
		return 1;
	if (message->nlmsg_type == NLMSG_ERROR)
		return ((const struct nlmsgerr *)NLMSG_DATA(message))->error;
	return add_socket(found, protocol, NLMSG_DATA(message));
}

/* Counts the sockets of one protocol and family. 0 or -errno. */
static int dump(int fd, uint8_t protocol, int family, char *reply, struct tallies *found)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 wanted;
	} request = {
		.header = {.nlmsg_len = sizeof(request), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.wanted = {.sdiag_family = (uint8_t)family, .sdiag_protocol = protocol,
			   .idiag_states = protocol == IPPROTO_UDP ? CONNECTED : OPEN | CLOSING},
	};
	int status = send(fd, &request, sizeof(request), 0) < 0 ? -errno : 0;

	while (!status) {
		ssize_t received = recv(fd, reply, REPLY, 0);
		struct nlmsghdr *message = (struct nlmsghdr *)reply;
		size_t left = (size_t)received;

		if (received <= 0)
			return received < 0 ? -errno : -EIO;
		for (; !status && NLMSG_OK(message, left); message = NLMSG_NEXT(message, left))
			status = add_message(found, protocol, message);
	}
	return status < 0 ? status : 0;
}

int connections_count(struct tallies *found, uint8_t protocol)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), err = 0;
	char *reply = malloc(REPLY);

	if (fd < 0)
		err = -errno;
	else if (!reply)
		err = -ENOMEM;
	if (!err)
		err = dump(fd, protocol, AF_INET, reply, found);
	if (!err)
		err = dump(fd, protocol, AF_INET6, reply, found);
	free(reply);
	if (fd >= 0)
		close(fd);
	return err;
}

static int by_address(const void *a, const void *b)
{
	const struct tally *x = a, *y = b;
	int order = x->family != y->family ? x->family - y->family : memcmp(x->addr, y->addr, 16);

	if (!order)
		order = (int)x->port - y->port;
	return order ? order : (int)x->protocol - y->protocol;
}

static void show(const struct tallies *found, bool as_json)
{
	json_t *items = json_array(), *whole;
	uint64_t open = 0, closing = 0;
	char text[PREFIX_TEXT];

	for (size_t i = 0; i < found->count; i++) {
		const struct tally *each = &found->items[i];
		const char *protocol = each->protocol == IPPROTO_UDP ? "udp" : "tcp";

		address_format(each->family, each->addr, text);
		open += each->open;
		closing += each->closing;
		if (as_json)
			json_array_append_new(items, json_pack("{s:s, s:i, s:s, s:I, s:I}", "vip", text, "port", each->port, "protocol",
							       protocol, "open", (json_int_t)each->open, "closing",
							       (json_int_t)each->closing));
		else
			printf("%10" PRIu64 " open  %10" PRIu64 " closing  %s %s port %u\n", each->open, each->closing, protocol, text,
			       each->port);
	}
	whole = json_pack("{s:I, s:I, s:o}", "open", (json_int_t)open, "closing", (json_int_t)closing, "connections", items);
	if (as_json) {
		json_dumpf(whole, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		printf("%10" PRIu64 " open  %10" PRIu64 " closing  in all\n", open, closing);
	}
	json_decref(whole);
}

int show_connections(const struct options *options)
{
	struct prefixes on_lo = {0};
	struct tallies found = {.vips = options->prefixes.count ? &options->prefixes : &on_lo};
	const char *module = "tcp_diag";
	int err = machine_lo_addresses(&on_lo);

	if (!err && !found.vips->count)
		return fail("lo has no address but its own, so which are VIPs? Say --vip PREFIX…");
	if (!err)
		err = connections_count(&found, IPPROTO_TCP);
	if (!err) {
		module = "udp_diag";
		err = connections_count(&found, IPPROTO_UDP);
	}
	if (!err) {
		if (found.count)
			qsort(found.items, found.count, sizeof(*found.items), by_address);
		show(&found, options->json);
	}
	free(found.items);
	prefixes_free(&on_lo);
	if (err == -ENOENT)
		return fail("this kernel does not list its sockets: modprobe %s", module);
	return err ? fail_errno(err, "cannot list sockets") : EXIT_DONE;
}
