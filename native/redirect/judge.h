/* The decision in user space, for packets that the kernel's NFQUEUE hands over. */
#ifndef GLB_REDIRECT_JUDGE_H
#define GLB_REDIRECT_JUDGE_H

#include "tool.h"

enum {
	JUDGED_MAX = 65536,
	HUNTS = 8192, /* new connections whose way is remembered */
	MOVED = GLB_REDIRECT_DATAGRAMS,
};

struct hunt {
	struct glb_redirect_hunted flow;
	uint32_t where;
};

/* A client's datagram whose first fragment was sent on. */
struct moved {
	struct glb_redirect_datagram datagram;
	struct glb_redirect_went went;
};

/* What a worker decides by. */
struct judge {
	struct glb_redirect_config settings;
	const struct prefixes *allow;
	struct services *services; /* their thresholds move */
	const struct quics *quics;
	struct hunt *hunts;      /* HUNTS of them */
	struct moved *moved;     /* MOVED of them */
	int sockets_fd;          /* of sockets_open */
	uint64_t full_at[2];     /* of the limits of packets, by enum limit_kind (way.h) */
};

struct judgement {
	enum glb_redirect_reason reason;
	uint32_t length;         /* of `packet`; 0: nothing is to be sent */
	uint8_t packet[JUDGED_MAX]; /* the client's own, or for the next hop, or as it came */
};

/* judge.c: decides about an IP packet and makes what is to be sent in its place. Judgement is big: not for the stack. */
void judge(struct judge *judge, const uint8_t *data, uint32_t length, struct judgement *judgement);
/* Is that reason a delivery to this host, or a packet for the next hop? */
bool judged_local(enum glb_redirect_reason reason);
bool judged_onward(enum glb_redirect_reason reason);
/* Does the kernel go on with the packet as it came? */
bool judged_as_it_is(const struct judge *judge, enum glb_redirect_reason reason);

/* diag.c: a socket to ask the kernel about sockets by (sock_diag), or -errno. */
int sockets_open(void);
/* What the kernel's tables have for a tuple. Addresses have 4 or 16 bytes. */
struct seen_socket {
	int state;      /* as the kernel's net/tcp_states.h, a request's SYN_RECV; 0: there is none; or -errno */
	uint32_t queue; /* of a listener: connections that wait to be accepted */
};
struct seen_socket sockets_find(int fd, uint8_t protocol, bool is_v6, const uint8_t *local, glb_be16 local_port,
				const uint8_t *remote, glb_be16 remote_port);

#endif
