/* Fuzz target: any sequence of packets, changes and pauses on a flow cache that is far too small.
 *
 * Input: the cache's size and a timeout, then operations of three bytes: what, which flow, how much. A plain array beside the cache says
 * what was last learnt of each flow: the cache may have forgotten it, but must never say anything else.
 */
#include "fuzz.h"

#include <glb/flow_cache.h>
#include <glb/wire.h>

enum { FLOWS = 256, BUCKETS_MAX = 8, JUMP_S = 16384 };

enum op { OP_SYN, OP_DATA, OP_CLOSE, OP_FORGET, OP_SWEEP, OP_PAUSE, OP_JUMP, OPS };

struct known {
	uint32_t backend; /* 0 = nothing */
	uint32_t seen;    /* s */
};

struct box {
	_Alignas(128) struct glb_flow_bucket buckets[BUCKETS_MAX];
	struct glb_flow_stats stats;
	struct glb_flow_cache cache;
	struct known known[FLOWS];
	uint32_t now, next_backend, longest;
};

static struct glb_flow_key key_of(uint8_t flow)
{
	struct glb_flow_key key = {
		.src = {10, 0, 0, flow}, .sport = flow, .dport = 80, .service = 1,
		.protocol = flow & 1 ? GLB_IPPROTO_TCP : GLB_IPPROTO_UDP, .family = flow & 2 ? GLB_FAMILY_V4 : GLB_FAMILY_V6,
	};

	return key;
}

/* Counts say what is there, and each bucket keeps its limits. */
static void check(const struct box *box)
{
	const struct glb_flow_stats *stats = &box->stats;
	uint64_t entries = 0;

	for (uint32_t b = 0; b < box->cache.bucket_count; b++) {
		const struct glb_flow_bucket *bucket = &box->cache.buckets[b];
		unsigned fresh = 0, established = 0;

		for (unsigned way = 0; way < GLB_FLOW_WAYS; way++) {
			const uint8_t state = bucket->state[way];

			MUST(state < GLB_FLOW_STATES && (state == GLB_FLOW_FREE) == (bucket->signature[way] == 0));
			entries += state != GLB_FLOW_FREE;
			fresh += state == GLB_FLOW_OPENING || state == GLB_FLOW_UDP_FIRST;
			established += state == GLB_FLOW_ESTABLISHED || state == GLB_FLOW_UDP;
		}
		MUST(fresh <= GLB_FLOW_NEW_MAX && established <= GLB_FLOW_ESTABLISHED_MAX);
	}
	MUST(entries == stats->entries && entries <= stats->capacity);
	MUST(stats->inserts == entries + stats->expired + stats->gone + stats->replaced + stats->evicted_closing +
	     stats->evicted_new + stats->evicted_established);
}

static uint32_t find(struct box *box, uint8_t flow, uint64_t hash)
{
	const uint32_t place = glb_flow_cache_find(&box->cache, hash, box->now);

	if (place == GLB_FLOW_NONE)
		return place;
	MUST(box->known[flow].backend != 0 && glb_flow_cache_backend(&box->cache, place) == box->known[flow].backend);
	MUST(box->now - box->known[flow].seen <= box->longest);
	return place;
}

static void packet(struct box *box, uint8_t flow, enum glb_flow_event event)
{
	const struct glb_flow_key key = key_of(flow);
	const uint64_t hash = glb_flow_cache_hash(&box->cache, &key), evicted = box->stats.evicted_established;
	const uint32_t place = find(box, flow, hash);

	if (place != GLB_FLOW_NONE) {
		glb_flow_cache_seen(&box->cache, place, box->now, event);
		MUST(event == GLB_FLOW_DATA || box->stats.evicted_established == evicted);
	} else {
		box->known[flow].backend = ++box->next_backend;
		glb_flow_cache_insert(&box->cache, hash, key.protocol, box->next_backend, box->now);
		MUST(box->stats.evicted_established == evicted); /* a first packet pushes out no established flow */
	}
	box->known[flow].seen = box->now;
	MUST(find(box, flow, hash) != GLB_FLOW_NONE);
}

static void forget(struct box *box, uint8_t flow, uint8_t why)
{
	const struct glb_flow_key key = key_of(flow);
	const uint64_t hash = glb_flow_cache_hash(&box->cache, &key);
	const uint32_t place = find(box, flow, hash);

	if (place != GLB_FLOW_NONE)
		glb_flow_cache_forget(&box->cache, place, why & 1 ? GLB_FLOW_END_GONE : GLB_FLOW_END_REPLACED);
	box->known[flow].backend = 0;
	MUST(find(box, flow, hash) == GLB_FLOW_NONE);
}

static void run_op(struct box *box, uint8_t what, uint8_t flow, uint8_t amount)
{
	switch ((enum op)(what % OPS)) {
	case OP_SYN:
		packet(box, flow, GLB_FLOW_SYN);
		break;
	case OP_DATA:
		packet(box, flow, GLB_FLOW_DATA);
		break;
	case OP_CLOSE:
		packet(box, flow, GLB_FLOW_CLOSE);
		break;
	case OP_FORGET:
		forget(box, flow, amount);
		break;
	case OP_SWEEP:
		glb_flow_cache_sweep(&box->cache, box->now, amount % (BUCKETS_MAX + 1));
		break;
	case OP_PAUSE:
		box->now += amount;
		glb_flow_cache_sweep(&box->cache, box->now, box->cache.bucket_count);
		break;
	case OP_JUMP: /* the longest that the forwarder lets the clock go on without a sweep */
		box->now += JUMP_S;
		glb_flow_cache_sweep(&box->cache, box->now, box->cache.bucket_count);
		break;
	case OPS:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct box box;
	struct input input = {data, len};
	const uint32_t entries = 1 + input_byte(&input) % (BUCKETS_MAX * GLB_FLOW_WAYS);
	const uint16_t timeout = (uint16_t)(1 + input_byte(&input) * 128);
	const struct glb_flow_timeouts timeouts = {
		.opening = 30, .established = timeout, .closing = 60, .udp = (uint16_t)(1 + timeout / 2),
	};

	memset(&box, 0, sizeof(box));
	box.longest = timeout > 60 ? timeout : 60;
	glb_flow_cache_init(&box.cache, box.buckets, entries, (const uint8_t *)"0123456789abcdef", &timeouts, &box.stats);
	while (input.left >= 3) {
		const uint8_t what = input_byte(&input), flow = input_byte(&input);

		run_op(&box, what, flow, input_byte(&input));
		check(&box);
	}
	return 0;
}
