/* What the kernel knows about the way to an address: its routes and neighbours, over netlink.
 *
 * Asks, listens to changes, and has the kernel resolve a neighbour; remembers nothing (nexthop.h does). Main lcore only; no
 * call waits longer than the kernel takes to answer.
 */
#ifndef FORWARDER_KERNEL_H
#define FORWARDER_KERNEL_H

#include <glb/addr.h>

struct kernel;

struct kernel_route {
	unsigned if_index;
	struct glb_addr neighbour; /* the gateway, or the destination itself where it is on the link */
};

struct kernel_neighbour {
	unsigned if_index;
	struct glb_addr addr;
	uint16_t state;  /* NUD_…; NUD_NONE: the kernel has forgotten it */
	bool has_mac;
	uint8_t mac[6];
};

enum kernel_change { /* bits */
	KERNEL_NEIGHBOURS = 1,
	KERNEL_ROUTES = 2, /* routes, rules, next-hop objects or addresses */
	KERNEL_LINKS = 4,
	KERNEL_LOST = 8,   /* changes were lost: everything must be asked again, when there are no MORE older ones to come */
	KERNEL_MORE = 16,  /* not all were read */
};

typedef void (*kernel_neighbour_fn)(void *context, const struct kernel_neighbour *neighbour);

/* Opens the sockets and subscribes to changes. NULL with *error. */
struct kernel *kernel_open(struct glb_error *error);
void kernel_close(struct kernel *kernel);

/* Readable when something has changed. */
int kernel_fd(const struct kernel *kernel);

/* The way that the kernel would send to `destination`. Returns 0, -ENETUNREACH, -EHOSTUNREACH and so on where there is none, -EADDRINUSE
 * where the address is this machine's own, or another negative errno. */
int kernel_find_route(struct kernel *kernel, const struct glb_addr *destination, struct kernel_route *route);

/* Tells all neighbours that the kernel has. Returns 0 or a negative errno; then some may not have been told. */
int kernel_list_neighbours(struct kernel *kernel, kernel_neighbour_fn tell, void *context);

/* Has the kernel resolve a neighbour, or confirm one that is stale. Not for permanent ones: that would make them mortal. Returns
 * 0 or a negative errno. */
int kernel_solicit(struct kernel *kernel, unsigned if_index, const struct glb_addr *addr);

/* Reads the changes that have come, at most some hundred: neighbours are told, the rest is in the bits that it
 * returns (enum kernel_change; 0: nothing has come). */
unsigned kernel_read_changes(struct kernel *kernel, kernel_neighbour_fn tell, void *context);

#endif
