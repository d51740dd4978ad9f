/* The control socket's lines and clients, with an answer that echoes: no client can stop the others. */
#include "check.h"

#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BIG = 600000 }; /* bytes of a reply that does not fit into a socket's buffer */

static char dir[] = "/tmp/glb-test-control-XXXXXX";
static char path[64];
static struct control *control;

/* "big" gets BIG bytes, all else itself. */
static char *echo(void *context, const char *line, size_t len)
{
	size_t size = len == 3 && memcmp(line, "big", 3) == 0 ? BIG : len;
	char *reply = malloc(size + 2);

	++*(unsigned *)context;
	memset(reply, 'x', size);
	if (size == len)
		memcpy(reply, line, len);
	memcpy(reply + size, "\n", 2);
	return reply;
}

char *control_too_long(void)
{
	return strdup("too long\n");
}

static unsigned answered;

static bool start(void)
{
	struct glb_error error;

	answered = 0;
	snprintf(path, sizeof(path), "%s/control.sock", dir);
	control = control_open(dir, echo, &answered, &error);
	return control != NULL;
}

static int connect_client(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void poll_some(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		control_poll(control, -1, 0);
}

/* Sends a text, lets the server run, and tells what came back. */
static const char *ask(int fd, const char *text)
{
	static char reply[4096];
	ssize_t n;

	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return "(send failed)";
	poll_some(4);
	n = recv(fd, reply, sizeof(reply) - 1, MSG_DONTWAIT);
	reply[n > 0 ? n : 0] = '\0';
	return reply;
}

static bool closed(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void lines_are_answered_in_order(void)
{
	int a, b;

	CHECK(start());
	a = connect_client();
	b = connect_client();
	poll_some(2);
	CHECK(strcmp(ask(a, "one\ntwo\n"), "one\ntwo\n") == 0);
	CHECK(strcmp(ask(a, "hal"), "") == 0);
	CHECK(strcmp(ask(b, "other\n"), "other\n") == 0);
	CHECK(strcmp(ask(a, "f\n"), "half\n") == 0);
	CHECK(strcmp(ask(a, "\n"), "\n") == 0);
	CHECK(answered == 5);
	close(a);
	poll_some(2);
	CHECK(strcmp(ask(b, "still\n"), "still\n") == 0);
	close(b);
	control_close(control);
}

static void a_slow_client_stops_nobody(void)
{
	static char sink[BIG];
	int slow, other;
	size_t got = 0;

	CHECK(start());
	slow = connect_client();
	other = connect_client();
	poll_some(2);
	CHECK(send(slow, "big\nlater\n", 10, 0) == 10);
	poll_some(10);
	CHECK(strcmp(ask(other, "now\n"), "now\n") == 0);
	CHECK(answered == 2); /* "later" waits until "big" has been read */
	for (unsigned i = 0; i < 1000 && got < BIG + 7; i++) {
		ssize_t n = recv(slow, sink, sizeof(sink), MSG_DONTWAIT);

		got += n > 0 ? (size_t)n : 0;
		poll_some(1);
	}
	CHECK(got == BIG + 1 + 6);
	close(slow);
	close(other);
	control_close(control);
}

static void too_long_a_line_ends_the_client(void)
{
	static char text[CONTROL_LINE_MAX + 1];
	int a, b;

	memset(text, 'a', CONTROL_LINE_MAX);
	CHECK(start());
	a = connect_client();
	b = connect_client();
	poll_some(2);
	for (unsigned sent = 0, i = 0; sent < CONTROL_LINE_MAX && i < 1000; i++) {
		ssize_t n = send(a, text + sent, CONTROL_LINE_MAX - sent, MSG_DONTWAIT);

		sent += n > 0 ? (unsigned)n : 0;
		poll_some(1);
	}
	CHECK(strcmp(ask(b, "fine\n"), "fine\n") == 0);
	CHECK(recv(a, text, 9, MSG_DONTWAIT) == 9 && memcmp(text, "too long\n", 9) == 0);
	CHECK(closed(a));
	CHECK(answered == 1);
	close(a);
	close(b);
	control_close(control);
}

static void more_clients_than_places(void)
{
	int fds[CONTROL_CLIENTS_MAX + 4], open_count = 0;

	CHECK(start());
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX + 4; i++) {
		fds[i] = connect_client();
		CHECK(fds[i] >= 0);
		poll_some(2);
		CHECK(strcmp(ask(fds[i], "hello\n"), "hello\n") == 0);
	}
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX + 4; i++) {
		open_count += !closed(fds[i]);
		close(fds[i]);
	}
	CHECK(open_count == CONTROL_CLIENTS_MAX);
	control_close(control);
}

/* Leaves a socket file that nobody listens at. */
static bool leave_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), ret;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	ret = bind(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	return ret == 0;
}

static void socket_file(void)
{
	struct glb_error error;
	struct stat stat;
	int fd;

	snprintf(path, sizeof(path), "%s/control.sock", dir);
	CHECK(leave_socket());
	CHECK(connect_client() < 0);
	CHECK(start()); /* what a crashed process left is replaced */
	CHECK(lstat(path, &stat) == 0 && S_ISSOCK(stat.st_mode) && (stat.st_mode & 0777) == 0660);
	fd = connect_client();
	poll_some(1);
	CHECK(strcmp(ask(fd, "new\n"), "new\n") == 0);
	close(fd);
	control_close(control);
	CHECK(lstat(path, &stat) != 0 && errno == ENOENT);
	CHECK(mkdir(path, 0700) == 0); /* something else of this name is not */
	CHECK(control_open(dir, echo, &answered, &error) == NULL && error.code == -EEXIST);
	CHECK(rmdir(path) == 0);
	CHECK(control_open("/nonexistent", echo, &answered, &error) == NULL);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"lines are answered in order", lines_are_answered_in_order},
		{"a slow client stops nobody", a_slow_client_stops_nobody},
		{"too long a line ends the client", too_long_a_line_ends_the_client},
		{"more clients than places", more_clients_than_places},
		{"socket file", socket_file},
	};
	int ret;

	if (mkdtemp(dir) == NULL)
		return 1;
	ret = check_run(cases, sizeof(cases) / sizeof(cases[0]));
	rmdir(dir);
	return ret;
}
