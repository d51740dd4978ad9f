/* What glb-redirect's eBPF program and its user space share: reasons, map layouts, names.
 *
 * The maps are pinned and outlive the program, so their layouts only ever grow: reasons are appended, never
 * renumbered, and spare room is reserved.
 */
#ifndef GLB_REDIRECT_H
#define GLB_REDIRECT_H

#include <glb/wire.h>

/* X(enumerator suffix, name in `status`, what became of the packet, in words).
 *
 * Every packet that comes in counts once as received or as not_gue; every received one counts once more, under what became
 * of it. Of packets that go out, only replies that were rewritten, or could not be, count. */
#define GLB_REDIRECT_REASONS(X) \
	X(RECEIVED, received, "packets in tunnels that end here, or with a DSCP that stands for a VIP") \
	X(NOT_GUE, not_gue, "other packets, left alone") \
	X(TRUNCATED, truncated, "dropped: ends inside its own headers, or lengths that disagree") \
	X(OUTER_FRAGMENT, outer_fragment, "dropped: first fragment of an outer packet; send with a larger MTU") \
	X(NOT_ALLOWED, not_allowed, "dropped: outer source is in no allowed prefix") \
	X(BAD_VERSION, bad_version, "dropped: GUE version is not 0") \
	X(BAD_CONTROL, bad_control, "dropped: a GUE control message") \
	X(BAD_HLEN, bad_hlen, "dropped: GUE header length does not fit the hop count") \
	X(BAD_PROTOCOL, bad_protocol, "dropped: GUE protocol is neither 4 nor 41") \
	X(BAD_FLAGS, bad_flags, "dropped: GUE flags are not 0, or the private type is not that of the outer family") \
	X(BAD_HOP_COUNT, bad_hop_count, "dropped: more hops than a chain can have") \
	X(BAD_INDEX, bad_index, "dropped: next hop index beyond the hop count") \
	X(BAD_INNER, bad_inner, "dropped: malformed client packet") \
	X(GSO_DROP, gso_drop, "dropped: a super-packet of GUE; switch UDP GRO forwarding off") \
	X(DECAP_FAILED, decap_failed, "dropped: the kernel refused to remove the outer headers") \
	X(REWRITE_FAILED, rewrite_failed, "dropped: the kernel refused to rewrite the outer headers") \
	X(FORWARD_NOT_PEER, forward_not_peer, "dropped: next hop is in no peer prefix") \
	X(LAST_HOP_LIMITED, last_hop_limited, "dropped: over the limit for local_last_hop") \
	X(FORWARDED, forwarded, "sent on to the next hop") \
	X(LOCAL_SYN, local_syn, "delivered: a new connection") \
	X(LOCAL_ESTABLISHED, local_established, "delivered: connection is here") \
	X(LOCAL_REQUEST, local_request, "delivered: ends a handshake begun here") \
	X(LOCAL_TIMEWAIT, local_timewait, "delivered: fits a connection in TIME_WAIT here") \
	X(LOCAL_SYNCOOKIE, local_syncookie, "delivered: carries a SYN cookie from here") \
	X(LOCAL_TOO_BIG, local_too_big, "delivered: too-big, unreachable or time exceeded for a connection that is here") \
	X(LOCAL_FRAGMENT, local_fragment, "delivered: a fragment") \
	X(LOCAL_UDP, local_udp, "delivered: UDP") \
	X(LOCAL_ICMP, local_icmp, "delivered: ICMP that follows no connection") \
	X(LOCAL_OTHER, local_other, "delivered: any other protocol") \
	X(LOCAL_LAST_HOP, local_last_hop, "delivered: unknown here, and no hop left") \
	X(LOCAL_TUNNEL, local_tunnel, "delivered: came by GRE or IP in IP, which have no second chance") \
	X(LOCAL_L3DSR, local_l3dsr, "delivered: its DSCP stands for a VIP") \
	X(BAD_GRE, bad_gre, "dropped: GRE header other than this host expects: flags, key or type") \
	X(NAT_REPLY, nat_reply, "sent: replies whose source became the VIP") \
	X(ECN_DROP, ecn_drop, "dropped: congestion was experienced, and the client's packet cannot say so (RFC 6040)") \
	X(FORWARDED_NEW, forwarded_new, "sent on to the next hop: a new connection that this host is too busy for, or nothing listens for") \
	X(FORWARD_LIMITED, forward_limited, "dropped: over the limit for forwarded")

#define GLB_REDIRECT_ENUM(id, name, text) GLB_REDIRECT_##id,
enum glb_redirect_reason {
	GLB_REDIRECT_REASONS(GLB_REDIRECT_ENUM)
	GLB_REDIRECT_REASON_COUNT,
};
#undef GLB_REDIRECT_ENUM

enum {
	GLB_REDIRECT_COUNTERS = 64,    /* slots of the counters map; the spare ones are for later reasons */
	GLB_REDIRECT_PREFIXES = 16384, /* prefixes that the allow map holds */
};
GLB_STATIC_ASSERT((int)GLB_REDIRECT_REASON_COUNT <= GLB_REDIRECT_COUNTERS, "every reason has a counter")

/* Map `config`: one entry, written by `attach`. */
struct glb_redirect_config {
	char interface[16];      /* NUL-terminated */
	uint32_t port;           /* UDP port of GUE, host byte order */
	uint32_t last_hop_rate;  /* local_last_hop packets per second and CPU; 0 = no limit */
	uint32_t gre_key;        /* host byte order */
	uint8_t gre_has_key;     /* 0: a GRE header must have no key */
	uint8_t decap;           /* GLB_REDIRECT_DECAP_*: tunnels other than GUE that end here */
	uint8_t rewrites;        /* 1: map `rewrites` has entries for DSCPs */
	uint8_t xdp_forward;     /* GLB_REDIRECT_XDP_*: what its program does with packets for the next hop */
	uint8_t mac[6];          /* of the interface, for XDP */
	uint16_t mtu;            /* of the interface, for XDP */
	uint8_t services;        /* 1: map `services` has entries */
	uint8_t leaves_outer;    /* 1: what is for here keeps its outer headers, for the kernel's own tunnels */
	uint8_t quic;            /* 1: the map quic has entries */
	uint8_t pad[1];          /* 0 */
	uint32_t forward_rate;   /* forwarded packets per second and CPU; 0 = no limit */
	uint8_t reserved[16];    /* 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_config) == 64, "config map value")

enum {
	GLB_REDIRECT_XDP_TO_TC = 0,
	GLB_REDIRECT_XDP_TX = 1,       /* back out by the driver's own way */
	GLB_REDIRECT_XDP_REDIRECT = 2, /* by bpf_redirect; a veth's peer must have XDP or GRO */
	GLB_REDIRECT_NOTE = 0x676c6264, /* metadata of a packet that XDP has delivered: tc leaves it alone */
};

enum {
	GLB_REDIRECT_DECAP_GRE = 1,
	GLB_REDIRECT_DECAP_IPIP = 2, /* IPv4 and IPv6, each in each */
};

/* Map `rewrites`: what stands for a VIP on this host. */
struct glb_redirect_match {
	uint8_t kind;   /* GLB_REDIRECT_DSCP, GLB_IPPROTO_TCP or _UDP */
	uint8_t family; /* GLB_REDIRECT_V4 or _V6 */
	glb_be16 value; /* DSCP, or this host's port */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_match) == 4, "rewrites map key")

struct glb_redirect_target {
	uint8_t addr[16]; /* the VIP, IPv4 in the first 4 */
	glb_be16 port;    /* the VIP's; 0 for a DSCP */
	uint8_t pad[6];   /* 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_target) == 24, "rewrites map value")

enum {
	GLB_REDIRECT_DSCP = 0,
	GLB_REDIRECT_REWRITES = 65536, /* entries that the map holds */
};

/* Map `services`: those for which something else than the default holds on this host. */
struct glb_redirect_service_key {
	uint8_t protocol; /* GLB_IPPROTO_TCP or _UDP */
	uint8_t family;   /* GLB_REDIRECT_V4 or _V6 */
	glb_be16 port;
	uint8_t addr[16]; /* the VIP, IPv4 in the first 4 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_service_key) == 20, "services map key")

struct glb_redirect_service {
	uint32_t flags;     /* GLB_REDIRECT_SERVICE_* */
	uint32_t threshold; /* a new connection is accepted below; the program's own when dynamic */
	uint32_t load;      /* what the host's agent last wrote */
	uint32_t seen;      /* dynamic: new connections of this window, and those accepted */
	uint32_t accepted;
	uint32_t pad;       /* 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_service) == 24, "services map value")

enum {
	GLB_REDIRECT_SERVICE_BOUND = 1,      /* UDP: goes on where no socket is */
	GLB_REDIRECT_SERVICE_CONNECTED = 2,  /* UDP: goes on where no connected socket is */
	GLB_REDIRECT_SERVICE_LISTENING = 4,  /* TCP: a SYN goes on where nothing listens */
	GLB_REDIRECT_SERVICE_QUEUE = 8,      /* TCP: hunts, by the listener's accept queue */
	GLB_REDIRECT_SERVICE_LOAD = 16,      /* TCP: hunts, by what the agent wrote */
	GLB_REDIRECT_SERVICE_DYNAMIC = 32,   /* the threshold moves to where half is refused */
	GLB_REDIRECT_SERVICE_QUIC = 64,      /* UDP: by connection id, where it has one that a server chose */
	GLB_REDIRECT_SERVICES = 4096,        /* entries that the map holds */
	GLB_REDIRECT_WINDOW = 50,            /* new connections between two looks at a dynamic threshold */
	GLB_REDIRECT_FEW = 20,               /* accepted of them: the threshold goes up below, and down above the other */
	GLB_REDIRECT_MANY = 30,
	GLB_REDIRECT_HUNTED = 65536,         /* new connections whose way is remembered */
};

/* Map `hunted`: where a new connection went, so that its SYN sent again goes the same way. Value: 1 accepted, 2 sent on. */
struct glb_redirect_hunted {
	uint8_t client[16], vip[16]; /* IPv4 in the first 4 */
	glb_be16 client_port, vip_port;
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_hunted) == 36, "hunted map key")

/* Map `quic`: QUIC-LB configurations of services, and this host's server id in each. */
struct glb_redirect_quic_key {
	struct glb_redirect_service_key service;
	uint8_t config_id; /* 0 to 6 */
	uint8_t pad[3];    /* 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_quic_key) == 24, "quic map key")

struct glb_redirect_quic {
	uint8_t server_id[16]; /* the rest is 0 */
	uint8_t mask[16];      /* 255 for each byte of it, then 0 */
	uint8_t server_id_len, nonce_len;
	uint8_t pad[6];        /* 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_quic) == 40, "quic map value")

enum {
	GLB_REDIRECT_QUICS = 8192, /* entries that the map holds */
	GLB_REDIRECT_QUIC_CONFIGS = 7,
};

/* Map `fragments`: datagrams of clients whose first fragment was sent on, so that the others follow it. */
struct glb_redirect_datagram {
	uint8_t src[16], dst[16]; /* IPv4 in the first 4 */
	glb_be32 id;              /* IPv4's in the first 2 bytes */
	uint8_t family;           /* GLB_REDIRECT_V4 or _V6 */
	uint8_t protocol;         /* IPv4; 0 for IPv6, where only the first fragment is sure to say it (RFC 8200) */
	uint8_t pad[2];           /* 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_datagram) == 40, "fragments map key")

struct glb_redirect_went {
	uint64_t at_ns;  /* of a clock that only goes on */
	uint8_t hop[16]; /* where to; IPv4 in the first 4, the rest 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_went) == 24, "fragments map value")

enum {
	GLB_REDIRECT_DATAGRAMS = 8192,       /* least recently used ones go */
	GLB_REDIRECT_DATAGRAM_SECONDS = 30,  /* as long as kernels wait for fragments */
};

/* Map `events`, a ring buffer: packets that were dropped, a few a second. */
struct glb_redirect_event {
	uint64_t time_ns;   /* CLOCK_MONOTONIC */
	uint32_t reason;    /* enum glb_redirect_reason */
	uint32_t length;    /* of the frame */
	uint8_t first[128]; /* of the frame, in steps: one that the frame does not fill is 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_event) == 144, "events map record")

enum {
	GLB_REDIRECT_EVENTS = 65536,    /* bytes of the ring: about 400 events wait for a reader */
	GLB_REDIRECT_EVENTS_RATE = 10,  /* a second and CPU */
	GLB_REDIRECT_EVENT_STEP = 16,   /* bytes of `first` */
};

/* Map `allow`: an LPM trie. The longest matching prefix of a family decides. */
struct glb_redirect_prefix {
	uint32_t bits;    /* GLB_REDIRECT_FAMILY_BITS + 0..32 or 0..128 */
	uint8_t family;   /* GLB_REDIRECT_V4 or _V6 */
	uint8_t addr[16]; /* network order, IPv4 in the first 4; bits beyond the prefix are 0 */
	uint8_t pad[3];   /* 0 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_redirect_prefix) == 24, "allow map key")

enum {
	GLB_REDIRECT_V4 = 4,
	GLB_REDIRECT_V6 = 6,
	GLB_REDIRECT_FAMILY_BITS = 8, /* of a key, in front of the prefix's own */
};

/* Value of map `allow`, u32. Every entry may be an outer source. */
enum {
	GLB_REDIRECT_SOURCE = 1, /* directors */
	GLB_REDIRECT_PEER = 2,   /* backends: may also be sent to */
};

#endif
