/* Receive times for a replay's output (times.h). */
#include "times.h"

#include <rte_mbuf_dyn.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int times_open(struct times *times, const char *path, struct glb_error *error)
{
	struct stat stat;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	memset(times, 0, sizeof(*times));
	times->offset = rte_mbuf_dynfield_lookup(RTE_MBUF_DYNFIELD_TIMESTAMP_NAME, NULL);
	if (fd < 0 || fstat(fd, &stat) != 0) {
		if (fd >= 0)
			close(fd);
		return glb_error_set(error, -errno, "--replay-times: %.100s: %s", path, strerror(errno));
	}
	times->capacity = (size_t)stat.st_size / sizeof(*times->words);
	if (times->capacity != 0) {
		times->words = mmap(NULL, times->capacity * sizeof(*times->words), PROT_READ | PROT_WRITE, MAP_SHARED,
				    fd, 0);
		if (times->words == MAP_FAILED) {
			close(fd);
			times->words = NULL;
			return glb_error_set(error, -errno, "--replay-times: %.100s: %s", path, strerror(errno));
		}
	}
	close(fd);
	return 0;
}

void times_close(struct times *times)
{
	if (times->words != NULL)
		munmap(times->words, times->capacity * sizeof(*times->words));
	times->words = NULL;
}

void times_add(struct times *times, struct rte_mbuf *const *mbufs, unsigned n)
{
	for (unsigned i = 0; i < n && times->count < times->capacity; i++)
		times->words[times->count++] =
			times->offset < 0 ? 0 : *RTE_MBUF_DYNFIELD(mbufs[i], times->offset, rte_mbuf_timestamp_t *);
}
