/* Limits of services: the bucket, sharing out among workers, and the stage on compiled snapshots. */
#include "check.h"
#include "world.h"

#include <errno.h>
#include <math.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { SLOTS = 8, MS = 1000000 };

static unsigned take(struct glb_limiter *limiter, const struct glb_share *share, uint64_t now_ns, unsigned tries)
{
	unsigned n = 0;

	for (unsigned i = 0; i < tries; i++)
		n += glb_limiter_take(limiter, share, now_ns);
	return n;
}

static void a_bucket_begins_full_and_fills_at_its_rate(void)
{
	const struct glb_share share = {.rate = 1000, .burst = 50};
	struct glb_limiter limiter = {.tokens = 0};

	CHECK(take(&limiter, &share, 5 * MS, 100) == 50);
	CHECK(take(&limiter, &share, 15 * MS, 100) == 10);
	CHECK(take(&limiter, &share, 14 * MS, 100) == 0); /* a step back */
	CHECK(take(&limiter, &share, 10000 * (uint64_t)MS, 100) == 50);
	CHECK(limiter.asked == 400);
}

static void a_bucket_keeps_the_rate_when_asked_often(void)
{
	const struct glb_share share = {.rate = 1234.5, .burst = 3};
	struct glb_limiter limiter = {.tokens = 0};
	unsigned n = 0;

	for (uint64_t now = 1; now < 10000 * (uint64_t)MS; now += 37013)
		n += take(&limiter, &share, now, 1);
	CHECK(n >= 12345 && n <= 12345 + 3);
}

static void a_lower_share_takes_effect_at_once(void)
{
	struct glb_share share = {.rate = 1000, .burst = 1000};
	struct glb_limiter limiter = {.tokens = 0};

	CHECK(take(&limiter, &share, 1, 1) == 1);
	share = (struct glb_share){.rate = 10, .burst = 2};
	CHECK(take(&limiter, &share, 2, 100) == 2);
}

static double sum(const struct glb_share *shares, unsigned n)
{
	double rate = 0;

	for (unsigned i = 0; i < n; i++)
		rate += shares[i].rate;
	return rate;
}

/* Whatever was asked for, nobody gets nothing, and all get the whole. */
static void shares_add_up(void)
{
	struct glb_share shares[8];
	uint64_t random = 1;

	for (unsigned round = 0; round < 5000; round++) {
		const unsigned n = 1 + (unsigned)(test_random(&random) % 8);
		const double rate = 1 + (double)(test_random(&random) % 1000000);
		uint64_t asked[8];

		for (unsigned i = 0; i < n; i++)
			asked[i] = test_random(&random) % 3 == 0 ? 0 : test_random(&random) % 100000;
		glb_limit_share(rate, 100, asked, 0.1, n, shares);
		CHECK(fabs(sum(shares, n) - rate) < 1e-6 * rate);
		for (unsigned i = 0; i < n; i++)
			CHECK(shares[i].rate >= rate / 20 / n && shares[i].burst >= 1);
	}
}

static void below_the_limit_all_get_what_they_ask_for(void)
{
	const uint64_t asked[] = {80, 0, 10, 0};
	struct glb_share shares[4];

	glb_limit_share(1000, 100, asked, 0.1, 4, shares); /* 800 and 100 a second */
	CHECK(fabs(shares[0].rate - 825) < 1e-6 && fabs(shares[1].rate - 25) < 1e-6 && fabs(shares[2].rate - 125) < 1e-6);
	CHECK(fabs(shares[0].burst - 82.5) < 1e-6);
}

static void above_it_parts_follow_the_traffic(void)
{
	const uint64_t asked[] = {3000, 1000}, alone[] = {0, 5000};
	struct glb_share shares[2];

	glb_limit_share(1000, 100, asked, 0.1, 2, shares);
	CHECK(shares[0].rate > 730 && shares[0].rate < 750);
	glb_limit_share(1000, 100, alone, 0.1, 2, shares);
	CHECK(shares[1].rate > 960 && shares[0].rate > 20);
}

/* ---- the stage ---- */

struct stage {
	struct world w;
	struct glb_protection_config protection;
	uint32_t slots[4];
	struct glb_limiter limiters[SLOTS][2];
	struct glb_share shares[SLOTS][2];
	struct glb_refused refused[SLOTS];
	struct glb_guard guard;
};

/* Service 0 (TCP 80) has slot 5 and the protection; its worker gets all of it. */
static bool stage_open(struct stage *s, struct glb_protection_config protection)
{
	memset(s, 0, sizeof(*s));
	s->protection = protection;
	make_services(&s->w.make);
	s->w.make.services[0].protection = &s->protection;
	if (!world_compile(&s->w))
		return false;
	s->slots[0] = 5;
	s->w.path.service_slots = s->slots;
	s->shares[5][GLB_LIMIT_PACKETS] = (struct glb_share){protection.packets_per_second, protection.packets_burst};
	s->shares[5][GLB_LIMIT_FLOWS] = (struct glb_share){protection.flows_per_second, protection.flows_burst};
	s->guard = (struct glb_guard){
		.limiters = s->limiters, .shares = (const struct glb_share (*)[2])s->shares, .refused = s->refused, .now_ns = 1,
	};
	return true;
}

static enum glb_reason guarded(struct stage *s, const struct frame *frame)
{
	struct glb_packet p = {.data = frame->bytes, .data_len = frame->len, .frame_len = frame->len};

	glb_path_burst_with(&s->w.path, &(struct glb_path_memory){.guard = &s->guard}, &p, 1);
	return (enum glb_reason)p.reason;
}

/* To TCP port 80, from an address with this last byte. */
static struct frame frame_from(unsigned family, uint8_t last)
{
	struct frame frame = tcp_frame(family, 1, 80);

	frame.bytes[family == 4 ? 14 + 15 : 14 + 23] = last;
	return frame;
}

static struct glb_prefix source_of(struct stage *s, const struct frame *frame)
{
	struct glb_packet p = {.data = frame->bytes, .data_len = frame->len, .frame_len = frame->len};

	glb_path_burst(&s->w.path, &p, 1);
	return (struct glb_prefix){.addr = p.src, .bits = p.src.family == GLB_FAMILY_V4 ? 32 : 128};
}

/* Client 1 of both families is in `block`, clients 1 and 2 are in `allow`; lists come before limits. */
static void sources_are_blocked_and_allowed(void)
{
	const struct frame first[] = {frame_from(4, 1), frame_from(6, 1)}, second[] = {frame_from(4, 2), frame_from(6, 2)},
			   third = frame_from(4, 3), other = tcp_frame(4, 1, 443);
	struct glb_prefix sources[4];
	struct glb_filter filters[1];
	const struct glb_filter *filter = filters;
	struct glb_list_missing missing;
	struct glb_buffer buffer;
	struct glb_lists lists;
	struct stage s;

	CHECK(stage_open(&s, (struct glb_protection_config){.block = "bots", .allow = "office", .packets_per_second = 1, .packets_burst = 2}));
	CHECK(guarded(&s, &first[0]) == GLB_REASON_FORWARDED); /* nobody has given it lists */
	CHECK(glb_filters_bind(&s.w.snapshot, NULL, filters, &missing, 1) == 2 && missing.service == 0 && strcmp(missing.name, "bots") == 0);
	s.w.path.filters = &filter;
	CHECK(guarded(&s, &first[0]) == GLB_REASON_NOT_ALLOWED); /* what is missing blocks nobody, and allows nobody */
	for (unsigned i = 0; i < 2; i++) {
		sources[i] = source_of(&s, &first[i]);
		sources[2 + i] = source_of(&s, &second[i]);
	}
	CHECK(glb_lists_compile((struct glb_list_config[]){{"bots", sources, 2}, {"office", sources, 4}}, 2, &buffer, NULL) == 0);
	CHECK(glb_lists_open(buffer.data, buffer.len, &lists, NULL) == 0);
	CHECK(glb_filters_bind(&s.w.snapshot, &lists, filters, &missing, 1) == 0);
	for (unsigned i = 0; i < 2; i++) {
		CHECK(guarded(&s, &first[i]) == GLB_REASON_BLOCKED);
		CHECK(guarded(&s, &third) == GLB_REASON_NOT_ALLOWED);
	}
	CHECK(guarded(&s, &second[1]) == GLB_REASON_FORWARDED); /* the bucket had two, and the first packet took one */
	CHECK(guarded(&s, &second[0]) == GLB_REASON_PACKETS_LIMITED);
	CHECK(guarded(&s, &first[0]) == GLB_REASON_BLOCKED && guarded(&s, &other) == GLB_REASON_FORWARDED);
	CHECK(s.refused[5].blocked == 3 && s.refused[5].not_allowed == 3 && s.refused[5].packets_limited == 1);
	world_close(&s.w);
	glb_buffer_free(&buffer);
}

static void packets_above_the_rate_are_dropped(void)
{
	const struct frame limited = tcp_frame(4, 1, 80), other = tcp_frame(4, 1, 443);
	struct stage s;

	CHECK(stage_open(&s, (struct glb_protection_config){.packets_per_second = 10, .packets_burst = 3}));
	for (unsigned i = 0; i < 6; i++) {
		CHECK(guarded(&s, &limited) == (i < 3 ? GLB_REASON_FORWARDED : GLB_REASON_PACKETS_LIMITED));
		CHECK(guarded(&s, &other) == GLB_REASON_FORWARDED);
	}
	s.guard.now_ns += 100 * MS;
	CHECK(guarded(&s, &limited) == GLB_REASON_FORWARDED);
	CHECK(guarded(&s, &limited) == GLB_REASON_PACKETS_LIMITED);
	CHECK(s.refused[5].packets_limited == 4 && s.refused[5].flows_limited == 0);
	world_close(&s.w);
}

static void only_packets_that_begin_a_connection_are_new_flows(void)
{
	struct frame frame = tcp_frame(6, 1, 80);
	uint8_t *flags = &frame.bytes[14 + 40 + 13];
	struct stage s;

	CHECK(stage_open(&s, (struct glb_protection_config){.flows_per_second = 10, .flows_burst = 2}));
	for (unsigned i = 0; i < 4; i++) {
		*flags = GLB_TCP_SYN;
		CHECK(guarded(&s, &frame) == (i < 2 ? GLB_REASON_FORWARDED : GLB_REASON_FLOWS_LIMITED));
		*flags = GLB_TCP_ACK;
		CHECK(guarded(&s, &frame) == GLB_REASON_FORWARDED);
		*flags = GLB_TCP_SYN | GLB_TCP_ACK;
		CHECK(guarded(&s, &frame) == GLB_REASON_FORWARDED);
	}
	CHECK(s.refused[5].flows_limited == 2);
	world_close(&s.w);
}

/* With a cache, what it does not know is new, whatever the flags; and a flow that was refused is not remembered. */
static void with_a_cache_unknown_flows_are_new(void)
{
	enum { ENTRIES = 1024 };
	const struct glb_flow_timeouts timeouts = glb_flow_timeouts_default();
	struct glb_flow_stats stats;
	struct glb_backend_ids ids;
	struct glb_flow_cache cache;
	uint32_t id_slots[256] = {0};
	struct stage s;
	void *memory = aligned_alloc(128, glb_flow_cache_bytes(ENTRIES));

	memset(memory, 0, glb_flow_cache_bytes(ENTRIES));
	glb_flow_cache_init(&cache, memory, ENTRIES, (const uint8_t *)"an-arbitrary-key", &timeouts, &stats);
	CHECK(stage_open(&s, (struct glb_protection_config){.flows_per_second = 10, .flows_burst = 2}));
	s.w.make.services[0].flow_cache = 1;
	s.w.make.services[0].hops = 1;
	world_close(&s.w);
	CHECK(world_compile(&s.w));
	s.w.path.service_slots = s.slots;
	CHECK(glb_backend_ids_slots(&s.w.snapshot) <= COUNT(id_slots));
	glb_backend_ids_init(&ids, &s.w.snapshot, id_slots);
	s.w.path.backend_ids = &ids;
	for (unsigned round = 0; round < 2; round++)
		for (uint16_t flow = 1; flow <= 4; flow++) {
			struct frame frame = tcp_frame(4, flow, 80);
			struct glb_packet p = {.data = frame.bytes, .data_len = frame.len, .frame_len = frame.len};

			frame.bytes[14 + 20 + 13] = GLB_TCP_ACK;
			glb_path_burst_with(&s.w.path, &(struct glb_path_memory){.cache = &cache, .cache_now = 1, .guard = &s.guard}, &p, 1);
			CHECK(p.reason == (flow <= 2 ? GLB_REASON_FORWARDED : GLB_REASON_FLOWS_LIMITED));
		}
	CHECK(stats.inserts == 2 && s.refused[5].flows_limited == 4);
	free(memory);
	world_close(&s.w);
}

static void what_is_wrong_is_refused(void)
{
	static const struct glb_protection_config wrong[] = {
		{0}, {.packets_per_second = 1}, {.packets_burst = 1}, {.flows_per_second = 1}, {.flows_burst = 1},
		{.packets_per_second = GLB_LIMIT_MAX + 1, .packets_burst = 1},
	};

	for (unsigned i = 0; i < COUNT(wrong); i++) {
		struct glb_error error;
		struct glb_buffer buffer;
		struct make make;

		make_services(&make);
		make.services[1].protection = &wrong[i];
		CHECK(glb_snapshot_compile(&make.config, &buffer, &error) == -EINVAL);
		CHECK(strncmp(error.text, "services[1].protection", 22) == 0);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"a bucket begins full and fills at its rate", a_bucket_begins_full_and_fills_at_its_rate},
		{"a bucket keeps the rate when asked often", a_bucket_keeps_the_rate_when_asked_often},
		{"a lower share takes effect at once", a_lower_share_takes_effect_at_once},
		{"shares add up", shares_add_up},
		{"below the limit all get what they ask for", below_the_limit_all_get_what_they_ask_for},
		{"above it parts follow the traffic", above_it_parts_follow_the_traffic},
		{"sources are blocked and allowed", sources_are_blocked_and_allowed},
	{"packets above the rate are dropped", packets_above_the_rate_are_dropped},
		{"only packets that begin a connection are new flows", only_packets_that_begin_a_connection_are_new_flows},
		{"with a cache unknown flows are new", with_a_cache_unknown_flows_are_new},
		{"what is wrong is refused", what_is_wrong_is_refused},
	};

	return check_run(cases, COUNT(cases));
}
