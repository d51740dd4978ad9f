/* The flow cache's table, held against a twin that is a plain list, and what floods can do to it. */
#include "check.h"

#include <glb/flow_cache.h>
#include <glb/wire.h>

#include <stddef.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct glb_flow_timeouts timeouts = {.opening = 30, .established = 3600, .closing = 60, .udp = 180};

struct box {
	struct glb_flow_cache cache;
	struct glb_flow_stats stats;
	void *memory;
};

static void box_open(struct box *box, uint32_t entries)
{
	const size_t bytes = glb_flow_cache_bytes(entries);

	box->memory = aligned_alloc(128, bytes);
	memset(box->memory, 0, bytes);
	glb_flow_cache_init(&box->cache, box->memory, entries, (const uint8_t *)"0123456789abcdef", &timeouts, &box->stats);
}

static void box_close(struct box *box)
{
	free(box->memory);
}

static uint64_t random_next(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static struct glb_flow_key flow(uint32_t n, uint8_t protocol)
{
	struct glb_flow_key key = {
		.sport = (uint16_t)n, .dport = 443, .service = 7, .protocol = protocol,
		.family = n & 1 ? GLB_FAMILY_V4 : GLB_FAMILY_V6,
	};

	memcpy(key.src, &n, sizeof(n));
	if (key.family == GLB_FAMILY_V6)
		key.src[15] = 1;
	return key;
}

/* What a service without second chance does with a packet. Returns the backend that was remembered, or 0. */
static uint32_t packet(struct box *box, const struct glb_flow_key *key, uint32_t backend, uint32_t now,
		       enum glb_flow_event event)
{
	const uint64_t hash = glb_flow_cache_hash(&box->cache, key);
	const uint32_t place = glb_flow_cache_find(&box->cache, hash, now);
	uint32_t found;

	if (place == GLB_FLOW_NONE) {
		glb_flow_cache_insert(&box->cache, hash, key->protocol, backend, now);
		return 0;
	}
	found = glb_flow_cache_backend(&box->cache, place);
	glb_flow_cache_seen(&box->cache, place, now, event);
	return found;
}

static uint32_t look(struct box *box, const struct glb_flow_key *key, uint32_t now)
{
	const uint32_t place = glb_flow_cache_find(&box->cache, glb_flow_cache_hash(&box->cache, key), now);

	return place == GLB_FLOW_NONE ? 0 : glb_flow_cache_backend(&box->cache, place);
}

/* Counts say what is there, each bucket keeps its limits, and no flow is there twice. */
static bool is_sound(const struct box *box)
{
	uint64_t entries = 0;

	for (uint32_t b = 0; b < box->cache.bucket_count; b++) {
		const struct glb_flow_bucket *bucket = &box->cache.buckets[b];
		unsigned fresh = 0, established = 0;

		for (unsigned way = 0; way < GLB_FLOW_WAYS; way++) {
			const uint8_t state = bucket->state[way];

			if ((state == GLB_FLOW_FREE) != (bucket->signature[way] == 0))
				return false;
			entries += state != GLB_FLOW_FREE;
			fresh += state == GLB_FLOW_OPENING || state == GLB_FLOW_UDP_FIRST;
			established += state == GLB_FLOW_ESTABLISHED || state == GLB_FLOW_UDP;
		}
		if (fresh > GLB_FLOW_NEW_MAX || established > GLB_FLOW_ESTABLISHED_MAX)
			return false;
	}
	return entries == box->stats.entries &&
	       box->stats.inserts == entries + box->stats.expired + box->stats.gone + box->stats.replaced +
		       box->stats.evicted_closing + box->stats.evicted_new + box->stats.evicted_established;
}

static void finds_what_was_put_in(void)
{
	struct glb_flow_key key = flow(2, GLB_IPPROTO_TCP), other; /* IPv6, which fills the addresses */
	struct box box;

	box_open(&box, 1000);
	CHECK(glb_flow_cache_bytes(1000) == 1000 * 16 && glb_flow_cache_bytes(1001) == 1008 * 16);
	CHECK(box.stats.capacity == 1000);
	CHECK(packet(&box, &key, 11, 0, GLB_FLOW_SYN) == 0 && look(&box, &key, 0) == 11);
	for (unsigned i = 0; i < offsetof(struct glb_flow_key, family); i++) { /* every byte of the key counts */
		other = key;
		((uint8_t *)&other)[i] ^= 1;
		CHECK(look(&box, &other, 0) == 0);
	}
	other = key;
	other.family = GLB_FAMILY_V4;
	CHECK(look(&box, &other, 0) == 0);
	glb_flow_cache_forget(&box.cache, glb_flow_cache_find(&box.cache, glb_flow_cache_hash(&box.cache, &key), 0),
			      GLB_FLOW_END_GONE);
	CHECK(look(&box, &key, 0) == 0 && box.stats.gone == 1 && is_sound(&box));
	box_close(&box);
}

static void forgets_in_time(void)
{
	static const struct {
		uint8_t protocol;
		unsigned packets; /* SYN first where it is TCP, then data */
		bool finished;
		uint16_t timeout;
	} lives[] = {
		{GLB_IPPROTO_TCP, 1, false, 30}, {GLB_IPPROTO_TCP, 2, false, 3600}, {GLB_IPPROTO_TCP, 2, true, 60},
		{GLB_IPPROTO_TCP, 1, true, 60}, {GLB_IPPROTO_UDP, 1, false, 30}, {GLB_IPPROTO_UDP, 2, false, 180},
	};

	for (unsigned i = 0; i < COUNT(lives); i++) {
		for (uint32_t start = 100; start < 200000; start += 65436) { /* the low 16 bits wrap meanwhile */
			const struct glb_flow_key key = flow(i, lives[i].protocol);
			struct box box;

			box_open(&box, 64);
			for (unsigned n = 0; n < lives[i].packets; n++)
				packet(&box, &key, 5, start, n == 0 && key.protocol == GLB_IPPROTO_TCP ? GLB_FLOW_SYN : GLB_FLOW_DATA);
			if (lives[i].finished)
				packet(&box, &key, 5, start, GLB_FLOW_CLOSE);
			CHECK(look(&box, &key, start + lives[i].timeout) == 5);
			CHECK(look(&box, &key, start + lives[i].timeout + 1) == 0 && box.stats.expired == 1);
			packet(&box, &key, 6, start, GLB_FLOW_SYN);
			glb_flow_cache_sweep(&box.cache, start + 30, box.cache.bucket_count);
			CHECK(box.stats.entries == 1);
			glb_flow_cache_sweep(&box.cache, start + 31, box.cache.bucket_count);
			CHECK(box.stats.entries == 0 && is_sound(&box));
			box_close(&box);
		}
	}
}

static void syns_alone_establish_nothing(void)
{
	const struct glb_flow_key key = flow(3, GLB_IPPROTO_TCP);
	struct box box;

	box_open(&box, 64);
	for (unsigned i = 0; i < 5; i++)
		packet(&box, &key, 5, i, GLB_FLOW_SYN);
	CHECK(box.stats.established == 0 && box.stats.inserts == 1);
	packet(&box, &key, 5, 6, GLB_FLOW_DATA);
	CHECK(box.stats.established == 1);
	packet(&box, &key, 5, 7, GLB_FLOW_CLOSE);
	packet(&box, &key, 5, 8, GLB_FLOW_DATA); /* a half-closed connection stays a finished one */
	CHECK(glb_flow_cache_state(&box.cache, glb_flow_cache_find(&box.cache, glb_flow_cache_hash(&box.cache, &key), 8)) ==
	      GLB_FLOW_CLOSING);
	box_close(&box);
}

/* ---- the twin ---- */

struct twin_flow {
	uint32_t backend, seen;
	uint8_t state;
};

enum { TWIN_FLOWS = 4000 };

static uint32_t twin_timeout(uint8_t state)
{
	return state == GLB_FLOW_ESTABLISHED ? 3600 : state == GLB_FLOW_UDP ? 180 : state == GLB_FLOW_CLOSING ? 60 : 30;
}

/* The same packet for a list of all flows that ever were, without limits. */
static uint32_t twin_packet(struct twin_flow *f, uint8_t protocol, uint32_t backend, uint32_t now,
			    enum glb_flow_event event)
{
	const bool tcp = protocol == GLB_IPPROTO_TCP;

	if (f->backend != 0 && now - f->seen > twin_timeout(f->state))
		f->backend = 0;
	f->seen = now;
	if (f->backend == 0) {
		f->backend = backend;
		f->state = tcp ? GLB_FLOW_OPENING : GLB_FLOW_UDP_FIRST;
		return 0;
	}
	if (event == GLB_FLOW_CLOSE)
		f->state = GLB_FLOW_CLOSING;
	else if (event == GLB_FLOW_DATA && f->state != GLB_FLOW_CLOSING)
		f->state = tcp ? GLB_FLOW_ESTABLISHED : GLB_FLOW_UDP;
	return f->backend;
}

/* `entries` many: nothing is ever pushed out, and both say the same. Few: what is remembered is still never wrong. */
static void equals_its_twin(uint32_t entries, bool exact)
{
	static struct twin_flow twins[TWIN_FLOWS];
	uint64_t state = entries;
	uint32_t now = 65000;
	unsigned known = 0;
	struct box box;

	memset(twins, 0, sizeof(twins));
	box_open(&box, entries);
	for (unsigned step = 0; step < 400000; step++) {
		const uint32_t n = (uint32_t)random_next(&state) % TWIN_FLOWS, backend = 1 + (uint32_t)random_next(&state) % 1000;
		const struct glb_flow_key key = flow(n, n % 3 ? GLB_IPPROTO_TCP : GLB_IPPROTO_UDP);
		const enum glb_flow_event event = key.protocol == GLB_IPPROTO_UDP ? GLB_FLOW_DATA
						: (enum glb_flow_event)(random_next(&state) % 3);
		uint32_t found, wanted;

		now += random_next(&state) % 100 == 0;
		glb_flow_cache_sweep(&box.cache, now, 1);
		found = packet(&box, &key, backend, now, event);
		wanted = twin_packet(&twins[n], key.protocol, backend, now, event);
		CHECK(exact ? found == wanted : found == 0 || found == wanted);
		if (found == 0 && wanted != 0) { /* it had been pushed out and is new again */
			twins[n].backend = backend;
			twins[n].state = key.protocol == GLB_IPPROTO_TCP ? GLB_FLOW_OPENING : GLB_FLOW_UDP_FIRST;
		}
		known += found != 0;
		if (step % 20000 == 0)
			CHECK(is_sound(&box));
	}
	CHECK(known > 100 && is_sound(&box));
	if (exact)
		CHECK(box.stats.evicted_new + box.stats.evicted_closing + box.stats.evicted_established == 0);
	else
		CHECK(box.stats.evicted_established > 0 && box.stats.evicted_closing > 0 && box.stats.evicted_new > 0);
	box_close(&box);
}

static void equals_its_twin_with_room(void)
{
	equals_its_twin(1 << 17, true);
}

static void is_never_wrong_without_room(void)
{
	equals_its_twin(800, false);
	if (!check_failed)
		equals_its_twin(8, false); /* one bucket: both of each flow's are the same */
}

/* ---- floods ---- */

enum { FLOOD_TABLE = 8192 };

/* Establishes `n` flows; returns how many are still there after `flood` more flows of `packets` packets each. */
static unsigned survivors(struct box *box, uint32_t n, uint32_t flood, unsigned packets)
{
	unsigned left = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct glb_flow_key key = flow(i, GLB_IPPROTO_TCP);

		packet(box, &key, 1 + i, 1000, GLB_FLOW_SYN);
		packet(box, &key, 1 + i, 1000, GLB_FLOW_DATA);
	}
	for (uint32_t i = 0; i < flood; i++) {
		const struct glb_flow_key key = flow(1000000 + i, GLB_IPPROTO_TCP);

		for (unsigned p = 0; p < packets; p++)
			packet(box, &key, 5, 1001, p == 0 ? GLB_FLOW_SYN : GLB_FLOW_DATA);
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct glb_flow_key key = flow(i, GLB_IPPROTO_TCP);

		left += look(box, &key, 1001) == 1 + i;
	}
	return left;
}

/* Ten times the table in SYNs, over a table that is 60 % full of established flows: all of those stay. */
static void a_flood_of_syns_evicts_no_established_flow(void)
{
	const uint32_t n = FLOOD_TABLE * 6 / 10;
	struct box box;

	box_open(&box, FLOOD_TABLE);
	CHECK(survivors(&box, n, 10 * FLOOD_TABLE, 1) == n);
	CHECK(box.stats.evicted_established == 0 && box.stats.evicted_new > 8 * FLOOD_TABLE && is_sound(&box));
	for (unsigned i = 0; i < 1000; i++) { /* and one that opens meanwhile becomes established when its second packet is soon */
		const struct glb_flow_key key = flow(50000000 + i, GLB_IPPROTO_TCP);

		CHECK(packet(&box, &key, 77, 1001, GLB_FLOW_SYN) == 0 && packet(&box, &key, 77, 1001, GLB_FLOW_DATA) == 77);
	}
	box_close(&box);
}

/* With two packets each they are established flows like any other: what is idle longest goes. */
static void a_flood_of_two_packets_evicts(void)
{
	const uint32_t n = FLOOD_TABLE / 3;
	struct box box;

	box_open(&box, FLOOD_TABLE);
	CHECK(survivors(&box, n, FLOOD_TABLE / 4, 2) == n); /* room for all */
	box_close(&box);
	box_open(&box, FLOOD_TABLE);
	CHECK(survivors(&box, n, 10 * FLOOD_TABLE, 2) == 0);
	CHECK(box.stats.evicted_established >= n && is_sound(&box));
	box_close(&box);
}

static void finished_flows_go_first(void)
{
	const uint32_t half = FLOOD_TABLE * 3 / 10;
	unsigned left = 0;
	struct box box;

	box_open(&box, FLOOD_TABLE);
	for (uint32_t i = 0; i < 2 * half; i++) {
		const struct glb_flow_key key = flow(i, GLB_IPPROTO_TCP);

		packet(&box, &key, 9, 1000, GLB_FLOW_SYN);
		packet(&box, &key, 9, 1000, GLB_FLOW_DATA);
		if (i >= half)
			packet(&box, &key, 9, 1000, GLB_FLOW_CLOSE);
	}
	for (uint32_t i = 0; i < half; i++) {
		const struct glb_flow_key key = flow(1000000 + i, GLB_IPPROTO_TCP);

		packet(&box, &key, 9, 1001, GLB_FLOW_SYN);
		packet(&box, &key, 9, 1001, GLB_FLOW_DATA);
	}
	for (uint32_t i = 0; i < half; i++) {
		const struct glb_flow_key key = flow(i, GLB_IPPROTO_TCP);

		left += look(&box, &key, 1001) != 0;
	}
	CHECK(left == half && box.stats.evicted_established == 0 && box.stats.evicted_closing > 0 && is_sound(&box));
	box_close(&box);
}

/* How full it gets before established flows have to go. With one bucket for each, 60 % would already cost every thirtieth. */
static void fills_up_evenly(void)
{
	static const struct {
		uint32_t percent, lost_per_mille;
	} fills[] = {{50, 0}, {60, 2}, {70, 6}, {80, 40}};

	for (unsigned i = 0; i < COUNT(fills); i++) {
		const uint32_t n = FLOOD_TABLE * fills[i].percent / 100;
		struct box box;

		box_open(&box, FLOOD_TABLE);
		CHECK(survivors(&box, n, 0, 0) + n * fills[i].lost_per_mille / 1000 >= n && is_sound(&box));
		box_close(&box);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"finds what was put in", finds_what_was_put_in},
		{"forgets in time", forgets_in_time},
		{"SYNs alone establish nothing", syns_alone_establish_nothing},
		{"equals its twin with room", equals_its_twin_with_room},
		{"is never wrong without room", is_never_wrong_without_room},
		{"a flood of SYNs evicts no established flow", a_flood_of_syns_evicts_no_established_flow},
		{"a flood of two packets evicts", a_flood_of_two_packets_evicts},
		{"finished flows go first", finished_flows_go_first},
		{"fills up evenly", fills_up_evenly},
	};

	return check_run(cases, COUNT(cases));
}
