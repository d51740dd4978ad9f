/* A regular file, whole, into memory of its own. */
#ifndef FORWARDER_FILE_H
#define FORWARDER_FILE_H

#include <glb/err.h>

#include <stddef.h>
#include <sys/types.h>

/* Reads the file at `path`, at most `max` bytes, into a mapping (pages.h): *bytes, *len bytes of it, *map_len for munmap(). `what` it is goes into errors ("a snapshot").
 * Returns 0, or a negative errno with *error; then *bytes may still be a mapping, the caller's. */
int file_read(const char *path, off_t max, const char *what, void **bytes, size_t *len, size_t *map_len, struct glb_error *error);

#endif
