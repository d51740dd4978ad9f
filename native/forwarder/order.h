/* Replay: which of the received packets were sent, in the order in which they were sent, so that whoever reads the output file
 * knows whose they are (net_pcap stamps them with the time of day). A file of native 64-bit words, sized beforehand by its maker: the
 * numbers of the packets sent, as they were received, from 0. */
#ifndef FORWARDER_ORDER_H
#define FORWARDER_ORDER_H

#include <glb/err.h>

struct order {
	uint64_t *words; /* mapping */
	size_t capacity; /* words */
	size_t count;    /* written; by the one worker */
};

/* Maps the file at `path`. Returns 0 or -errno with *error. */
int order_open(struct order *order, const char *path, struct glb_error *error);
void order_close(struct order *order);

/* Notes a packet; nothing more once the file is full. */
static inline void order_add(struct order *order, uint64_t number)
{
	if (order->count < order->capacity)
		order->words[order->count++] = number;
}

#endif
