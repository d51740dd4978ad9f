/* Directors that share fragments: which of them all fragments of a datagram go to.
 *
 * Routers that spread by ports send the first fragment of a datagram, which has some, to one director and the rest to another. So each director
 * chooses one of all by the datagram's addresses and protocol, and sends it the fragments that are not for itself, once
 * (glb_path_redirect()). Directors with the same list, in any order, and the same snapshot choose alike; when one leaves the list only its
 * datagrams move. Immutable once set; any number of workers may read it at once.
 */
#ifndef GLB_PEERS_H
#define GLB_PEERS_H

#include "addr.h"

enum {
	GLB_PEERS_MAX = 64,
	/* Ethernet 14 + two VLAN tags 8 + IPv6 40 + UDP 8 + GUE 8 */
	GLB_PEER_HEADER_MAX = 78,
};

struct glb_peer {
	struct glb_addr addr; /* its outer source address, which it sends from and is sent to */
	uint64_t seed;
};

struct glb_peers {
	uint32_t count; /* 2..GLB_PEERS_MAX */
	uint32_t own;   /* index of this director itself */
	struct glb_peer of[GLB_PEERS_MAX];
};

/* Sets *peers to these addresses, all of one family and different, one of them `own_v4` or `own_v6` (family NONE: there is none). Returns 0, or -EINVAL
 * with *error, which says what is wrong with the list. */
int glb_peers_set(struct glb_peers *peers, const struct glb_addr *addrs, uint32_t count, const struct glb_addr *own_v4,
		  const struct glb_addr *own_v6, struct glb_error *error);

/* Index of the director for datagrams with this hash (rendezvous: each is as likely). Pure; any thread. */
uint32_t glb_peers_choose(const struct glb_peers *peers, uint64_t hash);

/* Index of the director with this address, or GLB_PEERS_MAX. */
uint32_t glb_peers_find(const struct glb_peers *peers, const struct glb_addr *addr);

#endif
