/* A director with a fragment table, and fragments for its services: for the tests of the fragment stages. */
#ifndef GLB_TESTS_FRAGMENT_WORLD_H
#define GLB_TESTS_FRAGMENT_WORLD_H

#include "world.h"

#include <stdlib.h>

enum { BACKENDS = 8, TIMEOUT = 2000, WAIT = 100 };

/* One pool; service 0 (UDP 53) and 1 (UDP 54, other rows) follow fragments, 2 (TCP 80) hashes addresses alone and does, too, 3 (UDP 55) does not. */
struct stage {
	struct world w;
	struct world_ids ids;
	struct glb_fragments fragments;
	void *memory;
	struct glb_peers peers; /* for a test that loads with them */
};

static inline bool stage_open(struct stage *s)
{
	memset(s, 0, sizeof(*s));
	make_init(&s->w.make, 1, BACKENDS, 4);
	for (unsigned i = 0; i < BACKENDS; i++)
		s->w.make.backends[0][i].addr = make_v4(10, 0, 0, (uint8_t)(i + 1)); /* directors send over IPv4 only */
	for (unsigned i = 0; i < 4; i++) {
		s->w.make.services[i].hash_fields = i == 2 ? GLB_HASH_SRC_ADDR : 0xf;
		s->w.make.services[i].fragments = i != 3;
		s->w.make.services[i].seed[0] = (uint8_t)i;
	}
	for (unsigned i = 0; i < 2; i++) {
		const struct glb_addr vip = i == 0 ? vip4() : vip6();
		const uint8_t bits = i == 0 ? 32 : 128;

		make_bind(&s->w.make, 0, vip, bits, GLB_IPPROTO_UDP, 53, 53);
		make_bind(&s->w.make, 1, vip, bits, GLB_IPPROTO_UDP, 54, 54);
		make_bind(&s->w.make, 2, vip, bits, GLB_IPPROTO_TCP, 80, 80);
		make_bind(&s->w.make, 3, vip, bits, GLB_IPPROTO_UDP, 55, 55);
	}
	s->memory = malloc(glb_fragments_bytes(64, 64));
	glb_fragments_init(&s->fragments, s->memory, 64, 64, (const uint8_t *)"an-arbitrary-key", TIMEOUT, WAIT);
	return world_load(&s->w, &s->ids, NULL);
}

static inline void stage_close(struct stage *s)
{
	world_unload(&s->w, &s->ids);
	free(s->memory);
}

/* Bytes [from, from + 64) of a datagram; the first ones begin with the transport header. */
static inline struct frame piece(unsigned family, uint8_t protocol, uint16_t id, uint32_t from, bool more, uint16_t sport, uint16_t dport)
{
	struct frame frame = {.len = 0};
	uint32_t start;

	put_eth(&frame, family == 4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6);
	if (family == 4) {
		struct glb_ipv4 *ip = put_ipv4(&frame, protocol, frame_client_v4, frame_vip_v4, 0);

		ip->id = glb_be16_put(id);
		ip->fragment = glb_be16_put((uint16_t)(from / 8 | (more ? GLB_IPV4_MF : 0)));
	} else {
		struct glb_ipv6_extension *extension;

		put_ipv6(&frame, GLB_IPPROTO_FRAGMENT, frame_client_v6, frame_vip_v6);
		extension = put_extension(&frame, protocol, 0, 8);
		extension->fragment = glb_be16_put((uint16_t)(from | (more ? GLB_IPV6_MF : 0)));
		extension->rest = glb_be32_put(id);
	}
	start = frame.len;
	if (from == 0 && protocol == GLB_IPPROTO_TCP)
		put_tcp(&frame, sport, dport);
	else if (from == 0)
		put_udp(&frame, sport, dport);
	put_zeros(&frame, 64 - (frame.len - start));
	frame_close(&frame);
	return frame;
}

static inline struct glb_packet send_frame(struct stage *s, const struct frame *frame, uint64_t now)
{
	const struct glb_path_memory memory = {.fragments = &s->fragments, .fragments_now = now};
	static struct frame kept;
	struct glb_packet p;

	kept = *frame;
	p = (struct glb_packet){.data = kept.bytes, .data_len = kept.len, .frame_len = kept.len};
	glb_path_burst_with(&s->w.path, &memory, &p, 1);
	return p;
}

static inline struct glb_packet send_piece(struct stage *s, unsigned family, uint16_t id, uint32_t from, bool more, uint16_t dport)
{
	const struct frame frame = piece(family, GLB_IPPROTO_UDP, id, from, more, (uint16_t)(4000 + id), dport);

	return send_frame(s, &frame, 0);
}

static inline bool same_way(const struct glb_packet *a, const struct glb_packet *b)
{
	return a->verdict == GLB_VERDICT_FORWARD && b->verdict == GLB_VERDICT_FORWARD && a->service == b->service &&
	       a->chain_len == b->chain_len && memcmp(a->chain, b->chain, a->chain_len * sizeof(a->chain[0])) == 0 &&
	       a->hash == b->hash && a->hint == b->hint;
}

#endif
