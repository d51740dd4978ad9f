/* The order of a replay's output (order.h). */
#include "order.h"

#include <rte_mbuf_dyn.h>

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

/* The number's place in a packet buffer. */
static int add_field(struct order *order, struct glb_error *error)
{
	static const struct rte_mbuf_dynfield number = {
		.name = "glb_order", .size = sizeof(uint64_t), .align = __alignof__(uint64_t),
	};

	order->field = rte_mbuf_dynfield_register(&number);
	return order->field >= 0 ? 0 : glb_error_set(error, -ENOMEM, "--replay-order: no room in packet buffers");
}

int order_open(struct order *order, const char *path, struct glb_error *error)
{
	int ret, fd = open(path, O_RDWR | O_CLOEXEC);

	memset(order, 0, sizeof(*order));
	if (fd < 0)
		return glb_error_set(error, -errno, "--replay-order: %.100s: %s", path, strerror(errno));
	ret = map_words(order, fd);
	close(fd);
	return ret == 0 ? add_field(order, error) : glb_error_set(error, ret, "--replay-order: %.100s: %s", path, strerror(-ret));
}

void order_close(struct order *order)
{
	if (order->words != NULL)
		munmap(order->words, order->capacity * sizeof(*order->words));
	order->words = NULL;
}

static uint64_t *number_of(const struct order *order, struct rte_mbuf *mbuf)
{
	return RTE_MBUF_DYNFIELD(mbuf, order->field, uint64_t *);
}

void order_stamp(const struct order *order, struct rte_mbuf **mbufs, unsigned n, unsigned queue, uint64_t first)
{
	for (unsigned i = 0; i < n; i++)
		*number_of(order, mbufs[i]) = (uint64_t)queue << ORDER_QUEUE_SHIFT | (first + i);
}

void order_note(struct order *order, struct rte_mbuf *const *mbufs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		size_t at = __atomic_fetch_add(&order->count, 1, __ATOMIC_RELAXED);

		if (at < order->capacity)
			order->words[at] = *number_of(order, mbufs[i]);
	}
}
