/* A client of the control socket (peer.h). The protocol is docs/wire/control.md. */
#include "peer.h"

#include <glb/abi.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { REPLY_MAX = 1 << 20, WAIT_S = 5 }; /* bytes; a status has some kilobytes */

int peer_open(const char *path, struct glb_error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval wait = {.tv_sec = WAIT_S};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return glb_error_set(error, -ENAMETOOLONG, "%.100s: too long for a socket", path);
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return glb_error_set(error, -errno, "control socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		glb_error_set(error, -errno, "%.100s: %s", path, strerror(errno));
		close(fd);
		return error->code;
	}
	return fd;
}

/* One line, without its newline, for the caller to free(). */
static char *read_line(int fd, struct glb_error *error)
{
	char *line = malloc(REPLY_MAX);
	size_t len = 0;

	while (line != NULL && len < REPLY_MAX) {
		ssize_t n = recv(fd, line + len, REPLY_MAX - len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			glb_error_set(error, n < 0 ? -ETIMEDOUT : -ECONNRESET, n < 0 ?
				      "the running forwarder does not answer" : "the running forwarder hung up");
			free(line);
			return NULL;
		}
		len += (size_t)n;
		if (line[len - 1] == '\n') {
			line[len - 1] = '\0';
			return line;
		}
	}
	glb_error_set(error, -EPROTO, "the running forwarder's reply is too long");
	free(line);
	return NULL;
}

static json_t *understand(const char *line, struct glb_error *error)
{
	json_t *reply = json_loads(line, 0, NULL);
	const char *message;

	if (json_is_true(json_object_get(reply, "ok")))
		return reply;
	message = json_string_value(json_object_get(json_object_get(reply, "error"), "message"));
	glb_error_set(error, -EPROTO, "the running forwarder refuses: %.200s",
		      message != NULL ? message : "its reply is not of this protocol");
	json_decref(reply);
	return NULL;
}

json_t *peer_ask(int fd, const char *command, struct glb_error *error)
{
	char request[128];
	json_t *reply;
	char *line;
	int len = snprintf(request, sizeof(request), "{\"version\":%d,\"command\":\"%s\"}\n", GLB_CONTROL_VERSION,
			   command);

	if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len) {
		glb_error_set(error, -EPIPE, "the running forwarder hung up");
		return NULL;
	}
	line = read_line(fd, error);
	reply = line != NULL ? understand(line, error) : NULL;
	free(line);
	return reply;
}
