/* How a packet changes that goes to its next hop, or meets congestion on its way here: tc and XDP alike.
 *
 * Checksums change by the difference, so a damaged packet stays damaged (RFC 1624).
 */
#ifndef GLB_CHANGE_BPF_H
#define GLB_CHANGE_BPF_H

#include "bytes.bpf.h"
#include "decide.h"

/* Puts `len` bytes from the stack to `at`. False: they are not there. */
static __always_inline bool way_store(const struct packet *packet, uint32_t at, const void *from, uint32_t len);

/* What sums over words that were `gone` grow by, when they are `come`; ones' complement, not folded. */
static __always_inline uint64_t difference(uint32_t gone, uint32_t come)
{
	return (uint64_t)come + (uint32_t)~gone;
}

/* `checksum`, as it lies in memory, when what it covers grows by that. */
static __always_inline uint16_t folded(uint16_t checksum, uint64_t grown)
{
	uint64_t sum = (uint16_t)~checksum + (grown & 0xffffffff) + (grown >> 32);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static __always_inline glb_be16 change_sum(glb_be16 checksum, uint64_t grown)
{
	uint16_t sum;

	__builtin_memcpy(&sum, &checksum, 2);
	sum = folded(sum, grown);
	__builtin_memcpy(&checksum, &sum, 2);
	return checksum;
}

/* The same for UDP, where 0 means that there is none. */
static __always_inline glb_be16 change_udp_sum(glb_be16 checksum, uint64_t grown)
{
	if (!glb_be16_get(checksum))
		return checksum;
	checksum = change_sum(checksum, grown);
	return glb_be16_get(checksum) ? checksum : glb_be16_put(0xffff);
}

/* Our address moves from destination to source, so for the sums only the source goes and the hop comes. */
static __always_inline uint64_t addresses_grow(const struct decision *decision)
{
	uint32_t gone[4], come[4];
	uint64_t grown = 0;

	__builtin_memcpy(gone, decision->outer.src, 16);
	__builtin_memcpy(come, decision->hop, 16);
	for (int i = 0; i < 4; i++)
		grown += difference(gone[i], come[i]);
	return grown;
}

/* UDP and GUE: the index moves, and the sum follows. */
static __always_inline void step(struct glb_udp *udp, struct glb_gue *gue, const struct decision *decision, uint64_t grown)
{
	uint16_t was, now;

	__builtin_memcpy(&was, &gue->next_hop, 2);
	gue->next_hop = decision->next_hop;
	__builtin_memcpy(&now, &gue->next_hop, 2);
	udp->checksum = change_udp_sum(udp->checksum, grown + difference(was, now));
}

/* Gives the client's packet the congestion mark of its outer header. */
static __always_inline bool change_mark(const struct packet *packet, const struct decision *decision)
{
	const uint32_t at = decision->outer.inner_at;
	const uint32_t sum_at = at + __builtin_offsetof(struct glb_ipv4, checksum);
	uint8_t first[2] ALIGNED;
	glb_be16 sum ALIGNED;
	uint16_t was, now;

	if (!way_load(packet, at, first, sizeof(first)))
		return false;
	__builtin_memcpy(&was, first, 2);
	merge_mark(decision, first);
	__builtin_memcpy(&now, first, 2);
	if (decision->outer.inner_protocol == GLB_IPPROTO_IPIP) {
		if (!way_load(packet, sum_at, &sum, sizeof(sum)))
			return false;
		sum = change_sum(sum, difference(was, now));
		if (!way_store(packet, sum_at, &sum, sizeof(sum)))
			return false;
	}
	return way_store(packet, at, first, sizeof(first));
}

#endif
