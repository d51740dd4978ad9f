/* Large private memory, in huge pages where the kernel has some, on a NUMA node where that matters. */
#ifndef FORWARDER_PAGES_H
#define FORWARDER_PAGES_H

#include <stddef.h>

enum { PAGES_ANY_NODE = -1 };

/* At least `len` bytes, all zero, that start at a huge page's boundary; *map_len is what there is, for munmap(). `node`, or
 * PAGES_ANY_NODE, is a preference. Small pages, or another node's, are no failure. NULL when there is no room. */
void *pages_map(size_t len, int node, size_t *map_len);

/* Has all of it backed by memory now, so that nobody waits for a page later. Returns 0 or a negative errno. */
int pages_populate(void *start, size_t map_len);

#endif
