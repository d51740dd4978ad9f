/* A netfilter queue: packets from the kernel, verdicts to it. */
#ifndef GLB_REDIRECT_QUEUE_H
#define GLB_REDIRECT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

struct queue {
	int fd;
	uint16_t number;
	uint8_t *buffer; /* owned */
};

struct queued {
	uint32_t id;
	uint32_t device; /* ifindex that it came in on; 0: none */
	const uint8_t *data; /* an IP packet, in the queue's buffer until the next one is taken */
	uint32_t length;
};

/* Takes the queue over; -EBUSY when another process has it. 0 or -errno. */
int queue_open(struct queue *queue, uint16_t number);
void queue_close(struct queue *queue);
/* Waits for a packet. 0, -EINTR after a signal, -EAGAIN for something that is no packet, or -errno. */
int queue_take(struct queue *queue, struct queued *queued);
/* Lets the kernel go on with a packet, or forget it. 0 or -errno. */
int queue_settle(struct queue *queue, uint32_t id, bool accept);

#endif
