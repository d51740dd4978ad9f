/* A compiled snapshot with a director, frames for its services, and the stages run on one of them. */
#ifndef GLB_TESTS_WORLD_H
#define GLB_TESTS_WORLD_H

#include "frames.h"
#include "snapshot_make.h"

#include <glb/path.h>

#include <stdlib.h>

/* Services on 203.0.113.10 and 2001:db8::10: 0 (TCP 80), 1 (TCP 443, all fields), 2 (UDP 53, with alt fields); 3 is TCP 80 on
 * 198.51.100.0/24 and has no backend. */
struct world {
	struct make make;
	struct glb_buffer buffer;
	struct glb_snapshot snapshot;
	struct glb_director director;
	struct glb_path path;
};

/* The backends' ids of a world that is loaded more than once; zeros before the first time. */
struct world_ids {
	struct glb_backend_ids ids;
	uint32_t *slots;
};

static inline struct glb_addr vip4(void)
{
	struct glb_addr addr = {.family = GLB_FAMILY_V4};

	memcpy(addr.bytes, frame_vip_v4, 4);
	return addr;
}

static inline struct glb_addr vip6(void)
{
	struct glb_addr addr = {.family = GLB_FAMILY_V6};

	memcpy(addr.bytes, frame_vip_v6, 16);
	return addr;
}

static inline void make_services(struct make *make)
{
	make_init(make, 2, 3, 4);
	for (unsigned i = 0; i < 3; i++)
		make->backends[1][i].state = GLB_STATE_INACTIVE;
	make->services[1].pool = make->services[2].pool = 0;
	make->services[1].seed[0] = make->services[2].seed[0] = 9;
	make->services[1].hops = 3;
	make->services[1].hash_fields = 0xf;
	make->services[2].hash_fields = GLB_HASH_SRC_ADDR | GLB_HASH_SRC_PORT;
	make->services[2].alt_hash_fields = GLB_HASH_SRC_ADDR;
	make->services[3].pool = 1;
	for (unsigned i = 0; i < 2; i++) {
		const struct glb_addr vip = i == 0 ? vip4() : vip6();
		const uint8_t bits = i == 0 ? 32 : 128;

		make_bind(make, 0, vip, bits, GLB_IPPROTO_TCP, 80, 80);
		make_bind(make, 1, vip, bits, GLB_IPPROTO_TCP, 443, 443);
		make_bind(make, 2, vip, bits, GLB_IPPROTO_UDP, 53, 53);
	}
	make_bind(make, 3, make_v4(198, 51, 100, 0), 24, GLB_IPPROTO_TCP, 80, 80);
}

/* The rest, from world->make, for a director with these peers. */
static inline bool world_compile_with(struct world *world, const struct glb_peers *peers)
{
	struct glb_error error = {.code = 0};

	world->director = (struct glb_director){
		.outer_source_v4 = make_v4(10, 0, 0, 254), .gateway_mac = {2, 0, 0, 0, 0, 0xfe}, .filter_mac = 1,
		.peers = peers,
	};
	memcpy(world->director.local_mac, frame_director_mac, 6);
	if (make_open(&world->make, &world->buffer, &world->snapshot) &&
	    glb_path_init(&world->path, &world->snapshot, &world->director, &error) == 0)
		return true;
	printf("# %s\n", error.text);
	return false;
}

static inline bool world_compile(struct world *world)
{
	return world_compile_with(world, NULL);
}

static inline void world_unload(struct world *world, struct world_ids *of)
{
	glb_buffer_free(&world->buffer);
	free(of->slots);
	of->slots = NULL;
}

/* Puts what world->make says now in force, in the place of what was before. */
static inline bool world_load(struct world *world, struct world_ids *of, const struct glb_peers *peers)
{
	world_unload(world, of);
	if (!world_compile_with(world, peers))
		return false;
	of->slots = calloc(glb_backend_ids_slots(&world->snapshot), sizeof(*of->slots));
	glb_backend_ids_init(&of->ids, &world->snapshot, of->slots);
	world->path.backend_ids = &of->ids;
	return true;
}

static inline bool world_open(struct world *world)
{
	make_services(&world->make);
	return world_compile(world);
}

static inline void world_close(struct world *world)
{
	glb_buffer_free(&world->buffer);
}

static inline struct frame ip_frame(unsigned family, uint8_t protocol)
{
	struct frame frame = {.len = 0};

	put_eth(&frame, family == 4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6);
	if (family == 4)
		put_ipv4(&frame, protocol, frame_client_v4, frame_vip_v4, 0);
	else
		put_ipv6(&frame, protocol, frame_client_v6, frame_vip_v6);
	return frame;
}

static inline struct frame tcp_frame(unsigned family, uint16_t sport, uint16_t dport)
{
	struct frame frame = ip_frame(family, GLB_IPPROTO_TCP);

	put_tcp(&frame, sport, dport);
	frame_close(&frame);
	return frame;
}

static inline struct frame udp_frame(unsigned family, uint16_t sport, uint16_t dport)
{
	struct frame frame = ip_frame(family, GLB_IPPROTO_UDP);

	put_udp(&frame, sport, dport);
	frame_close(&frame);
	return frame;
}

static inline struct frame icmp_frame(unsigned family, uint8_t type, uint8_t code)
{
	struct frame frame = ip_frame(family, family == 4 ? GLB_IPPROTO_ICMP : GLB_IPPROTO_ICMPV6);

	put_icmp(&frame, type, code);
	frame_close(&frame);
	return frame;
}

/* A too-big that quotes the first 8 bytes of what `src`, with port `sport`, sent to the client. */
static inline struct frame too_big_frame(unsigned family, uint8_t protocol, const void *src, uint16_t sport)
{
	struct frame frame = family == 4 ? icmp_frame(4, GLB_ICMP_UNREACHABLE, GLB_ICMP_FRAG_NEEDED)
					 : icmp_frame(6, GLB_ICMPV6_TOO_BIG, 0);

	if (family == 4)
		put_ipv4(&frame, protocol, src, frame_client_v4, 0);
	else
		put_ipv6(&frame, protocol, src, frame_client_v6);
	put_udp(&frame, sport, 40000);
	frame_close(&frame);
	return frame;
}

/* Runs all stages on one frame. The bytes stay valid until the next call. */
static inline struct glb_packet run(const struct glb_path *path, const struct frame *frame)
{
	static struct frame kept;
	struct glb_packet p;

	kept = *frame;
	p = (struct glb_packet){.data = kept.bytes, .data_len = kept.len, .frame_len = kept.len};
	glb_path_burst(path, &p, 1);
	return p;
}

#endif
