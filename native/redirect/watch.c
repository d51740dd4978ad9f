/* A file with an allow-list, and the inotify watch on it.
 *
 * A list is taken whole or not at all: a line that is wrong, a file that is empty or cut off in mid-line leaves the former one in force.
 * The directory is watched, not the file, since files are replaced by renaming.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>
#include "watch.h"

static const char blanks[] = " \t\r";

/* One line, which it changes. 0, or -errno. */
static int read_line(char *line, struct prefixes *list)
{
	uint32_t roles = GLB_REDIRECT_SOURCE;
	struct glb_redirect_prefix prefix;
	char *rest = line, *word, *role;

	line[strcspn(line, "#")] = '\0';
	rest += strspn(rest, blanks);
	word = strsep(&rest, blanks);
	if (!*word)
		return 0;
	rest = rest ? rest + strspn(rest, blanks) : NULL;
	role = strsep(&rest, blanks);
	if (role && !strcmp(role, "peer"))
		roles |= GLB_REDIRECT_PEER;
	else if (role && *role && strcmp(role, "source"))
		return -EINVAL;
	if ((rest && rest[strspn(rest, blanks)]) || prefix_parse(&prefix, word))
		return -EINVAL;
	if (list->count == GLB_REDIRECT_PREFIXES)
		return -ENOSPC;
	return prefixes_insert(list, &prefix, roles);
}

static int read_lines(char *text, struct prefixes *list, char why[WHY_LEN])
{
	char *rest = text, *line;
	int err = 0;

	for (unsigned number = 1; !err && (line = strsep(&rest, "\n")); number++) {
		char shown[64];

		snprintf(shown, sizeof(shown), "%s", line);
		err = read_line(line, list);
		if (err == -EINVAL)
			snprintf(why, WHY_LEN, "line %u is not a prefix without host bits, and then perhaps \"peer\": %s", number, shown);
		else if (err)
			snprintf(why, WHY_LEN, "line %u: %s", number, err == -ENOSPC ? "more than 16384 prefixes: combine some" : strerror(-err));
	}
	_Static_assert(GLB_REDIRECT_PREFIXES == 16384, "the message has the number");
	if (!err && !list->count)
		snprintf(why, WHY_LEN, "it has no prefix; to let nobody in, detach");
	return list->count ? err : -EINVAL;
}

int list_read(const char *path, struct prefixes *list, char why[WHY_LEN])
{
	char *text = malloc(LIST_BYTES + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = -EINVAL;
	ssize_t part = 1;
	size_t len = 0;

	*list = (struct prefixes){0};
	while (text && fd >= 0 && len < LIST_BYTES && (part = read(fd, text + len, LIST_BYTES - len)) > 0)
		len += (size_t)part;
	if (!text || fd < 0 || part < 0)
		snprintf(why, WHY_LEN, "%s", text ? strerror(errno) : "out of memory");
	else if (len == LIST_BYTES)
		snprintf(why, WHY_LEN, "longer than 4 MiB");
	else if (memchr(text, '\0', len))
		snprintf(why, WHY_LEN, "it is no text");
	else if (len && text[len - 1] != '\n')
		snprintf(why, WHY_LEN, "its last line does not end: is it half written?");
	else {
		text[len] = '\0';
		err = read_lines(text, list, why);
	}
	if (err) {
		prefixes_free(list);
		err = -EINVAL;
	}
	if (fd >= 0)
		close(fd);
	free(text);
	return err;
}

static void watch_directory(struct watch *watch)
{
	char copy[PATH_LEN];

	snprintf(copy, sizeof(copy), "%s", watch->path);
	watch->directory = inotify_add_watch(watch->fd, dirname(copy), IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR);
}

int watch_open(struct watch *watch, const char *path)
{
	*watch = (struct watch){.path = path, .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), .directory = -1};
	if (watch->fd < 0)
		return -errno;
	if (strlen(path) >= PATH_LEN)
		return -ENAMETOOLONG;
	watch_directory(watch);
	return 0;
}

void watch_close(struct watch *watch)
{
	if (watch->fd >= 0)
		close(watch->fd);
	prefixes_free(&watch->list);
}

/* Takes what inotify has. True: the file was closed after writing, or put in place. */
static bool take_events(struct watch *watch)
{
	_Alignas(struct inotify_event) char room[4096];
	const char *slash = strrchr(watch->path, '/'), *name = slash ? slash + 1 : watch->path;
	bool told = false;
	ssize_t len;

	while ((len = read(watch->fd, room, sizeof(room))) > 0)
		for (char *at = room; at < room + len;) {
			const struct inotify_event *event = (const struct inotify_event *)at;

			if (event->mask & IN_IGNORED)
				watch->directory = -1; /* it was removed */
			told |= event->len && !strcmp(event->name, name);
			at += sizeof(*event) + event->len;
		}
	return told;
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Is there a file that has not been read? One that nobody has said to be whole must have been left alone for a while, when there is a list. */
static bool is_new(struct watch *watch, bool told)
{
	struct timespec now;
	struct stat found;
	bool there = !stat(watch->path, &found);

	if (there == watch->there && (!there || same(&found, &watch->seen)) && (watch->loaded || watch->refused))
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	if (there && !told && watch->loaded && now.tv_sec - found.st_mtim.tv_sec < LIST_STEADY_S && now.tv_sec >= found.st_mtim.tv_sec)
		return false;
	watch->there = there;
	watch->seen = found;
	return true;
}

bool watch_wait(struct watch *watch, int timeout_ms)
{
	struct pollfd wait = {.fd = watch->fd, .events = POLLIN};
	struct prefixes list;
	bool told;

	if (watch->directory < 0)
		watch_directory(watch);
	if (timeout_ms)
		poll(&wait, 1, timeout_ms);
	told = take_events(watch);
	if (!is_new(watch, told))
		return false;
	if (list_read(watch->path, &list, watch->why)) {
		watch->refused++;
		fail("%s is refused, %s: %s", watch->path, watch->loaded ? "the former list stays in force" : "no list is in force by it",
		     watch->why);
		return true;
	}
	watch->why[0] = '\0';
	prefixes_free(&watch->list);
	watch->list = list;
	watch->loaded++;
	return true;
}
