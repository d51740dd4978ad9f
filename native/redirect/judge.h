/* The decision in user space, for packets that the kernel's NFQUEUE hands over. */
#ifndef GLB_REDIRECT_JUDGE_H
#define GLB_REDIRECT_JUDGE_H

#include "tool.h"

enum { JUDGED_MAX = 65536 };

/* What a worker decides by. */
struct judge {
	struct glb_redirect_config settings;
	const struct prefixes *allow;
	int sockets_fd;          /* of sockets_open */
	uint64_t second, unknown; /* packets of this second that the stack saw although nobody knows them */
};

struct judgement {
	enum glb_redirect_reason reason;
	uint32_t length;         /* of `packet`; 0: nothing is to be sent */
	uint8_t packet[JUDGED_MAX]; /* the client's own, or for the next hop */
};

/* judge.c: decides about an IP packet and makes what is to be sent in its place. Judgement is big: not for the stack. */
void judge(struct judge *judge, const uint8_t *data, uint32_t length, struct judgement *judgement);
/* Is that reason a delivery to this host, or a packet for the next hop? */
bool judged_local(enum glb_redirect_reason reason);

/* diag.c: a socket to ask the kernel about sockets by (sock_diag), or -errno. */
int sockets_open(void);
/* The TCP state of the socket of a tuple, as the kernel's net/tcp_states.h; 0: there is none; or -errno. Addresses have 4 or 16
 * bytes. A request's state is SYN_RECV. */
int sockets_state(int fd, bool is_v6, const uint8_t *local, glb_be16 local_port, const uint8_t *remote, glb_be16 remote_port);

#endif
