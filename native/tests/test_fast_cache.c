/* The flow cache on the straight line beside its twin, the path with a cache of its own: frames, counters and the caches themselves
 * stay the same, through changes of backends, and when the cache is far too small.
 */
#include "check.h"
#include "world.h"

#include <glb/fast.h>

enum {
	ROUNDS = 6000,
	ROOM = GLB_FAST_HEADROOM, /* in front of a frame: no more, so that ASan sees it */
	BACKENDS = 6,
	ENTRIES = 1024,
	PORTS = 2,
	SERVICES = 7,
};

struct cache {
	struct glb_flow_cache cache;
	struct glb_flow_stats stats;
	void *memory;
	size_t bytes;
};

struct stage {
	struct make make;
	struct glb_buffer buffer;
	struct glb_snapshot snapshot;
	struct glb_director director;
	struct glb_path path;
	struct glb_backend_ids ids;
	uint32_t *slots;
	uint64_t next_hops[MAKE_BACKENDS];
	struct glb_fast fast;
	struct cache straight, twin;
	struct glb_fast_burst burst;
	uint8_t *bytes[GLB_BURST_MAX];
	struct frame frames[GLB_BURST_MAX];
	unsigned n;
};

static void cache_open(struct cache *c, uint32_t entries)
{
	const struct glb_flow_timeouts timeouts = {.opening = 5, .established = 40, .closing = 3, .udp = 9};

	c->bytes = glb_flow_cache_bytes(entries);
	c->memory = aligned_alloc(128, c->bytes);
	memset(c->memory, 0, c->bytes);
	glb_flow_cache_init(&c->cache, c->memory, entries, (const uint8_t *)"an-arbitrary-key", &timeouts, &c->stats);
}

static bool caches_equal(const struct stage *s)
{
	return memcmp(s->straight.memory, s->twin.memory, s->twin.bytes) == 0 &&
	       memcmp(&s->straight.stats, &s->twin.stats, sizeof(s->twin.stats)) == 0;
}

static void unload(struct stage *s)
{
	glb_fast_free(&s->fast);
	free(s->slots);
	glb_buffer_free(&s->buffer);
}

static bool load(struct stage *s, bool routed)
{
	const struct glb_egress egress[PORTS] = {{.mac = {2, 0, 0, 0, 0, 2}, .mtu = 1500}, {.mac = {2, 0, 0, 0, 1, 2}, .vlan = 7}};
	struct glb_error error;

	s->director = (struct glb_director){.outer_source_v4 = make_v4(10, 0, 0, 254), .gateway_mac = {2, 0, 0, 0, 0, 0xfe}, .mtu = 260};
	if (!make_open(&s->make, &s->buffer, &s->snapshot) ||
	    glb_path_init(&s->path, &s->snapshot, &s->director, &error) != 0)
		return false;
	s->slots = calloc(glb_backend_ids_slots(&s->snapshot), sizeof(*s->slots));
	glb_backend_ids_init(&s->ids, &s->snapshot, s->slots);
	s->path.backend_ids = &s->ids;
	if (routed)
		glb_path_route(&s->path, s->next_hops, egress, PORTS);
	return glb_fast_make(&s->fast, &s->path, routed ? PORTS : 1, &error) == 0;
}

static const uint16_t ports[SERVICES] = {80, 443, 53, 8080, 81, 82, 83};

/* Services with 2, 3, 1 and 8 hops; that on port 81 remembers nothing, that on 82 is GRE, and that on 83 NAT, over IPv4 only. */
static void configure(struct stage *s)
{
	static const uint8_t hops[SERVICES] = {2, 3, 1, 8, 2, 2, 2}, protocols[SERVICES] = {6, 6, 17, 6, 6, 6, 6};

	make_init(&s->make, 1, BACKENDS, SERVICES);
	make_one_family(&s->make);
	s->make.services[5].encap = GLB_ENCAP_GRE;
	s->make.services[6].encap = GLB_ENCAP_NAT;
	s->make.services[6].encap_value = 8083;
	for (unsigned i = 0; i < SERVICES; i++) {
		s->make.services[i].hops = hops[i];
		s->make.services[i].hash_fields = i % 2 == 0 ? GLB_HASH_SRC_ADDR : 0xf;
		s->make.services[i].flow_cache = i != 4;
		make_bind(&s->make, i, vip4(), 32, protocols[i], ports[i], ports[i]);
		if (i != 6)
			make_bind(&s->make, i, vip6(), 128, protocols[i], ports[i], ports[i]);
	}
}

/* Other states, health and weights; backends come and go. */
static void change(struct stage *s, uint64_t *random)
{
	for (unsigned i = 0; i < BACKENDS; i++) {
		struct glb_backend_config *backend = &s->make.backends[0][i];

		backend->state = make_random(random, 3) != 0 ? GLB_STATE_ACTIVE : (uint8_t)make_random(random, 4);
		backend->health = make_random(random, 3) != 0 ? GLB_HEALTH_HEALTHY : (uint8_t)make_random(random, 3);
		backend->weight = (uint16_t)make_random(random, 4);
	}
	s->make.pools[0].backend_count = 2 + make_random(random, BACKENDS - 1);
	for (unsigned i = 0; i < BACKENDS; i++)
		glb_next_hop_store(&s->next_hops[i], (struct glb_next_hop){
			.mac = {2, 0, 0, 0, 9, (uint8_t)i}, .port = make_random(random, 12) == 0,
			.kind = make_random(random, 12) == 0 ? GLB_NEXT_HOP_UNKNOWN : GLB_NEXT_HOP_ROUTER});
}

static struct frame random_frame(uint64_t *random, unsigned family, uint16_t dport, unsigned clients)
{
	static const uint8_t flags[] = {GLB_TCP_SYN, GLB_TCP_ACK, GLB_TCP_ACK, GLB_TCP_ACK, GLB_TCP_FIN | GLB_TCP_ACK, GLB_TCP_RST};
	struct frame frame = ip_frame(family, dport == 53 ? GLB_IPPROTO_UDP : GLB_IPPROTO_TCP);
	const uint32_t l4 = frame.len, client = make_random(random, clients);

	memcpy(frame.bytes + (family == 4 ? 26 : 22 + 8), &client, sizeof(client));
	if (dport == 53) {
		put_udp(&frame, (uint16_t)(client % 7), dport);
	} else {
		put_tcp(&frame, (uint16_t)(client % 7), dport);
		frame.bytes[l4 + 13] = flags[make_random(random, sizeof(flags))];
	}
	put_zeros(&frame, make_random(random, 100));
	frame_close(&frame);
	return frame;
}

static void fill(struct stage *s, uint64_t *random, unsigned clients)
{
	const unsigned family = make_random(random, 2) ? 4 : 6, some = family == 4 ? SERVICES : SERVICES - 1, one = make_random(random, some);
	const bool mixed = make_random(random, 2);

	s->n = 1 + make_random(random, make_random(random, 2) ? 8 : GLB_BURST_MAX);
	for (unsigned i = 0; i < s->n; i++) {
		s->frames[i] = random_frame(random, family, ports[mixed ? make_random(random, some) : one], clients);
		s->bytes[i] = malloc(ROOM + s->frames[i].len);
		memset(s->bytes[i], 0xa5, ROOM);
		memcpy(s->bytes[i] + ROOM, s->frames[i].bytes, s->frames[i].len);
		s->burst.data[i] = s->bytes[i] + ROOM;
		s->burst.len[i] = s->frames[i].len;
	}
}

/* Whether the straight line made of packet i what the path makes of it. */
static bool made_same(struct stage *s, const struct glb_packet *p, unsigned i, int port)
{
	uint8_t expected[GLB_HEADER_MAX];

	if (p->verdict != GLB_VERDICT_FORWARD || (int)p->next_hop.port != port || p->service != s->burst.service[i] ||
	    p->chain[0] != s->burst.backend[i] || p->l3_len != s->burst.l3_len[i] || p->header_len + p->l3_len != s->burst.len[i])
		return false;
	glb_path_encap(&s->path, p, expected);
	if (p->rewrite_len != 0)
		glb_path_rewrite(&s->path, p, s->frames[i].bytes + p->l3_offset);
	return memcmp(s->burst.data[i], expected, p->header_len) == 0 &&
	       memcmp(s->burst.data[i] + p->header_len, p->data + p->l3_offset, p->l3_len) == 0;
}

static void describe(struct stage *s, struct glb_packet *packets)
{
	for (unsigned i = 0; i < s->n; i++)
		packets[i] = (struct glb_packet){.data = s->frames[i].bytes, .data_len = s->frames[i].len, .frame_len = s->frames[i].len};
}

/* A burst both ways. Returns -1 when they differ, else whether the straight line took it. */
static int both(struct stage *s, uint32_t now)
{
	static struct glb_packet packets[GLB_BURST_MAX];
	const int port = glb_fast_run_cached(&s->fast, &s->path, &s->straight.cache, now, &s->burst, s->n);
	bool same = true;

	if (port < 0) { /* it has left its cache as it was; the path brings it up to date */
		same = caches_equal(s);
		for (unsigned i = 0; i < s->n; i++)
			same &= memcmp(s->bytes[i] + ROOM, s->frames[i].bytes, s->frames[i].len) == 0;
		describe(s, packets);
		glb_path_burst_cached(&s->path, &s->straight.cache, now, packets, s->n);
	}
	describe(s, packets);
	glb_path_burst_cached(&s->path, &s->twin.cache, now, packets, s->n);
	for (unsigned i = 0; i < s->n; i++) {
		if (port >= 0)
			same &= made_same(s, &packets[i], i, port);
		free(s->bytes[i]);
	}
	return same && caches_equal(s) ? port >= 0 : -1;
}

static void is_its_twin(uint64_t seed, bool routed, uint32_t entries, unsigned clients)
{
	static struct stage s;
	uint64_t random = seed;
	unsigned taken = 0;
	uint32_t now = 0;

	memset(&s, 0, sizeof(s));
	configure(&s);
	cache_open(&s.straight, entries);
	cache_open(&s.twin, entries);
	change(&s, &random);
	CHECK(load(&s, routed));
	for (unsigned round = 0; round < ROUNDS; round++) {
		int both_ways;

		if (make_random(&random, 50) == 0) {
			unload(&s);
			change(&s, &random);
			CHECK(load(&s, routed));
		}
		now += make_random(&random, 20) == 0;
		glb_flow_cache_sweep(&s.straight.cache, now, 1);
		glb_flow_cache_sweep(&s.twin.cache, now, 1);
		fill(&s, &random, clients);
		both_ways = both(&s, now);
		CHECK(both_ways >= 0);
		taken += both_ways == 1;
	}
	CHECK(taken > ROUNDS / 10);
	CHECK(s.twin.stats.hits > 1000 && s.twin.stats.gone > 0 && s.twin.stats.replaced > 0 && s.twin.stats.expired > 0);
	CHECK(entries >= ENTRIES || s.twin.stats.evicted_established > 0);
	unload(&s);
	free(s.straight.memory);
	free(s.twin.memory);
}

static void is_its_twin_with_room(void)
{
	is_its_twin(1, false, 16 * ENTRIES, 60);
	if (!check_failed)
		is_its_twin(2, false, 16 * ENTRIES, 1000);
}

static void is_its_twin_without_room(void)
{
	is_its_twin(3, false, 64, 60);
	if (!check_failed)
		is_its_twin(4, false, 8, 12); /* one bucket */
}

static void is_its_twin_with_next_hops(void)
{
	is_its_twin(5, true, ENTRIES, 200);
	if (!check_failed)
		is_its_twin(6, true, 64, 60);
}

/* A cached flow's burst is taken, and moves with its backend; without a cache the same service's burst goes by its rows. */
static void follows_the_cache(void)
{
	static struct stage s;
	uint32_t own;

	memset(&s, 0, sizeof(s));
	configure(&s);
	cache_open(&s.straight, ENTRIES);
	cache_open(&s.twin, ENTRIES);
	CHECK(load(&s, false));
	for (unsigned packet = 0; packet < 4; packet++) {
		struct frame frame = tcp_frame(4, 7, 80);

		frame.bytes[14 + 20 + 13] = packet == 0 ? GLB_TCP_SYN : GLB_TCP_ACK;
		if (packet == 2) { /* its backend drains: the row begins with another one */
			unload(&s);
			s.make.backends[0][own].state = GLB_STATE_DRAINING;
			CHECK(load(&s, false));
		}
		for (unsigned cached = 0; cached < 2; cached++) {
			s.n = 1;
			s.frames[0] = frame;
			s.bytes[0] = malloc(ROOM + frame.len);
			memcpy(s.bytes[0] + ROOM, frame.bytes, frame.len);
			s.burst.data[0] = s.bytes[0] + ROOM;
			s.burst.len[0] = frame.len;
			if (cached) {
				CHECK(both(&s, 1) == 1);
				own = packet == 0 ? s.burst.backend[0] : own;
				CHECK(s.burst.backend[0] == own);
			} else {
				CHECK(glb_fast_run(&s.fast, &s.path, &s.burst, 1) == 0 && (packet < 2 || s.burst.backend[0] != own));
				free(s.bytes[0]);
			}
		}
	}
	unload(&s);
	free(s.straight.memory);
	free(s.twin.memory);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"is its twin with room", is_its_twin_with_room},
		{"is its twin without room", is_its_twin_without_room},
		{"is its twin with next hops", is_its_twin_with_next_hops},
		{"follows the cache", follows_the_cache},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
