/* Echo requests that the director answers: which, and the reply, its checksums computed here from scratch. */
#include "check.h"
#include "world.h"

#include "checksum.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { PAYLOAD = 57 }; /* odd on purpose */

/* RFC 4443, 2.3: the pseudo-header of an ICMPv6 message. */
static uint64_t pseudo_sum(const struct glb_ipv6 *ip)
{
	const glb_be32 length = glb_be32_put(glb_be16_get(ip->payload_length)), next = glb_be32_put(GLB_IPPROTO_ICMPV6);

	return checksum_add(checksum_add(checksum_add(0, ip->src, 32), &length, 4), &next, 4);
}

static glb_be16 icmp_sum(const struct frame *frame, unsigned family)
{
	const uint32_t l4 = frame->l3 + (family == 4 ? 20 : 40);
	const void *l3 = frame->bytes + frame->l3;

	return checksum_finish(checksum_add(family == 4 ? 0 : pseudo_sum(l3), frame->bytes + l4, frame->len - l4));
}

static struct frame request(unsigned family, bool vlan, uint64_t *state)
{
	struct frame frame = {.len = 0};
	struct glb_icmp *icmp;

	put_eth(&frame, vlan ? GLB_ETHERTYPE_VLAN : family == 4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6);
	if (vlan)
		put_vlan(&frame, family == 4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6);
	if (family == 4)
		put_ipv4(&frame, GLB_IPPROTO_ICMP, frame_client_v4, frame_vip_v4, 0)->ttl = (uint8_t)test_random(state);
	else
		put_ipv6(&frame, GLB_IPPROTO_ICMPV6, frame_client_v6, frame_vip_v6)->hop_limit = (uint8_t)test_random(state);
	icmp = (struct glb_icmp *)(frame.bytes + frame.len);
	put_icmp(&frame, family == 4 ? GLB_ICMP_ECHO : GLB_ICMPV6_ECHO, 0);
	icmp->rest = glb_be32_put((uint32_t)test_random(state));
	for (unsigned i = 0; i < PAYLOAD; i++)
		frame.bytes[frame.len++] = (uint8_t)test_random(state);
	frame_close(&frame);
	if (family == 4) {
		struct glb_ipv4 *ip = (struct glb_ipv4 *)(frame.bytes + frame.l3);

		ip->checksum = checksum_finish(checksum_add(0, ip, sizeof(*ip)));
	}
	icmp->checksum = icmp_sum(&frame, family);
	return frame;
}

/* The reply's every byte: swapped, renewed or untouched; both checksums sum to nothing over the whole. */
static void answers(void)
{
	struct world w;
	uint64_t state = 5;

	CHECK(world_open(&w));
	w.path.director.echo = GLB_ECHO_ANSWER;
	for (unsigned round = 0; round < 20000; round++) {
		const unsigned family = round & 1 ? 4 : 6, len = family == 4 ? 4 : 16, at = family == 4 ? 12 : 8;
		const struct frame asked = request(family, round & 2, &state);
		struct frame reply = asked;
		const struct glb_packet p = run(&w.path, &asked);
		const uint8_t *l3 = reply.bytes + asked.l3, *l4 = l3 + (family == 4 ? 20 : 40);
		const uint8_t *was_l3 = asked.bytes + asked.l3;

		CHECK(p.verdict == GLB_VERDICT_ANSWER && p.reason == GLB_REASON_ECHO_ANSWERED);
		glb_path_answer(&w.path, &p, reply.bytes);
		CHECK(memcmp(reply.bytes, frame_client_mac, 6) == 0 && memcmp(reply.bytes + 6, frame_director_mac, 6) == 0);
		CHECK(memcmp(reply.bytes + 12, asked.bytes + 12, asked.l3 - 12) == 0);
		CHECK(memcmp(l3 + at, was_l3 + at + len, len) == 0 && memcmp(l3 + at + len, was_l3 + at, len) == 0);
		CHECK(memcmp(l3, was_l3, family == 4 ? 8 : 7) == 0 && l3[family == 4 ? 8 : 7] == 64);
		CHECK(l4[0] == (family == 4 ? 0 : 129) && l4[1] == 0);
		CHECK(memcmp(l4 + 4, asked.bytes + (l4 - reply.bytes) + 4, 4 + PAYLOAD) == 0);
		CHECK(glb_be16_get(icmp_sum(&reply, family)) == 0);
		CHECK(family == 6 || glb_be16_get(checksum_finish(checksum_add(0, l3, 20))) == 0);
	}
	world_close(&w);
}

static void a_damaged_request_gives_a_damaged_reply(void)
{
	struct world w;
	uint64_t state = 6;

	CHECK(world_open(&w));
	w.path.director.echo = GLB_ECHO_ANSWER;
	for (unsigned family = 4; family <= 6; family += 2) {
		struct frame frame = request(family, false, &state);
		struct glb_packet p;

		frame.bytes[frame.len - 1] ^= 0x10;
		p = run(&w.path, &frame);
		CHECK(p.verdict == GLB_VERDICT_ANSWER);
		glb_path_answer(&w.path, &p, frame.bytes);
		CHECK(glb_be16_get(icmp_sum(&frame, family)) != 0);
	}
	world_close(&w);
}

static enum glb_reason reason_of(const struct world *w, const struct frame *frame)
{
	return (enum glb_reason)run(&w->path, frame).reason;
}

/* Everything that is no plain echo request from a plain address is the kernel's. */
static void leaves_the_rest_to_the_kernel(void)
{
	static const uint8_t sources[][4] = {{0, 1, 2, 3}, {127, 0, 0, 1}, {224, 0, 0, 1}, {255, 255, 255, 255}};
	static const uint8_t none[16] = {0}, one[16] = {[15] = 1}, all[16] = {0xff, 2, [15] = 1};
	const uint8_t *const sources_v6[] = {none, one, all};
	uint64_t state = 8;
	struct world w;
	struct frame frame;

	CHECK(world_open(&w));
	w.path.director.echo = GLB_ECHO_ANSWER;
	for (unsigned i = 0; i < COUNT(sources); i++) {
		frame = request(4, false, &state);
		memcpy(frame.bytes + 14 + 12, sources[i], 4);
		CHECK(reason_of(&w, &frame) == GLB_REASON_ICMP_NOT_TAKEN);
	}
	for (unsigned i = 0; i < COUNT(sources_v6); i++) {
		frame = request(6, false, &state);
		memcpy(frame.bytes + 14 + 8, sources_v6[i], 16);
		CHECK(reason_of(&w, &frame) == GLB_REASON_ICMP_NOT_TAKEN);
	}
	frame = request(4, false, &state);
	frame.bytes[6] |= 1; /* from a group of stations */
	CHECK(reason_of(&w, &frame) == GLB_REASON_ICMP_NOT_TAKEN);
	frame = request(4, false, &state);
	((struct glb_ipv4 *)(frame.bytes + 14))->fragment = glb_be16_put(GLB_IPV4_MF);
	CHECK(reason_of(&w, &frame) == GLB_REASON_ICMP_NOT_TAKEN);

	frame = (struct frame){.len = 0};
	put_eth(&frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(&frame, GLB_IPPROTO_ICMP, frame_client_v4, frame_vip_v4, 1);
	put_icmp(&frame, GLB_ICMP_ECHO, 0);
	frame_close(&frame);
	CHECK(reason_of(&w, &frame) == GLB_REASON_ICMP_NOT_TAKEN);

	frame = (struct frame){.len = 0};
	put_eth(&frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(&frame, GLB_IPPROTO_DSTOPTS, frame_client_v6, frame_vip_v6);
	put_extension(&frame, GLB_IPPROTO_ICMPV6, 0, 8);
	put_icmp(&frame, GLB_ICMPV6_ECHO, 0);
	frame_close(&frame);
	CHECK(reason_of(&w, &frame) == GLB_REASON_ICMP_NOT_TAKEN);

	frame = icmp_frame(4, GLB_ICMP_ECHO_REPLY, 0);
	CHECK(reason_of(&w, &frame) == GLB_REASON_ICMP_NOT_TAKEN);
	frame = request(4, false, &state);
	frame.bytes[14 + 19] = 99;
	CHECK(reason_of(&w, &frame) == GLB_REASON_NOT_VIP);
	world_close(&w);
}

static void only_when_told(void)
{
	uint64_t state = 9;
	const struct frame frame = request(4, false, &state);
	struct world w;

	CHECK(world_open(&w));
	CHECK(reason_of(&w, &frame) == GLB_REASON_FORWARDED);
	w.path.director.echo = GLB_ECHO_PUNT;
	CHECK(reason_of(&w, &frame) == GLB_REASON_ICMP_NOT_TAKEN);
	world_close(&w);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"answers", answers},
		{"a damaged request gives a damaged reply", a_damaged_request_gives_a_damaged_reply},
		{"leaves the rest to the kernel", leaves_the_rest_to_the_kernel},
		{"only when told", only_when_told},
	};

	return check_run(cases, COUNT(cases));
}
