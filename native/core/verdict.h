/* How a stage leaves its verdict on a packet. */
#ifndef GLB_CORE_VERDICT_H
#define GLB_CORE_VERDICT_H

#include <glb/packet.h>

static inline void verdict_set(struct glb_packet *packet, enum glb_reason reason)
{
	packet->reason = (uint8_t)reason;
	packet->verdict = GLB_VERDICT_FORWARD;
	if (reason != GLB_REASON_FORWARDED)
		packet->verdict = (uint8_t)glb_reason_verdict(reason);
}

#endif
