/* The instance's run-time directory: made when missing, and locked, so that one instance runs once. */
#ifndef FORWARDER_RUN_DIR_H
#define FORWARDER_RUN_DIR_H

#include <glb/err.h>

/* Makes `path` (and its parents) and locks it. The lock goes with the process, however it ends. Returns a file
 * descriptor to keep, or -EBUSY when another process has it, or -errno, with *error. */
int run_dir_open(const char *path, struct glb_error *error);

/* Locks `path`, which is there and has our files in it, once nobody else has it. Returns as run_dir_open(). */
int run_dir_take(const char *path, struct glb_error *error);

/* Gives the lock back, and removes the directory when nothing is left in it. */
void run_dir_close(int fd, const char *path);

#endif
