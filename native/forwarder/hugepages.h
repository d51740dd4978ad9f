/* Why EAL may not have got its memory: what there is of hugepages, in words. */
#ifndef FORWARDER_HUGEPAGES_H
#define FORWARDER_HUGEPAGES_H

#include <stdbool.h>
#include <stddef.h>

/* To be asked when EAL has not started: a sentence with what is missing and what to do, or "" when there are free pages and, where
 * `files` are wanted, a place for them. `megabytes` = of -m, 0 = not given. No DPDK. */
void hugepages_advise(unsigned long megabytes, bool files, char *out, size_t len);

#endif
