/* A good frame of every kind that the parser reads, for the tests to read and to spoil. */
#ifndef PACKET_SAMPLES_H
#define PACKET_SAMPLES_H

#include "check.h"
#include "frames.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline void tcp4(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(frame, GLB_IPPROTO_TCP, frame_client_v4, frame_vip_v4, 0);
	put_tcp(frame, 40000, 80);
	put_zeros(frame, 5);
	frame_close(frame);
}

static inline void tcp4_options(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(frame, GLB_IPPROTO_TCP, frame_client_v4, frame_vip_v4, 10);
	put_tcp(frame, 40000, 80);
	frame_close(frame);
}

static inline void udp4_two_vlans(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_QINQ);
	put_vlan(frame, GLB_ETHERTYPE_VLAN);
	put_vlan(frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(frame, GLB_IPPROTO_UDP, frame_client_v4, frame_vip_v4, 0);
	put_udp(frame, 5353, 53);
	frame_close(frame);
}

static inline void echo4(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(frame, GLB_IPPROTO_ICMP, frame_client_v4, frame_vip_v4, 0);
	put_icmp(frame, GLB_ICMP_ECHO, 0);
	put_zeros(frame, 3);
	frame_close(frame);
}

/* Quotes 8 bytes of a TCP header, as RFC 792 asks for at least. */
static inline void too_big4(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(frame, GLB_IPPROTO_ICMP, (const uint8_t[]){198, 51, 100, 1}, frame_vip_v4, 0);
	put_icmp(frame, GLB_ICMP_UNREACHABLE, GLB_ICMP_FRAG_NEEDED);
	put_ipv4(frame, GLB_IPPROTO_TCP, frame_vip_v4, frame_client_v4, 1);
	put_tcp(frame, 80, 40000);
	frame->len -= 12;
	frame_close(frame);
}

static inline void tcp6(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(frame, GLB_IPPROTO_TCP, frame_client_v6, frame_vip_v6);
	put_tcp(frame, 40000, 443);
	frame_close(frame);
}

static inline void udp6_extensions(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(frame, GLB_IPPROTO_HOPOPTS, frame_client_v6, frame_vip_v6);
	put_extension(frame, GLB_IPPROTO_DSTOPTS, 0, 8);
	put_extension(frame, GLB_IPPROTO_ROUTING, 1, 16);
	put_extension(frame, GLB_IPPROTO_FRAGMENT, 2, 24);
	put_extension(frame, GLB_IPPROTO_AH, 255, 8)->fragment = glb_be16_put(GLB_IPV6_MF); /* the first fragment */
	put_extension(frame, GLB_IPPROTO_UDP, 4, 24);
	put_udp(frame, 5353, 53);
	frame_close(frame);
}

static inline void echo6(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(frame, GLB_IPPROTO_ICMPV6, frame_client_v6, frame_vip_v6);
	put_icmp(frame, GLB_ICMPV6_ECHO, 0);
	frame_close(frame);
}

static inline void too_big6(struct frame *frame)
{
	put_eth(frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(frame, GLB_IPPROTO_ICMPV6, (const uint8_t[16]){0x20, 1, 0xd, 0xb8, [15] = 0xfe}, frame_vip_v6);
	put_icmp(frame, GLB_ICMPV6_TOO_BIG, 0);
	put_ipv6(frame, GLB_IPPROTO_UDP, frame_vip_v6, frame_client_v6);
	put_udp(frame, 53, 5353);
	frame_close(frame);
}

static inline struct glb_packet parse_frame(const struct frame *frame)
{
	struct glb_packet p = packet_of(frame, frame->len);

	glb_packet_parse(&p, 1);
	packet_free(&p); /* the results stay */
	return p;
}

#endif
