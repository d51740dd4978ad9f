/* The look at QUIC's connection ids as a global function, for tc and XDP alike: the verifier follows it once and by itself; in place it
 * would do so with every state that comes before. A call costs more, so the usual packet does without.
 */
#ifndef GLB_APART_BPF_H
#define GLB_APART_BPF_H

#include "decide.h"

typedef __typeof__(((struct packet *)0)->context) context_t; /* the verifier knows its own by the type */

__attribute__((noinline)) int glb_redirect_owner(context_t context, struct glb_redirect_quic_key *key, uint32_t at, uint32_t end)
{
	const struct packet packet = {.context = context};

	return key ? (int)quic_owner_of(&packet, key, at, end) : QUIC_NOBODYS;
}

static __always_inline enum quic_owner way_owner(const struct packet *packet, struct glb_redirect_quic_key *key, uint32_t at, uint32_t end)
{
	return (enum quic_owner)glb_redirect_owner(packet->context, key, at, end);
}

#endif
