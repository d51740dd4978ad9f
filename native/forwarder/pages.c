/* Mappings (pages.h). Transparent huge pages only: those that are reserved are left to EAL. */
#include "pages.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define HUGE_PAGE ((size_t)2 << 20)

enum { SMALL_PAGE = 4096, NODES_MAX = 64 };

/* Where a kernel has no NUMA, or a container may not ask for it, the nearest memory is as good a guess. */
static void prefer_node(void *start, size_t len, int node)
{
	const unsigned long mask = 1UL << (unsigned)node;

	(void)syscall(SYS_mbind, start, len, MPOL_PREFERRED, &mask, NODES_MAX + 1, 0);
}

void *pages_map(size_t len, int node, size_t *map_len)
{
	size_t whole = (len + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	uint8_t *map, *start;

	map = mmap(NULL, whole + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	start = (uint8_t *)(((uintptr_t)map + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	if (start != map)
		munmap(map, (size_t)(start - map));
	if (start + whole != map + whole + HUGE_PAGE)
		munmap(start + whole, (size_t)(map + HUGE_PAGE - start));
	if (node >= 0 && node < NODES_MAX)
		prefer_node(start, whole, node);
	madvise(start, whole, MADV_HUGEPAGE); /* a wish: without it pages are small, no more */
	*map_len = whole;
	return start;
}

int pages_populate(void *start, size_t map_len)
{
	if (madvise(start, map_len, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	for (size_t at = 0; at < map_len; at += SMALL_PAGE)
		((volatile uint8_t *)start)[at] = 0;
	return 0;
}
