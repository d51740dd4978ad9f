/* The MTU of the way to backends, as routers on it say by ICMP: too-bigs about outer packets. docs/mtu.md.
 *
 * Recognising such a message is the path's (classify: GLB_REASON_OUTER_TOO_BIG); who remembers, for how long, and tells the path
 * is the caller. What the path reads is struct glb_path_mtus: one thread writes it, a word at a time, while others read, so no
 * lock is needed.
 */
#ifndef GLB_PATH_MTU_H
#define GLB_PATH_MTU_H

#include "packet.h"
#include "snapshot.h"

enum {
	GLB_PATH_MTU_V4_MIN = 576,  /* bytes; messages that claim less are ignored: RFC 791 */
	GLB_PATH_MTU_V6_MIN = 1280, /* RFC 8201, 4 */
};

/* Bytes of IP, by what they are of; 0xffffffff: nothing is known. */
struct glb_path_mtus {
	uint32_t least;     /* of all backends: where it is nothing, the rest need not be looked at */
	uint32_t *backends; /* by index into the snapshot's */
	uint32_t *tables;   /* the least of the backends of a table's pool */
};

/* What such a message says. */
struct glb_outer_too_big {
	struct glb_addr backend; /* to whom the outer packet was sent */
	uint32_t mtu;
};

struct glb_path;

/* Reads a packet of kind TOO_BIG whose destination is no VIP: is it about an outer packet that this director may have sent? Returns
 * GLB_REASON_OUTER_TOO_BIG with *said; GLB_REASON_OUTER_TOO_BIG_IGNORED where what it says cannot be right; or GLB_REASON_NOT_VIP: it is about
 * something else. Whether there is such a backend is not looked up. Pure; any thread. */
enum glb_reason glb_outer_too_big(const struct glb_path *path, const struct glb_packet *packet, struct glb_outer_too_big *said);

/* Makes *mtus, whose arrays the caller has allocated for `snapshot`, say that nothing is known. */
void glb_path_mtus_clear(struct glb_path_mtus *mtus, const struct glb_snapshot *snapshot);

/* Sets the MTU of all backends with this address, which lowers their tables' and the least one, but never raises these. Returns how many backends
 * there are; O(backends and tables). */
uint32_t glb_path_mtus_lower(struct glb_path_mtus *mtus, const struct glb_snapshot *snapshot, const struct glb_addr *backend,
			     uint32_t mtu);

#ifndef GLB_CFFI
/* Of any way; `mtus` may be NULL. */
static inline uint32_t glb_path_mtus_least(const struct glb_path_mtus *mtus)
{
	return mtus == NULL ? UINT32_MAX : __atomic_load_n(&mtus->least, __ATOMIC_RELAXED);
}

/* Of one backend, or table. */
static inline uint32_t glb_path_mtu(const uint32_t *array, uint32_t index)
{
	return __atomic_load_n(&array[index], __ATOMIC_RELAXED);
}
#endif

#endif
