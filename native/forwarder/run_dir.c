/* The run-time directory (run_dir.h). */
#include "run_dir.h"
#include "make_dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether `fd` is still what `path` names: an instance that stops removes its directory. */
static bool is_there(int fd, const char *path)
{
	struct stat open_one, named;

	return fstat(fd, &open_one) == 0 && stat(path, &named) == 0 && open_one.st_dev == named.st_dev &&
	       open_one.st_ino == named.st_ino;
}

int run_dir_take(const char *path, struct glb_error *error)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;

	if (fd < 0)
		return glb_error_set(error, -errno, "director.run_dir: %.100s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	ret = errno;
	close(fd);
	if (ret == EWOULDBLOCK)
		return glb_error_set(error, -EBUSY, "another forwarder is running in %.100s; stop it, or choose another "
				     "director.name", path);
	return glb_error_set(error, -ret, "director.run_dir: cannot lock %.100s: %s", path, strerror(ret));
}

/* A process that is about to take over (takeover.h) lives in `next`; what a killed one left there is removed. */
static int clear_next(const char *path, struct glb_error *error)
{
	static const char *const files[] = {"control.sock", "stats", "stats.new"};
	char next[4096];
	int fd;

	snprintf(next, sizeof(next), "%s/next", path);
	fd = open(next, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		return glb_error_set(error, -EBUSY, "a forwarder is taking over in %.100s; let it, or stop it first", path);
	}
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlinkat(fd, files[i], 0);
	close(fd);
	rmdir(next);
	return 0;
}

int run_dir_open(const char *path, struct glb_error *error)
{
	int fd, ret = make_dirs(path);

	if (ret != 0)
		return glb_error_set(error, ret, "director.run_dir: cannot make %.100s: %s", path, strerror(-ret));
	fd = run_dir_take(path, error);
	if (fd < 0)
		return fd;
	ret = is_there(fd, path) ? clear_next(path, error)
				 : glb_error_set(error, -EAGAIN, "director.run_dir: %.100s was removed by a forwarder that "
						 "stopped just now; start again", path);
	if (ret != 0) {
		close(fd);
		return ret;
	}
	return fd;
}

void run_dir_close(int fd, const char *path)
{
	rmdir(path); /* fails, rightly, when somebody keeps something in it */
	close(fd);
}
