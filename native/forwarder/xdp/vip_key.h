/* What the XDP program and the forwarder agree on: keys of the VIP maps, counters, limits. */
#ifndef FORWARDER_XDP_VIP_KEY_H
#define FORWARDER_XDP_VIP_KEY_H

#include <glb/wire.h>

enum {
	XDP_QUEUES_MAX = 64,
	XDP_VIPS_MAX = 65536, /* of each family */
};

enum xdp_counter { /* per CPU */
	XDP_TAKEN = 0,    /* packets to a VIP, handed to the forwarder */
	XDP_UNSERVED = 1, /* packets to a VIP on a queue that no worker serves; left to the kernel, so lost */
	XDP_COUNTERS,
};

enum xdp_whose { /* values of the VIP maps */
	XDP_VIP = 1,  /* all packets to it are the forwarder's */
	XDP_PEER = 2, /* the director's own address: GUE is, for peers send it fragments so */
};

/* A key of BPF_MAP_TYPE_LPM_TRIE; IPv4 uses the first 4 + 4 bytes of it. */
struct vip_key {
	uint32_t bits;    /* prefix length, host order */
	uint8_t addr[16]; /* network order, host bits zero */
};

struct vip_key_v4 {
	uint32_t bits;
	uint8_t addr[4];
};

GLB_STATIC_ASSERT(sizeof(struct vip_key) == 20 && sizeof(struct vip_key_v4) == 8, "LPM keys have no gaps")

#endif
