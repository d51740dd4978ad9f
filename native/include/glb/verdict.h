/* What becomes of a packet, and why: one verdict, one named reason, one counter each.
 *
 * The list below is the only one: counters, `glb trace`, `glb replay`, /metrics and
 * docs/operations.md take names, verdicts and texts from it through the functions below.
 * Values are part of the shared-memory counter layout: append only, and raise
 * GLB_STATS_VERSION (stats.h) when a value changes.
 */
#ifndef GLB_VERDICT_H
#define GLB_VERDICT_H

#include "err.h"

enum glb_verdict {
	GLB_VERDICT_FORWARD = 0, /* encapsulated to a backend */
	GLB_VERDICT_ANSWER = 1,  /* the director itself answers the client */
	GLB_VERDICT_PUNT = 2,    /* not ours: left to the kernel */
	GLB_VERDICT_DROP = 3,
	GLB_VERDICT_WAIT = 4,    /* a fragment that waits for the first one of its datagram: not decided yet, and not counted */
};

enum glb_reason {
	/* forward */
	GLB_REASON_FORWARDED = 0,
	/* punt: not ours */
	GLB_REASON_OTHER_MAC,          /* destination MAC is neither the port's nor multicast */
	GLB_REASON_OWN_MAC,            /* source MAC is the port's: our own frame, seen again */
	GLB_REASON_NOT_IP,             /* ethertype is neither IPv4 nor IPv6 (ARP, LLDP, …) */
	GLB_REASON_NOT_VIP,            /* destination address is in no service's VIPs */
	GLB_REASON_NO_SERVICE,         /* a VIP, but no service for this protocol and port */
	GLB_REASON_OTHER_PROTOCOL,     /* a VIP, but neither TCP, UDP nor an ICMP that we take */
	GLB_REASON_ICMP_NOT_TAKEN,     /* ICMP to a VIP of a type that is left to the kernel */
	GLB_REASON_ICMP_NOT_OURS,      /* ICMP error that quotes no packet of a service */
	GLB_REASON_LATER_FRAGMENT,     /* fragment without ports, and the service does not follow fragments */
	GLB_REASON_IPV6_EXTENSION,     /* IPv6 extension headers, and policy glb, or an encapsulation that rewrites */
	GLB_REASON_NO_SNAPSHOT,        /* no snapshot is loaded yet */
	/* drop: malformed */
	GLB_REASON_ETH_TRUNCATED,      /* shorter than its Ethernet or VLAN header */
	GLB_REASON_IPV4_TRUNCATED,     /* shorter than its IPv4 header, or IHL < 5 */
	GLB_REASON_IPV4_BAD_VERSION,   /* ethertype IPv4, version not 4 */
	GLB_REASON_IPV4_BAD_LENGTH,    /* total length beyond the frame or smaller than the header */
	GLB_REASON_IPV6_TRUNCATED,     /* shorter than its IPv6 header */
	GLB_REASON_IPV6_BAD_VERSION,   /* ethertype IPv6, version not 6 */
	GLB_REASON_IPV6_BAD_LENGTH,    /* payload length beyond the frame */
	GLB_REASON_IPV6_BAD_EXTENSION, /* extension header cut off, or more than GLB_EXTENSIONS_MAX */
	GLB_REASON_L4_TRUNCATED,       /* TCP, UDP or ICMP header cut off */
	GLB_REASON_ICMP_QUOTE_TRUNCATED, /* the packet quoted by an ICMP error is cut before its ports */
	/* drop: ours, but it cannot go on */
	GLB_REASON_NO_BACKEND,         /* no backend of the service may take packets, or its encapsulation does not reach it */
	GLB_REASON_TOO_LONG,           /* as sent, it would exceed the egress MTU, or what a length field of its outer IP header holds */
	GLB_REASON_NO_HEADROOM,        /* no room for the outer header in the buffer, or it is shared and may not be written to */
	GLB_REASON_TX_FULL,            /* the transmit queue did not take it */
	GLB_REASON_NO_NEXT_HOP,        /* the next hop of the backend has no known MAC address */
	/* punt */
	GLB_REASON_MUTED,              /* this process is muted: during a hand-over the other one forwards it */
	/* echo requests to a VIP that the director answers (icmp_echo = "answer") */
	GLB_REASON_ECHO_ANSWERED,      /* answer: the reply was sent */
	GLB_REASON_ECHO_LIMITED,       /* drop: more echo requests than the director answers */
	/* drop */
	GLB_REASON_STEER_RING_FULL,    /* pipeline: its worker's ring is full */
	GLB_REASON_TX_RING_FULL,       /* pipeline: the ring to its worker's sender is full */
	/* drop: on the way to the kernel, on ports that punt through an interface of their own (port.punt) */
	GLB_REASON_PUNT_LIMITED,       /* its class is above its rate */
	GLB_REASON_PUNT_FULL,          /* the queue of its class is full */
	/* packets to a VIP that no service there takes, by its policy `unmatched` */
	GLB_REASON_UNMATCHED_DROPPED,  /* drop: the policy says drop, or it could not be rejected */
	GLB_REASON_UNMATCHED_REJECTED, /* answer: a TCP reset or an ICMP port unreachable was sent */
	GLB_REASON_REJECT_LIMITED,     /* drop: more rejections than the director sends */
	/* drop: encapsulation l2dsr */
	GLB_REASON_NOT_ON_LINK,        /* the backend is behind a router, and only its own MAC would do */
	/* drop */
	GLB_REASON_TRACED,             /* a packet of `glb trace --live`, held back */
	/* drop: on directors with forward.strict, packets for a service that no honest sender sends */
	GLB_REASON_SOURCE_MARTIAN,     /* from an address that no packet can come from */
	GLB_REASON_SOURCE_IS_VIP,      /* from the address that it is for */
	GLB_REASON_PORT_ZERO,          /* TCP or UDP, from or to port 0 */
	GLB_REASON_TCP_BAD_FLAGS,      /* flags that contradict each other, or none that means anything */
	GLB_REASON_TCP_BAD_HEADER,     /* TCP header length or options that do not fit */
	GLB_REASON_UDP_BAD_LENGTH,     /* UDP length beyond the packet, or below 8 */
	/* packets that would exceed the egress MTU, by their service's `oversize`; else TOO_LONG */
	GLB_REASON_OVERSIZE_ANSWERED,  /* answer: frag-needed or packet-too-big was sent */
	GLB_REASON_OVERSIZE_LIMITED,   /* drop: more of these than the director sends */
	GLB_REASON_OVERSIZE_FRAGMENTED, /* forward: to a backend, in fragments */
	GLB_REASON_NO_BUFFER,          /* drop: no packet buffer was free for its fragments */
	/* drop: services with limits */
	GLB_REASON_PACKETS_LIMITED,    /* above the service's packets_per_second */
	GLB_REASON_FLOWS_LIMITED,      /* begins a flow, above the service's new_flows_per_second */
	/* drop: fragments of services that follow them */
	GLB_REASON_FRAGMENT_TINY,      /* of TCP, and begins within the transport header (RFC 1858, 3128) */
	GLB_REASON_FRAGMENT_BAD_LENGTH, /* empty, or not the last one and not a multiple of 8 bytes */
	GLB_REASON_FRAGMENT_ENDLESS,   /* its datagram would exceed 65535 bytes */
	GLB_REASON_FRAGMENT_OVERLAP,   /* bytes that have come before, or of a datagram in which some did */
	GLB_REASON_FRAGMENT_TIMEOUT,   /* waited in vain for the first one */
	GLB_REASON_FRAGMENT_NO_ROOM,   /* no room to wait for the first one */
	/* fragments of such services, on directors with fragments.peers */
	GLB_REASON_FRAGMENT_REDIRECTED, /* answer: sent to the peer director where the fragments of its datagram meet */
	GLB_REASON_FRAGMENT_FROM_PEER, /* forward: to a backend; a peer director had sent it here */
	GLB_REASON_FRAGMENT_PEER_TOO_LONG, /* drop: on the way to the peer, it would exceed the egress MTU */
	GLB_REASON_FRAGMENT_PEER_UNKNOWN, /* drop: redirected to this director, by one that is not in fragments.peers */
	GLB_REASON_FRAGMENT_PEER_BAD,  /* drop: redirected to this director, and no fragment */
	/* punt: ICMP about outer packets (path_mtu.h) */
	GLB_REASON_OUTER_TOO_BIG,      /* a router says that one was too big; the kernel gets it, too */
	GLB_REASON_OUTER_TOO_BIG_IGNORED, /* the same, but what it claims cannot be */
	/* drop: services with source lists */
	GLB_REASON_BLOCKED,            /* from a source in the service's block list */
	GLB_REASON_NOT_ALLOWED,        /* from a source that is not in the service's allow list */
	GLB_REASON_COUNT
};

/* Stable lower-case name of a reason, for example "not_vip"; "unknown" when out of range. Never freed. */
const char *glb_reason_name(unsigned reason);

/* The verdict that a reason belongs to (enum glb_verdict). */
unsigned glb_reason_verdict(unsigned reason);

/* What a reason means, one sentence without a final stop, for people; "unknown" when out of range. Never freed. */
const char *glb_reason_text(unsigned reason);

/* "forward", "answer", "punt" or "drop"; "unknown" when out of range. Never freed. */
const char *glb_verdict_name(unsigned verdict);

#endif
