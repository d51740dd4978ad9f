/* The flow hash that spreads frames over workers: what belongs together stays together, the rest spreads. */
#include "check.h"
#include "frames.h"

#include <glb/steer.h>

static uint32_t hash_of(struct frame *frame)
{
	struct glb_packet packet;
	uint32_t hash;

	frame_close(frame);
	packet = packet_of(frame, frame->len);
	hash = glb_steer_hash(7, packet.data, packet.data_len, packet.frame_len);
	packet_free(&packet);
	return hash;
}

static uint32_t tcp_v4(uint16_t sport, unsigned options, bool vlan)
{
	struct frame frame = {.len = 0};

	put_eth(&frame, vlan ? GLB_ETHERTYPE_VLAN : GLB_ETHERTYPE_IPV4);
	if (vlan)
		put_vlan(&frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(&frame, GLB_IPPROTO_TCP, frame_client_v4, frame_vip_v4, options);
	put_tcp(&frame, sport, 80);
	put_zeros(&frame, sport % 5);
	return hash_of(&frame);
}

static void a_flow_has_one_hash(void)
{
	CHECK(tcp_v4(1000, 0, false) != 0);
	CHECK(tcp_v4(1000, 0, false) == tcp_v4(1000, 3, false));
	CHECK(tcp_v4(1000, 0, false) == tcp_v4(1000, 0, true));
	CHECK(tcp_v4(1000, 0, false) != tcp_v4(1001, 0, false));
}

/* An IPv4 UDP datagram, or a piece of it, by its fragment field. */
static uint32_t piece_v4(uint16_t fragment, uint16_t sport)
{
	struct frame frame = {.len = 0};

	put_eth(&frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(&frame, GLB_IPPROTO_UDP, frame_client_v4, frame_vip_v4, 0)->fragment = glb_be16_put(fragment);
	put_udp(&frame, sport, 53);
	return hash_of(&frame);
}

static uint32_t piece_v6(uint16_t fragment, uint16_t sport, bool options)
{
	struct frame frame = {.len = 0};

	put_eth(&frame, GLB_ETHERTYPE_IPV6);
	put_ipv6(&frame, options ? GLB_IPPROTO_HOPOPTS : GLB_IPPROTO_FRAGMENT, frame_client_v6, frame_vip_v6);
	if (options)
		put_extension(&frame, GLB_IPPROTO_FRAGMENT, 0, 8);
	put_extension(&frame, GLB_IPPROTO_UDP, 0, 8)->fragment = glb_be16_put(fragment);
	put_udp(&frame, sport, 53);
	return hash_of(&frame);
}

static void fragments_of_a_datagram_stay_together(void)
{
	const uint32_t first = piece_v4(GLB_IPV4_MF, 4000);

	CHECK(first != 0 && first == piece_v4(GLB_IPV4_MF | 185, 1) && first == piece_v4(370, 2));
	CHECK(first != piece_v4(0, 4000) && piece_v4(0, 4000) == piece_v4(GLB_IPV4_DF, 4000));
	CHECK(piece_v6(GLB_IPV6_MF, 4000, false) != 0);
	CHECK(piece_v6(GLB_IPV6_MF, 4000, false) == piece_v6(1448, 1, false));
	CHECK(piece_v6(GLB_IPV6_MF, 4000, false) == piece_v6(1448, 1, true));
	CHECK(piece_v6(0, 4000, false) == piece_v6(0, 4000, true)); /* in one piece after all: its ports count */
	CHECK(piece_v6(0, 4000, false) != piece_v6(GLB_IPV6_MF, 4000, false));
}

static uint32_t icmp_v4(uint8_t type, uint8_t code, uint16_t quoted_port)
{
	struct frame frame = {.len = 0};

	put_eth(&frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(&frame, GLB_IPPROTO_ICMP, frame_client_v4, frame_vip_v4, 0);
	put_icmp(&frame, type, code);
	if (quoted_port != 0) {
		put_ipv4(&frame, GLB_IPPROTO_TCP, frame_vip_v4, frame_client_v4, 0);
		put_tcp(&frame, 80, quoted_port);
	}
	return hash_of(&frame);
}

static void a_too_big_goes_with_its_flow(void)
{
	CHECK(icmp_v4(GLB_ICMP_UNREACHABLE, GLB_ICMP_FRAG_NEEDED, 1000) == tcp_v4(1000, 0, false));
	CHECK(icmp_v4(GLB_ICMP_UNREACHABLE, 1, 1000) == tcp_v4(1000, 0, false));
	CHECK(icmp_v4(GLB_ICMP_TIME_EXCEEDED, 0, 1000) == tcp_v4(1000, 0, false));
	CHECK(icmp_v4(13, 0, 1000) != tcp_v4(1000, 0, false));
	CHECK(icmp_v4(13, 0, 1000) == icmp_v4(GLB_ICMP_ECHO, 0, 0)); /* by addresses */
}

static void what_is_no_flow_is_zero(void)
{
	struct frame arp = {.len = 0}, whole = {.len = 0};

	put_eth(&arp, 0x0806);
	put_zeros(&arp, 28);
	CHECK(glb_steer_hash(7, arp.bytes, arp.len, arp.len) == 0);
	put_eth(&whole, GLB_ETHERTYPE_IPV6);
	put_ipv6(&whole, GLB_IPPROTO_HOPOPTS, frame_client_v6, frame_vip_v6);
	put_extension(&whole, GLB_IPPROTO_ICMPV6, 0, 8);
	put_icmp(&whole, GLB_ICMPV6_TOO_BIG, 0);
	put_ipv6(&whole, GLB_IPPROTO_UDP, frame_vip_v6, frame_client_v6);
	put_udp(&whole, 53, 4000);
	frame_close(&whole);
	for (uint32_t len = 0; len <= whole.len; len++) { /* reads nothing beyond what is there */
		struct glb_packet packet = packet_of(&whole, len);
		uint32_t hash = glb_steer_hash(7, packet.data, len, len);

		packet_free(&packet);
		CHECK((hash == 0) == (len < whole.len)); /* the length field says that something is missing */
	}
}

static void flows_spread_evenly(void)
{
	unsigned counts[64];

	for (uint32_t workers = 1; workers <= 64; workers++) {
		memset(counts, 0, sizeof(counts));
		for (unsigned port = 0; port < 1000 * workers && port < 65536; port++) {
			uint32_t worker = glb_steer_worker(tcp_v4((uint16_t)port, 0, false), workers);

			CHECK(worker < workers);
			counts[worker]++;
		}
		for (uint32_t i = 0; i < workers; i++)
			CHECK(counts[i] > 800 && counts[i] < 1200);
	}
}

/* A NIC has already used low bits of its hash to choose the queue: the rest must still spread. */
static void equal_low_bits_spread(void)
{
	unsigned counts[8] = {0};

	for (uint32_t i = 0; i < 8192; i++)
		counts[glb_steer_worker(i << 7 | 5, 8)]++;
	for (unsigned i = 0; i < 8; i++)
		CHECK(counts[i] > 900 && counts[i] < 1150);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"a flow has one hash", a_flow_has_one_hash},
		{"fragments of a datagram stay together", fragments_of_a_datagram_stay_together},
		{"a too-big goes with its flow", a_too_big_goes_with_its_flow},
		{"what is no flow is zero", what_is_no_flow_is_zero},
		{"flows spread evenly", flows_spread_evenly},
		{"equal low bits spread", equal_low_bits_spread},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
