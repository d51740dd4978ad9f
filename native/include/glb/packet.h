/* One frame on its way through the stages, and the first stage: parse.
 *
 * A burst is an array of struct glb_packet. The caller sets the input fields and
 * owns the frame's bytes; each stage reads what the earlier ones left and touches only packets whose
 * verdict is still GLB_VERDICT_FORWARD. Lengths are in bytes, addresses and frame
 * contents in network order, ports and everything else in host order.
 */
#ifndef GLB_PACKET_H
#define GLB_PACKET_H

#include "addr.h"
#include "next_hop.h"
#include "verdict.h"

enum {
	GLB_BURST_MAX = 64,     /* packets in one call of a stage */
	GLB_EXTENSIONS_MAX = 8, /* IPv6 extension headers, VLAN tags: 2 */
};

enum glb_packet_kind {
	GLB_PACKET_OTHER = 0,    /* IP, but nothing that a service takes */
	GLB_PACKET_TCP = 1,
	GLB_PACKET_UDP = 2,
	GLB_PACKET_ECHO = 3,     /* ICMP or ICMPv6 echo request */
	GLB_PACKET_TOO_BIG = 4,  /* ICMP frag-needed, ICMPv6 packet-too-big */
	GLB_PACKET_ICMP = 5,     /* any other ICMP or ICMPv6 */
	GLB_PACKET_FRAGMENT = 6, /* a later fragment: no ports, but what the first one said (glb/fragments.h) */
	GLB_PACKET_ERROR = 7,    /* ICMP or ICMPv6 unreachable, time exceeded */
};

#ifndef GLB_CFFI
/* Whether a packet of this kind quotes another one, whose flow it belongs to. */
static inline bool glb_packet_quotes(uint8_t kind)
{
	return kind == GLB_PACKET_TOO_BIG || kind == GLB_PACKET_ERROR;
}
#endif

struct glb_packet {
	/* input, set by the caller */
	const uint8_t *data; /* first byte of the Ethernet header */
	uint32_t data_len;   /* contiguous bytes at data; at least the headers */
	uint32_t frame_len;  /* of the whole frame, ≥ data_len */
	uint8_t verdict;     /* enum glb_verdict; glb_path_filter() sets it first, who starts at parse sets FORWARD */
	uint8_t reason;      /* enum glb_reason; goes with the verdict */

	/* parse */
	uint32_t l3_len;     /* the client's IP packet, Ethernet padding cut off */
	uint16_t l3_offset;  /* from data */
	uint16_t l4_offset;  /* from data */
	uint8_t kind;        /* enum glb_packet_kind */
	uint8_t family;      /* enum glb_family of the client's packet */
	uint8_t protocol;    /* of the flow: GLB_IPPROTO_TCP, _UDP, …; for too-big the quoted one */
	uint8_t tos;         /* of the client's packet */
	uint8_t extended;    /* 1: IPv6 extension headers other than a fragment header */
	uint8_t fragment;    /* 1: one of several, the first included */
	uint8_t from_peer;   /* 1: a peer director had redirected it here; l3_offset is behind what that put around it */
	uint8_t peer;        /* where to redirect it: index of glb/peers.h; set with GLB_REASON_FRAGMENT_REDIRECTED */
	uint16_t hint;       /* varies the outer source port: docs/wire/gue.md */
	uint16_t sport;      /* of the flow, as the client sends it: for too-big taken from the quote, reversed */
	uint16_t dport;
	struct glb_addr vip; /* destination of the packet itself */
	struct glb_addr src; /* of the flow, as the client sends it; family NONE: a too-big that quotes no ports */
	struct glb_addr dst;

	/* classify, hash, select */
	uint32_t service;    /* index into the snapshot, or GLB_INDEX_NONE */
	uint32_t row;
	uint32_t alt_row;    /* by alt_hash_fields, where the service has them */
	uint64_t hash;       /* of hash_fields */
	uint32_t chain[8];   /* indices into the snapshot's backends; GLB_HOPS_MAX */
	uint8_t chain_len;
	uint8_t by_id;       /* 1: the first hop is the one that the packet's connection id names (quic.h) */

	/* measure, encapsulate */
	struct glb_next_hop next_hop; /* of the first hop; its port is the egress port */
	uint8_t header_len;  /* outer header in front of the IP packet, Ethernet included; ≤ GLB_HEADER_MAX */
	uint8_t encap;       /* enum glb_encap_kind; this and the next two are not set where path->plain */
	uint8_t outer_family; /* enum glb_family of what follows Ethernet */
	uint8_t outer_tos;   /* TOS or traffic class of that */
	uint32_t mtu;        /* of a packet that is too big: the longest that its sender may send, bytes of IP */
	uint16_t rewrite_len; /* bytes at the front of the client's packet that glb_path_rewrite() may change; 0 = none */
};

/* Parses n frames (≤ GLB_BURST_MAX) whose verdict is FORWARD: fills the parse fields, clears those of later
 * stages, and leaves verdict FORWARD or sets PUNT or DROP with the reason. Reads only
 * [data, data + data_len). Header checksums and lengths inside TCP and UDP are the backend's to judge. Pure; any thread.
 * RFC 791, 8200, 9293, 768, 792, 4443; IEEE 802.1Q. */
void glb_packet_parse(struct glb_packet *packets, unsigned n);

#endif
