/* The packet path: parse → classify → hash → select → encapsulate, each a stage over a burst.
 *
 * A struct glb_path joins a snapshot with what this director adds (addresses, MACs); it is
 * immutable, and any number of workers may read it at once. The forwarder
 * makes one per loaded snapshot and swaps a pointer; `glb trace` makes one for a single frame.
 */
#ifndef GLB_PATH_H
#define GLB_PATH_H

#include "backend_ids.h"
#include "flow_cache.h"
#include "fragments.h"
#include "guard.h"
#include "lists.h"
#include "next_hop.h"
#include "packet.h"
#include "peers.h"
#include "path_mtu.h"
#include "snapshot.h"

enum {
	/* Ethernet 14 + VLAN 4 + IPv6 40 + UDP 8 + GUE 8 + 7 hops of 16 bytes are 186 */
	GLB_HEADER_MAX = 192,
	/* Ethernet 14 + two VLAN tags 8 + 1280 */
	GLB_REJECT_MAX = 1302,
};

enum glb_outer_checksum {
	GLB_OUTER_CHECKSUM_ZERO = 0,
	GLB_OUTER_CHECKSUM_COMPUTED = 1,
};

/* What becomes of ICMP echo requests to a VIP. */
enum glb_echo {
	GLB_ECHO_FORWARD = 0, /* to a backend */
	GLB_ECHO_PUNT = 1,    /* left to the kernel */
	GLB_ECHO_ANSWER = 2,  /* the director answers: verdict ANSWER, glb_path_answer() */
};

/* What this director adds to a snapshot. */
struct glb_director {
	struct glb_addr outer_source_v4; /* family GLB_FAMILY_NONE: cannot send over IPv4 */
	struct glb_addr outer_source_v6;
	struct glb_prefix outer_prefix_v4; /* encapsulations without ports: their sources, by flow; none: outer_source_v4 */
	struct glb_prefix outer_prefix_v6;
	uint8_t local_mac[6];
	uint8_t gateway_mac[6];          /* where everything goes, unless glb_path_route() says otherwise; all 0: none */
	uint32_t mtu;                    /* of the egress port, bytes of IP; 0 = no limit */
	uint8_t filter_mac;              /* 1: frames for other MACs, and our own, are punted */
	uint8_t outer_checksum;          /* of UDP over IPv4: enum glb_outer_checksum */
	uint8_t outer_checksum_v6;       /* over IPv6 */
	uint8_t echo;                    /* enum glb_echo */
	uint8_t strict;                  /* 1: packets that no honest sender sends are dropped, docs/protection.md */
	uint8_t port;                    /* index of the port that packets come in on, below GLB_PORTS_MAX */
	const struct glb_peers *peers;   /* borrowed: the directors that share fragments; NULL: none */
};

/* What a port's device fills in by itself, so that nobody else need. */
enum glb_offload {
	GLB_OFFLOAD_IPV4_CHECKSUM = 1, /* of the outer IPv4 header: it is given 0 */
	GLB_OFFLOAD_UDP_CHECKSUM = 2,  /* of the outer UDP packet, where it is to be computed: it is given the pseudo header's sum */
};

/* A port as packets leave by it. */
struct glb_egress {
	uint8_t mac[6];   /* source MAC */
	uint16_t vlan;    /* VLAN id of the tag in front, 1..4094; 0 = no tag */
	uint32_t mtu;     /* bytes of IP; 0 = no limit */
	uint8_t offloads; /* enum glb_offload, or-ed */
	uint8_t pad[3];
};

struct glb_path {
	const struct glb_snapshot *snapshot; /* borrowed; may be NULL: everything is GLB_REASON_NO_SNAPSHOT */
	struct glb_director director;
	struct glb_next_hop gateway;         /* the director's gateway_mac, behind the port that packets come in on */
	uint8_t plain;                       /* 1: every service is GUE over IPv4 with TOS 0 */
	uint8_t follows;                     /* 1: some service follows fragments */
	uint8_t protects;                    /* 1: some service has a protection */
	uint16_t encaps;                     /* those that services have: bits by enum glb_encap_kind */
	const struct glb_filter *const *filters; /* borrowed: a filter for each protection, which may be replaced at any time; NULL: lists are
						  * not looked at */
	const uint64_t *next_hops;           /* borrowed: struct glb_next_hop by index of the backend; NULL: gateway */
	const struct glb_backend_ids *backend_ids; /* borrowed, of the snapshot; NULL: nothing is remembered */
	const uint32_t *service_slots;       /* borrowed: what a guard's arrays go by; NULL: no guard is used */
	const struct glb_path_mtus *mtus;    /* borrowed, of the snapshot; NULL: nothing is known of the ways behind the egress ports */
	struct glb_egress egress[GLB_PORTS_MAX]; /* by index of the port */
};

/* Sets up *path. Returns 0, or -EINVAL with *error when the snapshot needs something that the director does not
 * have (an outer source address of a family; for l2dsr, next hops of its own). No allocation. */
int glb_path_init(struct glb_path *path, const struct glb_snapshot *snapshot,
		  const struct glb_director *director, struct glb_error *error);

/* From now on packets go to the next hop of their first backend, by its port, instead of to the gateway. `next_hops` has a
 * word for each backend of the snapshot, which may change at any time (next_hop.h), or is NULL: to the gateway, still. `egress` has
 * `ports` ≤ GLB_PORTS_MAX entries and is copied. */
void glb_path_route(struct glb_path *path, const uint64_t *next_hops, const struct glb_egress *egress,
		    unsigned ports);

/* The stages, in order. Each skips packets whose verdict is no longer FORWARD; n ≤ GLB_BURST_MAX. */
void glb_path_filter(const struct glb_path *path, struct glb_packet *packets, unsigned n); /* by MAC, before parse */
void glb_path_classify(const struct glb_path *path, struct glb_packet *packets, unsigned n);
void glb_path_check(struct glb_packet *packets, unsigned n); /* where director.strict: what no honest sender sends */
uint8_t glb_path_hash(const struct glb_path *path, struct glb_packet *packets, unsigned n); /* returns all their services' flags */
void glb_path_select(const struct glb_path *path, struct glb_packet *packets, unsigned n);

/* Between select and remember, of use only where hash has returned GLB_SERVICE_QUIC: the backend that chose a packet's connection id becomes
 * its first hop, and the packet has nothing to do with the flow cache. */
void glb_path_quic(const struct glb_path *path, struct glb_packet *packets, unsigned n);

void glb_path_measure(const struct glb_path *path, struct glb_packet *packets, unsigned n); /* next hop, lengths, MTU */

/* The flow cache's two stages, around select; of use only where hash has returned GLB_SERVICE_FLOW_CACHE, and path->backend_ids is
 * set. A packet whose flow is in the cache gets the flow's own backend as its first hop, as long as it is in the snapshot, not inactive
 * and not unhealthy (then as its last), and the row's chain behind it; other packets may teach the cache. docs/operations.md. */
void glb_path_recall(const struct glb_path *path, struct glb_flow_cache *cache, const struct glb_packet *packets, unsigned n);
void glb_path_remember(const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now, const struct glb_guard *guard,
		       struct glb_packet *packets, unsigned n); /* `guard` may be NULL */

/* Services' source lists (lists.h), then their limits (guard.h), between classify and hash; of use only where path->protects is set. `guard` may be NULL:
 * no limits, and nothing is counted by service; else path->service_slots is set. With `remembers`, new flows of
 * services with a flow cache are left to the remember stage. */
void glb_path_guard(const struct glb_path *path, const struct glb_guard *guard, bool remembers, struct glb_packet *packets,
		    unsigned n);

/* What a caller remembers from burst to burst: its own, each NULL where it has none. */
struct glb_path_memory {
	struct glb_flow_cache *cache;
	const struct glb_guard *guard;
	struct glb_fragments *fragments;
	uint64_t fragments_now; /* in the unit of the fragment table */
	uint32_t cache_now;     /* in the flow cache's ticks */
};

/* The fragment table's two stages, behind classify and in front of measure; of use only where path->follows is set. A later fragment of a service that
 * follows them gets what the first one said and its backend as its first hop, or the verdict WAIT: then the caller lets it wait
 * (glb_fragments_wait() at fragments->place[i]), and has it go through all stages again when it is released. Both must be given the same burst. */
void glb_path_follow(const struct glb_path *path, struct glb_fragments *fragments, uint64_t now, struct glb_packet *packets,
		     unsigned n);
void glb_path_followed(const struct glb_path *path, struct glb_fragments *fragments, struct glb_packet *packets, unsigned n);

/* Fragments that meet at one of several directors; of use only where director.peers is set. Behind parse: what a peer has redirected here becomes the fragment
 * that it carries (from_peer), and is never redirected again. */
void glb_path_unwrap(const struct glb_path *path, struct glb_packet *packets, unsigned n);

/* Behind classify, where path->follows is set: fragments of VIPs that follow them, unless they find their way by addresses alone, of which another
 * director is to have all (glb_peers_choose()), get the verdict ANSWER with GLB_REASON_FRAGMENT_REDIRECTED. */
void glb_path_redirect(const struct glb_path *path, struct glb_packet *packets, unsigned n);

/* Writes what stands in front of such a fragment on its way, Ethernet included, to `out` (GLB_PEER_HEADER_MAX bytes); returns its length. The frame to
 * send, by the port that it came by and to the MAC that it came from, is these bytes followed by data[l3_offset .. l3_offset + l3_len). The
 * outer UDP checksum is 0, whatever the director does for backends. docs/wire/gue.md. */
uint32_t glb_path_redirect_header(const struct glb_path *path, const struct glb_packet *packet, uint8_t *out);

/* Writes the packet's Ethernet header and tags, as they came, in front of an IP packet of `family`, to `out` (22 bytes); returns its length. For a packet
 * from a peer, in whose frame other headers stand between. */
uint32_t glb_path_ethernet(const struct glb_packet *packet, uint8_t family, uint8_t *out);

/* All of them, parse included, without a flow cache. */
void glb_path_burst(const struct glb_path *path, struct glb_packet *packets, unsigned n);

/* The same with what the caller remembers. */
void glb_path_burst_with(const struct glb_path *path, const struct glb_path_memory *memory, struct glb_packet *packets, unsigned n);

/* The same with a flow cache, the caller's own; `now` is in its ticks. `cache` may be NULL. */
void glb_path_burst_cached(const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now,
			   struct glb_packet *packets, unsigned n);

/* Writes the packet's outer header, header_len bytes that end where the client's IP packet begins, to `out`. The
 * frame to send is these bytes followed by data[l3_offset .. l3_offset + l3_len), in which, where rewrite_len is not 0,
 * glb_path_rewrite() has changed something. Where glb_path_sums_payload() says so, all l3_len bytes are read, and must be contiguous
 * at data (data_len says so). */
void glb_path_encap(const struct glb_path *path, const struct glb_packet *packet, uint8_t *out);

/* Whether glb_path_encap() computes an outer UDP checksum over the client's packet. */
bool glb_path_sums_payload(const struct glb_path *path, const struct glb_packet *packet);

/* For packets whose rewrite_len is not 0 (l3dsr, nat): changes the client's packet, which begins at `ip`, in place. Reads and writes
 * its first rewrite_len bytes only; checksums are updated, not computed (RFC 1624), so that a damaged packet stays damaged. */
void glb_path_rewrite(const struct glb_path *path, const struct glb_packet *packet, uint8_t *ip);

/* Makes an echo request whose verdict is ANSWER its reply, in place: `frame` is what `packet` was parsed from, and the
 * frame to send is its first l3_offset + l3_len bytes. Touches only headers, up to l4_offset + 4: checksums are updated, not
 * computed, so that a damaged request gives a damaged reply. RFC 792, 4443, 1624. */
void glb_path_answer(const struct glb_path *path, const struct glb_packet *packet, uint8_t *frame);

/* Writes the frame that rejects a packet whose reason is UNMATCHED_REJECTED or OVERSIZE_ANSWERED, to be sent by the port that it came by,
 * to `out` (GLB_REJECT_MAX bytes); returns its length. UNMATCHED_REJECTED: TCP: a reset; UDP: ICMP port unreachable.
 * OVERSIZE_ANSWERED: frag-needed or packet-too-big with packet->mtu. ICMP has as much of the packet as
 * is contiguous and fits in 576 (IPv4) or 1280 bytes. RFC 9293, 1122, 1191, 4443. */
uint32_t glb_path_reject(const struct glb_path *path, const struct glb_packet *packet, uint8_t *out);

/* In how many pieces a packet whose reason is OVERSIZE_FRAGMENTED goes: 2 or more. */
unsigned glb_path_pieces(const struct glb_packet *packet);

/* Writes the n-th piece (from 0) of such a packet, an IPv4 packet, to `out`, which has room for packet->mtu bytes, and describes it in
 * *piece, for glb_path_encap(). `ip` is the client's packet, contiguous, after any glb_path_rewrite(). `out` must outlive *piece.
 * RFC 791 (3.2); the header's checksum is updated, so that a damaged one stays damaged. */
void glb_path_piece(const struct glb_packet *packet, const uint8_t *ip, unsigned n, uint8_t *out, struct glb_packet *piece);

#endif
