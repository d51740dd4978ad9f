/* An allow-list in a file that is watched: `allow watch`, and `nfqueue run --allow-file`. */
#ifndef GLB_REDIRECT_WATCH_H
#define GLB_REDIRECT_WATCH_H

#include <sys/stat.h>
#include "tool.h"

enum {
	LIST_BYTES = 4 << 20,
	WHY_LEN = 256,
	LIST_STEADY_S = 2, /* what is found by the clock, without an event, may still be being written */
};

struct watch {
	const char *path;
	int fd;               /* inotify, of the file's directory; -1: none */
	int directory;        /* its watch; -1: the directory is not there */
	struct stat seen;     /* of the file when it was last read */
	bool there;           /* `seen` holds */
	struct prefixes list; /* owned; the last good one */
	char why[WHY_LEN];    /* the newest was refused; "": it was not */
	uint64_t loaded, refused;
};

/* Begins to watch; reads nothing. 0 or -errno. */
int watch_open(struct watch *watch, const char *path);
void watch_close(struct watch *watch);
/* Waits for at most so long, and reads the file when it has changed. True: there is something new, `list` or `why`. It says on
 * standard error what it has found. */
bool watch_wait(struct watch *watch, int timeout_ms);

/* Reads a list: a line for each prefix, then perhaps "peer" or "source"; # begins a comment. 0, or -EINVAL having said why. */
int list_read(const char *path, struct prefixes *list, char why[WHY_LEN]);

#endif
