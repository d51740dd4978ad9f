/* Frames for tests, built header by header, and exactly sized copies so that ASan sees any read beyond the end.
 *
 * Each put_* appends a header; the IP ones leave their length field to frame_close(), which sets it to the bytes
 * that follow.
 */
#ifndef GLB_TESTS_FRAMES_H
#define GLB_TESTS_FRAMES_H

#include <glb/packet.h>
#include <glb/wire.h>

#include <stdlib.h>
#include <string.h>

struct frame {
	uint8_t bytes[2048];
	uint32_t len;
	uint32_t l3; /* where the (outermost) IP header is; 0 = none yet */
};

static const uint8_t frame_client_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t frame_director_mac[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t frame_client_v4[4] = {192, 0, 2, 7};
static const uint8_t frame_vip_v4[4] = {203, 0, 113, 10};
static const uint8_t frame_client_v6[16] = {0x20, 0x01, 0x0d, 0xb8, 0xff, [15] = 7};
static const uint8_t frame_vip_v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 0x10};

static inline void *frame_put(struct frame *frame, const void *bytes, uint32_t len)
{
	void *at = frame->bytes + frame->len;

	memcpy(at, bytes, len);
	frame->len += len;
	return at;
}

static inline void put_zeros(struct frame *frame, uint32_t len)
{
	memset(frame->bytes + frame->len, 0, len);
	frame->len += len;
}

static inline void put_eth(struct frame *frame, uint16_t type)
{
	struct glb_eth eth = {.type = glb_be16_put(type)};

	memcpy(eth.dst, frame_director_mac, 6);
	memcpy(eth.src, frame_client_mac, 6);
	frame_put(frame, &eth, sizeof(eth));
}

static inline void put_vlan(struct frame *frame, uint16_t type)
{
	const struct glb_vlan vlan = {.tci = glb_be16_put(100), .type = glb_be16_put(type)};

	frame_put(frame, &vlan, sizeof(vlan));
}

/* `words` of options, 4 bytes each (no-operation). */
static inline struct glb_ipv4 *put_ipv4(struct frame *frame, uint8_t protocol, const uint8_t *src,
					const uint8_t *dst, unsigned words)
{
	struct glb_ipv4 ip = {
		.version_ihl = (uint8_t)(0x45 + words), .tos = 0xb8, .total_length = glb_be16_put(1400),
		.id = glb_be16_put(0x1d2e), .fragment = glb_be16_put(GLB_IPV4_DF), .ttl = 60, .protocol = protocol,
	};
	struct glb_ipv4 *at;

	if (frame->l3 == 0)
		frame->l3 = frame->len;
	memcpy(ip.src, src, 4);
	memcpy(ip.dst, dst, 4);
	at = frame_put(frame, &ip, sizeof(ip));
	memset(frame->bytes + frame->len, 1, words * 4);
	frame->len += words * 4;
	return at;
}

static inline struct glb_ipv6 *put_ipv6(struct frame *frame, uint8_t protocol, const uint8_t *src,
					const uint8_t *dst)
{
	struct glb_ipv6 ip = {
		.version_class_label = glb_be32_put(0x6b8abcde), .payload_length = glb_be16_put(1400),
		.next_header = protocol, .hop_limit = 60,
	};

	if (frame->l3 == 0)
		frame->l3 = frame->len;
	memcpy(ip.src, src, 16);
	memcpy(ip.dst, dst, 16);
	return frame_put(frame, &ip, sizeof(ip));
}

/* An extension header of `size` bytes, the rest zero; `length` as on the wire. */
static inline struct glb_ipv6_extension *put_extension(struct frame *frame, uint8_t next, uint8_t length,
						       uint32_t size)
{
	const struct glb_ipv6_extension extension = {.next_header = next, .length = length};
	struct glb_ipv6_extension *at = frame_put(frame, &extension, sizeof(extension));

	put_zeros(frame, size - (uint32_t)sizeof(extension));
	return at;
}

static inline void put_tcp(struct frame *frame, uint16_t sport, uint16_t dport)
{
	const struct glb_tcp tcp = {
		.sport = glb_be16_put(sport), .dport = glb_be16_put(dport), .data_offset = 0x50, .flags = GLB_TCP_SYN,
	};

	frame_put(frame, &tcp, sizeof(tcp));
}

static inline void put_udp(struct frame *frame, uint16_t sport, uint16_t dport)
{
	const struct glb_udp udp = {
		.sport = glb_be16_put(sport), .dport = glb_be16_put(dport), .length = glb_be16_put(sizeof(udp)),
	};

	frame_put(frame, &udp, sizeof(udp));
}

static inline void put_icmp(struct frame *frame, uint8_t type, uint8_t code)
{
	const struct glb_icmp icmp = {.type = type, .code = code};

	frame_put(frame, &icmp, sizeof(icmp));
}

/* Sets the outermost IP length to what follows its header. */
static inline void frame_close(struct frame *frame)
{
	uint8_t *l3 = frame->bytes + frame->l3;
	const uint32_t length = frame->len - frame->l3;

	if (l3[0] >> 4 == 4)
		((struct glb_ipv4 *)l3)->total_length = glb_be16_put((uint16_t)length);
	else
		((struct glb_ipv6 *)l3)->payload_length = glb_be16_put((uint16_t)(length - sizeof(struct glb_ipv6)));
}

/* The packet of the first `len` bytes, in memory of exactly that size; free with packet_free(). */
static inline struct glb_packet packet_of(const struct frame *frame, uint32_t len)
{
	uint8_t *copy = malloc(len == 0 ? 1 : len);

	if (copy == NULL)
		abort();
	memcpy(copy, frame->bytes, len);
	/* malloc(0) may be NULL, so an empty frame begins at the end of a one-byte block. */
	return (struct glb_packet){.data = len == 0 ? copy + 1 : copy, .data_len = len, .frame_len = len};
}

static inline void packet_free(struct glb_packet *packet)
{
	free((uint8_t *)(uintptr_t)packet->data - (packet->data_len == 0));
}

/* Small, fast, seeded: the same numbers in every run (xorshift64*). */
static inline uint64_t test_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1d;
}

#endif
