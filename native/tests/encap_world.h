/* A service of any encapsulation with a director that can send it, and what leaves. */
#ifndef GLB_TESTS_ENCAP_WORLD_H
#define GLB_TESTS_ENCAP_WORLD_H

#include "world.h"

struct encap_case {
	uint8_t encap;   /* enum glb_encap_kind */
	uint8_t client;  /* 4 or 6 */
	uint8_t backend; /* 4, 6, or 0: of both families */
	uint8_t hops;
	uint8_t tos, tos_mask;
	uint8_t keyed;
	uint32_t value;
};

/* One service on TCP 80 and UDP 53 of the client's family's VIP, with 6 backends, 10.0.0.n and 2001:db8::n. */
static inline bool encap_open(struct world *w, struct encap_case c)
{
	struct make *make = &w->make;
	const struct glb_addr vip = c.client == 4 ? vip4() : vip6();
	struct glb_error error = {.code = 0};

	make_init(make, 1, 6, 1);
	for (uint8_t b = 0; b < 6; b++)
		make->backends[0][b].addr = c.backend == 4 || (c.backend == 0 && b % 2) ? make_v4(10, 0, 0, b + 1)
											  : make_v6(b + 1);
	make->services[0].encap = c.encap;
	make->services[0].hops = c.hops;
	make->services[0].hash_fields = GLB_HASH_SRC_ADDR | GLB_HASH_SRC_PORT;
	make->services[0].tos = c.tos;
	make->services[0].tos_mask = c.tos_mask;
	make->services[0].gre_keyed = c.keyed;
	make->services[0].encap_value = c.value;
	make_bind(make, 0, vip, c.client == 4 ? 32 : 128, GLB_IPPROTO_TCP, 80, 80);
	make_bind(make, 0, vip, c.client == 4 ? 32 : 128, GLB_IPPROTO_UDP, 53, 53);
	w->director = (struct glb_director){
		.outer_source_v4 = make_v4(10, 0, 0, 254), .outer_source_v6 = make_v6(254), .filter_mac = 1,
		.outer_checksum = GLB_OUTER_CHECKSUM_COMPUTED, .outer_checksum_v6 = GLB_OUTER_CHECKSUM_COMPUTED,
	};
	if (c.encap != GLB_ENCAP_L2DSR)
		memcpy(w->director.gateway_mac, (const uint8_t[]){2, 0, 0, 0, 0, 0xfe}, 6);
	memcpy(w->director.local_mac, frame_director_mac, 6);
	if (make_open(make, &w->buffer, &w->snapshot) && glb_path_init(&w->path, &w->snapshot, &w->director, &error) == 0)
		return true;
	printf("# %s\n", error.text);
	return false;
}

/* The frame that leaves, in memory of exactly that size; what may be rewritten is rewritten in memory of exactly that size, too. */
static inline uint8_t *encap_send(const struct glb_path *path, const struct glb_packet *p, uint32_t *len)
{
	const uint8_t *inner = p->data + p->l3_offset;
	const uint32_t rewritten = p->rewrite_len;
	uint8_t *out, *front;

	*len = p->header_len + p->l3_len;
	out = malloc(*len);
	front = malloc(rewritten + 2U); /* at an even place, but no better aligned */
	if (out == NULL || front == NULL)
		abort();
	glb_path_encap(path, p, out);
	memcpy(out + p->header_len, inner, p->l3_len);
	if (rewritten != 0) {
		memcpy(front + 2, inner, rewritten);
		glb_path_rewrite(path, p, front + 2);
		memcpy(out + p->header_len, front + 2, rewritten);
	}
	free(front);
	return out;
}

/* The Internet checksum's sum of what is at `bytes`, added to `sum`, not folded. */
static inline uint32_t naive_add(uint32_t sum, const uint8_t *bytes, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
	return sum;
}

static inline uint16_t naive_fold(uint32_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* 0xffff when the transport checksum of the IP packet is right; `at` bytes of headers stand before TCP, UDP or ICMP. */
static inline uint16_t transport_sum(const uint8_t *ip, uint32_t at, uint32_t len, uint8_t protocol)
{
	const bool v4 = ip[0] >> 4 == 4;
	const uint32_t addrs = v4 ? naive_add(0, ip + 12, 8) : naive_add(0, ip + 8, 32);
	const uint32_t pseudo = protocol == GLB_IPPROTO_ICMP ? 0 : addrs + protocol + (len - at);

	return naive_fold(naive_add(pseudo, ip + at, len - at));
}

static inline uint16_t ipv4_sum(const uint8_t *ip)
{
	return naive_fold(naive_add(0, ip, (ip[0] & 15U) * 4U));
}

#endif
