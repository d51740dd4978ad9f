/* Fuzz target: any frame through the whole packet path, twice, with a flow cache and every encapsulation.
 *
 * Input: a byte that chooses the encapsulation, one of settings, one that cuts the contiguous part, then the frame. Reading beyond what is
 * contiguous is ASan's to find; what comes out is held against its contracts here.
 */
#include "fuzz.h"
#include "fuzz_sent.h"
#include "world.h"

#include <glb/punt.h>
#include <glb/steer.h>

enum { ENTRIES = 64, FRAME_MAX = 2048, COMPUTED = 1, ECHO = 2, CUT = 4, ROUTED = 8, FILTER = 16, NARROW = 32, OVERSIZE_SHIFT = 6 };

struct stage {
	struct world world;
	struct glb_backend_ids ids;
	struct glb_next_hop hop;
	uint64_t next_hops[MAKE_POOLS * MAKE_BACKENDS];
};

static struct stage stages[GLB_ENCAP_COUNT];

/* Services that take all that the encapsulation can carry: IPv4 alone, IPv6 alone, or both. */
static void make_for(struct make *make, uint8_t encap)
{
	const bool v4 = encap != GLB_ENCAP_IP6IP6 && encap != GLB_ENCAP_6IN4;
	const bool v6 = encap != GLB_ENCAP_IPIP && encap != GLB_ENCAP_4IN6 && encap != GLB_ENCAP_NAT && encap != GLB_ENCAP_L3DSR;
	const bool to_v6 = encap == GLB_ENCAP_IP6IP6 || encap == GLB_ENCAP_4IN6;

	make_init(make, 1, 3, 2);
	for (unsigned b = 0; to_v6 && b < 3; b++)
		make->backends[0][b].addr = make_v6((uint8_t)(1 + b));
	for (unsigned i = 0; i < 2; i++) {
		struct glb_service_config *service = &make->services[i];

		service->encap = encap;
		service->hops = encap == GLB_ENCAP_GUE ? (uint8_t)(2 + i) : 1;
		service->flow_cache = 1;
		service->unmatched = GLB_UNMATCHED_REJECT;
		service->hash_fields = i ? GLB_HASH_SRC_ADDR : 0xf;
		service->alt_hash_fields = encap == GLB_ENCAP_GUE ? GLB_HASH_SRC_PORT : 0;
		service->gre_keyed = encap == GLB_ENCAP_GRE && i;
		service->tos = encap == GLB_ENCAP_L3DSR ? 4 : 0;
		service->tos_mask = encap == GLB_ENCAP_L3DSR ? 0x03 : i && encap < GLB_ENCAP_L2DSR ? 0xff : 0;
		if (v4)
			make_bind(make, i, vip4(), 32, i ? GLB_IPPROTO_UDP : GLB_IPPROTO_TCP, 0, 65000);
		if (v6)
			make_bind(make, i, vip6(), 128, i ? GLB_IPPROTO_UDP : GLB_IPPROTO_TCP, 0, 65000);
	}
}

static void stage_open(struct stage *s, uint8_t encap)
{
	struct glb_error error = {0};
	uint32_t *slots;

	make_for(&s->world.make, encap);
	s->world.director = (struct glb_director){
		.outer_source_v4 = make_v4(10, 0, 0, 254), .outer_source_v6 = make_v6(254), .mtu = 1500,
	};
	memcpy(s->world.director.local_mac, frame_director_mac, 6);
	MUST(make_open(&s->world.make, &s->world.buffer, &s->world.snapshot));
	MUST(glb_path_init(&s->world.path, &s->world.snapshot, &s->world.director, &error) == 0);
	slots = calloc(glb_backend_ids_slots(&s->world.snapshot), sizeof(*slots));
	MUST(slots != NULL);
	glb_backend_ids_init(&s->ids, &s->world.snapshot, slots);
	s->world.path.backend_ids = &s->ids;
	for (unsigned b = 0; b < s->world.snapshot.backend_count; b++)
		glb_next_hop_store(&s->next_hops[b], (struct glb_next_hop){.mac = {2, 0, 0, 0, 0, 9}, .kind = GLB_NEXT_HOP_BACKEND});
}

static void set(struct stage *s, uint8_t settings)
{
	static const struct glb_egress egress = {.mac = {2, 0, 0, 0, 0, 1}, .mtu = 1500, .vlan = 7};
	struct glb_path *path = &s->world.path;

	path->director.outer_checksum = path->director.outer_checksum_v6 =
		settings & COMPUTED ? GLB_OUTER_CHECKSUM_COMPUTED : GLB_OUTER_CHECKSUM_ZERO;
	path->director.echo = settings & ECHO ? GLB_ECHO_ANSWER : GLB_ECHO_FORWARD;
	path->director.filter_mac = (settings & FILTER) != 0;
	path->egress[0] = egress;
	if (settings & NARROW)
		path->egress[0].mtu = 110;
	for (uint32_t i = 0; i < s->world.snapshot.service_count; i++)
		((struct glb_service *)(uintptr_t)&s->world.snapshot.services[i])->oversize = (settings >> OVERSIZE_SHIFT) % 3;
	path->next_hops = settings & ROUTED || s->world.make.services[0].encap == GLB_ENCAP_L2DSR ? s->next_hops : NULL;
}

static void run_once(struct stage *s, struct glb_flow_cache *cache, uint32_t now, const uint8_t *data, uint32_t len,
		     uint32_t frame_len)
{
	struct glb_packet p = {.data = data, .data_len = len, .frame_len = frame_len};

	glb_path_burst_cached(&s->world.path, cache, now, &p, 1);
	MUST(p.reason < GLB_REASON_COUNT && glb_reason_verdict(p.reason) == p.verdict);
	switch ((enum glb_verdict)p.verdict) {
	case GLB_VERDICT_FORWARD:
		look_at_forwarded(&s->world.path, &p, data);
		break;
	case GLB_VERDICT_ANSWER:
		look_at_answer(&s->world.path, &p, data);
		break;
	case GLB_VERDICT_PUNT:
		MUST(glb_punt_classify(&p) < GLB_PUNT_CLASSES);
		break;
	case GLB_VERDICT_WAIT: /* not without a fragment table */
		MUST(false);
		break;
	case GLB_VERDICT_DROP:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static _Alignas(128) struct glb_flow_bucket memory[ENTRIES / GLB_FLOW_WAYS];
	const struct glb_flow_timeouts timeouts = glb_flow_timeouts_default();
	struct input input = {data, len};
	const uint8_t encap = input_byte(&input) % GLB_ENCAP_COUNT, settings = input_byte(&input), cut = input_byte(&input);
	struct glb_flow_cache cache;
	struct glb_flow_stats stats;
	uint32_t contiguous;
	uint8_t *frame;

	if (stages[encap].world.snapshot.header == NULL)
		stage_open(&stages[encap], encap);
	if (input.left > FRAME_MAX)
		return 0;
	contiguous = settings & CUT && cut < input.left ? cut : (uint32_t)input.left;
	frame = malloc(contiguous != 0 ? contiguous : 1); /* exactly as long, so that one byte too far is seen */
	MUST(frame != NULL);
	memcpy(frame, input.data, contiguous);
	memset(memory, 0, sizeof(memory));
	glb_flow_cache_init(&cache, memory, ENTRIES, (const uint8_t *)"0123456789abcdef", &timeouts, &stats);
	set(&stages[encap], settings);
	for (uint32_t now = 0; now < 2; now++)
		run_once(&stages[encap], &cache, now, frame, contiguous, (uint32_t)input.left);
	glb_steer_hash(1, frame, contiguous, (uint32_t)input.left);
	free(frame);
	return 0;
}
