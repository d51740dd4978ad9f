/* Replay: the receive times of the packets that were sent, in their order, so that the output file can carry them (net_pcap
 * writes the time of day). A file of native 64-bit words, µs since the epoch, sized beforehand by its maker. */
#ifndef FORWARDER_TIMES_H
#define FORWARDER_TIMES_H

#include <glb/err.h>

#include <rte_mbuf.h>

struct times {
	uint64_t *words; /* mapping */
	size_t capacity; /* words */
	size_t count;    /* written; worker 0 only */
	int offset;      /* of the time stamp in a buffer (a dynamic field), or -1 */
};

/* Maps the file at `path`. Call after the ports are started: their driver registers the field. Returns 0 or -errno. */
int times_open(struct times *times, const char *path, struct glb_error *error);
void times_close(struct times *times);

/* Notes the times of n buffers that are about to be sent; silently as many as fit. */
void times_add(struct times *times, struct rte_mbuf *const *mbufs, unsigned n);

#endif
