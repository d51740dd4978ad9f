/* The ABI note: versions that programs meet by, in an ELF note that can be read without running anything.
 *
 * Section .note.glbpy, owner "glbpy", type 1, descriptor struct glb_abi. libglb carries it, so it
 * is in the Python extension and in the forwarder; glbpy reads it with pyelftools before loading
 * or starting either, and refuses what differs.
 */
#ifndef GLB_ABI_H
#define GLB_ABI_H

#include "err.h"

enum {
	GLB_ABI_VERSION = 1,     /* of libglb's functions and structs as cffi sees them */
	GLB_CONTROL_VERSION = 1, /* of the control socket's protocol */
};

struct glb_abi {
	uint32_t abi;      /* GLB_ABI_VERSION */
	uint32_t snapshot; /* GLB_SNAPSHOT_VERSION */
	uint32_t stats;    /* GLB_STATS_VERSION */
	uint32_t control;  /* GLB_CONTROL_VERSION */
};

/* The versions that this build was compiled with. Any thread. */
struct glb_abi glb_abi_get(void);

#endif
