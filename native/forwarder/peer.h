/* A client of another forwarder's control socket, for the hand-over between two processes of an instance. Blocks. */
#ifndef FORWARDER_PEER_H
#define FORWARDER_PEER_H

#include <glb/err.h>

#include <jansson.h>

/* Connects to the control socket at `path`. Returns a descriptor for the caller to close(), or a negative errno with *error. */
int peer_open(const char *path, struct glb_error *error);

/* Sends `command` without arguments and waits for the reply, at most 5 s. Returns the reply's object, for the caller to
 * json_decref(), or NULL with *error: no reply, or one that says ok: false. */
json_t *peer_ask(int fd, const char *command, struct glb_error *error);

#endif
