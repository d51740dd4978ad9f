/* Classes of punted packets: neighbours and routing by what they are, everything else together. */
#include "check.h"
#include "world.h"

#include <glb/punt.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct world world;

/* The class of a frame to an address that is no VIP, after all stages; CLASSES when it is not punted. */
static enum glb_punt_class class_of(struct frame frame)
{
	struct glb_packet packet;

	if (frame.l3 != 0)
		frame.bytes[frame.l3 + (frame.bytes[frame.l3] >> 4 == 4 ? 19 : 39)] = 99;
	packet = run(&world.path, &frame);
	return packet.verdict == GLB_VERDICT_PUNT ? glb_punt_classify(&packet) : GLB_PUNT_CLASSES;
}

static struct frame plain(uint16_t type, unsigned tags)
{
	struct frame frame = {.len = 0};

	put_eth(&frame, tags == 0 ? type : GLB_ETHERTYPE_VLAN);
	for (unsigned i = 1; i <= tags; i++)
		put_vlan(&frame, i == tags ? type : GLB_ETHERTYPE_VLAN);
	put_zeros(&frame, 28);
	return frame;
}

static struct frame discovery(uint8_t type, uint8_t hop_limit)
{
	struct frame frame = icmp_frame(6, type, 0);

	((struct glb_ipv6 *)(frame.bytes + frame.l3))->hop_limit = hop_limit;
	return frame;
}

static void neighbours(void)
{
	CHECK(world_open(&world));
	for (unsigned tags = 0; tags <= 2; tags++)
		CHECK(class_of(plain(GLB_ETHERTYPE_ARP, tags)) == GLB_PUNT_NEIGHBOUR);
	CHECK(class_of(plain(0x88cc, 0)) == GLB_PUNT_OTHER);
	CHECK(class_of(plain(GLB_ETHERTYPE_ARP, 3)) == GLB_PUNT_OTHER);
	for (unsigned type = 0; type < 256; type++) {
		const bool nd = type >= 133 && type <= 137;

		if (type == 2) /* too-big */
			continue;
		CHECK(class_of(discovery((uint8_t)type, 255)) == (nd ? GLB_PUNT_NEIGHBOUR : GLB_PUNT_OTHER));
		CHECK(class_of(discovery((uint8_t)type, 254)) == GLB_PUNT_OTHER);
		CHECK(class_of(icmp_frame(4, (uint8_t)type, 0)) == GLB_PUNT_OTHER);
	}
	world_close(&world);
}

static void routing(void)
{
	static const uint16_t bfd[] = {3784, 3785, 4784, 6784, 7784};

	CHECK(world_open(&world));
	for (unsigned family = 4; family <= 6; family += 2) {
		CHECK(class_of(tcp_frame(family, 40000, 179)) == GLB_PUNT_ROUTING);
		CHECK(class_of(tcp_frame(family, 179, 40000)) == GLB_PUNT_ROUTING);
		CHECK(class_of(tcp_frame(family, 40000, 22)) == GLB_PUNT_OTHER);
		CHECK(class_of(udp_frame(family, 179, 179)) == GLB_PUNT_OTHER);
		for (unsigned i = 0; i < COUNT(bfd); i++) {
			CHECK(class_of(udp_frame(family, 49152, bfd[i])) == GLB_PUNT_ROUTING);
			CHECK(class_of(udp_frame(family, bfd[i], 49152)) == GLB_PUNT_OTHER);
			CHECK(class_of(tcp_frame(family, 49152, bfd[i])) == GLB_PUNT_OTHER);
		}
		CHECK(class_of(ip_frame(family, GLB_IPPROTO_ESP)) == GLB_PUNT_CLASSES); /* its length is wrong: dropped */
	}
	world_close(&world);
}

/* Also for VIPs, and without a snapshot. */
static void whatever_the_reason(void)
{
	const struct glb_director director = {.mtu = 1500};
	const struct frame bgp = tcp_frame(4, 40000, 179), other = tcp_frame(4, 1, 81);
	struct glb_packet packet;
	struct glb_path path;

	CHECK(world_open(&world));
	packet = run(&world.path, &bgp);
	CHECK(packet.reason == GLB_REASON_NO_SERVICE && glb_punt_classify(&packet) == GLB_PUNT_ROUTING);
	packet = run(&world.path, &other);
	CHECK(packet.reason == GLB_REASON_NO_SERVICE && glb_punt_classify(&packet) == GLB_PUNT_OTHER);
	CHECK(glb_path_init(&path, NULL, &director, NULL) == 0);
	packet = run(&path, &bgp);
	CHECK(packet.reason == GLB_REASON_NO_SNAPSHOT && glb_punt_classify(&packet) == GLB_PUNT_ROUTING);
	world_close(&world);
}

/* Cut and damaged frames in memory of their exact size: nothing beyond it is read. */
static void survives_anything(void)
{
	uint64_t state = 3;
	unsigned punted = 0;

	CHECK(world_open(&world));
	for (unsigned round = 0; round < 50000; round++) {
		struct frame frame = round % 3 == 0 ? discovery(135, 255) : round % 3 == 1 ? plain(0x0806, round % 4)
											   : tcp_frame(4, 1, 179);
		struct glb_packet packet;

		for (unsigned n = test_random(&state) % 4; n > 0; n--)
			frame.bytes[test_random(&state) % frame.len] ^= (uint8_t)test_random(&state);
		packet = packet_of(&frame, (uint32_t)(test_random(&state) % (frame.len + 1)));
		glb_path_burst(&world.path, &packet, 1);
		if (packet.verdict == GLB_VERDICT_PUNT)
			punted += glb_punt_classify(&packet) < GLB_PUNT_CLASSES;
		packet_free(&packet);
	}
	CHECK(punted > 1000);
	world_close(&world);
}

static void names(void)
{
	CHECK(strcmp(glb_punt_class_name(GLB_PUNT_NEIGHBOUR), "neighbour") == 0);
	CHECK(strcmp(glb_punt_class_name(GLB_PUNT_ROUTING), "routing") == 0);
	CHECK(strcmp(glb_punt_class_name(GLB_PUNT_OTHER), "other") == 0);
	CHECK(strcmp(glb_punt_class_name(GLB_PUNT_CLASSES), "unknown") == 0);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"neighbours", neighbours},
		{"routing", routing},
		{"whatever the reason", whatever_the_reason},
		{"survives anything", survives_anything},
		{"names", names},
	};

	return check_run(cases, COUNT(cases));
}
