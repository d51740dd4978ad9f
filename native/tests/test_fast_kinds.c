/* The straight line beside its twin with services of every encapsulation, alone and in bursts with others. */
#include "check.h"
#include "fast_world.h"

enum {
	WORLDS = 300,
	BURSTS = 80, /* for each */
	SERVICES = 8,
	PORT = 8000, /* of the first service, on either VIP */
	POOL_V4 = 0,
	POOL_V6 = 1,
	POOL_BOTH = 2,
};

struct kinds {
	struct world world;
	struct glb_fast fast;
	struct glb_egress egress[2];
	uint64_t words[MAKE_POOLS * MAKE_BACKENDS]; /* next hops */
	uint8_t family[SERVICES];                   /* 4 or 6; 0: of both */
	uint8_t protocol[SERVICES];
	bool straight[SERVICES];
	bool routed;
	uint8_t hops;                               /* of every service; 0: as it comes */
};

static void make_pools(struct make *make)
{
	make_init(make, 3, 5, SERVICES);
	for (uint8_t b = 0; b < 5; b++) {
		make->backends[POOL_V4][b].addr = make_v4(10, b, 0xff, (uint8_t)(b + 1));
		make->backends[POOL_V6][b].addr = make_v6((uint8_t)(b + 0x80));
		make->backends[POOL_BOTH][b].addr = b % 2 ? make_v4(10, 1, b, 1) : make_v6(b);
	}
	make->backends[POOL_V6][0].addr.bytes[9] = 0xfe;
}

/* A service that `encap` can have, or one of GUE. */
static void make_kind(struct kinds *k, unsigned s, uint64_t *random)
{
	static const uint8_t client[GLB_ENCAP_COUNT] = {[GLB_ENCAP_IPIP] = 4, [GLB_ENCAP_4IN6] = 4, [GLB_ENCAP_IP6IP6] = 6, [GLB_ENCAP_6IN4] = 6};
	struct glb_service_config *service = &k->world.make.services[s];
	const uint8_t encap = (uint8_t)make_random(random, GLB_ENCAP_COUNT), some = make_random(random, 2) ? 4 : 6;
	uint8_t family = client[encap], pool = (uint8_t)make_random(random, 8);

	service->encap = encap;
	if (encap >= GLB_ENCAP_L2DSR)
		family = some;
	pool = pool > POOL_BOTH ? POOL_V4 : pool;
	if (encap == GLB_ENCAP_IPIP || encap == GLB_ENCAP_6IN4)
		pool = POOL_V4;
	if (encap == GLB_ENCAP_IP6IP6 || encap == GLB_ENCAP_4IN6)
		pool = POOL_V6;
	if (encap == GLB_ENCAP_L3DSR || encap == GLB_ENCAP_NAT)
		pool = family == 4 ? POOL_V4 : POOL_V6;
	service->pool = pool;
	service->hops = (uint8_t)(k->hops != 0 ? k->hops : 1 + make_random(random, 4));
	service->hash_fields = make_random(random, 2) ? GLB_HASH_SRC_ADDR : 0xf;
	service->gre_keyed = encap == GLB_ENCAP_GRE && make_random(random, 2);
	service->encap_value = service->gre_keyed ? make_random(random, UINT32_MAX) : 0;
	if (encap == GLB_ENCAP_NAT && make_random(random, 2))
		service->encap_value = 1 + make_random(random, 65535);
	if (encap < GLB_ENCAP_L2DSR && make_random(random, 3) == 0) {
		service->tos_mask = make_random(random, 2) ? 0x03 : 0;
		service->tos = (uint8_t)(make_random(random, 64) << 2);
	}
	if (encap == GLB_ENCAP_L3DSR) {
		service->tos_mask = 0x03;
		service->tos = (uint8_t)((1 + make_random(random, 63)) << 2);
	}
	k->family[s] = family;
	k->protocol[s] = make_random(random, 2) ? GLB_IPPROTO_TCP : GLB_IPPROTO_UDP;
	for (uint8_t f = 4; f <= 6; f += 2)
		if (family == 0 || family == f)
			make_bind(&k->world.make, s, f == 4 ? vip4() : vip6(), f == 4 ? 32 : 128, k->protocol[s],
				  (uint16_t)(PORT + s), (uint16_t)(PORT + s));
	k->straight[s] = pool != POOL_BOTH || encap == GLB_ENCAP_L2DSR;
}

static bool open_kinds(struct kinds *k, uint64_t *random)
{
	struct world *w = &k->world;
	bool on_link = false;
	struct glb_error error = {.code = 0};

	make_pools(&w->make);
	for (unsigned s = 0; s < SERVICES; s++) {
		make_kind(k, s, random);
		on_link |= w->make.services[s].encap == GLB_ENCAP_L2DSR;
	}
	w->director = (struct glb_director){
		.outer_source_v4 = make_v4(10, 0, 0, 254), .outer_source_v6 = make_v6(254), .filter_mac = 1,
		.mtu = make_random(random, 3) == 0 ? 150 : 0, .outer_checksum_v6 = (uint8_t)make_random(random, 2),
	};
	memcpy(w->director.local_mac, frame_director_mac, 6);
	if (make_random(random, 2))
		w->director.outer_prefix_v4 = (struct glb_prefix){
			.addr = make_v4(172, 16, 0, 0), .bits = (uint8_t)(12 + make_random(random, 21))};
	if (make_random(random, 2))
		w->director.outer_prefix_v6 = (struct glb_prefix){.addr = make_v6(0), .bits = (uint8_t)(32 + make_random(random, 97))};
	k->routed = on_link || make_random(random, 2);
	if (!k->routed)
		w->director.gateway_mac[5] = 0xfe;
	k->egress[0] = (struct glb_egress){.mac = {2, 0, 0, 0, 0, 2}, .mtu = w->director.mtu, .vlan = make_random(random, 2) ? 7 : 0};
	k->egress[1] = k->egress[0];
	if (!make_open(&w->make, &w->buffer, &w->snapshot) || glb_path_init(&w->path, &w->snapshot, &w->director, &error) != 0) {
		printf("# %s\n", error.text);
		return false;
	}
	if (k->routed)
		glb_path_route(&w->path, k->words, k->egress, 2);
	return glb_fast_make(&k->fast, &w->path, 2, &error) == 0;
}

static void change_next_hops(struct kinds *k, uint64_t *random)
{
	const bool well = make_random(random, 4) != 0;

	for (unsigned b = 0; b < k->world.snapshot.backend_count; b++)
		glb_next_hop_store(&k->words[b], (struct glb_next_hop){
			.mac = {2, 0, 0, 0, 9, (uint8_t)b}, .port = !well && make_random(random, 9) == 0,
			.kind = well || make_random(random, 9) != 0 ? GLB_NEXT_HOP_BACKEND : (uint8_t)make_random(random, 2)});
}

/* For a service, with a checksum of any value, and anything as its TOS. */
static struct frame frame_for(const struct kinds *k, unsigned s, unsigned family, uint64_t *random)
{
	static const uint16_t special[] = {0, 0xffff, 1, 0xfffe};
	struct frame frame = ip_frame(family, k->protocol[s]);
	const uint32_t client = make_random(random, UINT32_MAX), l4 = frame.len;
	const uint16_t checksum = make_random(random, 2) ? (uint16_t)make_random(random, 65536) : special[make_random(random, 4)];

	frame.bytes[15] = family == 4 ? (uint8_t)make_random(random, 256) : frame.bytes[15];
	frame.bytes[14] ^= family == 6 ? (uint8_t)make_random(random, 16) : 0;
	if (family == 4)
		memcpy(frame.bytes + 24, &checksum, sizeof(checksum));
	memcpy(frame.bytes + (family == 4 ? 26 : 22 + 8), &client, sizeof(client));
	if (k->protocol[s] == GLB_IPPROTO_TCP)
		put_tcp(&frame, (uint16_t)client, (uint16_t)(PORT + s));
	else
		put_udp(&frame, (uint16_t)client, (uint16_t)(PORT + s));
	memcpy(frame.bytes + l4 + (k->protocol[s] == GLB_IPPROTO_TCP ? 16 : 6), &checksum, sizeof(checksum));
	put_zeros(&frame, make_random(random, 60));
	frame_close(&frame);
	put_zeros(&frame, make_random(random, 4)); /* padding */
	return frame;
}

/* Which service comes next, if any is straight, or all are asked for; all of a burst are clients of one family. */
static unsigned pick(const struct kinds *k, unsigned family, bool any, uint64_t *random)
{
	const unsigned first = make_random(random, SERVICES);

	for (unsigned i = 0; i < SERVICES; i++) {
		const unsigned s = (first + i) % SERVICES;

		if ((k->family[s] == 0 || k->family[s] == family) && (any || k->straight[s]))
			return s;
	}
	return SERVICES;
}

/* Whether the path sends all of them, by one port, however long they are. */
static bool all_leave(const struct kinds *k, const struct frame *frames, unsigned n)
{
	uint8_t port = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct glb_packet p = run(&k->world.path, &frames[i]);

		if (p.verdict != GLB_VERDICT_FORWARD || (i > 0 && p.next_hop.port != port))
			return false;
		port = p.next_hop.port;
	}
	return k->world.director.mtu == 0;
}

static void is_its_twin_with_all_kinds(void)
{
	static struct frame frames[GLB_BURST_MAX];
	unsigned taken[GLB_ENCAP_COUNT] = {0}, left = 0;
	struct fast_frames burst = {.n = 0};
	uint64_t random = 4;

	for (unsigned world = 0; world < WORLDS; world++) {
		struct kinds k = {.hops = world % 2 == 0 ? 0 : 2};

		CHECK(open_kinds(&k, &random));
		for (unsigned round = 0; round < BURSTS; round++) {
			const unsigned family = make_random(&random, 2) ? 4 : 6, n = 1 + make_random(&random, round % 4 ? 12 : GLB_BURST_MAX);
			const bool mixed = make_random(&random, 2), damaged = make_random(&random, 4) == 0, any = make_random(&random, 8) == 0;
			unsigned s = pick(&k, family, any, &random);
			int port;

			change_next_hops(&k, &random);
			for (unsigned i = 0; i < n && s < SERVICES; i++) {
				frames[i] = frame_for(&k, s, family, &random);
				if (damaged && i == n / 2)
					frames[i].bytes[12 + make_random(&random, 66)] ^= (uint8_t)(1 << make_random(&random, 8));
				burst_add(&burst, &frames[i]);
				s = mixed ? pick(&k, family, any, &random) : s;
			}
			port = glb_fast_run(&k.fast, &k.world.path, &burst.frames, burst.n);
			CHECK(same(&k.world.path, &burst, frames, port));
			CHECK(port >= 0 || any || damaged || !all_leave(&k, frames, burst.n) || burst.n == 0);
			for (unsigned i = 0; i < burst.n; i++)
				port < 0 ? left++ : taken[k.world.make.services[burst.frames.service[i]].encap]++;
			burst_free(&burst);
		}
		glb_fast_free(&k.fast);
		world_close(&k.world);
	}
	CHECK(left > 1000);
	for (unsigned encap = 0; encap < GLB_ENCAP_COUNT; encap++)
		CHECK(taken[encap] > 1000);
}

/* Where a checksum comes to 0, and where it is 0: of UDP, these are exceptions. */
static void rewrites_every_checksum(void)
{
	static struct frame frames[GLB_BURST_MAX];
	struct fast_frames burst = {.n = 0};
	uint64_t random = 5;

	for (unsigned kind = 0; kind < 8; kind++) {
		struct kinds k = {.family = {kind & 1 ? 4 : 6}, .protocol = {kind & 2 ? GLB_IPPROTO_TCP : GLB_IPPROTO_UDP}};
		const unsigned at = kind & 2 ? 16 : 6, headers = kind & 1 ? 34 : 54;
		struct glb_service_config *service = k.world.make.services;
		const struct glb_addr vip = kind & 1 ? vip4() : vip6();
		struct glb_error error;

		make_pools(&k.world.make);
		k.world.make.config.service_count = 1;
		service->pool = kind & 1 ? POOL_V4 : POOL_V6;
		service->encap = kind & 4 ? GLB_ENCAP_L3DSR : GLB_ENCAP_NAT;
		service->encap_value = kind & 4 ? 0 : 81;
		service->tos = kind & 4 ? 0x1c : 0;
		service->tos_mask = kind & 4 ? 3 : 0;
		make_bind(&k.world.make, 0, vip, kind & 1 ? 32 : 128, k.protocol[0], PORT, PORT);
		k.world.director.gateway_mac[0] = 2;
		CHECK(make_open(&k.world.make, &k.world.buffer, &k.world.snapshot) &&
		      glb_path_init(&k.world.path, &k.world.snapshot, &k.world.director, &error) == 0 &&
		      glb_fast_make(&k.fast, &k.world.path, 1, &error) == 0);
		for (unsigned checksum = 0; checksum <= 0xffff; checksum++) {
			struct frame *frame = &frames[burst.n];
			const uint16_t field = (uint16_t)checksum;

			*frame = frame_for(&k, 0, k.family[0], &random);
			memcpy(frame->bytes + headers + at, &field, sizeof(field));
			burst_add(&burst, frame);
			if (burst.n < GLB_BURST_MAX)
				continue;
			CHECK(glb_fast_run(&k.fast, &k.world.path, &burst.frames, burst.n) == 0 && same(&k.world.path, &burst, frames, 0));
			burst_free(&burst);
		}
		glb_fast_free(&k.fast);
		world_close(&k.world);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"is its twin with all kinds", is_its_twin_with_all_kinds},
		{"rewrites every checksum", rewrites_every_checksum},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
