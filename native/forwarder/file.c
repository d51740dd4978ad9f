/* Files into memory (file.h). */
#include "file.h"
#include "pages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_whole(int fd, uint8_t *out, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = read(fd, out + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? -EINVAL : -errno; /* 0: it shrank meanwhile */
		got += (size_t)n;
	}
	return 0;
}

/* O_NONBLOCK: a FIFO under this name must not stop the main lcore. */
int file_read(const char *path, off_t max, const char *what, void **bytes, size_t *len, size_t *map_len, struct glb_error *error)
{
	struct stat stat;
	int ret = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return glb_error_set(error, -errno, "%.100s: %s", path, strerror(errno));
	if (fstat(fd, &stat) != 0)
		ret = glb_error_set(error, -errno, "%.100s: %s", path, strerror(errno));
	else if (!S_ISREG(stat.st_mode))
		ret = glb_error_set(error, -EINVAL, "%.100s: not a regular file", path);
	else if (stat.st_size == 0)
		ret = glb_error_set(error, -EINVAL, "%.100s: the file is empty", path);
	else if (stat.st_size > max)
		ret = glb_error_set(error, -EFBIG, "%.100s: too large for %s", path, what);
	if (ret == 0) {
		*len = (size_t)stat.st_size;
		*bytes = pages_map(*len, PAGES_ANY_NODE, map_len);
		if (*bytes == NULL)
			ret = glb_error_set(error, -ENOMEM, "%.100s: no memory for %zu bytes", path, *len);
		else
			ret = read_whole(fd, *bytes, *len);
		if (ret != 0 && *bytes != NULL)
			glb_error_set(error, ret, "%.100s: cannot be read: %s", path, strerror(-ret));
	}
	close(fd);
	return ret;
}
