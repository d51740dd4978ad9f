/* The flow cache's stages on compiled snapshots: who teaches, where a remembered backend stands, and when an entry dies. */
#include "check.h"
#include "world.h"

#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { ENTRIES = 1 << 14, BACKENDS = 6, SYN = GLB_TCP_SYN, ACK = GLB_TCP_ACK, FIN_ACK = GLB_TCP_FIN | GLB_TCP_ACK };

/* Services 0 (TCP 80), 1 (TCP 443) and 2 (UDP 53) on one pool, remembered; 0 has `hops` hops. */
struct stage {
	struct world w;
	struct world_ids ids;
	struct glb_flow_cache cache;
	struct glb_flow_stats stats;
	void *memory;
};

static bool stage_open(struct stage *s, uint8_t hops)
{
	const struct glb_flow_timeouts timeouts = glb_flow_timeouts_default();

	memset(s, 0, sizeof(*s));
	make_init(&s->w.make, 1, BACKENDS, 3);
	s->w.make.backends[0][3].addr = make_v4(10, 0, 0, 3); /* directors send over IPv4 only */
	for (unsigned i = 0; i < 3; i++) {
		s->w.make.services[i].hops = hops;
		s->w.make.services[i].hash_fields = 0xf;
		s->w.make.services[i].flow_cache = 1;
	}
	for (unsigned i = 0; i < 2; i++) {
		const struct glb_addr vip = i == 0 ? vip4() : vip6();
		const uint8_t bits = i == 0 ? 32 : 128;

		make_bind(&s->w.make, 0, vip, bits, GLB_IPPROTO_TCP, 80, 80);
		make_bind(&s->w.make, 1, vip, bits, GLB_IPPROTO_TCP, 443, 443);
		make_bind(&s->w.make, 2, vip, bits, GLB_IPPROTO_UDP, 53, 53);
	}
	s->memory = aligned_alloc(128, glb_flow_cache_bytes(ENTRIES));
	memset(s->memory, 0, glb_flow_cache_bytes(ENTRIES));
	glb_flow_cache_init(&s->cache, s->memory, ENTRIES, (const uint8_t *)"an-arbitrary-key", &timeouts, &s->stats);
	return world_load(&s->w, &s->ids, NULL);
}

static void stage_close(struct stage *s)
{
	world_unload(&s->w, &s->ids);
	free(s->memory);
}

static struct glb_packet send_frame(struct stage *s, const struct frame *frame, uint32_t now)
{
	static struct frame kept;
	struct glb_packet p;

	kept = *frame;
	p = (struct glb_packet){.data = kept.bytes, .data_len = kept.len, .frame_len = kept.len};
	glb_path_burst_cached(&s->w.path, &s->cache, now, &p, 1);
	return p;
}

static struct glb_packet send_tcp(struct stage *s, unsigned family, uint16_t sport, uint8_t flags)
{
	struct frame frame = tcp_frame(family, sport, 80);

	frame.bytes[14 + (family == 4 ? 20 : 40) + 13] = flags;
	return send_frame(s, &frame, 1);
}

/* The id of where a packet goes, by the chain alone. */
static uint32_t by_chain(struct stage *s, unsigned family, uint16_t sport)
{
	const struct frame frame = tcp_frame(family, sport, 80);

	return s->w.snapshot.backends[run(&s->w.path, &frame).chain[0]].id;
}

static uint32_t first(const struct stage *s, const struct glb_packet *p)
{
	return s->w.snapshot.backends[p->chain[0]].id;
}

static bool has_no_duplicates(const struct glb_packet *p)
{
	for (unsigned i = 0; i < p->chain_len; i++)
		for (unsigned j = 0; j < i; j++)
			if (p->chain[i] == p->chain[j])
				return false;
	return p->chain_len >= 1 && p->chain_len <= GLB_HOPS_MAX;
}

static struct glb_backend_config *backend_of(struct stage *s, uint32_t id)
{
	for (unsigned i = 0; i < BACKENDS; i++)
		if (s->w.make.backends[0][i].id == id)
			return &s->w.make.backends[0][i];
	return NULL;
}

/* Begins flow 1 and goes on with it. Returns the id of the backend that has it. */
static uint32_t establish(struct stage *s)
{
	const struct glb_packet p = send_tcp(s, 4, 1, SYN);

	send_tcp(s, 4, 1, ACK);
	return first(s, &p);
}

/* ---- who teaches ---- */

static void with_second_chance_only_a_syn_teaches(void)
{
	struct stage s;

	CHECK(stage_open(&s, 2));
	send_tcp(&s, 4, 1, ACK);
	send_tcp(&s, 6, 1, FIN_ACK);
	send_tcp(&s, 4, 1, SYN | ACK);
	CHECK(s.stats.entries == 0 && s.stats.misses == 3);
	send_tcp(&s, 4, 1, SYN);
	send_tcp(&s, 6, 1, SYN);
	CHECK(s.stats.entries == 2);
	send_tcp(&s, 4, 1, ACK);
	CHECK(s.stats.hits == 1 && s.stats.established == 1);
	stage_close(&s);
}

static void with_one_hop_any_packet_teaches(void)
{
	struct stage s;

	CHECK(stage_open(&s, 1));
	send_tcp(&s, 4, 1, ACK);
	send_tcp(&s, 6, 2, SYN);
	CHECK(s.stats.entries == 2);
	send_tcp(&s, 6, 3, FIN_ACK); /* it is over */
	send_tcp(&s, 6, 3, GLB_TCP_RST);
	CHECK(s.stats.entries == 2);
	stage_close(&s);
}

static void an_alt_look_up_is_a_second_chance(void)
{
	struct stage s;

	CHECK(stage_open(&s, 1));
	s.w.make.services[0].alt_hash_fields = GLB_HASH_SRC_ADDR;
	CHECK(world_load(&s.w, &s.ids, NULL));
	send_tcp(&s, 4, 1, ACK);
	CHECK(s.stats.entries == 0);
	send_tcp(&s, 4, 1, SYN);
	CHECK(s.stats.entries == 1);
	stage_close(&s);
}

static void udp_has_no_second_chance(void)
{
	const struct frame frame = udp_frame(4, 9, 53);
	struct stage s;

	CHECK(stage_open(&s, 2));
	send_frame(&s, &frame, 1);
	CHECK(s.stats.entries == 1 && s.stats.established == 0);
	send_frame(&s, &frame, 2);
	CHECK(s.stats.hits == 1 && s.stats.established == 1);
	stage_close(&s);
}

static void services_without_it_are_left_alone(void)
{
	struct stage s;

	CHECK(stage_open(&s, 1));
	s.w.make.services[0].flow_cache = 0;
	CHECK(world_load(&s.w, &s.ids, NULL));
	send_tcp(&s, 4, 1, SYN);
	CHECK(s.stats.hits + s.stats.misses + s.stats.inserts == 0);
	s.w.make.services[0].flow_cache = 1;
	CHECK(world_load(&s.w, &s.ids, NULL));
	s.w.path.backend_ids = NULL;
	send_tcp(&s, 4, 1, SYN);
	CHECK(s.stats.hits + s.stats.misses + s.stats.inserts == 0);
	stage_close(&s);
}

static void echo_and_errors_teach_nothing(void)
{
	const struct frame echo = icmp_frame(4, GLB_ICMP_ECHO, 0);
	const struct frame error = too_big_frame(4, GLB_IPPROTO_TCP, frame_vip_v4, 80), flow = tcp_frame(4, 40000, 80);
	struct frame syn = flow;
	struct glb_packet p;
	struct stage s;
	uint32_t own;

	CHECK(stage_open(&s, 1));
	send_frame(&s, &echo, 1);
	CHECK(s.stats.misses == 0);
	send_frame(&s, &error, 1);
	CHECK(s.stats.misses == 1 && s.stats.entries == 0);
	syn.bytes[14 + 20 + 13] = SYN;
	p = send_frame(&s, &syn, 1);
	own = first(&s, &p);
	backend_of(&s, own)->state = GLB_STATE_DRAINING; /* the chain leads elsewhere now */
	CHECK(world_load(&s.w, &s.ids, NULL) && by_chain(&s, 4, 40000) != own);
	p = send_frame(&s, &error, 1);
	CHECK(p.verdict == GLB_VERDICT_FORWARD && first(&s, &p) == own);
	CHECK(s.stats.hits == 1 && s.stats.established == 0); /* and is no second packet of its flow */
	stage_close(&s);
}

static void unavailable_backends_are_not_taught(void)
{
	struct stage s;

	CHECK(stage_open(&s, 1));
	for (unsigned i = 0; i < BACKENDS; i++)
		s.w.make.backends[0][i].state = i % 2 ? GLB_STATE_DRAINING : GLB_STATE_FILLING;
	CHECK(world_load(&s.w, &s.ids, NULL));
	CHECK(send_tcp(&s, 4, 1, SYN).verdict == GLB_VERDICT_FORWARD);
	CHECK(send_tcp(&s, 4, 2, ACK).verdict == GLB_VERDICT_FORWARD);
	CHECK(s.stats.entries == 0);
	stage_close(&s);
}

/* ---- where the backend stands ---- */

/* Establishes a flow, changes its backend, and says what becomes of its next packet. */
static struct glb_packet after_change(struct stage *s, uint8_t state, uint8_t health, uint8_t flags, uint32_t *own)
{
	*own = establish(s);
	backend_of(s, *own)->state = state;
	backend_of(s, *own)->health = health;
	if (!world_load(&s->w, &s->ids, NULL))
		return (struct glb_packet){.verdict = GLB_VERDICT_DROP};
	return send_tcp(s, 4, 1, flags);
}

static void stays_first_for_its_own_flows(void)
{
	for (uint8_t hops = 1; hops <= GLB_HOPS_MAX; hops++) {
		for (uint8_t state = GLB_STATE_ACTIVE; state <= GLB_STATE_DRAINING; state++) {
			struct glb_packet p;
			struct stage s;
			uint32_t own;

			CHECK(stage_open(&s, hops));
			p = after_change(&s, state, GLB_HEALTH_HEALTHY, ACK, &own);
			CHECK(first(&s, &p) == own && has_no_duplicates(&p));
			CHECK(state == GLB_STATE_ACTIVE ? p.chain_len == (hops < BACKENDS ? hops : BACKENDS)
							: p.chain_len >= 2 && s.w.snapshot.backends[p.chain[1]].id == by_chain(&s, 4, 1));
			CHECK(p.header_len == 50 + (p.chain_len - 1) * 4);
			stage_close(&s);
		}
	}
}

static void goes_last_when_unhealthy(void)
{
	for (uint8_t hops = 1; hops <= 3; hops++) {
		struct glb_packet p;
		struct stage s;
		uint32_t own;

		CHECK(stage_open(&s, hops));
		p = after_change(&s, GLB_STATE_ACTIVE, GLB_HEALTH_UNHEALTHY, ACK, &own);
		CHECK(first(&s, &p) == by_chain(&s, 4, 1) && first(&s, &p) != own && has_no_duplicates(&p));
		CHECK(s.w.snapshot.backends[p.chain[p.chain_len - 1]].id == own);
		CHECK(s.stats.entries == 1); /* it may recover */
		backend_of(&s, own)->health = GLB_HEALTH_HEALTHY;
		CHECK(world_load(&s.w, &s.ids, NULL));
		p = send_tcp(&s, 4, 1, ACK);
		CHECK(first(&s, &p) == own);
		stage_close(&s);
	}
}

static void dies_with_its_backend(void)
{
	for (unsigned removed = 0; removed < 2; removed++) {
		struct glb_packet p;
		struct stage s;
		uint32_t own;

		CHECK(stage_open(&s, 1));
		p = after_change(&s, GLB_STATE_ACTIVE, GLB_HEALTH_HEALTHY, ACK, &own);
		CHECK(first(&s, &p) == own);
		if (removed)
			backend_of(&s, own)->id = 4711;
		else
			backend_of(&s, own)->state = GLB_STATE_INACTIVE;
		CHECK(world_load(&s.w, &s.ids, NULL));
		p = send_tcp(&s, 4, 1, ACK);
		CHECK(first(&s, &p) == by_chain(&s, 4, 1) && s.stats.gone == 1);
		CHECK(s.stats.entries == 1); /* with one hop it has learnt anew */
		stage_close(&s);
	}
}

/* ---- new connections ---- */

static void a_syn_ignores_what_takes_no_new_connections(void)
{
	static const struct {
		uint8_t state, health;
	} changes[] = {
		{GLB_STATE_DRAINING, GLB_HEALTH_HEALTHY}, {GLB_STATE_FILLING, GLB_HEALTH_UNKNOWN},
		{GLB_STATE_ACTIVE, GLB_HEALTH_UNHEALTHY},
	};

	for (unsigned i = 0; i < 2 * COUNT(changes); i++) {
		struct glb_packet p;
		struct stage s;
		uint32_t own;

		CHECK(stage_open(&s, i % 2 ? 1 : 2));
		p = after_change(&s, changes[i / 2].state, changes[i / 2].health, SYN, &own);
		CHECK(first(&s, &p) == by_chain(&s, 4, 1) && first(&s, &p) != own && s.stats.replaced == 1);
		p = send_tcp(&s, 4, 1, ACK);
		CHECK(first(&s, &p) == by_chain(&s, 4, 1) && first(&s, &p) != own);
		stage_close(&s);
	}
}

/* The place of a backend in the chain that flow 1 gets without a cache; GLB_HOPS_MAX: it is not there. */
static unsigned place_in_chain(struct stage *s, uint32_t id)
{
	const struct frame frame = tcp_frame(4, 1, 80);
	const struct glb_packet p = run(&s->w.path, &frame);

	for (unsigned i = 0; i < p.chain_len; i++)
		if (s->w.snapshot.backends[p.chain[i]].id == id)
			return i;
	return GLB_HOPS_MAX;
}

/* Makes other rows until a backend has that place in flow 1's. */
static bool move_rows(struct stage *s, uint32_t id, unsigned place)
{
	for (unsigned i = 0; i < 100; i++) {
		if (place_in_chain(s, id) == place)
			return true;
		s->w.make.services[0].seed[3]++;
		if (!world_load(&s->w, &s->ids, NULL))
			return false;
	}
	return false;
}

static void a_syn_ignores_what_others_would_not_find(void)
{
	for (unsigned hops = 1; hops <= 2; hops++) {
		struct glb_packet p;
		struct stage s;
		uint32_t own;

		CHECK(stage_open(&s, (uint8_t)hops));
		own = establish(&s);
		CHECK(move_rows(&s, own, GLB_HOPS_MAX));
		p = send_tcp(&s, 4, 1, ACK);
		CHECK(first(&s, &p) == own);
		p = send_tcp(&s, 4, 1, SYN); /* without second chance others find none but the first, and it may be the same SYN again */
		CHECK((first(&s, &p) == own) == (hops == 1) && s.stats.replaced == (hops == 2));
		stage_close(&s);
	}
}

static void a_syn_again_goes_where_the_first_went(void)
{
	struct glb_packet p;
	struct stage s;
	uint32_t own;

	CHECK(stage_open(&s, 2));
	p = send_tcp(&s, 4, 1, SYN);
	own = first(&s, &p);
	CHECK(move_rows(&s, own, 1));
	p = send_tcp(&s, 4, 1, SYN);
	CHECK(first(&s, &p) == own && s.stats.replaced == 0);
	send_tcp(&s, 4, 1, FIN_ACK);
	p = send_tcp(&s, 4, 1, ACK); /* the end of the old connection still goes there */
	CHECK(first(&s, &p) == own);
	p = send_tcp(&s, 4, 1, SYN); /* a new one with the same ports does not */
	CHECK(first(&s, &p) == by_chain(&s, 4, 1) && s.stats.replaced == 1);
	stage_close(&s);
}

static void weight_0_takes_no_new_connections(void)
{
	struct glb_packet p;
	struct stage s;
	uint32_t own;

	CHECK(stage_open(&s, 1));
	own = establish(&s);
	backend_of(&s, own)->weight = 0;
	CHECK(world_load(&s.w, &s.ids, NULL));
	p = send_tcp(&s, 4, 1, ACK);
	CHECK(first(&s, &p) == own);
	p = send_tcp(&s, 4, 1, SYN);
	CHECK(first(&s, &p) == by_chain(&s, 4, 1) && first(&s, &p) != own && s.stats.replaced == 1);
	stage_close(&s);
}

/* A service that goes to another pool: flows stay on a backend of the old one, which another service still uses, as long as this
 * service could have such a backend. */
static void stays_on_a_backend_of_another_pool(void)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct glb_packet p;
		struct stage s;
		uint32_t own;

		CHECK(stage_open(&s, 1));
		own = establish(&s);
		s.w.make.pools[1] = (struct glb_pool_config){"other", s.w.make.backends[1], 1};
		s.w.make.backends[1][0] = (struct glb_backend_config){.name = "new", .id = 99, .weight = 1, .addr = make_v4(10, 9, 9, 9)};
		s.w.make.config.pool_count = 2;
		s.w.make.services[0].pool = 1;
		s.w.make.services[0].seed[0] = 77;
		if (v6) { /* the old pool's service does not need an outer source, this one has none */
			for (unsigned b = 0; b < BACKENDS; b++)
				s.w.make.backends[0][b].addr = make_v6((uint8_t)(1 + b));
			for (unsigned i = 1; i < 3; i++) {
				s.w.make.services[i].encap = GLB_ENCAP_NAT;
				s.w.make.services[i].hops = 1;
				s.w.make.services[i].bind_count = 1;
				s.w.make.binds[i][0] = s.w.make.binds[i][1];
			}
		}
		CHECK(world_load(&s.w, &s.ids, NULL));
		p = send_tcp(&s, 4, 1, ACK);
		CHECK(p.verdict == GLB_VERDICT_FORWARD && first(&s, &p) == (v6 ? 99 : own) && s.stats.gone == v6);
		stage_close(&s);
	}
}

/* ---- bursts ---- */

/* A burst of anything, with its flows more than once in it, goes where packets one by one go. */
static void bursts_equal_single_packets(void)
{
	static struct frame frames[GLB_BURST_MAX];
	struct glb_packet burst[GLB_BURST_MAX] = {0};
	struct stage one, many;
	uint64_t state = 5;

	CHECK(stage_open(&one, 2) && stage_open(&many, 2));
	for (unsigned round = 0; round < 1000; round++) {
		if (round % 50 == 49) {
			const unsigned b = (unsigned)(make_random(&state, BACKENDS));

			one.w.make.backends[0][b].state = many.w.make.backends[0][b].state = (uint8_t)make_random(&state, 4);
			one.w.make.backends[0][b].health = many.w.make.backends[0][b].health = (uint8_t)make_random(&state, 3);
			CHECK(world_load(&one.w, &one.ids, NULL) && world_load(&many.w, &many.ids, NULL));
		}
		for (unsigned i = 0; i < GLB_BURST_MAX; i++) {
			static const uint8_t flags[] = {SYN, SYN, ACK, ACK, ACK, ACK, FIN_ACK, GLB_TCP_RST};
			const unsigned family = make_random(&state, 2) ? 4 : 6;
			const uint16_t sport = (uint16_t)make_random(&state, 300);

			frames[i] = make_random(&state, 4) ? tcp_frame(family, sport, 80) : udp_frame(family, sport, 53);
			if (frames[i].bytes[14 + (family == 4 ? 9 : 6)] == GLB_IPPROTO_TCP)
				frames[i].bytes[14 + (family == 4 ? 20 : 40) + 13] = flags[make_random(&state, COUNT(flags))];
			burst[i].data = frames[i].bytes;
			burst[i].data_len = burst[i].frame_len = frames[i].len;
		}
		glb_path_burst_cached(&many.w.path, &many.cache, round, burst, GLB_BURST_MAX);
		for (unsigned i = 0; i < GLB_BURST_MAX; i++) {
			const struct glb_packet alone = send_frame(&one, &frames[i], round);

			CHECK(alone.verdict == burst[i].verdict && alone.chain_len == burst[i].chain_len);
			CHECK(memcmp(alone.chain, burst[i].chain, alone.chain_len * 4U) == 0);
			CHECK(alone.verdict != GLB_VERDICT_FORWARD || has_no_duplicates(&alone));
		}
	}
	CHECK(memcmp(&one.stats, &many.stats, sizeof(one.stats)) == 0 && one.stats.hits > 10000);
	stage_close(&one);
	stage_close(&many);
}

/* Goes to the first backend of the cache or the chain, and says when the cache has forgotten it: expired counts. */
static void udp_flows_of_a_service_have_its_own_time(void)
{
	const struct frame dns = udp_frame(4, 5353, 53);
	struct stage s;

	CHECK(stage_open(&s, 1));
	s.w.make.services[2].udp_timeout = 7;
	CHECK(world_load(&s.w, &s.ids, NULL) && s.w.snapshot.udp_timeouts[2] == 7 && s.w.snapshot.udp_timeouts[0] == 0);
	send_frame(&s, &dns, 100);
	send_frame(&s, &dns, 108); /* new, and its time is over already */
	CHECK(s.stats.expired == 1 && s.stats.inserts == 2);
	send_frame(&s, &dns, 115); /* the second packet in time */
	send_frame(&s, &dns, 122);
	CHECK(s.stats.expired == 1 && s.stats.hits == 2);
	send_frame(&s, &dns, 130);
	CHECK(s.stats.expired == 2);
	CHECK(s.cache.timeout[GLB_FLOW_UDP] == 180 && s.cache.timeout[GLB_FLOW_UDP_FIRST] == 30); /* of others, as before */
	stage_close(&s);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"with second chance only a SYN teaches", with_second_chance_only_a_syn_teaches},
		{"with one hop any packet teaches", with_one_hop_any_packet_teaches},
		{"an alt look-up is a second chance", an_alt_look_up_is_a_second_chance},
		{"UDP has no second chance", udp_has_no_second_chance},
		{"services without it are left alone", services_without_it_are_left_alone},
		{"echo and errors teach nothing", echo_and_errors_teach_nothing},
		{"unavailable backends are not taught", unavailable_backends_are_not_taught},
		{"stays first for its own flows", stays_first_for_its_own_flows},
		{"goes last when unhealthy", goes_last_when_unhealthy},
		{"dies with its backend", dies_with_its_backend},
		{"a SYN ignores what takes no new connections", a_syn_ignores_what_takes_no_new_connections},
		{"a SYN ignores what others would not find", a_syn_ignores_what_others_would_not_find},
		{"a SYN again goes where the first went", a_syn_again_goes_where_the_first_went},
		{"weight 0 takes no new connections", weight_0_takes_no_new_connections},
		{"stays on a backend of another pool", stays_on_a_backend_of_another_pool},
		{"UDP flows of a service have its own time", udp_flows_of_a_service_have_its_own_time},
		{"bursts equal single packets", bursts_equal_single_packets},
	};

	return check_run(cases, COUNT(cases));
}
