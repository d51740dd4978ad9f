/* What a service manager is told, on both kinds of socket that it may give. */
#include "check.h"

#include "notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A datagram socket at `path` ("@…": abstract), which is then $NOTIFY_SOCKET. */
static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	memcpy(address.sun_path, path, strlen(path));
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	if (bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))) != 0)
		return -1;
	setenv("NOTIFY_SOCKET", path, 1);
	return fd;
}

static void nobody_asked(void)
{
	unsetenv("NOTIFY_SOCKET");
	CHECK(notify_send("READY=1") == 0);
	setenv("NOTIFY_SOCKET", "", 1);
	CHECK(notify_send("READY=1") == 0);
}

static void said_on(const char *path)
{
	char got[100] = "", wanted[100];
	int fd = listen_at(path);

	CHECK(fd >= 0);
	notify_ready();
	CHECK(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT) > 0);
	snprintf(wanted, sizeof(wanted), "READY=1\nMAINPID=%d\n", (int)getpid());
	CHECK(strncmp(got, wanted, strlen(wanted)) == 0);
	CHECK(notify_send("STOPPING=1") == 1);
	CHECK(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT) == 10);
	close(fd);
}

static void a_path(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/glb-test-notify-%d", (int)getpid());
	said_on(path);
	unlink(path);
}

static void an_abstract_socket(void)
{
	char path[64];

	snprintf(path, sizeof(path), "@glb-test-notify-%d", (int)getpid());
	said_on(path);
}

static void places_that_are_none(void)
{
	char path[200];

	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	CHECK(notify_send("READY=1") == -ENOENT);
	setenv("NOTIFY_SOCKET", "relative", 1);
	CHECK(notify_send("READY=1") == -EINVAL);
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	setenv("NOTIFY_SOCKET", path, 1);
	CHECK(notify_send("READY=1") == -EINVAL);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"nobody asked", nobody_asked},
		{"a path", a_path},
		{"an abstract socket", an_abstract_socket},
		{"places that are none", places_that_are_none},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
