/* The stages on a compiled snapshot: which service, which row and chain, and why not. */
#include "check.h"
#include "world.h"

#include <glb/siphash.h>

#include <errno.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- which service ---- */

static void classifies(void)
{
	const uint8_t other_vip[] = {203, 0, 113, 11};
	struct world w;

	CHECK(world_open(&w));
	for (unsigned family = 4; family <= 6; family += 2) {
		const void *vip = family == 4 ? (const void *)frame_vip_v4 : frame_vip_v6;
		struct {
			struct frame frame;
			uint32_t service;
			enum glb_reason reason;
		} cases[] = {
			{tcp_frame(family, 1, 80), 0, GLB_REASON_FORWARDED},
			{tcp_frame(family, 1, 443), 1, GLB_REASON_FORWARDED},
			{udp_frame(family, 1, 53), 2, GLB_REASON_FORWARDED},
			{tcp_frame(family, 1, 53), GLB_INDEX_NONE, GLB_REASON_NO_SERVICE},
			{udp_frame(family, 1, 80), GLB_INDEX_NONE, GLB_REASON_NO_SERVICE},
			{tcp_frame(family, 80, 81), GLB_INDEX_NONE, GLB_REASON_NO_SERVICE},
			{icmp_frame(family, family == 4 ? GLB_ICMP_ECHO : GLB_ICMPV6_ECHO, 0), 0, GLB_REASON_FORWARDED},
			{icmp_frame(family, 3, 1), GLB_INDEX_NONE, GLB_REASON_ICMP_NOT_OURS}, /* quotes nothing */
			{icmp_frame(family, 13, 0), GLB_INDEX_NONE, GLB_REASON_ICMP_NOT_TAKEN},
			{too_big_frame(family, GLB_IPPROTO_TCP, vip, 80), 0, GLB_REASON_FORWARDED},
			{too_big_frame(family, GLB_IPPROTO_UDP, vip, 53), 2, GLB_REASON_FORWARDED},
			/* the quoted protocol is not compared */
			{too_big_frame(family, GLB_IPPROTO_UDP, vip, 443), 1, GLB_REASON_FORWARDED},
			{too_big_frame(family, GLB_IPPROTO_TCP, vip, 53), 2, GLB_REASON_FORWARDED},
			{too_big_frame(family, GLB_IPPROTO_TCP, vip, 81), GLB_INDEX_NONE, GLB_REASON_ICMP_NOT_OURS},
			{too_big_frame(family, GLB_IPPROTO_ESP, vip, 80), GLB_INDEX_NONE, GLB_REASON_ICMP_NOT_OURS},
			{ip_frame(family, GLB_IPPROTO_ESP), GLB_INDEX_NONE, GLB_REASON_OTHER_PROTOCOL},
		};

		frame_close(&cases[COUNT(cases) - 1].frame);
		for (unsigned i = 0; i < COUNT(cases); i++) {
			const struct glb_packet p = run(&w.path, &cases[i].frame);

			CHECK(p.reason == cases[i].reason && p.verdict == glb_reason_verdict(p.reason));
			CHECK(p.service == cases[i].service);
		}
	}
	{
		struct frame frame = tcp_frame(4, 1, 80);
		struct frame quoting_other = too_big_frame(4, GLB_IPPROTO_TCP, other_vip, 80);

		CHECK(run(&w.path, &quoting_other).reason == GLB_REASON_ICMP_NOT_OURS);
		((struct glb_ipv4 *)(frame.bytes + 14))->fragment = glb_be16_put(5);
		CHECK(run(&w.path, &frame).reason == GLB_REASON_LATER_FRAGMENT);
		frame.bytes[14 + 19] = 11;
		CHECK(run(&w.path, &frame).reason == GLB_REASON_NOT_VIP);
	}
	world_close(&w);
}

static void leaves_echo_to_the_kernel_when_told(void)
{
	const struct frame frame = icmp_frame(4, GLB_ICMP_ECHO, 0);
	struct world w;

	CHECK(world_open(&w));
	w.path.director.echo = GLB_ECHO_PUNT;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_ICMP_NOT_TAKEN);
	world_close(&w);
}

static void filters_by_mac(void)
{
	struct frame frame = tcp_frame(4, 1, 80);
	struct world w;

	CHECK(world_open(&w));
	frame.bytes[5] ^= 1;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_OTHER_MAC);
	frame.bytes[0] |= 1; /* a group address */
	CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
	memcpy(frame.bytes + 6, frame_director_mac, 6);
	CHECK(run(&w.path, &frame).reason == GLB_REASON_OWN_MAC);
	w.path.director.filter_mac = 0;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_FORWARDED);
	frame.len = 13;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_ETH_TRUNCATED);
	w.path.director.filter_mac = 1;
	CHECK(run(&w.path, &frame).reason == GLB_REASON_ETH_TRUNCATED);
	world_close(&w);
}

/* ---- which row and chain ---- */

/* The row table's backends for a row, as indices into the snapshot. */
static unsigned row_of(const struct world *w, uint32_t table, uint32_t row, uint32_t out[GLB_HOPS_MAX])
{
	const uint16_t *hops = glb_snapshot_row(&w->snapshot, table, row);
	unsigned n = 0;

	while (n < w->snapshot.tables[table].hops && hops[n] != GLB_HOP_NONE) {
		out[n] = w->snapshot.tables[table].backend_base + hops[n];
		n++;
	}
	return n;
}

static void hashes_the_fields_in_order(void)
{
	struct world w;

	CHECK(world_open(&w));
	for (unsigned family = 4; family <= 6; family += 2) {
		const struct frame frame = tcp_frame(family, 0x1234, 443), echo = icmp_frame(family, family == 4 ? 8 : 128, 0);
		const struct glb_service *service = &w.snapshot.services[1];
		const unsigned len = family == 4 ? 4 : 16, at = family == 4 ? 14 + 12 : 14 + 8;
		uint8_t message[36];
		uint32_t row[GLB_HOPS_MAX];
		struct glb_packet p = run(&w.path, &frame);

		memcpy(message, frame.bytes + at, 2 * len); /* both addresses, as on the wire */
		memcpy(message + 2 * len, "\x12\x34\x01\xbb", 4);
		CHECK(p.hash == glb_siphash24(service->hash_key, message, 2 * len + 4));
		CHECK(p.row == (p.hash & 255));
		CHECK(p.chain_len == row_of(&w, service->table, p.row, row) && p.chain_len == 3);
		CHECK(memcmp(p.chain, row, p.chain_len * sizeof(row[0])) == 0);

		p = run(&w.path, &echo); /* service 0: source address only */
		CHECK(p.hash == glb_siphash24(w.snapshot.services[0].hash_key, message, len));
	}
	world_close(&w);
}

static void echo_hashes_ports_as_zero(void)
{
	const struct frame frame = icmp_frame(4, GLB_ICMP_ECHO, 0);
	struct world w;
	uint8_t message[12] = {0};
	struct glb_snapshot snapshot;
	struct glb_buffer buffer;
	struct glb_path path;

	CHECK(world_open(&w));
	w.make.services[0].hash_fields = 0xf;
	CHECK(make_open(&w.make, &buffer, &snapshot));
	CHECK(glb_path_init(&path, &snapshot, &w.director, NULL) == 0);
	memcpy(message, frame.bytes + 14 + 12, 8);
	CHECK(run(&path, &frame).hash == glb_siphash24(snapshot.services[0].hash_key, message, 12));
	glb_buffer_free(&buffer);
	world_close(&w);
}

/* A too-big must reach the backend that has the connection, for every service. */
static void too_big_follows_its_flow(void)
{
	static const struct {
		uint8_t protocol;
		uint16_t port;
	} flows[] = {{GLB_IPPROTO_TCP, 80}, {GLB_IPPROTO_TCP, 443}, {GLB_IPPROTO_UDP, 53}};
	struct world w;

	CHECK(world_open(&w));
	for (unsigned i = 0; i < 2 * COUNT(flows); i++) {
		const unsigned family = i < COUNT(flows) ? 4 : 6;
		const uint8_t protocol = flows[i % COUNT(flows)].protocol;
		const uint16_t port = flows[i % COUNT(flows)].port;
		const void *vip = family == 4 ? (const void *)frame_vip_v4 : frame_vip_v6;
		const struct frame flow = protocol == GLB_IPPROTO_TCP ? tcp_frame(family, 40000, port)
								      : udp_frame(family, 40000, port);
		const struct frame error = too_big_frame(family, protocol, vip, port);
		const struct glb_packet a = run(&w.path, &flow);
		const struct glb_packet b = run(&w.path, &error);

		CHECK(a.verdict == GLB_VERDICT_FORWARD && b.verdict == GLB_VERDICT_FORWARD);
		CHECK(b.kind == GLB_PACKET_TOO_BIG && a.hash == b.hash && a.hint == b.hint);
		CHECK(a.chain_len == b.chain_len && memcmp(a.chain, b.chain, a.chain_len * 4U) == 0);
	}
	world_close(&w);
}

/* So must unreachables of any code, and time exceeded; but with policy glb, as GLB's directors do not take them. */
static void other_errors_follow_their_flow(void)
{
	static const uint8_t errors[2][4][2] = {{{3, 0}, {3, 1}, {3, 13}, {11, 0}}, {{1, 0}, {1, 4}, {3, 0}, {3, 1}}};
	struct world w;

	for (unsigned glb = 0; glb < 2; glb++) {
		make_services(&w.make);
		for (unsigned s = 0; s < 3; s++) {
			w.make.services[s].policy = glb ? GLB_POLICY_GLB : GLB_POLICY_ORDERED;
			w.make.services[s].hops = 2;
		}
		CHECK(world_compile(&w));
		for (unsigned i = 0; i < 16; i++) {
			const unsigned family = i & 8 ? 6 : 4, icmp = family == 4 ? 34 : 54, tcp = i & 4;
			const struct frame flow = tcp ? tcp_frame(family, 40000, 443) : udp_frame(family, 40000, 53);
			struct frame error = too_big_frame(family, tcp ? GLB_IPPROTO_TCP : GLB_IPPROTO_UDP,
							   family == 4 ? (const void *)frame_vip_v4 : frame_vip_v6, tcp ? 443 : 53);
			struct glb_packet a = run(&w.path, &flow), b;

			memcpy(error.bytes + icmp, errors[family == 6][i & 3], 2);
			b = run(&w.path, &error);
			CHECK(b.kind == GLB_PACKET_ERROR);
			if (glb) {
				CHECK(b.reason == GLB_REASON_ICMP_NOT_TAKEN && b.service == GLB_INDEX_NONE);
				continue;
			}
			CHECK(b.verdict == GLB_VERDICT_FORWARD && a.hash == b.hash && a.hint == b.hint);
			CHECK(a.chain_len == b.chain_len && memcmp(a.chain, b.chain, a.chain_len * 4U) == 0);
			error.len -= 5; /* its ports are cut: about no flow that is known */
			frame_close(&error);
			CHECK(run(&w.path, &error).reason == GLB_REASON_ICMP_NOT_OURS);
		}
		world_close(&w);
	}
}

/* The alt row's hops, once with and once without those that are already there. */
static void appends_the_alt_row(void)
{
	struct world w;
	unsigned longer = 0;

	CHECK(world_open(&w));
	for (uint16_t sport = 1; sport < 200; sport++) {
		const struct frame frame = udp_frame(4, sport, 53);
		struct glb_service *service = (struct glb_service *)(uintptr_t)&w.snapshot.services[2];
		uint32_t expected[GLB_HOPS_MAX], alt[GLB_HOPS_MAX];
		unsigned n, alt_n, without;
		struct glb_packet p;

		service->flags = GLB_SERVICE_KEEP_DUPLICATES;
		p = run(&w.path, &frame);
		CHECK(p.alt_row == (glb_siphash24(service->alt_hash_key, frame_client_v4, 4) & 255));
		n = row_of(&w, service->table, p.row, expected);
		alt_n = row_of(&w, service->alt_table, p.alt_row, alt);
		memcpy(expected + n, alt, alt_n * sizeof(alt[0]));
		CHECK(p.chain_len == n + alt_n && memcmp(p.chain, expected, p.chain_len * 4U) == 0);

		service->flags = 0;
		p = run(&w.path, &frame);
		without = n;
		for (unsigned i = 0; i < alt_n; i++)
			if (alt[i] != expected[0] && alt[i] != expected[1])
				expected[without++] = alt[i];
		CHECK(p.chain_len == without && memcmp(p.chain, expected, without * 4U) == 0);
		longer += without > n;
	}
	CHECK(longer > 0); /* else every alt row was the row itself */
	world_close(&w);
}

/* ---- why not ---- */

static void drops_without_a_backend(void)
{
	struct frame frame = tcp_frame(4, 1, 80);
	struct glb_packet p;
	struct world w;

	CHECK(world_open(&w));
	memcpy(frame.bytes + 14 + 16, (const uint8_t[]){198, 51, 100, 77}, 4);
	p = run(&w.path, &frame);
	CHECK(p.reason == GLB_REASON_NO_BACKEND && p.verdict == GLB_VERDICT_DROP && p.service == 3);
	world_close(&w);
}

static void works_without_a_snapshot(void)
{
	const struct frame frame = tcp_frame(4, 1, 80);
	const struct glb_director director = {.mtu = 1500};
	struct glb_path path;

	CHECK(glb_path_init(&path, NULL, &director, NULL) == 0);
	CHECK(run(&path, &frame).reason == GLB_REASON_NO_SNAPSHOT);
	CHECK(run(&path, &frame).verdict == GLB_VERDICT_PUNT);
}

static void refuses_what_the_director_cannot_send(void)
{
	struct glb_error error = {.code = 0};
	struct world w;

	CHECK(world_open(&w));
	w.director.outer_source_v4.family = GLB_FAMILY_NONE;
	CHECK(glb_path_init(&w.path, &w.snapshot, &w.director, &error) == -EINVAL);
	CHECK(error.code == -EINVAL && strstr(error.text, "outer_source_v4") != NULL);
	world_close(&w);

	make_services(&w.make);
	w.make.backends[0][1].addr = make_v6(1);
	w.director.outer_source_v4 = make_v4(10, 0, 0, 254);
	CHECK(make_open(&w.make, &w.buffer, &w.snapshot));
	CHECK(glb_path_init(&w.path, &w.snapshot, &w.director, &error) == -EINVAL);
	CHECK(strstr(error.text, "pool0") != NULL && strstr(error.text, "outer_source_v6") != NULL);
	w.director.outer_source_v6 = make_v6(2);
	CHECK(glb_path_init(&w.path, &w.snapshot, &w.director, &error) == 0 && !w.path.plain);
	world_close(&w);
}

/* ---- bursts ---- */

/* A full burst of anything gives what each frame gives alone. */
static void bursts_equal_single_packets(void)
{
	static struct frame frames[GLB_BURST_MAX];
	struct glb_packet burst[GLB_BURST_MAX] = {0};
	uint64_t state = 77;
	struct world w;

	CHECK(world_open(&w));
	for (unsigned round = 0; round < 2000; round++) {
		for (unsigned i = 0; i < GLB_BURST_MAX; i++) {
			const unsigned family = test_random(&state) & 1 ? 4 : 6;
			const uint16_t sport = (uint16_t)test_random(&state);
			static const uint16_t ports[] = {53, 80, 443, 81};
			const uint16_t dport = ports[test_random(&state) % 4];

			frames[i] = test_random(&state) & 1 ? tcp_frame(family, sport, dport)
							    : udp_frame(family, sport, dport);
			for (unsigned n = test_random(&state) % 3; n > 0; n--)
				frames[i].bytes[test_random(&state) % frames[i].len] ^= (uint8_t)test_random(&state);
			burst[i].data = frames[i].bytes; /* the rest is of the round before */
			burst[i].data_len = burst[i].frame_len = frames[i].len;
		}
		glb_path_burst(&w.path, burst, GLB_BURST_MAX);
		for (unsigned i = 0; i < GLB_BURST_MAX; i++) {
			const struct glb_packet alone = run(&w.path, &frames[i]);

			CHECK(alone.reason == burst[i].reason && alone.verdict == burst[i].verdict);
			CHECK(alone.hash == burst[i].hash && alone.row == burst[i].row);
			CHECK(alone.service == burst[i].service && alone.header_len == burst[i].header_len);
			CHECK(alone.chain_len == burst[i].chain_len);
			CHECK(memcmp(alone.chain, burst[i].chain, alone.chain_len * 4U) == 0);
		}
	}
	world_close(&w);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"classifies", classifies},
		{"leaves echo to the kernel when told", leaves_echo_to_the_kernel_when_told},
		{"filters by MAC", filters_by_mac},
		{"hashes the fields in order", hashes_the_fields_in_order},
		{"echo hashes ports as zero", echo_hashes_ports_as_zero},
		{"too-big follows its flow", too_big_follows_its_flow},
		{"other errors follow their flow", other_errors_follow_their_flow},
		{"appends the alt row", appends_the_alt_row},
		{"drops without a backend", drops_without_a_backend},
		{"works without a snapshot", works_without_a_snapshot},
		{"refuses what the director cannot send", refuses_what_the_director_cannot_send},
		{"bursts equal single packets", bursts_equal_single_packets},
	};

	return check_run(cases, COUNT(cases));
}
