/* The VIP prefixes of a snapshot as a sorted set, and what differs between two: what the XDP program must be told. */
#ifndef FORWARDER_VIP_SET_H
#define FORWARDER_VIP_SET_H

#include <glb/snapshot.h>

#include "xdp/vip_key.h"

struct vip {
	uint8_t family; /* enum glb_family */
	struct vip_key key;
};

struct vip_set {
	struct vip *vips; /* owned; ascending, each once */
	uint32_t count;
};

/* Fills *set from the snapshot's VIPs. Returns 0 or -ENOMEM; *set is empty then. */
int vip_set_make(struct vip_set *set, const struct glb_snapshot *snapshot);

/* Calls `take` for each VIP of `set` that `other` does not have, until one returns other than 0; returns that, or 0. */
int vip_set_difference(const struct vip_set *set, const struct vip_set *other,
		       int (*take)(void *context, const struct vip *vip), void *context);

void vip_set_free(struct vip_set *set);

#endif
