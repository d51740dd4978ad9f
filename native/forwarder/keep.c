/* The last good snapshot on disk (keep.h). */
#include "keep.h"
#include "make_dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool keep_is_same(const char *a, const char *b)
{
	struct stat one, other;

	return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static int write_whole(int fd, const unsigned char *bytes, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(fd, bytes + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return fsync(fd) == 0 ? 0 : -errno;
}

/* It has the flow-hash keys in it: not for everybody to read. */
static int write_new(const char *path, const void *bytes, size_t len)
{
	int ret, fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);

	if (fd < 0)
		return -errno;
	ret = write_whole(fd, bytes, len);
	close(fd);
	if (ret != 0)
		unlink(path);
	return ret;
}

/* The rename is on disk when this returns; that it cannot be made sure is no reason to undo it. */
static void sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

/* `folder` and `name` are of the file itself, behind any symbolic link. */
static int replace(const char *folder, const char *name, const void *bytes, size_t len)
{
	char fresh[PATH_MAX], target[PATH_MAX];
	int ret = make_dirs(folder);

	if (snprintf(fresh, sizeof(fresh), "%s/.%s.tmp", folder, name) >= PATH_MAX ||
	    snprintf(target, sizeof(target), "%s/%s", folder, name) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (ret == 0)
		ret = write_new(fresh, bytes, len);
	if (ret == 0 && rename(fresh, target) != 0) {
		ret = -errno;
		unlink(fresh);
	}
	if (ret == 0)
		sync_directory(folder);
	return ret;
}

int keep_file(const char *path, const char *key, const void *bytes, size_t len, struct glb_error *error)
{
	char folder[PATH_MAX], *name;
	int ret = -ENAMETOOLONG;

	if (realpath(path, folder) == NULL) /* not there yet */
		snprintf(folder, sizeof(folder), "%s", path);
	name = strrchr(folder, '/');
	if (name != NULL && name[1] != '\0') {
		*name++ = '\0';
		ret = replace(folder[0] != '\0' ? folder : "/", name, bytes, len);
	}
	if (ret == 0)
		return 0;
	return glb_error_set(error, ret, "%s: what was loaded cannot be kept at %.100s: %s; a restart would begin "
			     "from an older one", key, path, strerror(-ret));
}
