/* glb-redirect report: tells the controller how many connections of some VIPs this host has.
 *
 * Answers each question with what the kernel's list says at that moment; keeps nothing between questions, and
 * needs no program to be attached. Question and answer carry a MAC under a key that both sides have; what has
 * a wrong one gets no answer, and an answer is never longer than its question. docs/wire/report.md.
 */
#define _GNU_SOURCE /* struct in6_pktinfo */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "glb/siphash.h"
#include "report.h"
#include "tool.h"

enum { KEY_LEN = 16 };

static const uint8_t asks[4] = {'G', 'L', 'B', 'Q'}, answers[4] = {'G', 'L', 'B', 'R'};

struct question {
	union {
		struct report_head head;
		uint8_t bytes[sizeof(struct report_head) + REPORT_ASKED_MAX * sizeof(struct report_asked) + REPORT_MAC + 1];
	};
	size_t len;
};

static int hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	digit |= 0x20;
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Reads a file of 32 hex digits and, perhaps, a line's end. EXIT_DONE, or EXIT_FAILED having said why. */
static int read_key(const char *path, uint8_t key[KEY_LEN])
{
	char text[2 * KEY_LEN + 3] = {0};
	FILE *file = fopen(path, "re");
	size_t len;

	if (!file)
		return fail_errno(-errno, "%s", path);
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		text[--len] = '\0';
	for (size_t i = 0; len == 2 * KEY_LEN && i < KEY_LEN; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			len = 0;
		key[i] = (uint8_t)(high << 4 | low);
	}
	return len == 2 * KEY_LEN ? EXIT_DONE : fail("%s: want a key of 32 hex digits, such as `openssl rand -hex 16` prints", path);
}

static void put_number(uint8_t bytes[8], uint64_t number)
{
	for (int i = 7; i >= 0; i--, number >>= 8)
		bytes[i] = (uint8_t)number;
}

static void sign(const uint8_t key[KEY_LEN], const uint8_t *message, size_t len, uint8_t mac[REPORT_MAC])
{
	put_number(mac, glb_siphash24(key, message, len));
}

/* The same time for every MAC: how much of a guess is right must not show. */
static bool signed_right(const uint8_t key[KEY_LEN], const uint8_t *message, size_t len)
{
	uint8_t mac[REPORT_MAC], differs = 0;

	sign(key, message, len - REPORT_MAC, mac);
	for (size_t i = 0; i < REPORT_MAC; i++)
		differs |= mac[i] ^ message[len - REPORT_MAC + i];
	return !differs;
}

static struct report_asked asked_at(const struct question *question, size_t i)
{
	struct report_asked asked;

	memcpy(&asked, question->bytes + sizeof(struct report_head) + i * sizeof(asked), sizeof(asked));
	return asked;
}

/* Does it ask for what can be counted? A 0 for anything else would look like a drain that is over. */
static bool countable(const struct question *question)
{
	for (size_t i = 0; i < question->head.asked; i++)
		if (asked_at(question, i).protocol != IPPROTO_TCP && asked_at(question, i).protocol != IPPROTO_UDP)
			return false;
	return true;
}

/* Is it a question, whole and from somebody who has the key? */
static bool good(const struct question *question, const uint8_t key[KEY_LEN])
{
	const struct report_head *head = &question->head;

	return question->len >= sizeof(*head) + REPORT_MAC && !memcmp(head->magic, asks, sizeof(asks)) &&
	       head->version == REPORT_VERSION && head->asked >= 1 && head->asked <= REPORT_ASKED_MAX &&
	       question->len == sizeof(*head) + head->asked * sizeof(struct report_asked) + REPORT_MAC &&
	       signed_right(key, question->bytes, question->len) && countable(question);
}

static bool asked_for(const struct report_asked *asked, const struct tally *tally)
{
	struct glb_redirect_prefix prefix = {.family = asked->family == 6 ? GLB_REDIRECT_V6 : GLB_REDIRECT_V4};
	uint16_t first = glb_be16_get(asked->first), last = glb_be16_get(asked->last);

	if (asked->bits > (asked->family == 6 ? 128 : 32))
		return false;
	prefix.bits = asked->bits + GLB_REDIRECT_FAMILY_BITS;
	memcpy(prefix.addr, asked->addr, sizeof(prefix.addr));
	return asked->protocol == tally->protocol && prefix_contains(&prefix, tally->family, tally->addr) &&
	       tally->port >= first && tally->port <= last;
}

/* Counts what the question asks for, at least. A kernel need not list what nobody asks for. 0 or -errno. */
static int count(const struct question *question, struct tallies *found)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
	int err = 0;

	for (size_t p = 0; p < sizeof(protocols); p++)
		for (size_t i = 0; !err && i < question->head.asked; i++)
			if (asked_at(question, i).protocol == protocols[p]) {
				err = connections_count(found, protocols[p]);
				break;
			}
	return err;
}

static void answer(const struct question *question, const uint8_t key[KEY_LEN], struct report_answer *made)
{
	/* Of every address: what is asked decides. */
	struct glb_redirect_prefix whole[2] = {{.bits = GLB_REDIRECT_FAMILY_BITS, .family = GLB_REDIRECT_V4},
					       {.bits = GLB_REDIRECT_FAMILY_BITS, .family = GLB_REDIRECT_V6}};
	struct prefixes all = {.items = whole, .count = 2};
	struct tallies found = {.vips = &all};
	uint64_t open = 0, closing = 0;
	int err = count(question, &found);

	for (size_t i = 0; !err && i < found.count; i++)
		for (size_t k = 0; k < question->head.asked; k++) {
			struct report_asked asked = asked_at(question, k);

			if (!asked_for(&asked, &found.items[i]))
				continue;
			open += found.items[i].open;
			closing += found.items[i].closing;
			break;
		}
	free(found.items);
	*made = (struct report_answer){.head = {.version = REPORT_VERSION, .status = err ? REPORT_FAILED : REPORT_COUNTED}};
	memcpy(made->head.magic, answers, sizeof(answers));
	memcpy(made->head.nonce, question->head.nonce, sizeof(made->head.nonce));
	put_number(made->open, open);
	put_number(made->closing, closing);
	sign(key, (const uint8_t *)made, sizeof(*made) - REPORT_MAC, made->mac);
}

/* A UDP socket for both families, or for IPv4 where there is no other. -errno. */
static int listen_on(uint16_t port)
{
	struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), off = 0, on = 1, err = 0;
	bool both = fd >= 0;

	if (!both)
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (both)
		err = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
		      setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) ||
		      bind(fd, (struct sockaddr *)&any6, sizeof(any6));
	else
		err = setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) || bind(fd, (struct sockaddr *)&any4, sizeof(any4));
	if (!err)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* Answers one datagram, from the address that it came to. 0 or -errno: of what came in, never of its sender. */
static int serve_one(int fd, const uint8_t key[KEY_LEN])
{
	struct question question;
	struct report_answer made;
	struct sockaddr_storage from;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
	struct iovec part = {.iov_base = question.bytes, .iov_len = sizeof(question.bytes)};
	struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1,
				 .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t received = recvmsg(fd, &message, 0);

	if (received < 0)
		return errno == EINTR ? 0 : -errno;
	question.len = (size_t)received;
	if (!good(&question, key))
		return 0;
	answer(&question, key, &made);
	part = (struct iovec){.iov_base = &made, .iov_len = sizeof(made)};
	message.msg_flags = 0;
	if (sendmsg(fd, &message, 0) < 0)
		fail_errno(-errno, "cannot answer"); /* the asker asks again */
	return 0;
}

int command_report(const struct options *options)
{
	uint8_t key[KEY_LEN];
	int fd, err = read_key(options->secret, key);

	if (err != EXIT_DONE)
		return err;
	fd = listen_on((uint16_t)options->port);
	if (fd < 0)
		return fail_errno(fd, "cannot listen on UDP port %u", options->port);
	do
		err = serve_one(fd, key);
	while (!err);
	close(fd);
	return fail_errno(err, "cannot receive");
}
