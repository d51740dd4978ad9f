/* The straight line beside its twin, the path: whatever it takes comes out byte for byte the same, and what it does not take
 * it leaves as it was. */
#include "check.h"
#include "fast_world.h"

enum { BURSTS = 20000 };

static struct frame straight_frame(uint64_t *random, unsigned family, uint16_t dport)
{
	struct frame frame = ip_frame(family, dport == 53 ? GLB_IPPROTO_UDP : GLB_IPPROTO_TCP);
	const uint64_t client = test_random(random);

	memcpy(frame.bytes + (family == 4 ? 26 : 22 + 8), &client, family == 4 ? 4 : 8);
	if (dport == 53)
		put_udp(&frame, (uint16_t)test_random(random), dport);
	else
		put_tcp(&frame, (uint16_t)test_random(random), dport);
	put_zeros(&frame, (uint32_t)(test_random(random) % 100));
	frame_close(&frame);
	put_zeros(&frame, (uint32_t)(test_random(random) % 4)); /* padding */
	return frame;
}

/* A world whose service 2 has no second look-up, so that it is straight, too. */
static bool open_straight(struct world *w, struct glb_fast *fast)
{
	struct glb_error error;

	make_services(&w->make);
	for (unsigned pool = 0; pool < 2; pool++)
		for (unsigned i = 0; i < MAKE_BACKENDS; i++)
			w->make.backends[pool][i].addr = make_v4(10, (uint8_t)pool, 0, (uint8_t)i);
	w->make.services[2].alt_hash_fields = 0;
	w->director = (struct glb_director){
		.outer_source_v4 = make_v4(10, 0, 0, 254), .gateway_mac = {2, 0, 0, 0, 0, 0xfe}, .filter_mac = 1, .mtu = 180,
	};
	memcpy(w->director.local_mac, frame_director_mac, 6);
	return make_open(&w->make, &w->buffer, &w->snapshot) &&
	       glb_path_init(&w->path, &w->snapshot, &w->director, &error) == 0 && glb_fast_make(fast, &w->path, 1, &error) == 0;
}

static void close_straight(struct world *w, struct glb_fast *fast)
{
	glb_fast_free(fast);
	world_close(w);
}

static void is_its_twin_on_straight_bursts(void)
{
	static const uint16_t ports[] = {80, 443, 53};
	static struct frame frames[GLB_BURST_MAX];
	struct fast_frames burst = {.n = 0};
	uint64_t random = 1;
	struct glb_fast fast;
	struct world w;

	CHECK(open_straight(&w, &fast));
	for (unsigned round = 0; round < 600; round++) {
		const unsigned n = 1 + (unsigned)(test_random(&random) % GLB_BURST_MAX), family = round % 2 == 0 ? 4 : 6;
		int port;

		for (unsigned i = 0; i < n; i++) {
			frames[i] = straight_frame(&random, family, ports[round % 3]);
			burst_add(&burst, &frames[i]);
		}
		port = glb_fast_run(&fast, &w.path, &burst.frames, n);
		/* 180 bytes of MTU: most are short enough, and one that is not sends all of them by the other way */
		CHECK(same(&w.path, &burst, frames, port));
		for (unsigned i = 0; i < n && port < 0; i++) {
			const uint8_t reason = run(&w.path, &frames[i]).reason;

			port = reason == GLB_REASON_OVERSIZE_ANSWERED || reason == GLB_REASON_TOO_LONG ? 0 : port;
		}
		CHECK(port == 0);
		burst_free(&burst);
	}
	close_straight(&w, &fast);
}

/* Bursts in which any bytes of any packet may have been changed. */
static void compare_damaged(uint8_t strict)
{
	static struct frame frames[GLB_BURST_MAX];
	struct fast_frames burst = {.n = 0};
	unsigned taken = 0, left = 0;
	uint64_t random = 2;
	struct glb_fast fast;
	struct world w;

	CHECK(open_straight(&w, &fast));
	w.path.director.strict = strict;
	for (unsigned round = 0; round < BURSTS; round++) {
		const unsigned n = 1 + (unsigned)(test_random(&random) % 4);
		int port;

		for (unsigned i = 0; i < n; i++) {
			struct frame *frame = &frames[i];
			const unsigned headers = 78;

			*frame = straight_frame(&random, round % 2 == 0 ? 4 : 6, test_random(&random) % 2 ? 80 : 443);
			if (test_random(&random) % 2)
				frame->bytes[test_random(&random) % headers] ^= (uint8_t)(1 << test_random(&random) % 8);
			if (test_random(&random) % 8 == 0)
				frame->len = (uint32_t)(test_random(&random) % frame->len);
			burst_add(&burst, frame);
		}
		port = glb_fast_run(&fast, &w.path, &burst.frames, n);
		CHECK(same(&w.path, &burst, frames, port));
		port < 0 ? left++ : taken++;
		burst_free(&burst);
	}
	CHECK(taken > BURSTS / 20 && left > BURSTS / 20);
	close_straight(&w, &fast);
}

static void is_its_twin_on_damaged_bursts(void)
{
	compare_damaged(0);
}

static void is_its_twin_where_it_is_strict(void)
{
	compare_damaged(1);
}

/* Next hops of their own: by backend, and all of a burst by one port. */
static void follows_next_hops(void)
{
	struct glb_egress egress[2] = {{.mac = {2, 0, 0, 0, 0, 2}, .mtu = 1500}, {.mac = {2, 0, 0, 0, 1, 2}, .vlan = 7}};
	uint64_t words[MAKE_POOLS * MAKE_BACKENDS] = {0};
	static struct frame frames[GLB_BURST_MAX];
	struct fast_frames burst = {.n = 0};
	uint64_t random = 3;
	struct glb_error error;
	struct glb_fast fast;
	struct world w;

	CHECK(open_straight(&w, &fast));
	glb_path_route(&w.path, words, egress, 2);
	glb_fast_free(&fast);
	CHECK(glb_fast_make(&fast, &w.path, 2, &error) == 0);
	for (unsigned round = 0; round < 300; round++) {
		unsigned known = 0, other = 0;
		int port;

		for (unsigned b = 0; b < w.snapshot.backend_count; b++)
			glb_next_hop_store(&words[b], (struct glb_next_hop){
				.mac = {2, 0, 0, 0, 9, (uint8_t)b}, .port = round % 3 == 0 ? 0 : round % 3 == 1 ? 1 : b % 2,
				.kind = b == round % 64 ? GLB_NEXT_HOP_UNKNOWN : GLB_NEXT_HOP_ROUTER});
		for (unsigned i = 0; i < 4; i++) {
			frames[i] = straight_frame(&random, 4, 80);
			burst_add(&burst, &frames[i]);
			known += run(&w.path, &frames[i]).verdict == GLB_VERDICT_FORWARD;
		}
		for (unsigned i = 1; i < 4; i++)
			other += run(&w.path, &frames[i]).next_hop.port != run(&w.path, &frames[0]).next_hop.port;
		port = glb_fast_run(&fast, &w.path, &burst.frames, 4);
		CHECK(same(&w.path, &burst, frames, port));
		CHECK((port >= 0) == (known == 4 && other == 0));
		burst_free(&burst);
	}
	close_straight(&w, &fast);
}

/* What it leaves alone: services of other kinds, and a director that computes outer checksums. */
static void leaves_other_services_alone(void)
{
	const struct frame frame = tcp_frame(4, 1, 80), udp = udp_frame(4, 1, 53), prefix = tcp_frame(4, 1, 81);
	struct fast_frames burst = {.n = 0};
	struct glb_error error;
	struct glb_fast fast;
	struct world w;

	CHECK(world_open(&w)); /* pools with backends of both families */
	CHECK(glb_fast_make(&fast, &w.path, 1, &error) == 0);
	burst_add(&burst, &udp);
	CHECK(glb_fast_run(&fast, &w.path, &burst.frames, 1) < 0);
	burst_free(&burst);
	close_straight(&w, &fast);

	CHECK(open_straight(&w, &fast));
	burst_add(&burst, &prefix);
	CHECK(glb_fast_run(&fast, &w.path, &burst.frames, 1) < 0);
	burst_free(&burst);
	burst_add(&burst, &frame);
	CHECK(glb_fast_run(&fast, &w.path, &burst.frames, 0) < 0);
	CHECK(glb_fast_run(&fast, &w.path, &burst.frames, 1) == 0);
	burst_free(&burst);
	glb_fast_free(&fast);
	w.path.director.outer_checksum = GLB_OUTER_CHECKSUM_COMPUTED;
	CHECK(glb_fast_make(&fast, &w.path, 1, &error) == 0 && !fast.usable);
	close_straight(&w, &fast);
}

/* Eight hops, behind a tag: nothing is written before the headroom that is asked for. */
static void keeps_to_its_headroom(void)
{
	const struct glb_egress egress = {.mac = {2, 0, 0, 0, 0, 2}, .vlan = 7};
	const struct frame frame = tcp_frame(4, 1, 80);
	struct fast_frames burst = {.n = 0};
	struct glb_error error;
	struct glb_fast fast;
	struct world w;

	make_init(&w.make, 1, GLB_HOPS_MAX, 1);
	for (unsigned i = 0; i < GLB_HOPS_MAX; i++)
		w.make.backends[0][i].addr = make_v4(10, 0, 0, (uint8_t)i);
	w.make.services[0].hops = GLB_HOPS_MAX;
	make_bind(&w.make, 0, vip4(), 32, GLB_IPPROTO_TCP, 80, 80);
	w.director = (struct glb_director){.outer_source_v4 = make_v4(10, 0, 0, 254), .gateway_mac = {2, 0, 0, 0, 0, 0xfe}};
	CHECK(make_open(&w.make, &w.buffer, &w.snapshot) && glb_path_init(&w.path, &w.snapshot, &w.director, &error) == 0);
	glb_path_route(&w.path, NULL, &egress, 1);
	CHECK(glb_fast_make(&fast, &w.path, 1, &error) == 0);
	burst_add(&burst, &frame);
	CHECK(glb_fast_run(&fast, &w.path, &burst.frames, 1) == 0 && same(&w.path, &burst, &frame, 0));
	CHECK(burst.frames.len[0] == frame.len + 4 + 36 + 4 * (GLB_HOPS_MAX - 1));
	burst_free(&burst);
	close_straight(&w, &fast);
}

/* Ten thousand keys: each is found where it is, and nothing else is. */
static void finds_each_of_many(void)
{
	enum { MANY = 10000 };
	struct glb_bind_config *binds = calloc(MANY, sizeof(*binds));
	struct fast_frames burst = {.n = 0};
	struct glb_error error;
	struct glb_fast fast;
	struct world w;

	CHECK(binds != NULL);
	make_services(&w.make);
	for (unsigned i = 0; i < MAKE_BACKENDS; i++)
		w.make.backends[0][i].addr = make_v4(10, 0, 0, (uint8_t)i);
	for (unsigned i = 0; i < MANY; i++)
		binds[i] = (struct glb_bind_config){
			.addr = i % 2 == 0 ? make_v4(203, 0, (uint8_t)(i >> 8), (uint8_t)i) : make_v6((uint8_t)i), .bits = i % 2 == 0 ? 32 : 128,
			.protocol = GLB_IPPROTO_TCP, .port_first = (uint16_t)(i + 1), .port_last = (uint16_t)(i + 1),
		};
	w.make.services[0].binds = binds;
	w.make.services[0].bind_count = MANY;
	w.director = (struct glb_director){.outer_source_v4 = make_v4(10, 0, 0, 254), .gateway_mac = {2, 0, 0, 0, 0, 0xfe}};
	CHECK(make_open(&w.make, &w.buffer, &w.snapshot));
	CHECK(glb_path_init(&w.path, &w.snapshot, &w.director, &error) == 0 && glb_fast_make(&fast, &w.path, 1, &error) == 0);
	for (unsigned i = 0; i < MANY; i++) {
		struct frame frame = tcp_frame(i % 2 == 0 ? 4 : 6, 1, (uint16_t)(i + 1));

		memcpy(frame.bytes + (i % 2 == 0 ? 30 : 38), binds[i].addr.bytes, i % 2 == 0 ? 4 : 16);
		burst_add(&burst, &frame);
		CHECK(glb_fast_run(&fast, &w.path, &burst.frames, 1) == 0 && same(&w.path, &burst, &frame, 0));
		burst_free(&burst);
		frame.bytes[i % 2 == 0 ? 30 : 38] ^= 0x40;
		burst_add(&burst, &frame);
		CHECK(glb_fast_run(&fast, &w.path, &burst.frames, 1) < 0);
		burst_free(&burst);
	}
	free(binds);
	close_straight(&w, &fast);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"is its twin on straight bursts", is_its_twin_on_straight_bursts},
		{"is its twin on damaged bursts", is_its_twin_on_damaged_bursts},
		{"is its twin where it is strict", is_its_twin_where_it_is_strict},
		{"follows next hops", follows_next_hops},
		{"leaves other services alone", leaves_other_services_alone},
		{"keeps to its headroom", keeps_to_its_headroom},
		{"finds each of many", finds_each_of_many},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
