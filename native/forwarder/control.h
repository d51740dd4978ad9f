/* The control socket: a unix stream socket, one JSON object per line each way (docs/wire/control.md).
 *
 * Knows lines and clients, not commands. Nothing here waits for a client: what one does not read is
 * kept for it, and its next request is not looked at before it has read that.
 */
#ifndef FORWARDER_CONTROL_H
#define FORWARDER_CONTROL_H

#include <glb/err.h>

enum {
	CONTROL_CLIENTS_MAX = 16,
	CONTROL_LINE_MAX = 65536, /* bytes of a request, newline included */
};

struct control;

/* Answers one request line (without its newline). Returns the reply line, newline included, for control to free(). */
typedef char *(*control_answer)(void *context, const char *line, size_t len);

/* Too long a line cannot be answered by its content; this says so. */
char *control_too_long(void);

/* Listens at <run_dir>/control.sock with mode 0660, in place of one that a crashed forwarder left: the caller holds
 * the lock of run_dir. Returns NULL with *error. */
struct control *control_open(const char *run_dir, control_answer answer, void *context, struct glb_error *error);

/* Waits until a client or `extra_fd` has something, at most `timeout_ms`; serves the clients. */
void control_poll(struct control *control, int extra_fd, int timeout_ms);

/* Gives the socket the name that it has in `run_dir`, in place of one that is there. Clients stay. Returns 0 or -errno with *error. */
int control_move(struct control *control, const char *run_dir, struct glb_error *error);

/* The socket's name belongs to somebody else now: control_close() leaves it. */
void control_forget(struct control *control);

/* Removes the socket and closes all clients. */
void control_close(struct control *control);

#endif
