/* Packet buffers that another lcore has written: what the next one will touch of them is fetched at once, before it waits for any of it. */
#ifndef FORWARDER_CROSSING_H
#define FORWARDER_CROSSING_H

#include <rte_mbuf.h>
#include <rte_prefetch.h>

/* To be written: comes without leaving a copy where it was, which would have to be fetched back at the first store. */
static inline void crossing_own(const void *line)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)line)); /* the compiler has it only for CPUs newer than the oldest it is asked for */
#else
	__builtin_prefetch(line, 1);
#endif
}

/* The struct and what is around the beginning of the frame: where that is in a buffer that is as the driver got it, since what the struct says of it is still on
 * its way. `frees`: also the struct's second line, which is read when it is sent and freed. */
static inline void crossing_fetch(struct rte_mbuf *const *mbufs, unsigned n, bool frees)
{
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *mbuf = (const uint8_t *)mbufs[i], *frame = mbuf + sizeof(struct rte_mbuf) + RTE_PKTMBUF_HEADROOM;

		crossing_own(mbuf);
		crossing_own(frame);
		crossing_own(frame - RTE_CACHE_LINE_SIZE);
		if (frees)
			rte_prefetch0(mbuf + RTE_CACHE_LINE_SIZE);
	}
}

#endif
