/* Next hops: which MAC, behind which port, packets to each backend are sent to, as the kernel would send them.
 *
 * Follows the kernel's routes and neighbours (kernel.h), has it resolve what is missing, keeps what is in use
 * fresh, and writes the words that the workers read (glb/next_hop.h). Needs no control plane. Knows no DPDK. Main
 * lcore only.
 */
#ifndef FORWARDER_NEXTHOP_H
#define FORWARDER_NEXTHOP_H

#include <glb/next_hop.h>
#include <glb/snapshot.h>

#include <net/if.h>

struct nexthop;

/* Why a backend's next hop is not known. */
enum nexthop_why {
	NEXTHOP_KNOWN = 0,
	NEXTHOP_NO_ROUTE,        /* the kernel has no route to it */
	NEXTHOP_OWN_ADDRESS,     /* it is an address of this machine */
	NEXTHOP_OTHER_INTERFACE, /* its route leaves by an interface that belongs to no port */
	NEXTHOP_NO_NEIGHBOUR,    /* the next hop does not answer ARP or neighbour discovery */
	NEXTHOP_WHY_COUNT
};

/* "no_route" and so on. Never freed. */
const char *nexthop_why_name(enum nexthop_why why);

/* `interfaces`: the kernel's interface that belongs to each of the `ports` ports, "" where there is none. It need not be there
 * yet. NULL with *error. */
struct nexthop *nexthop_open(const char (*interfaces)[IF_NAMESIZE], unsigned ports, struct glb_error *error);
void nexthop_close(struct nexthop *nexthop);

/* Readable when nexthop_poll() has something to do. */
int nexthop_fd(const struct nexthop *nexthop);

/* From now on looks after the backends of this snapshot instead of those before: fills `words` (one per backend, borrowed until the next
 * adoption) and keeps them up to date. What was not known before is waited for, up to `wait_ms`, so that a new backend's first packets are
 * not dropped; one that does not answer costs that time once. Returns 0 or -ENOMEM; then nothing has changed. */
int nexthop_adopt(struct nexthop *nexthop, const struct glb_addr *addrs, size_t stride, uint32_t count,
		  uint64_t *words, unsigned wait_ms);

/* Takes up what has changed in the kernel, and asks again for what is missing. Returns in how many ms it wants to be called at the
 * latest, or -1 when it has nothing to do on its own. */
int nexthop_poll(struct nexthop *nexthop);

/* State of the backend with this index in the adopted snapshot. */
enum nexthop_why nexthop_state(const struct nexthop *nexthop, uint32_t backend);

#endif
