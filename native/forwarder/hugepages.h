/* Why EAL may not get its memory: what there is of hugepages, in words. */
#ifndef FORWARDER_HUGEPAGES_H
#define FORWARDER_HUGEPAGES_H

#include <stdbool.h>
#include <stddef.h>

struct hugepages_lack {
	char message[160]; /* what is missing */
	char mend[200];    /* what to do */
};

/* Whether too few pages are free. `megabytes` = of -m, 0 = not given. To be asked before EAL has started, or when it has not. No
 * DPDK. */
bool hugepages_too_few(unsigned long megabytes, struct hugepages_lack *lack);

/* Whether there is no file system for them. */
bool hugepages_not_mounted(struct hugepages_lack *lack);

#endif
