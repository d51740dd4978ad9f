/* The order of a replay's output (order.h). */
#include "order.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map_words(struct order *order, int fd)
{
	struct stat stat;
	void *map;

	if (fstat(fd, &stat) != 0)
		return -errno;
	order->capacity = (size_t)stat.st_size / sizeof(*order->words);
	if (order->capacity == 0)
		return 0;
	map = mmap(NULL, order->capacity * sizeof(*order->words), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	order->words = map;
	return 0;
}

int order_open(struct order *order, const char *path, struct glb_error *error)
{
	int ret, fd = open(path, O_RDWR | O_CLOEXEC);

	memset(order, 0, sizeof(*order));
	if (fd < 0)
		return glb_error_set(error, -errno, "--replay-order: %.100s: %s", path, strerror(errno));
	ret = map_words(order, fd);
	close(fd);
	return ret == 0 ? 0 : glb_error_set(error, ret, "--replay-order: %.100s: %s", path, strerror(-ret));
}

void order_close(struct order *order)
{
	if (order->words != NULL)
		munmap(order->words, order->capacity * sizeof(*order->words));
	order->words = NULL;
}
