/* Packets as they are on the wire: Ethernet, VLAN, IPv4, IPv6, TCP, UDP, ICMP, GUE.
 *
 * Only layouts and constants; shared by libglb and the eBPF programs. Every multi-byte
 * field has a big-endian type that does not mix with integers: glb_be16_get() converts once, at
 * parse, glb_be16_put() once, at emit. All structs have alignment 1 and are GLB_WIRE (exempt from type-based
 * aliasing, as char is), so that a pointer into a frame may be cast to them at any offset.
 *
 * Sources: IEEE 802.3/802.1Q, RFC 791, 8200, 9293, 768, 792, 4443; GUE as
 * draft-ietf-intarea-gue with GLB's private data (docs/wire/gue.md).
 */
#ifndef GLB_WIRE_H
#define GLB_WIRE_H

#ifdef __bpf__
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
typedef __u8 uint8_t;
typedef __u16 uint16_t;
typedef __u32 uint32_t;
typedef __u64 uint64_t;
#define GLB_STATIC_ASSERT(condition, text) _Static_assert(condition, text);
#else
#include "err.h"
#endif

#ifndef GLB_CFFI

#define GLB_WIRE __attribute__((__may_alias__))

typedef struct { uint8_t b[2]; } GLB_WIRE glb_be16;
typedef struct { uint8_t b[4]; } GLB_WIRE glb_be32;

static inline uint16_t glb_be16_get(glb_be16 v)
{
	return (uint16_t)(v.b[0] << 8 | v.b[1]);
}

static inline uint32_t glb_be32_get(glb_be32 v)
{
	return (uint32_t)v.b[0] << 24 | (uint32_t)v.b[1] << 16 | (uint32_t)v.b[2] << 8 | v.b[3];
}

static inline glb_be16 glb_be16_put(uint16_t v)
{
	return (glb_be16){{(uint8_t)(v >> 8), (uint8_t)v}};
}

static inline glb_be32 glb_be32_put(uint32_t v)
{
	return (glb_be32){{(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}};
}

struct glb_eth {
	uint8_t dst[6];
	uint8_t src[6];
	glb_be16 type; /* enum glb_ethertype */
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct glb_eth) == 14, "Ethernet header")

struct glb_vlan {
	glb_be16 tci;
	glb_be16 type; /* enum glb_ethertype of what follows */
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct glb_vlan) == 4, "802.1Q tag after the TPID")

struct glb_ipv4 {
	uint8_t version_ihl; /* 0x45 without options */
	uint8_t tos;
	glb_be16 total_length;
	glb_be16 id;
	glb_be16 fragment; /* flags and offset, GLB_IPV4_* */
	uint8_t ttl;
	uint8_t protocol; /* enum glb_ipproto */
	glb_be16 checksum;
	uint8_t src[4];
	uint8_t dst[4];
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct glb_ipv4) == 20, "IPv4 header")

struct glb_ipv6 {
	glb_be32 version_class_label;
	glb_be16 payload_length;
	uint8_t next_header; /* enum glb_ipproto */
	uint8_t hop_limit;
	uint8_t src[16];
	uint8_t dst[16];
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct glb_ipv6) == 40, "IPv6 header")

struct glb_ipv6_extension { /* the first 8 bytes of every extension header */
	uint8_t next_header; /* enum glb_ipproto */
	uint8_t length;      /* hop-by-hop, routing, destination options: 8 bytes each after these; AH: see RFC 4302 */
	glb_be16 fragment;   /* fragment header only: GLB_IPV6_* */
	glb_be32 rest;
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct glb_ipv6_extension) == 8, "IPv6 extension header")

struct glb_tcp {
	glb_be16 sport;
	glb_be16 dport;
	glb_be32 seq;
	glb_be32 ack;
	uint8_t data_offset; /* upper 4 bits, in 4-byte words */
	uint8_t flags;       /* GLB_TCP_* */
	glb_be16 window;
	glb_be16 checksum;
	glb_be16 urgent;
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct glb_tcp) == 20, "TCP header")

struct glb_udp {
	glb_be16 sport;
	glb_be16 dport;
	glb_be16 length;
	glb_be16 checksum;
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct glb_udp) == 8, "UDP header")

struct glb_icmp { /* ICMP and ICMPv6 alike */
	uint8_t type;
	uint8_t code;
	glb_be16 checksum;
	glb_be32 rest; /* echo: id, sequence; too-big: MTU */
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct glb_icmp) == 8, "ICMP header")

/* GUE with GLB's private data: the hops after the first, behind it 4 or 16 bytes each. */
struct glb_gue {
	uint8_t version_control_hlen; /* version 0, C 0, hlen = 1 + words of hops, in 4-byte words */
	uint8_t protocol;             /* GLB_IPPROTO_IPIP or GLB_IPPROTO_IPV6 */
	glb_be16 flags;               /* 0 */
	glb_be16 private_type;        /* enum glb_gue_private: hops are as the outer header */
	uint8_t next_hop;             /* index of the next hop to try, 0 .. hop_count */
	uint8_t hop_count;            /* 0 .. GLB_HOPS_MAX - 1 */
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct glb_gue) == 8, "GUE header with GLB private data")

struct glb_gre { /* RFC 2784, 2890 */
	glb_be16 flags; /* 0, or GLB_GRE_KEY: then 4 bytes of key follow */
	glb_be16 type;  /* enum glb_ethertype */
} GLB_WIRE;
GLB_STATIC_ASSERT(sizeof(struct glb_gre) == 4, "GRE header without options")

#endif /* GLB_CFFI */

enum glb_ethertype {
	GLB_ETHERTYPE_IPV4 = 0x0800,
	GLB_ETHERTYPE_ARP = 0x0806,
	GLB_ETHERTYPE_VLAN = 0x8100,
	GLB_ETHERTYPE_IPV6 = 0x86dd,
	GLB_ETHERTYPE_QINQ = 0x88a8,
};

enum glb_ipproto {
	GLB_IPPROTO_HOPOPTS = 0,
	GLB_IPPROTO_ICMP = 1,
	GLB_IPPROTO_IPIP = 4,
	GLB_IPPROTO_TCP = 6,
	GLB_IPPROTO_UDP = 17,
	GLB_IPPROTO_IPV6 = 41,
	GLB_IPPROTO_ROUTING = 43,
	GLB_IPPROTO_FRAGMENT = 44,
	GLB_IPPROTO_GRE = 47,
	GLB_IPPROTO_ESP = 50,
	GLB_IPPROTO_AH = 51,
	GLB_IPPROTO_ICMPV6 = 58,
	GLB_IPPROTO_NONE = 59,
	GLB_IPPROTO_DSTOPTS = 60,
};

enum glb_gue_private { /* what hops are */
	GLB_GUE_PRIVATE_V4 = 0,
	GLB_GUE_PRIVATE_V6 = 1,
	GLB_GUE_PRIVATE_FRAGMENT = 2, /* no hops: a fragment, from one director to another (glb/peers.h) */
};

enum {
	GLB_GRE_KEY = 0x2000, /* the K flag */
};

enum {
	GLB_IPV4_DF = 0x4000,
	GLB_IPV4_MF = 0x2000,
	GLB_IPV4_OFFSET = 0x1fff, /* in 8-byte units */
};

enum {
	GLB_IPV6_MF = 0x0001,
	GLB_IPV6_OFFSET = 0xfff8, /* in bytes */
};

enum {
	GLB_TCP_FIN = 0x01,
	GLB_TCP_SYN = 0x02,
	GLB_TCP_RST = 0x04,
	GLB_TCP_ACK = 0x10,
};

enum {
	GLB_ICMP_UNREACHABLE = 3,
	GLB_ICMP_PORT_UNREACHABLE = 3, /* codes of GLB_ICMP_UNREACHABLE */
	GLB_ICMP_FRAG_NEEDED = 4,
	GLB_ICMP_ECHO = 8,
	GLB_ICMP_TIME_EXCEEDED = 11,
	GLB_ICMP_ECHO_REPLY = 0,
	GLB_ICMPV6_UNREACHABLE = 1,
	GLB_ICMPV6_PORT_UNREACHABLE = 4, /* code of GLB_ICMPV6_UNREACHABLE */
	GLB_ICMPV6_TOO_BIG = 2,
	GLB_ICMPV6_TIME_EXCEEDED = 3,
	GLB_ICMPV6_ECHO = 128,
	GLB_ICMPV6_ECHO_REPLY = 129,
};

enum {
	GLB_GUE_PORT = 19523,
	GLB_HOPS_MAX = 8, /* hops of a chain on the wire, the first included */
};

#endif
