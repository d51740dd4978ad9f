/* Replay: which of the received packets were sent, in the order in which they were sent, so that whoever reads the output files
 * knows whose they are (net_pcap stamps them with the time of day). A file of native 64-bit words, sized beforehand by its maker, one for each packet sent: its
 * number, as its queue received it, from 0; in the upper 16 bits the rx queue. With several lcores that send, the words of each are in order. */
#ifndef FORWARDER_ORDER_H
#define FORWARDER_ORDER_H

#include <glb/err.h>

#include <rte_mbuf.h>

enum { ORDER_QUEUE_SHIFT = 48 };

struct order {
	uint64_t *words; /* mapping */
	size_t capacity; /* words */
	size_t count;    /* written; by all lcores that send */
	int field;       /* offset of the number in a packet buffer */
};

/* Maps the file at `path`. EAL must run. Returns 0 or a negative errno with *error. */
int order_open(struct order *order, const char *path, struct glb_error *error);
void order_close(struct order *order);

/* Numbers n packets that a queue received; `first` came before. */
void order_stamp(const struct order *order, struct rte_mbuf **mbufs, unsigned n, unsigned queue, uint64_t first);

/* Notes n packets that are sent now; nothing more once the file is full. */
void order_note(struct order *order, struct rte_mbuf *const *mbufs, unsigned n);

#endif
