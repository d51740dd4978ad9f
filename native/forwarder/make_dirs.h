/* A directory with its parents. */
#ifndef FORWARDER_MAKE_DIRS_H
#define FORWARDER_MAKE_DIRS_H

/* Makes `path` and what is missing above it, mode 0755. Returns 0 or a negative errno. */
int make_dirs(const char *path);

#endif
