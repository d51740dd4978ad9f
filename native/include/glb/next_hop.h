/* Where packets to a backend go next: the MAC of the next router, or of the backend itself, and the port behind which it is.
 *
 * A table of next hops is an array of 64-bit words, one for each backend of a snapshot. One thread writes it
 * while others read: a word is stored and loaded whole, so a reader sees a MAC and a port that belong together, and no
 * lock is needed. All zero: not known yet.
 */
#ifndef GLB_NEXT_HOP_H
#define GLB_NEXT_HOP_H

#include "err.h"

#ifndef GLB_CFFI
#include <string.h>
#endif

enum {
	GLB_PORTS_MAX = 16, /* of a director */
};

enum glb_next_hop_kind {
	GLB_NEXT_HOP_UNKNOWN = 0, /* the rest means nothing, and packets are dropped */
	GLB_NEXT_HOP_ROUTER = 1,
	GLB_NEXT_HOP_BACKEND = 2, /* the backend itself: it is on this link */
};

struct glb_next_hop {
	uint8_t mac[6];
	uint8_t port;     /* index of the egress port, below GLB_PORTS_MAX */
	uint8_t kind;     /* enum glb_next_hop_kind */
};
GLB_STATIC_ASSERT(sizeof(struct glb_next_hop) == sizeof(uint64_t), "a next hop is one word")

#ifndef GLB_CFFI
static inline struct glb_next_hop glb_next_hop_load(const uint64_t *word)
{
	const uint64_t value = __atomic_load_n(word, __ATOMIC_RELAXED);
	struct glb_next_hop hop;

	memcpy(&hop, &value, sizeof(hop));
	return hop;
}

static inline void glb_next_hop_store(uint64_t *word, struct glb_next_hop hop)
{
	uint64_t value;

	memcpy(&value, &hop, sizeof(value));
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}
#endif

#endif
