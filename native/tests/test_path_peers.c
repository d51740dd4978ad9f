/* Fragments that reach several directors: they meet at one, go on together, and are handed on once at most. */
#include "check.h"
#include "fragment_world.h"

#include <glb/steer.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { DIRECTORS = 3 };

struct fleet {
	struct stage of[DIRECTORS];
	struct glb_addr addrs[DIRECTORS];
};

static const struct glb_addr nobody = {.family = GLB_FAMILY_NONE};

static bool fleet_load(struct fleet *fleet, uint8_t family)
{
	for (unsigned i = 0; i < DIRECTORS; i++)
		fleet->addrs[i] = family == GLB_FAMILY_V4 ? make_v4(10, 0, 1, (uint8_t)(2 + i)) : make_v6((uint8_t)(0x72 + i));
	for (unsigned i = 0; i < DIRECTORS; i++) {
		const struct glb_addr *own = &fleet->addrs[i];
		const bool v4 = family == GLB_FAMILY_V4;

		if (glb_peers_set(&fleet->of[i].peers, fleet->addrs, DIRECTORS, v4 ? own : &nobody, v4 ? &nobody : own, NULL) != 0 ||
		    !world_load(&fleet->of[i].w, &fleet->of[i].ids, &fleet->of[i].peers))
			return false;
	}
	return true;
}

static bool fleet_open(struct fleet *fleet, uint8_t family)
{
	for (unsigned i = 0; i < DIRECTORS; i++)
		if (!stage_open(&fleet->of[i]))
			return false;
	return fleet_load(fleet, family);
}

static void fleet_close(struct fleet *fleet)
{
	for (unsigned i = 0; i < DIRECTORS; i++)
		stage_close(&fleet->of[i]);
}

/* The frame that a director sends for what it redirects; the router turns its MACs round. */
static struct frame redirected(const struct stage *from, const struct glb_packet *packet)
{
	struct frame frame = {.len = 0};
	uint8_t header[GLB_PEER_HEADER_MAX];
	const uint32_t len = glb_path_redirect_header(&from->w.path, packet, header);
	struct glb_eth *eth;

	frame_put(&frame, header, len);
	frame_put(&frame, packet->data + packet->l3_offset, packet->l3_len);
	eth = (struct glb_eth *)frame.bytes;
	memcpy(eth->dst, frame_director_mac, 6);
	memcpy(eth->src, frame_client_mac, 6);
	return frame;
}

/* A frame comes to director `at`: what becomes of it in the end, and *at where. */
static struct glb_packet send_to(struct fleet *fleet, const struct frame *frame, unsigned *at)
{
	struct glb_packet packet = send_frame(&fleet->of[*at], frame, 0);
	struct frame wrapped;

	if (packet.reason != GLB_REASON_FRAGMENT_REDIRECTED)
		return packet;
	wrapped = redirected(&fleet->of[*at], &packet);
	*at = packet.peer;
	return send_frame(&fleet->of[*at], &wrapped, 0);
}

/* Each fragment of a datagram comes to any director; the first one comes first. */
static void they_meet_at_one(uint8_t family_of_peers)
{
	uint64_t random = 7;
	unsigned met[DIRECTORS] = {0};
	struct fleet fleet;

	CHECK(fleet_open(&fleet, family_of_peers));
	for (uint16_t id = 0; id < 300; id++) {
		const unsigned family = id % 2 ? 6 : 4;
		struct glb_packet first = {.verdict = GLB_VERDICT_DROP};
		unsigned place = 0;

		for (uint32_t from = 0; from < 256; from += 64) {
			struct frame frame = piece(family, GLB_IPPROTO_UDP, id, from, from != 192, (uint16_t)(4000 + id), id % 3 ? 53 : 54);
			const unsigned came_to = (unsigned)(test_random(&random) % DIRECTORS);
			struct glb_packet packet;
			unsigned at = came_to;

			frame.bytes[14 + (family == 4 ? 15 : 23)] = (uint8_t)id; /* another client each time */
			packet = send_to(&fleet, &frame, &at);
			CHECK(packet.verdict == GLB_VERDICT_FORWARD && packet.from_peer == (at != came_to));
			CHECK(packet.reason == (at != came_to ? GLB_REASON_FRAGMENT_FROM_PEER : GLB_REASON_FORWARDED));
			if (from == 0)
				first = packet;
			CHECK(from == 0 || (at == place && same_way(&first, &packet)));
			place = at;
		}
		met[place]++;
	}
	for (unsigned i = 0; i < DIRECTORS; i++)
		CHECK(met[i] > 60);
	fleet_close(&fleet);
}

static void they_meet_at_one_over_v4(void)
{
	they_meet_at_one(GLB_FAMILY_V4);
}

static void they_meet_at_one_over_v6(void)
{
	they_meet_at_one(GLB_FAMILY_V6);
}

static unsigned another_than(unsigned director)
{
	return (director + 1) % DIRECTORS;
}

/* The first one that is redirected by the director, and the frame that is sent for it. */
static struct glb_packet find_redirected(struct stage *director, unsigned family, struct frame *frame, struct frame *wrapped)
{
	struct glb_packet packet = {.verdict = GLB_VERDICT_DROP};

	for (uint8_t client = 1; client < 100; client++) {
		*frame = piece(family, GLB_IPPROTO_UDP, client, 0, true, 4000, 53);
		frame->bytes[14 + (family == 4 ? 15 : 23)] = client;
		packet = send_frame(director, frame, 0);
		if (packet.reason == GLB_REASON_FRAGMENT_REDIRECTED)
			break;
	}
	*wrapped = redirected(director, &packet);
	return packet;
}

/* Lists that differ: it stays with whom it was sent to. */
static void a_redirected_one_is_not_redirected_again(void)
{
	struct glb_packet packet;
	struct frame frame, wrapped;
	struct fleet fleet;
	unsigned wrong;

	CHECK(fleet_open(&fleet, GLB_FAMILY_V4));
	packet = find_redirected(&fleet.of[0], 4, &frame, &wrapped);
	CHECK(packet.reason == GLB_REASON_FRAGMENT_REDIRECTED && packet.verdict == GLB_VERDICT_ANSWER && packet.peer != 0);
	wrong = another_than(packet.peer) == 0 ? another_than(0) : another_than(packet.peer);
	CHECK(wrong != packet.peer);
	CHECK(send_frame(&fleet.of[wrong], &frame, 0).reason == GLB_REASON_FRAGMENT_REDIRECTED);
	memcpy(((struct glb_ipv4 *)(wrapped.bytes + 14))->dst, fleet.addrs[wrong].bytes, 4);
	packet = send_frame(&fleet.of[wrong], &wrapped, 0);
	CHECK(packet.verdict == GLB_VERDICT_FORWARD && packet.reason == GLB_REASON_FRAGMENT_FROM_PEER);
	fleet_close(&fleet);
}

static void only_peers_are_listened_to(void)
{
	static const uint8_t stranger[4] = {10, 0, 1, 77};
	struct frame frame, wrapped, other;
	struct glb_packet packet;
	struct fleet fleet;

	CHECK(fleet_open(&fleet, GLB_FAMILY_V4));
	packet = find_redirected(&fleet.of[0], 6, &frame, &wrapped);
	CHECK(packet.reason == GLB_REASON_FRAGMENT_REDIRECTED);
	other = wrapped;
	memcpy(((struct glb_ipv4 *)(other.bytes + 14))->src, stranger, 4);
	CHECK(send_frame(&fleet.of[packet.peer], &other, 0).reason == GLB_REASON_FRAGMENT_PEER_UNKNOWN);
	memcpy(((struct glb_ipv4 *)(wrapped.bytes + 14))->dst, stranger, 4); /* not to the director: none of its business */
	CHECK(send_frame(&fleet.of[packet.peer], &wrapped, 0).reason == GLB_REASON_NOT_VIP);
	fleet_close(&fleet);
}

static void only_whole_headers_of_fragments_are_taken(void)
{
	enum { UDP_AT = 14 + 20, GUE_AT = UDP_AT + 8, INNER = GUE_AT + 8 };
	struct frame frame, wrapped, other;
	struct glb_packet packet;
	struct stage *peer;
	struct fleet fleet;

	CHECK(fleet_open(&fleet, GLB_FAMILY_V4));
	packet = find_redirected(&fleet.of[0], 4, &frame, &wrapped);
	peer = &fleet.of[packet.peer];
	other = wrapped;
	((struct glb_gue *)(other.bytes + GUE_AT))->private_type = glb_be16_put(GLB_GUE_PRIVATE_V4); /* as to a backend */
	CHECK(send_frame(peer, &other, 0).reason == GLB_REASON_NOT_VIP);
	other = wrapped;
	((struct glb_gue *)(other.bytes + GUE_AT))->protocol = GLB_IPPROTO_TCP;
	CHECK(send_frame(peer, &other, 0).reason == GLB_REASON_FRAGMENT_PEER_BAD);
	other = wrapped;
	((struct glb_ipv4 *)(other.bytes + INNER))->fragment = glb_be16_put(GLB_IPV4_DF);
	CHECK(send_frame(peer, &other, 0).reason == GLB_REASON_FRAGMENT_PEER_BAD);
	other = wrapped;
	((struct glb_ipv4 *)(other.bytes + INNER))->version_ihl = 0x65;
	CHECK(send_frame(peer, &other, 0).reason == GLB_REASON_IPV4_BAD_VERSION);
	for (uint32_t len = UDP_AT + 8; len < INNER + 28; len++) {
		other = wrapped;
		other.len = len;
		frame_close(&other);
		((struct glb_ipv4 *)(other.bytes + 14))->total_length = glb_be16_put((uint16_t)(len - 14));
		packet = packet_of(&other, len);
		glb_path_burst(&peer->w.path, &packet, 1);
		CHECK(packet.verdict != GLB_VERDICT_FORWARD);
		packet_free(&packet);
	}
	fleet_close(&fleet);
}

/* In a pipeline: redirected or not, the fragments of a datagram come to one worker. */
static void workers_are_found_by_what_is_inside(void)
{
	struct frame frame, wrapped, stranger;
	struct glb_packet packet;
	struct fleet fleet;

	CHECK(fleet_open(&fleet, GLB_FAMILY_V6));
	for (unsigned family = 4; family <= 6; family += 2) {
		const struct glb_peers *peers;
		uint32_t alone;

		packet = find_redirected(&fleet.of[0], family, &frame, &wrapped);
		peers = &fleet.of[packet.peer].peers;
		alone = glb_steer_hash(7, frame.bytes, frame.len, frame.len);
		CHECK(alone != 0 && glb_steer_hash_shared(peers, 7, frame.bytes, frame.len, frame.len) == alone);
		CHECK(glb_steer_hash_shared(peers, 7, wrapped.bytes, wrapped.len, wrapped.len) == alone);
		CHECK(glb_steer_hash(7, wrapped.bytes, wrapped.len, wrapped.len) != alone);
		stranger = wrapped; /* to somebody else: a packet like any other */
		stranger.bytes[14 + 39] ^= 0x80;
		CHECK(glb_steer_hash_shared(peers, 7, stranger.bytes, stranger.len, stranger.len) ==
		      glb_steer_hash(7, stranger.bytes, stranger.len, stranger.len));
		for (uint32_t len = 0; len < wrapped.len; len++) {
			packet = packet_of(&wrapped, len);
			glb_steer_hash_shared(peers, 7, packet.data, len, wrapped.len); /* nothing beyond is read */
			packet_free(&packet);
		}
	}
	fleet_close(&fleet);
}

/* TCP 80, by the source's address alone; UDP 53 that is no fragment. */
static void others_stay_where_they_come(void)
{
	struct glb_packet packet;
	struct fleet fleet;

	CHECK(fleet_open(&fleet, GLB_FAMILY_V4));
	for (unsigned at = 0; at < DIRECTORS; at++) {
		for (uint32_t from = 0; from < 128; from += 64) {
			const struct frame frame = piece(6, GLB_IPPROTO_TCP, 1, from, true, 4000, 80);

			CHECK(send_frame(&fleet.of[at], &frame, 0).reason == GLB_REASON_FORWARDED);
		}
		packet = send_piece(&fleet.of[at], 4, 0, 0, false, 53);
		CHECK(packet.reason == GLB_REASON_FORWARDED && !packet.fragment);
	}
	fleet_close(&fleet);
}

static void what_does_not_fit_is_dropped(void)
{
	struct frame frame, wrapped;
	struct glb_packet packet;
	struct fleet fleet;

	CHECK(fleet_open(&fleet, GLB_FAMILY_V6));
	packet = find_redirected(&fleet.of[0], 4, &frame, &wrapped);
	CHECK(packet.reason == GLB_REASON_FRAGMENT_REDIRECTED);
	fleet.of[0].w.path.egress[0].mtu = wrapped.len - 14;
	CHECK(send_frame(&fleet.of[0], &frame, 0).reason == GLB_REASON_FRAGMENT_REDIRECTED);
	fleet.of[0].w.path.egress[0].mtu--;
	CHECK(send_frame(&fleet.of[0], &frame, 0).reason == GLB_REASON_FRAGMENT_PEER_TOO_LONG);
	fleet_close(&fleet);
}

/* Byte for byte: docs/wire/gue.md. */
static void the_mark_is_as_specified(void)
{
	struct frame frame, wrapped;
	struct glb_packet packet;
	struct fleet fleet;
	uint8_t outer[36] = {
		0x45, 0, 0, 36 + 84, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 1, 2, 10, 0, 1, 0, /* IPv4 */
		0x80, 0, 0x4c, 0x43, 0, 16 + 84, 0, 0,                                       /* UDP */
		1, 4, 0, 0, 0, 2, 0, 0,                                                      /* GUE */
	};

	CHECK(fleet_open(&fleet, GLB_FAMILY_V4));
	packet = find_redirected(&fleet.of[0], 4, &frame, &wrapped);
	outer[19] = (uint8_t)(2 + packet.peer);
	memcpy(outer + 10, wrapped.bytes + 14 + 10, 2); /* the checksum, computed as for backends */
	CHECK(packet.l3_len == 84 && wrapped.len == 14 + sizeof(outer) + 84);
	CHECK(memcmp(wrapped.bytes + 14, outer, sizeof(outer)) == 0);
	CHECK(memcmp(wrapped.bytes + 14 + sizeof(outer), frame.bytes + 14, 84) == 0);
	fleet_close(&fleet);
}

/* It came in an outer packet; the answer must not. */
static void a_sender_is_answered_without_the_wrapping(void)
{
	struct frame frame, wrapped;
	struct glb_packet packet;
	uint8_t out[GLB_REJECT_MAX];
	struct fleet fleet;
	struct stage *peer;

	CHECK(fleet_open(&fleet, GLB_FAMILY_V4));
	packet = find_redirected(&fleet.of[0], 6, &frame, &wrapped);
	peer = &fleet.of[packet.peer];
	peer->w.path.egress[0].mtu = 64;
	packet = send_frame(peer, &wrapped, 0);
	CHECK(packet.reason == GLB_REASON_OVERSIZE_ANSWERED && packet.from_peer);
	CHECK(glb_path_reject(&peer->w.path, &packet, out) == 14 + 40 + 8 + packet.l3_len);
	CHECK(out[12] == 0x86 && out[13] == 0xdd && out[14] >> 4 == 6 && memcmp(out, frame_client_mac, 6) == 0);
	CHECK(memcmp(out + 14 + 8, frame_vip_v6, 16) == 0 && memcmp(out + 14 + 24, packet.src.bytes, 16) == 0);
	fleet_close(&fleet);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"they meet at one, peers by IPv4", they_meet_at_one_over_v4},
		{"they meet at one, peers by IPv6", they_meet_at_one_over_v6},
		{"a redirected one is not redirected again", a_redirected_one_is_not_redirected_again},
		{"only peers are listened to", only_peers_are_listened_to},
		{"only whole headers of fragments are taken", only_whole_headers_of_fragments_are_taken},
		{"workers are found by what is inside", workers_are_found_by_what_is_inside},
		{"others stay where they come", others_stay_where_they_come},
		{"what does not fit is dropped", what_does_not_fit_is_dropped},
		{"the mark is as specified", the_mark_is_as_specified},
		{"a sender is answered without the wrapping", a_sender_is_answered_without_the_wrapping},
	};

	return check_run(cases, COUNT(cases));
}
