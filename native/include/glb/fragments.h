/* A fragment table: where the first fragment of a datagram went, so that the later ones, which have no ports, can follow.
 *
 * Of fixed size, and one worker's own. A datagram is known by its addresses, its identification and, over IPv4, its protocol. Once its
 * first fragment has come, what that said is remembered until all of it has gone by, or until `timeout`. Later fragments that come before the
 * first wait in a buffer of fixed size, for at most `wait`; when the first comes they are released, in the order in which they came. When
 * there is no room for a new datagram, the oldest of its kind goes: known ones make room for known ones, and waiting ones for waiting ones, so that a flood
 * of one kind does the other no harm.
 *
 * Bytes that have gone by are marked. A fragment with some of them again is not passed on; when others of its bytes are new, nothing more
 * of that datagram is (RFC 5722). So backends never get two versions of a byte.
 *
 * One thread owns a table; there are no locks, and nothing is allocated: the caller provides the memory, and the time, in any unit that it
 * likes, of a clock that never steps back. What waits are pointers of the caller's, which it gets back.
 */
#ifndef GLB_FRAGMENTS_H
#define GLB_FRAGMENTS_H

#include "addr.h"
#include "verdict.h"

enum {
	GLB_FRAGMENTS_MIN = 64,           /* datagrams, and fragments that wait, at least: a whole burst */
	GLB_FRAGMENTS_MAX = 1 << 20,      /* and at most */
	GLB_FRAGMENTS_OF_DATAGRAM_MAX = 64, /* fragments of one datagram that wait: 65535 bytes in packets of 1280 are 54 */
	GLB_FRAGMENT_UNITS = 8192,        /* of 8 bytes, in a datagram */
};

/* What a fragment's headers say. */
struct glb_fragment {
	uint8_t src[16];     /* network order; IPv4 in the first 4, the rest zero */
	uint8_t dst[16];
	uint32_t id;
	uint8_t family;      /* enum glb_family */
	uint8_t protocol;    /* of IPv4; over IPv6, where fragments of a datagram need not agree on it, 0 */
	uint8_t more;        /* 1: it is not the last one */
	uint8_t tcp;         /* 1: it is one of a TCP segment */
	uint32_t offset;     /* bytes of the datagram in front of it, a multiple of 8 */
	uint32_t len;        /* bytes of the datagram in it */
	uint32_t header_len; /* bytes of its IPv4 header; IPv6: 0 */
};

/* What the first fragment of a datagram said, for the later ones. */
struct glb_fragment_first {
	uint32_t backend; /* id of its first hop; GLB_ID_NONE: not known yet, or it did not get that far */
	uint16_t sport;   /* host order */
	uint16_t dport;
	uint16_t hint;    /* as in struct glb_packet */
	uint8_t kind;     /* enum glb_packet_kind */
	uint8_t protocol; /* over IPv6 later ones may name another: that of a header behind the fragment header */
	uint8_t taken;    /* 1: by a service that follows fragments */
};

/* A fragment that waited. */
struct glb_fragment_slot {
	void *buffer;    /* the caller's */
	uint32_t tag;    /* the caller's */
	uint32_t next;
	uint32_t reason; /* of one that is lost: enum glb_reason */
	uint32_t pad;
};

struct glb_fragment_list {
	uint32_t head;
	uint32_t tail;
};

struct glb_datagram; /* fragments.c */

struct glb_fragments {
	struct glb_datagram *datagrams;   /* in memory of the caller's, like the next two */
	struct glb_fragment_slot *slots;
	uint32_t *chains;                 /* by hash: the first datagram, or none */
	uint32_t chain_mask;
	uint32_t limit[2];                /* datagrams: known, waiting */
	uint32_t count[2];                /* now */
	struct glb_fragment_list queue[2]; /* of datagrams: oldest first */
	uint32_t free_datagram;
	uint32_t free_slot;
	uint32_t ended;                   /* datagrams that are forgotten as soon as the burst in hand is over */
	uint32_t turn;                    /* of releasing */
	uint32_t waiting;                 /* buffers that it has, released and lost ones included */
	struct glb_fragment_list ready;   /* slots */
	struct glb_fragment_list lost;
	uint64_t timeout;
	uint64_t wait;
	uint8_t key[16];
	/* of the burst in hand, from one stage to the next (path.h); by packet, GLB_BURST_MAX */
	uint32_t place[64];
};

enum { GLB_FRAGMENT_NONE = 0xffffffff }; /* no place */

/* Bytes of memory for a table that knows `datagrams` and lets `waiting` fragments wait, each GLB_FRAGMENTS_MIN..GLB_FRAGMENTS_MAX. */
size_t glb_fragments_bytes(uint32_t datagrams, uint32_t waiting);

/* An empty table in `memory`, which is aligned to 8 and borrowed. `key` should be random and secret. `timeout` and `wait` are in the unit of the
 * `now` of all that follows. */
void glb_fragments_init(struct glb_fragments *fragments, void *memory, uint32_t datagrams, uint32_t waiting,
			const uint8_t key[16], uint64_t timeout, uint64_t wait);

/* What is wrong with a fragment by itself: GLB_REASON_FRAGMENT_ENDLESS, _TINY or _BAD_LENGTH, or GLB_REASON_FORWARDED. Pure. RFC 791,
 * 1858, 3128, 8200. */
enum glb_reason glb_fragment_check(const struct glb_fragment *fragment);

/* A first fragment (offset 0) has come. Returns GLB_REASON_FORWARDED with the datagram's *place, or GLB_REASON_FRAGMENT_OVERLAP. Those that waited for
 * it are released. A place is good until glb_fragments_tidy(). */
enum glb_reason glb_fragments_first(struct glb_fragments *fragments, const struct glb_fragment *fragment,
				    const struct glb_fragment_first *first, uint64_t now, uint32_t *place);

/* A later fragment has come. Returns GLB_REASON_FORWARDED with the datagram's *place, GLB_REASON_FRAGMENT_OVERLAP, or GLB_REASON_LATER_FRAGMENT when the first
 * one was not taken. `alone`: it need not wait, since its way does not depend on the first one. Otherwise, where
 * glb_fragments_must_wait() says so, it has to. */
enum glb_reason glb_fragments_later(struct glb_fragments *fragments, const struct glb_fragment *fragment, bool alone, uint64_t now,
				    uint32_t *place);
bool glb_fragments_must_wait(const struct glb_fragments *fragments, uint32_t place);

/* What the first fragment said, which may be added to until the burst is over. */
struct glb_fragment_first *glb_fragments_said(const struct glb_fragments *fragments, uint32_t place);

/* Lets a fragment wait at `place`, behind others that do. False when there is no room: others may have been given up to make
 * some, so that it is worth asking again when glb_fragments_lost() has been emptied. */
bool glb_fragments_wait(struct glb_fragments *fragments, uint32_t place, void *buffer, uint32_t tag);

/* To be called after each burst, until it returns 0: gives back up to n fragments that were released, in order. They are to be treated as if they came now, all of them before
 * any other. Returns how many there are. */
unsigned glb_fragments_release(struct glb_fragments *fragments, struct glb_fragment_slot *out, unsigned n);

/* Gives back a fragment that waited in vain, with the reason. False: there is none. */
bool glb_fragments_lost(struct glb_fragments *fragments, struct glb_fragment_slot *out);

/* Between bursts: forgets datagrams that are complete. */
void glb_fragments_tidy(struct glb_fragments *fragments);

/* Between bursts: forgets what has timed out. */
void glb_fragments_expire(struct glb_fragments *fragments, uint64_t now);

/* Between bursts: gives up all that wait, as if they had timed out. */
void glb_fragments_flush(struct glb_fragments *fragments);

#endif
