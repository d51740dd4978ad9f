/* The control socket (control.h). */
#include "control.h"
#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 128 }; /* clients that may wait for the next poll */

struct client {
	int fd;           /* -1 = free */
	bool closing;     /* close it when its reply is out */
	int64_t last;     /* monotonic µs of its last sign of life */
	size_t in_len;
	char *out;        /* the reply that it has not read yet, or NULL */
	size_t out_len, out_done;
	char in[CONTROL_LINE_MAX];
};

struct control {
	int fd;
	control_answer answer;
	void *context;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct client clients[CONTROL_CLIENTS_MAX];
};

static int listen_at(struct control *control, struct glb_error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat stat;
	mode_t mask;
	int ret;

	if (lstat(control->path, &stat) == 0) {
		if (!S_ISSOCK(stat.st_mode))
			return glb_error_set(error, -EEXIST, "%s: is there and is not a socket; remove it", control->path);
		unlink(control->path);
	}
	memcpy(address.sun_path, control->path, sizeof(address.sun_path));
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (control->fd < 0)
		return glb_error_set(error, -errno, "control socket: %s", strerror(errno));
	mask = umask(0117);
	ret = bind(control->fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (ret != 0 || listen(control->fd, BACKLOG) != 0)
		return glb_error_set(error, -errno, "control socket %s: %s", control->path, strerror(errno));
	return 0;
}

struct control *control_open(const char *run_dir, control_answer answer, void *context, struct glb_error *error)
{
	struct control *control = calloc(1, sizeof(*control));

	if (control == NULL) {
		glb_error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	control->answer = answer;
	control->context = context;
	snprintf(control->path, sizeof(control->path), "%s/control.sock", run_dir);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		control->clients[i].fd = -1;
	if (listen_at(control, error) != 0) {
		if (control->fd > 0)
			close(control->fd);
		free(control);
		return NULL;
	}
	return control;
}

static void drop_client(struct client *client)
{
	close(client->fd);
	free(client->out);
	client->fd = -1;
	client->out = NULL;
}

/* A free place; when there is none, that of the client that has been silent longest. */
static struct client *find_place(struct control *control)
{
	struct client *oldest = &control->clients[0];

	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct client *client = &control->clients[i];

		if (client->fd < 0)
			return client;
		if (client->last < oldest->last)
			oldest = client;
	}
	drop_client(oldest);
	return oldest;
}

static void accept_client(struct control *control)
{
	int fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *client;

	if (fd < 0)
		return;
	client = find_place(control);
	client->fd = fd;
	client->closing = false;
	client->last = clock_us();
	client->in_len = 0;
}

/* Sends as much of the reply as the client takes now. */
static void send_reply(struct client *client)
{
	while (client->out_done < client->out_len) {
		ssize_t n = send(client->fd, client->out + client->out_done, client->out_len - client->out_done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			drop_client(client);
			return;
		}
		client->out_done += (size_t)n;
	}
	free(client->out);
	client->out = NULL;
	if (client->closing)
		drop_client(client);
}

static void reply_with(struct client *client, char *reply)
{
	if (reply == NULL) { /* out of memory: better no answer than a wrong one */
		drop_client(client);
		return;
	}
	client->out = reply;
	client->out_len = strlen(reply);
	client->out_done = 0;
	send_reply(client);
}

/* Answers the requests that are complete, until one's reply does not go out at once. */
static void answer_lines(struct control *control, struct client *client)
{
	while (client->fd >= 0 && client->out == NULL) {
		char *newline = memchr(client->in, '\n', client->in_len);
		size_t len;

		if (newline == NULL)
			break;
		len = (size_t)(newline - client->in);
		reply_with(client, control->answer(control->context, client->in, len));
		client->in_len -= len + 1;
		memmove(client->in, newline + 1, client->in_len);
	}
	if (client->fd >= 0 && client->out == NULL && client->in_len == CONTROL_LINE_MAX) {
		client->closing = true;
		reply_with(client, control_too_long());
	}
}

static void read_client(struct control *control, struct client *client)
{
	ssize_t n = recv(client->fd, client->in + client->in_len, CONTROL_LINE_MAX - client->in_len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop_client(client);
		return;
	}
	client->last = clock_us();
	client->in_len += (size_t)n;
	answer_lines(control, client);
}

static void serve_client(struct control *control, struct client *client, short events)
{
	if (client->out != NULL) {
		if (events & (POLLHUP | POLLERR)) {
			drop_client(client);
			return;
		}
		if (events & POLLOUT) {
			client->last = clock_us();
			send_reply(client);
			if (client->fd >= 0 && client->out == NULL)
				answer_lines(control, client);
		}
	} else if (events & (POLLIN | POLLHUP | POLLERR)) {
		read_client(control, client);
	}
}

void control_poll(struct control *control, int extra_fd, int timeout_ms)
{
	struct pollfd fds[CONTROL_CLIENTS_MAX + 2];

	fds[0] = (struct pollfd){.fd = control->fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = extra_fd, .events = POLLIN};
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		const struct client *client = &control->clients[i];

		fds[i + 2] = (struct pollfd){.fd = client->fd, .events = client->out != NULL ? POLLOUT : POLLIN};
	}
	if (poll(fds, CONTROL_CLIENTS_MAX + 2, timeout_ms) <= 0)
		return;
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (fds[i + 2].fd >= 0 && fds[i + 2].revents != 0)
			serve_client(control, &control->clients[i], fds[i + 2].revents);
	if (fds[0].revents != 0)
		accept_client(control);
}

int control_move(struct control *control, const char *run_dir, struct glb_error *error)
{
	char path[sizeof(control->path)];
	int len = snprintf(path, sizeof(path), "%s/control.sock", run_dir);

	if (len < 0 || (size_t)len >= sizeof(path))
		return glb_error_set(error, -ENAMETOOLONG, "%.100s: too long for a socket in it", run_dir);
	if (rename(control->path, path) != 0)
		return glb_error_set(error, -errno, "control socket %s: %s", path, strerror(errno));
	memcpy(control->path, path, sizeof(path));
	return 0;
}

void control_forget(struct control *control)
{
	control->path[0] = '\0';
}

void control_close(struct control *control)
{
	if (control->path[0] != '\0')
		unlink(control->path);
	close(control->fd);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].fd >= 0)
			drop_client(&control->clients[i]);
	free(control);
}
