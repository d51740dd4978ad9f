/* A packet's bytes where they lie, for tc and XDP, whose contexts call the ends of what may be read alike.
 *
 * A function that the kernel calls for a few bytes costs more than all that is done with them; so bytes are read in
 * place, and copied by words.
 */
#ifndef GLB_BYTES_BPF_H
#define GLB_BYTES_BPF_H

#include <linux/if_ether.h>
#include "way.h"

enum {
	FRAME_MAX = 0x3fff, /* bytes; the verifier wants to know */
};

/* `len` bytes from `at` on, or NULL: they are not there, or, in tc, not in the skb's first piece. */
static __always_inline void *bytes(const struct packet *packet, uint32_t at, uint32_t len)
{
	void *from = (void *)(long)packet->context->data, *end = (void *)(long)packet->context->data_end;

	if (at > FRAME_MAX)
		return NULL;
	from += at;
	asm("" : "+r"(from)); /* what is compared shall be what is returned, in one register: the verifier knows no algebra */
	return from + len <= end ? from : NULL;
}

/* Copies by words. What lies on the stack is at a multiple of 4, see ALIGNED; what lies in the packet need not be on CPUs that reach words
 * anywhere, as x86-64 and arm64 do. (The verifier refuses the program on others.) */
static __always_inline void copy_words(void *to, const void *from, uint32_t len)
{
	__builtin_memcpy(__builtin_assume_aligned(to, 4), __builtin_assume_aligned(from, 4), len);
}

/* Might it be UDP to `port`? Most packets of most hosts are not, and one look at where nearly all have their port says so. */
static __always_inline bool may_be_to(const struct packet *packet, bool is_v6, uint32_t port)
{
	const struct glb_ipv4 *v4 = bytes(packet, ETH_HLEN, sizeof(*v4) + sizeof(struct glb_udp));
	const struct glb_ipv6 *v6 = bytes(packet, ETH_HLEN, sizeof(*v6) + sizeof(struct glb_udp));

	if (is_v6)
		return !v6 || (v6->next_header == GLB_IPPROTO_UDP && glb_be16_get(((struct glb_udp *)(v6 + 1))->dport) == port);
	return !v4 || (v4->protocol == GLB_IPPROTO_UDP &&
		       (v4->version_ihl != 0x45 || glb_be16_get(((struct glb_udp *)(v4 + 1))->dport) == port));
}

#endif
