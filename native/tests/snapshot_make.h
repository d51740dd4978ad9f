/* Random configurations, compiled and opened: shared by the tests of snapshots. Not part of libglb. */
#ifndef GLB_SNAPSHOT_MAKE_H
#define GLB_SNAPSHOT_MAKE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glb/snapshot.h>
#include <glb/wire.h>

enum { MAKE_POOLS = 4, MAKE_BACKENDS = 8, MAKE_SERVICES = 8, MAKE_BINDS = 12 };

struct make {
	struct glb_config config;
	struct glb_pool_config pools[MAKE_POOLS];
	struct glb_backend_config backends[MAKE_POOLS][MAKE_BACKENDS];
	struct glb_service_config services[MAKE_SERVICES];
	struct glb_bind_config binds[MAKE_SERVICES][MAKE_BINDS];
	struct glb_quic_config quic[2];                     /* make_quic() */
	struct glb_quic_server_config servers[MAKE_BACKENDS];
	char names[MAKE_POOLS * (1 + MAKE_BACKENDS) + MAKE_SERVICES][32];
	unsigned name_count;
};

/* xorshift64*: the same sequence on every machine. */
static inline uint32_t make_random(uint64_t *state, uint32_t below)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (uint32_t)((*state * 0x2545f4914f6cdd1d) >> 32) % below;
}

static inline struct glb_addr make_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct glb_addr){.bytes = {a, b, c, d}, .family = GLB_FAMILY_V4};
}

static inline struct glb_addr make_v6(uint8_t last)
{
	return (struct glb_addr){.bytes = {0x20, 0x01, 0x0d, 0xb8, [15] = last}, .family = GLB_FAMILY_V6};
}

static inline const char *make_name(struct make *m, const char *kind, unsigned n)
{
	char *name = m->names[m->name_count++];

	snprintf(name, sizeof(m->names[0]), "%s%u", kind, n);
	return name;
}

/* `pools` pools of `backends` active backends each, `services` services without binds, service i on pool i % pools. */
static inline void make_init(struct make *m, unsigned pools, unsigned backends, unsigned services)
{
	memset(m, 0, sizeof(*m));
	m->config = (struct glb_config){.pools = m->pools, .pool_count = pools, .services = m->services,
					.service_count = services, .revision = 7};
	for (unsigned p = 0; p < pools; p++) {
		m->pools[p] = (struct glb_pool_config){make_name(m, "pool", p), m->backends[p], backends};
		for (unsigned b = 0; b < backends; b++)
			m->backends[p][b] = (struct glb_backend_config){
				.name = make_name(m, "backend", b), .id = 1 + p * MAKE_BACKENDS + b, .weight = 1,
				.addr = b % 4 == 3 ? make_v6((uint8_t)b) : make_v4(10, 0, (uint8_t)p, (uint8_t)b),
			};
	}
	for (unsigned s = 0; s < services; s++) {
		m->services[s] = (struct glb_service_config){
			.name = make_name(m, "service", s), .id = 1 + s, .pool = s % pools, .rows = 256, .hops = 2,
			.hash_fields = GLB_HASH_SRC_ADDR, .binds = m->binds[s],
		};
		memset(m->services[s].hash_key, (int)s, 16);
		memset(m->services[s].seed, (int)(s % pools), 16);
	}
}

/* Backends of pool 0 of one family only, as chains have them. */
static inline void make_one_family(struct make *m)
{
	for (unsigned b = 0; b < m->pools[0].backend_count; b++)
		m->backends[0][b].addr = make_v4(10, 0, 0, (uint8_t)b);
}

static inline void make_bind(struct make *m, unsigned s, struct glb_addr addr, uint8_t bits, uint8_t protocol,
			     uint16_t first, uint16_t last)
{
	m->binds[s][m->services[s].bind_count++] = (struct glb_bind_config){addr, bits, protocol, first, last};
}

/* QUIC-LB for a service: configuration 2 in the clear and 5 encrypted, server id n of so many bytes for backend n of the pool. */
static inline void make_quic(struct make *m, unsigned s, uint8_t server_id_len, uint8_t nonce_len)
{
	const struct glb_quic_config quic = {
		.config_id = 2, .server_id_len = server_id_len, .nonce_len = nonce_len, .key = "0123456789abcde", .servers = m->servers,
		.server_count = m->pools[m->services[s].pool].backend_count,
	};

	for (unsigned b = 0; b < quic.server_count; b++)
		m->servers[b] = (struct glb_quic_server_config){.backend = b, .id = {(uint8_t)(0x10 + b)}};
	m->quic[0] = m->quic[1] = quic;
	m->quic[1].config_id = 5;
	m->quic[1].encrypted = 1;
	m->services[s].quic = m->quic;
	m->services[s].quic_count = 2;
}

/* A configuration with something in every section. */
static inline void make_full(struct make *m)
{
	static const struct glb_protection_config limits = {.packets_per_second = 9, .packets_burst = 3};

	make_init(m, 2, 4, 3);
	m->services[1].protection = &limits;
	m->backends[0][2].state = GLB_STATE_INACTIVE;
	m->services[1].alt_hash_fields = GLB_HASH_DST_ADDR;
	m->services[1].hops = 3;
	m->services[1].flow_cache = 1;
	m->services[1].udp_timeout = 9;
	m->services[2].seed[0] = 0xaa; /* pool 0 like service 0, but a table of its own */
	make_quic(m, 1, 3, 5);
	make_bind(m, 0, make_v4(203, 0, 113, 10), 32, GLB_IPPROTO_TCP, 80, 80);
	make_bind(m, 0, make_v4(203, 0, 113, 0), 24, GLB_IPPROTO_UDP, 53, 60);
	make_bind(m, 1, make_v4(203, 0, 113, 10), 32, GLB_IPPROTO_UDP, 55, 55);
	make_bind(m, 2, make_v6(0), 64, GLB_IPPROTO_TCP, 443, 443);
	make_bind(m, 2, make_v6(7), 128, GLB_IPPROTO_TCP, 1, 65535);
}

/* Compiles and opens. Returns false, with the reason on stdout, when either fails. Free buffer->data. */
static inline bool make_open(const struct make *m, struct glb_buffer *buffer, struct glb_snapshot *snapshot)
{
	struct glb_error error;

	if (glb_snapshot_compile(&m->config, buffer, &error) == 0 &&
	    glb_snapshot_open(buffer->data, buffer->len, snapshot, &error) == 0)
		return true;
	printf("# %s\n", error.text);
	glb_buffer_free(buffer);
	return false;
}

#endif
