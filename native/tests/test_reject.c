/* What no service takes: whom it is refused to, and the refusal, its checksums computed here from scratch. */
#include "check.h"
#include "world.h"

#include "checksum.h"

enum {
	CLOSED = 9999, /* a port without a service */
	QUOTE_V4 = 576 - 28,
	QUOTE_V6 = 1280 - 48,
};

static bool open_with(struct world *w, enum glb_unmatched policy)
{
	make_services(&w->make);
	for (unsigned s = 0; s < 4; s++)
		w->make.services[s].unmatched = (uint8_t)policy;
	return world_compile(w);
}

/* Of IP's payload, with a pseudo-header unless it is ICMP; 0 over what is right. */
static uint16_t sum_of(const uint8_t *l3, unsigned family, uint8_t protocol, uint32_t length)
{
	const glb_be32 words[2] = {glb_be32_put(length), glb_be32_put(protocol)};
	uint64_t sum = 0;

	if (protocol != GLB_IPPROTO_ICMP)
		sum = checksum_add(checksum_add(0, l3 + (family == 4 ? 12 : 8), family == 4 ? 8 : 32), words, sizeof(words));
	return glb_be16_get(checksum_finish(checksum_add(sum, l3 + (family == 4 ? 20 : 40), length)));
}

static struct frame asked(unsigned family, bool vlan, uint8_t protocol)
{
	const uint16_t type = family == 4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6;
	struct frame frame = {.len = 0};

	put_eth(&frame, vlan ? GLB_ETHERTYPE_VLAN : type);
	if (vlan)
		put_vlan(&frame, type);
	if (family == 4)
		put_ipv4(&frame, protocol, frame_client_v4, frame_vip_v4, 0);
	else
		put_ipv6(&frame, protocol, frame_client_v6, frame_vip_v6);
	return frame;
}

/* Ethernet, tags and IP of a refusal: turned round, whole, and of the length that it says. Its payload's length, or 0. */
static uint32_t headers(const struct frame *frame, unsigned family, uint8_t protocol, const uint8_t *out, uint32_t len)
{
	const uint32_t at = family == 4 ? 12 : 8, addr = family == 4 ? 4 : 16, size = family == 4 ? 20 : 40;
	const uint8_t *l3 = out + frame->l3, *was = frame->bytes + frame->l3;
	const uint32_t length = len - frame->l3 - size;

	if (memcmp(out, frame_client_mac, 6) != 0 || memcmp(out + 6, frame_director_mac, 6) != 0 ||
	    memcmp(out + 12, frame->bytes + 12, frame->l3 - 12) != 0)
		return 0;
	if (memcmp(l3 + at, was + at + addr, addr) != 0 || memcmp(l3 + at + addr, was + at, addr) != 0)
		return 0;
	if (family == 4 && (l3[0] != 0x45 || glb_be16_get(((const struct glb_ipv4 *)l3)->total_length) != size + length ||
			    l3[9] != protocol || glb_be16_get(checksum_finish(checksum_add(0, l3, 20))) != 0))
		return 0;
	if (family == 6 && (l3[0] != 0x60 || glb_be16_get(((const struct glb_ipv6 *)l3)->payload_length) != length ||
			    l3[6] != protocol))
		return 0;
	return sum_of(l3, family, protocol, length) == 0 ? length : 0;
}

/* RFC 9293, 3.10.7.1: with ACK its number is the reset's; without, everything is acknowledged. */
static void resets(void)
{
	uint8_t out[GLB_REJECT_MAX];
	uint64_t state = 11;
	struct world w;

	CHECK(open_with(&w, GLB_UNMATCHED_REJECT));
	for (unsigned round = 0; round < 20000; round++) {
		const unsigned family = round & 1 ? 4 : 6, payload = (unsigned)(test_random(&state) % 200);
		struct frame frame = asked(family, round & 2, GLB_IPPROTO_TCP);
		struct glb_tcp *tcp = (struct glb_tcp *)(frame.bytes + frame.len);
		const struct glb_tcp *reset = (const struct glb_tcp *)(out + frame.len);
		uint32_t taken = payload, len;
		struct glb_packet p;

		put_tcp(&frame, (uint16_t)(1 + test_random(&state) % 65535), CLOSED);
		put_zeros(&frame, payload);
		frame_close(&frame);
		tcp->flags = (uint8_t)(test_random(&state) & 0x3f & ~GLB_TCP_RST);
		tcp->seq = glb_be32_put((uint32_t)test_random(&state));
		tcp->ack = glb_be32_put((uint32_t)test_random(&state));
		taken += ((tcp->flags & GLB_TCP_SYN) != 0) + ((tcp->flags & GLB_TCP_FIN) != 0);
		p = run(&w.path, &frame);
		CHECK(p.reason == GLB_REASON_UNMATCHED_REJECTED);
		len = glb_path_reject(&w.path, &p, out);
		CHECK(headers(&frame, family, GLB_IPPROTO_TCP, out, len) == sizeof(*reset));
		CHECK(glb_be16_get(reset->sport) == CLOSED && glb_be16_get(reset->dport) == glb_be16_get(tcp->sport));
		CHECK(reset->data_offset == 0x50);
		if (tcp->flags & GLB_TCP_ACK) {
			CHECK(reset->flags == GLB_TCP_RST && glb_be32_get(reset->seq) == glb_be32_get(tcp->ack));
			CHECK(glb_be32_get(reset->ack) == 0);
		} else {
			CHECK(reset->flags == (GLB_TCP_RST | GLB_TCP_ACK) && glb_be32_get(reset->seq) == 0);
			CHECK(glb_be32_get(reset->ack) == glb_be32_get(tcp->seq) + taken);
		}
	}
	world_close(&w);
}

/* RFC 1122, 3.2.2 and RFC 4443, 2.4: as much of the packet as fits. */
static void unreachables(void)
{
	uint8_t out[GLB_REJECT_MAX];
	uint64_t state = 12;
	struct world w;

	CHECK(open_with(&w, GLB_UNMATCHED_REJECT));
	for (unsigned round = 0; round < 20000; round++) {
		const unsigned family = round & 1 ? 4 : 6, payload = (unsigned)(test_random(&state) % 1400);
		const uint8_t protocol = family == 4 ? GLB_IPPROTO_ICMP : GLB_IPPROTO_ICMPV6;
		struct frame frame = asked(family, round & 2, GLB_IPPROTO_UDP);
		const struct glb_icmp *icmp = (const struct glb_icmp *)(out + frame.len);
		uint32_t quote, len;
		struct glb_packet p;

		put_udp(&frame, 40000, CLOSED);
		for (unsigned i = 0; i < payload; i++)
			frame.bytes[frame.len++] = (uint8_t)test_random(&state);
		frame_close(&frame);
		quote = frame.len - frame.l3;
		if (quote > (family == 4 ? QUOTE_V4 : QUOTE_V6))
			quote = family == 4 ? QUOTE_V4 : QUOTE_V6;
		p = run(&w.path, &frame);
		CHECK(p.reason == GLB_REASON_UNMATCHED_REJECTED);
		len = glb_path_reject(&w.path, &p, out);
		CHECK(len <= GLB_REJECT_MAX);
		CHECK(headers(&frame, family, protocol, out, len) == sizeof(*icmp) + quote);
		CHECK(icmp->type == (family == 4 ? 3 : 1) && icmp->code == (family == 4 ? 3 : 4) && glb_be32_get(icmp->rest) == 0);
		CHECK(memcmp(icmp + 1, frame.bytes + frame.l3, quote) == 0);
	}
	world_close(&w);
}

static enum glb_reason reason_of(const struct world *w, const struct frame *frame)
{
	return (enum glb_reason)run(&w->path, frame).reason;
}

/* No answer to an answer, to nobody, or to everybody. */
static void some_are_dropped(void)
{
	static const uint8_t sources[][4] = {{0, 1, 2, 3}, {127, 0, 0, 1}, {224, 0, 0, 1}, {255, 255, 255, 255}};
	struct world w;
	struct frame frame;

	CHECK(open_with(&w, GLB_UNMATCHED_REJECT));
	for (unsigned family = 4; family <= 6; family += 2) {
		frame = tcp_frame(family, 40000, CLOSED);
		((struct glb_tcp *)(frame.bytes + frame.len - sizeof(struct glb_tcp)))->flags = GLB_TCP_RST | GLB_TCP_ACK;
		CHECK(reason_of(&w, &frame) == GLB_REASON_UNMATCHED_DROPPED);
		frame = ip_frame(family, 132);
		put_zeros(&frame, 20);
		frame_close(&frame);
		CHECK(reason_of(&w, &frame) == GLB_REASON_UNMATCHED_DROPPED);
	}
	for (unsigned i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		frame = udp_frame(4, 40000, CLOSED);
		memcpy(frame.bytes + 14 + 12, sources[i], 4);
		CHECK(reason_of(&w, &frame) == GLB_REASON_UNMATCHED_DROPPED);
	}
	frame = udp_frame(6, 40000, CLOSED);
	frame.bytes[14 + 8] = 0xff;
	CHECK(reason_of(&w, &frame) == GLB_REASON_UNMATCHED_DROPPED);
	world_close(&w);
}

static void policies(void)
{
	static const enum glb_reason reasons[] = {
		[GLB_UNMATCHED_PUNT] = GLB_REASON_NO_SERVICE,
		[GLB_UNMATCHED_DROP] = GLB_REASON_UNMATCHED_DROPPED,
		[GLB_UNMATCHED_REJECT] = GLB_REASON_UNMATCHED_REJECTED,
	};

	for (unsigned policy = 0; policy < sizeof(reasons) / sizeof(reasons[0]); policy++) {
		struct world w;

		CHECK(open_with(&w, (enum glb_unmatched)policy));
		for (unsigned family = 4; family <= 6; family += 2) {
			struct frame closed = tcp_frame(family, 40000, CLOSED), other = udp_frame(family, 40000, 80);
			struct frame open = tcp_frame(family, 40000, 80);

			CHECK(reason_of(&w, &closed) == reasons[policy]);
			CHECK(reason_of(&w, &other) == reasons[policy]); /* the port is open, but for TCP */
			CHECK(reason_of(&w, &open) == GLB_REASON_FORWARDED);
		}
		world_close(&w);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"TCP is refused by a reset", resets},
		{"UDP is refused by port unreachable", unreachables},
		{"some are dropped instead", some_are_dropped},
		{"each policy has its reason", policies},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
