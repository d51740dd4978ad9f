/* The last good snapshot, and lists, on disk: what a forwarder starts from when nobody is there to load one.
 *
 * A file is there whole or not at all, also over a power cut. Main lcore: it waits for the disk.
 */
#ifndef FORWARDER_KEEP_H
#define FORWARDER_KEEP_H

#include <glb/err.h>

#include <stdbool.h>
#include <stddef.h>

/* Puts `len` bytes at `path` in place of what is there; makes its directory. A symbolic link stays one. Returns 0, or a
 * negative errno with *error, which names `key` of the configuration ("director.snapshot"): then what was there
 * stays. */
int keep_file(const char *path, const char *key, const void *bytes, size_t len, struct glb_error *error);

/* Whether both name the same file. */
bool keep_is_same(const char *a, const char *b);

#endif
