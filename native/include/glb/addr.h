/* An IPv4 or IPv6 address with its family. */
#ifndef GLB_ADDR_H
#define GLB_ADDR_H

#include "err.h"

enum glb_family {
	GLB_FAMILY_NONE = 0,
	GLB_FAMILY_V4 = 4,
	GLB_FAMILY_V6 = 6,
};

struct glb_addr {
	uint8_t bytes[16]; /* network order; IPv4 in the first 4, the rest 0 */
	uint8_t family;    /* enum glb_family */
	uint8_t pad[3];    /* 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_addr) == 20, "glb_addr is part of the snapshot format")

struct glb_prefix {
	struct glb_addr addr; /* host bits 0; family GLB_FAMILY_NONE: no prefix */
	uint8_t bits;         /* 0..32 or 0..128 */
	uint8_t pad[3];
};

/* Length of an address of this family in bytes: 4, 16, or 0. */
#ifndef GLB_CFFI
static inline unsigned glb_addr_len(uint8_t family)
{
	return family == GLB_FAMILY_V4 ? 4 : family == GLB_FAMILY_V6 ? 16 : 0;
}
#endif

#endif
