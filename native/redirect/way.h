/* What a way in offers to the decision: the packet's bytes, the host's sockets, and the operator's lists.
 *
 * The ways are tc, XDP and NFQUEUE. Each defines `struct packet` before it includes decide.h, and the functions below after, so that
 * the compiler sees one program without calls, as the kernel's verifier wants it. Nothing here changes a packet.
 */
#ifndef GLB_REDIRECT_WAY_H
#define GLB_REDIRECT_WAY_H

#include <stdbool.h>
#include "redirect.h"

struct packet; /* the way's own: what it finds the bytes by */
struct inner;
struct cursor;

/* Ends of a TCP connection, as in a segment that the client sent. */
struct tuple {
	const uint8_t *client, *vip; /* 4 or 16 bytes */
	glb_be16 client_port, vip_port;
	bool is_v6;
};

/* What the kernel has for a tuple. */
enum known_as {
	KNOWN_NOT = 0,
	KNOWN_LISTENER,
	KNOWN_REQUEST,    /* SYN received */
	KNOWN_TIMEWAIT,
	KNOWN_CONNECTION, /* every other state */
};

/* Whose is a datagram by its QUIC connection id? */
enum quic_owner {
	QUIC_NOBODYS, /* a client's own, or none that could be read */
	QUIC_OURS,
	QUIC_ANOTHERS,
};

struct known {
	enum known_as as;
	uint32_t queue; /* of a listener: connections that wait to be accepted */
	bool numbers;  /* of a request or TIME_WAIT: those below are known */
	bool cookie;   /* of a listener: the segment carries a SYN cookie from here */
	uint32_t isn;  /* of a request: its own initial sequence number */
	uint32_t rcv_nxt, rcv_wnd, snd_nxt; /* of TIME_WAIT */
};

/* What is limited: packets that are not known here, and what is told of dropped ones. */
enum limit_kind {
	LIMIT_ANSWERS,  /* the stack sees them, and may answer with a reset */
	LIMIT_FORWARDS, /* they go on to the next hop */
	LIMIT_EVENTS,   /* eBPF's ways: dropped, and told of */
	LIMITS,
};

/* A token bucket as the time at which it is full again. It holds what comes in within a second. */
struct limit {
	uint64_t full_at; /* ns of a clock that only goes on */
};

static __always_inline bool limit_take(struct limit *limit, uint64_t now, uint32_t rate)
{
	const uint64_t second = 1000000000, from = limit->full_at > now ? limit->full_at : now, then = from + second / rate;

	if (then > now + second)
		return false;
	limit->full_at = then;
	return true;
}

/* Copies `len` bytes from `at` on to where a multiple of 4 is. False: they are not there. */
static __always_inline bool way_load(const struct packet *packet, uint32_t at, void *to, uint32_t len);
/* Is the packet several that were merged? */
static __always_inline bool way_is_super(const struct packet *packet);
/* The roles of an address: 0, or GLB_REDIRECT_SOURCE and _PEER. */
static __always_inline uint32_t way_roles(const struct packet *packet, bool is_v6, const uint8_t addr[16]);
/* Asks for the tuple. `segment` is what a SYN cookie is looked for in; NULL: not asked for. */
static __always_inline void way_find(const struct packet *packet, const struct tuple *tuple, struct inner *segment,
				     struct known *known);
/* What a UDP socket here says: KNOWN_CONNECTION when it is connected to the client, KNOWN_LISTENER when it takes from anybody. */
static __always_inline enum known_as way_find_udp(const struct packet *packet, const struct tuple *tuple);
/* What holds for a service besides the default; NULL: nothing. The way keeps it, and it may change. */
static __always_inline struct glb_redirect_service *way_service(const struct packet *packet,
								const struct glb_redirect_service_key *key);
/* Where a new connection went before: 0 = unknown, 1 = accepted, 2 = sent on. */
static __always_inline uint32_t way_recall(const struct packet *packet, const struct glb_redirect_hunted *flow);
static __always_inline void way_remember(const struct packet *packet, const struct glb_redirect_hunted *flow, uint32_t where);
/* Does another way in see to fragments? */
static __always_inline bool way_leaves_fragments(void);
/* A QUIC-LB configuration of a service, with this host's server id; NULL: there is none. */
static __always_inline const struct glb_redirect_quic *way_quic(const struct packet *packet, const struct glb_redirect_quic_key *key);
/* Is the server id at `at`, with the nonce behind it, this host's in that configuration? */
static __always_inline bool way_is_own_id(const struct packet *packet, const struct glb_redirect_quic *quic, uint32_t at);
/* quic_owner_of() in quic.h, as a function of its own where the verifier then follows it once and not with all that came before. */
static __always_inline enum quic_owner way_owner(const struct packet *packet, struct glb_redirect_quic_key *key, uint32_t at, uint32_t end);
/* pass_extensions() in parse.h, likewise. */
static __always_inline int way_pass_extensions(struct cursor *c, uint8_t protocol);
/* Where a datagram's first fragment was sent on to, however long ago; NULL: it was not, or that is forgotten. */
static __always_inline const struct glb_redirect_went *way_recall_fragment(const struct packet *packet,
									    const struct glb_redirect_datagram *datagram);
static __always_inline void way_remember_fragment(const struct packet *packet, const struct glb_redirect_datagram *datagram,
						  const struct glb_redirect_went *went);
static __always_inline void way_forget_fragment(const struct packet *packet, const struct glb_redirect_datagram *datagram);
/* Nanoseconds of a clock that only goes on. */
static __always_inline uint64_t way_now(const struct packet *packet);
/* May one more packet pass that is not known here? `rate` of them a second and CPU; 0 = no limit. */
static __always_inline bool way_may_pass(const struct packet *packet, enum limit_kind kind, uint32_t rate);
/* What a DSCP, or a port of this host, stands for; NULL: nothing. */
static __always_inline const struct glb_redirect_target *way_rewrite(const struct packet *packet,
								     const struct glb_redirect_match *match);

#endif
