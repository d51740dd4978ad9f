/* af_xdp ports: an XDP program of our own that takes packets to VIPs and leaves the rest to the kernel.
 *
 * net_af_xdp loads the program and puts it on the interface; once the port has its queues, we take it over with a BPF
 * link, which ends with this process, however that ends: a crash leaves nothing on the interface. Main lcore only.
 * A port whose devargs name an xdp_prog of the operator's is left alone.
 */
#ifndef FORWARDER_XDP_H
#define FORWARDER_XDP_H

#include "config.h"

#include <glb/snapshot.h>

struct ports;
struct xdp;

/* Completes the devargs of af_xdp ports with our program, and frees their interfaces from what an earlier forwarder left.
 * Before EAL starts. Returns 0 or a negative errno with *error, which names the port and what to do. */
int xdp_prepare(struct config *config, struct glb_error *error);

/* Takes over the program of the interface `if_index`. Returns NULL with error->code 0 when it has none of ours, and
 * NULL with *error when something failed. `queues` are served. The port must have its queues. */
struct xdp *xdp_open(unsigned if_index, unsigned queues, struct glb_error *error);

/* Takes the program off its interface: all packets go to the kernel. NULL is fine. */
void xdp_close(struct xdp *xdp);

/* A swap in two steps, for all ports. Before it: adds the snapshot's VIPs; on failure (-ENOMEM, -ENOSPC, …, with
 * *error) none is added. After it: removes those that it does not have. */
int xdp_add_vips(const struct ports *ports, const struct glb_snapshot *snapshot, struct glb_error *error);
void xdp_drop_vips(const struct ports *ports);

/* On a director with peers: what they send to its own address is the forwarder's, too. Returns 0 or a negative errno with *error. */
int xdp_add_own(const struct xdp *xdp, const struct glb_addr *addr, struct glb_error *error);

struct xdp_status {
	bool native;       /* in the driver; else in the kernel's generic code, for each packet a buffer */
	uint64_t taken;    /* packets handed to the forwarder */
	uint64_t unserved; /* packets to a VIP on queues that no worker serves */
};

void xdp_read(const struct xdp *xdp, struct xdp_status *status);

/* What to look at when an af_xdp port does not come up: a sentence, or "" for interfaces where nothing is odd. */
void xdp_advise(unsigned if_index, char *out, size_t len);

#endif
