/* The fragment stages on compiled snapshots: who is followed, where to, and who goes alone. */
#include "check.h"
#include "fragment_world.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void later_ones_go_where_the_first_went(void)
{
	struct stage s;

	CHECK(stage_open(&s));
	for (unsigned family = 4; family <= 6; family += 2) {
		for (uint16_t id = 0; id < 40; id++) {
			const struct glb_packet first = send_piece(&s, family, id, 0, true, id % 2 ? 53 : 54);
			const struct glb_packet middle = send_piece(&s, family, id, 64, true, 0);
			const struct glb_packet last = send_piece(&s, family, id, 128, false, 0);

			CHECK(same_way(&first, &middle) && same_way(&first, &last));
			CHECK(first.service == (id % 2 ? 0 : 1) && middle.kind == GLB_PACKET_FRAGMENT);
			CHECK(s.fragments.count[0] == 0);
		}
	}
	stage_close(&s);
}

/* Over IPv6 each fragment names the header that its own bytes begin with, as it were; only the first one's says what the flow is. */
static void later_ones_may_name_another_protocol(void)
{
	const struct frame other = piece(6, GLB_IPPROTO_DSTOPTS, 7, 64, false, 0, 0);
	struct glb_packet first, later;
	struct stage s;

	CHECK(stage_open(&s));
	first = send_piece(&s, 6, 7, 0, true, 53);
	later = send_frame(&s, &other, 0);
	CHECK(same_way(&first, &later) && later.protocol == GLB_IPPROTO_UDP);
	stage_close(&s);
}

/* A whole datagram in one burst, the first one last: the others wait, and then go the same way. */
static void early_ones_wait(void)
{
	const struct glb_path_memory memory = {.fragments = NULL};
	struct glb_path_memory with = memory;
	struct glb_fragment_slot slot[4];
	struct glb_packet p[4], first;
	struct frame frame[4];
	struct stage s;

	CHECK(stage_open(&s));
	with.fragments = &s.fragments;
	for (unsigned i = 0; i < 4; i++) {
		frame[i] = piece(4, GLB_IPPROTO_UDP, 9, i == 3 ? 192 : 128 - 64 * i, i != 3, 4000, 53);
		p[i] = (struct glb_packet){.data = frame[i].bytes, .data_len = frame[i].len, .frame_len = frame[i].len};
	}
	glb_path_burst_with(&s.w.path, &with, p, 4);
	CHECK(p[0].verdict == GLB_VERDICT_WAIT && p[1].verdict == GLB_VERDICT_WAIT && p[2].verdict == GLB_VERDICT_FORWARD);
	CHECK(p[3].verdict == GLB_VERDICT_WAIT); /* or it would overtake them */
	CHECK(glb_fragments_wait(&s.fragments, s.fragments.place[0], &frame[0], 0));
	CHECK(glb_fragments_wait(&s.fragments, s.fragments.place[1], &frame[1], 0));
	CHECK(glb_fragments_wait(&s.fragments, s.fragments.place[3], &frame[3], 0));
	CHECK(glb_fragments_release(&s.fragments, slot, 4) == 3 && slot[0].buffer == &frame[0] && slot[2].buffer == &frame[3]);
	first = p[2];
	for (unsigned i = 0; i < 3; i++) {
		const struct glb_packet released = send_frame(&s, slot[i].buffer, 0);

		CHECK(same_way(&first, &released));
	}
	CHECK(s.fragments.count[0] == 0 && s.fragments.count[1] == 0);
	stage_close(&s);
}

/* Between two fragments the backend begins to drain: whoever has the first one gets all. */
static void a_change_does_not_tear_a_datagram_apart(void)
{
	struct glb_packet first, later;
	uint32_t own;
	struct stage s;

	CHECK(stage_open(&s));
	first = send_piece(&s, 4, 5, 0, true, 53);
	CHECK(first.verdict == GLB_VERDICT_FORWARD);
	own = s.w.snapshot.backends[first.chain[0]].id;
	s.w.make.backends[0][first.chain[0]].state = GLB_STATE_DRAINING;
	CHECK(world_load(&s.w, &s.ids, NULL));
	later = send_piece(&s, 4, 6, 0, true, 53); /* another one has nothing to do with it */
	CHECK(later.verdict == GLB_VERDICT_FORWARD && s.w.snapshot.backends[later.chain[0]].id != own);
	later = send_piece(&s, 4, 5, 64, true, 0);
	CHECK(later.verdict == GLB_VERDICT_FORWARD && s.w.snapshot.backends[later.chain[0]].id == own);
	for (unsigned i = 0; i < BACKENDS; i++)
		if (s.w.make.backends[0][i].id == own)
			s.w.make.backends[0][i].state = GLB_STATE_INACTIVE;
	CHECK(world_load(&s.w, &s.ids, NULL));
	later = send_piece(&s, 4, 5, 128, true, 0);
	CHECK(later.verdict == GLB_VERDICT_FORWARD && s.w.snapshot.backends[later.chain[0]].id != own);
	stage_close(&s);
}

static void others_are_left_to_the_kernel(void)
{
	struct glb_packet p;
	struct stage s;

	CHECK(stage_open(&s));
	CHECK(send_piece(&s, 4, 1, 0, true, 55).reason == GLB_REASON_FORWARDED); /* as GLB does */
	CHECK(send_piece(&s, 4, 1, 64, true, 0).reason == GLB_REASON_LATER_FRAGMENT);
	CHECK(send_piece(&s, 6, 2, 0, true, 9999).reason == GLB_REASON_NO_SERVICE);
	CHECK(send_piece(&s, 6, 2, 64, false, 0).reason == GLB_REASON_LATER_FRAGMENT);
	CHECK(send_piece(&s, 4, 3, 64, true, 0).verdict == GLB_VERDICT_WAIT);
	for (unsigned i = 0; i < 4; i++)
		s.w.make.services[i].fragments = 0;
	CHECK(world_load(&s.w, &s.ids, NULL) && !s.w.path.follows);
	p = send_piece(&s, 4, 4, 64, true, 0);
	CHECK(p.reason == GLB_REASON_LATER_FRAGMENT && p.verdict == GLB_VERDICT_PUNT);
	stage_close(&s);
}

/* TCP 80 is the only TCP service there, and hashes the source address alone. */
static void by_addresses_alone_nobody_waits(void)
{
	struct stage s;

	CHECK(stage_open(&s));
	for (unsigned family = 4; family <= 6; family += 2) {
		const struct frame second = piece(family, GLB_IPPROTO_TCP, 1, 64, true, 0, 0);
		const struct frame first = piece(family, GLB_IPPROTO_TCP, 1, 0, true, 4000, 80);
		const struct frame inside = piece(family, GLB_IPPROTO_TCP, 2, 16, true, 0, 0);
		const struct frame overlap = piece(family, GLB_IPPROTO_TCP, 1, 96, true, 0, 0);
		const struct glb_packet late = send_frame(&s, &second, 0), early = send_frame(&s, &first, 0);
		const struct glb_packet without = run(&s.w.path, &second);

		CHECK(late.verdict == GLB_VERDICT_FORWARD && late.service == 2 && early.service == 2);
		CHECK(late.chain[0] == early.chain[0] && without.chain[0] == early.chain[0]);
		CHECK(send_frame(&s, &inside, 0).reason == GLB_REASON_FRAGMENT_TINY);
		CHECK(send_frame(&s, &overlap, 0).reason == GLB_REASON_FRAGMENT_OVERLAP);
	}
	s.w.make.services[2].flow_cache = 1; /* then its backends depend on more than addresses */
	CHECK(world_load(&s.w, &s.ids, NULL));
	const struct frame second = piece(4, GLB_IPPROTO_TCP, 9, 64, true, 0, 0);
	CHECK(send_frame(&s, &second, 0).verdict == GLB_VERDICT_WAIT);
	stage_close(&s);
}

static void malformed_ones_are_dropped(void)
{
	struct frame far = piece(4, GLB_IPPROTO_UDP, 1, 65504, false, 0, 0), odd = piece(6, GLB_IPPROTO_UDP, 2, 64, true, 0, 0);
	struct frame cut = piece(4, GLB_IPPROTO_TCP, 3, 0, true, 4000, 80);
	struct stage s;

	CHECK(stage_open(&s));
	CHECK(send_frame(&s, &far, 0).reason == GLB_REASON_FRAGMENT_ENDLESS);
	odd.len -= 3;
	frame_close(&odd);
	CHECK(send_frame(&s, &odd, 0).reason == GLB_REASON_FRAGMENT_BAD_LENGTH);
	cut.len = 14 + 20 + 16;
	frame_close(&cut);
	CHECK(send_frame(&s, &cut, 0).reason == GLB_REASON_L4_TRUNCATED);
	CHECK(send_piece(&s, 6, 4, 0, true, 53).reason == GLB_REASON_FORWARDED);
	CHECK(send_piece(&s, 6, 4, 32, true, 53).reason == GLB_REASON_FRAGMENT_OVERLAP);
	CHECK(send_piece(&s, 6, 4, 128, true, 53).reason == GLB_REASON_FRAGMENT_OVERLAP);
	stage_close(&s);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"later ones go where the first went", later_ones_go_where_the_first_went},
		{"later ones may name another protocol", later_ones_may_name_another_protocol},
		{"early ones wait", early_ones_wait},
		{"a change does not tear a datagram apart", a_change_does_not_tear_a_datagram_apart},
		{"others are left to the kernel", others_are_left_to_the_kernel},
		{"by addresses alone nobody waits", by_addresses_alone_nobody_waits},
		{"malformed ones are dropped", malformed_ones_are_dropped},
	};

	return check_run(cases, COUNT(cases));
}
