/* Inside of xdp.h: what its sources share. */
#ifndef FORWARDER_XDP_OWN_H
#define FORWARDER_XDP_OWN_H

#include "vip_set.h"
#include "xdp.h"

#define XDP_PROGRAM "glb_xdp" /* the program's name in the kernel */

struct xdp {
	char interface[16];
	unsigned if_index;
	int link;     /* holds the program on the interface; -1 = none */
	int vips_v4;  /* maps of the program; -1 = none */
	int vips_v6;
	int counters;
	bool native;
	struct vip_set told; /* what the maps hold and a snapshot in force wants */
	struct vip_set next; /* while a swap goes on: what they hold for the new one */
};

/* What is on an interface. `id` 0 = nothing. */
struct xdp_attached {
	uint32_t id;
	bool native;
	char name[16];
};

/* Returns 0 or a negative errno. */
int xdp_look(unsigned if_index, struct xdp_attached *attached);

#endif
