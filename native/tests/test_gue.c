/* GUE packets: good ones of every size, each field wrong, cut at every length, and random bytes. */
#include "check.h"
#include "frames.h"

#include <glb/gue.h>

struct gue_case {
	uint8_t hops;
	uint8_t next;
	bool v6;    /* the client's packet */
	bool outer; /* the outer header is IPv6, and so are hops */
};

/* A UDP payload as a director or a backend would send it. */
static struct frame gue_frame(struct gue_case c)
{
	const struct glb_gue gue = {
		.version_control_hlen = (uint8_t)(1 + c.hops * (c.outer ? 4 : 1)),
		.private_type = {{0, c.outer}},
		.protocol = c.v6 ? GLB_IPPROTO_IPV6 : GLB_IPPROTO_IPIP,
		.next_hop = c.next,
		.hop_count = c.hops,
	};
	struct frame frame = {.len = 0};

	frame_put(&frame, &gue, sizeof(gue));
	for (unsigned i = 0; i < c.hops; i++)
		frame_put(&frame, (const uint8_t[16]){10, 0, 0, (uint8_t)(i + 2), [15] = (uint8_t)i}, c.outer ? 16 : 4);
	if (c.v6)
		put_ipv6(&frame, GLB_IPPROTO_TCP, frame_client_v6, frame_vip_v6);
	else
		put_ipv4(&frame, GLB_IPPROTO_TCP, frame_client_v4, frame_vip_v4, 0);
	put_tcp(&frame, 40000, 80);
	frame_close(&frame);
	return frame;
}

/* Parses a copy of exactly this size, so that ASan sees a read beyond it. */
static enum glb_gue_verdict parse_exact(uint8_t family, const struct frame *frame, uint32_t len, struct glb_gue_packet *out)
{
	struct glb_packet copy = packet_of(frame, len);
	const enum glb_gue_verdict verdict = glb_gue_parse(family, copy.data, copy.data_len, out);

	packet_free(&copy);
	return verdict;
}

static void reads_every_size(void)
{
	for (uint8_t hops = 0; hops < GLB_HOPS_MAX; hops++) {
		for (uint8_t next = 0; next <= hops; next++) {
			for (unsigned both = 0; both < 4; both++) {
				const bool v6 = both & 1, outer = both & 2;
				const struct frame frame = gue_frame((struct gue_case){hops, next, v6, outer});
				const uint8_t family = outer ? GLB_FAMILY_V6 : GLB_FAMILY_V4;
				struct glb_gue_packet p;

				CHECK(parse_exact(family, &frame, frame.len, &p) == GLB_GUE_OK);
				CHECK(p.hop_count == hops && p.next_hop == next && p.hop_family == family);
				CHECK(p.inner_offset == 8U + (outer ? 16 : 4) * hops && p.inner_len == (v6 ? 60 : 40));
				CHECK(p.inner_family == (v6 ? GLB_FAMILY_V6 : GLB_FAMILY_V4));
				for (unsigned i = 0; i < hops; i++)
					CHECK(p.hops[i][0] == 10 && p.hops[i][3] == i + 2 && (!outer || p.hops[i][15] == i));
				CHECK(parse_exact(outer ? GLB_FAMILY_V4 : GLB_FAMILY_V6, &frame, frame.len, &p) ==
				      GLB_GUE_BAD_FLAGS);
			}
		}
	}
}

static void names_each_wrong_field(void)
{
	static const struct {
		unsigned at;
		uint8_t value;
		enum glb_gue_verdict verdict;
	} wrong[] = {
		{0, 0x43, GLB_GUE_BAD_VERSION},   {0, 0x83, GLB_GUE_BAD_VERSION},  {0, 0x23, GLB_GUE_BAD_CONTROL},
		{1, 6, GLB_GUE_BAD_PROTOCOL},     {1, 0, GLB_GUE_BAD_PROTOCOL},    {2, 0x80, GLB_GUE_BAD_FLAGS},
		{3, 1, GLB_GUE_BAD_FLAGS},        {4, 1, GLB_GUE_BAD_FLAGS},       {5, 1, GLB_GUE_BAD_FLAGS},
		{0, 0x02, GLB_GUE_BAD_HLEN},      {0, 0x00, GLB_GUE_BAD_HLEN},     {7, 1, GLB_GUE_BAD_HLEN},
		{7, 255, GLB_GUE_BAD_HLEN},       {6, 3, GLB_GUE_BAD_INDEX},       {6, 255, GLB_GUE_BAD_INDEX},
		{1, 41, GLB_GUE_BAD_INNER},       {16, 0x65, GLB_GUE_BAD_INNER},   {16, 0x44, GLB_GUE_BAD_INNER},
		{18, 1, GLB_GUE_BAD_INNER},       {19, 41, GLB_GUE_BAD_INNER},     {19, 19, GLB_GUE_BAD_INNER},
	};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct frame frame = gue_frame((struct gue_case){2, 0, false, false});
		struct glb_gue_packet p;

		frame.bytes[wrong[i].at] = wrong[i].value;
		CHECK(parse_exact(GLB_FAMILY_V4, &frame, frame.len, &p) == wrong[i].verdict);
	}
}

static void refuses_more_hops_than_a_chain_has(void)
{
	struct frame frame = {.len = 0};
	struct glb_gue_packet p;

	frame_put(&frame, (const uint8_t[]){9, 4, 0, 0, 0, 0, 0, 8}, 8);
	put_zeros(&frame, 100);
	CHECK(parse_exact(GLB_FAMILY_V4, &frame, frame.len, &p) == GLB_GUE_BAD_HOP_COUNT);
}

static void cut_at_every_length(void)
{
	for (unsigned both = 0; both < 4; both++) {
		const bool outer = both & 2;
		const struct frame frame = gue_frame((struct gue_case){7, 3, both & 1, outer});

		for (uint32_t len = 0; len < frame.len; len++) {
			struct glb_gue_packet p;

			CHECK(parse_exact(outer ? GLB_FAMILY_V6 : GLB_FAMILY_V4, &frame, len, &p) ==
			      (len < 8U + 7 * (outer ? 16 : 4) ? GLB_GUE_TRUNCATED : GLB_GUE_BAD_INNER));
		}
	}
}

static void padding_is_not_the_packet(void)
{
	struct frame frame = gue_frame((struct gue_case){1, 0, false, false});
	struct glb_gue_packet p;

	put_zeros(&frame, 6);
	CHECK(parse_exact(GLB_FAMILY_V4, &frame, frame.len, &p) == GLB_GUE_OK && p.inner_len == 40);
}

static void random_bytes(void)
{
	uint64_t state = 19523;
	unsigned ok = 0;

	for (unsigned round = 0; round < 400000; round++) {
		const uint8_t hops = (uint8_t)(test_random(&state) % GLB_HOPS_MAX);
		const bool outer = test_random(&state) & 1;
		struct frame frame = gue_frame((struct gue_case){hops, 0, test_random(&state) & 1, outer});
		struct glb_gue_packet p;

		for (unsigned i = test_random(&state) % 3; i > 0; i--)
			frame.bytes[test_random(&state) % frame.len] = (uint8_t)test_random(&state);
		if (test_random(&state) % 4 == 0)
			frame.len = (uint32_t)(test_random(&state) % (frame.len + 1));
		if (parse_exact(outer ? GLB_FAMILY_V6 : GLB_FAMILY_V4, &frame, frame.len, &p) != GLB_GUE_OK)
			continue;
		ok++;
		CHECK(p.inner_offset + p.inner_len <= frame.len && p.next_hop <= p.hop_count);
		CHECK(p.hop_count < GLB_HOPS_MAX && p.inner_offset == 8U + (outer ? 16 : 4) * p.hop_count);
	}
	CHECK(ok > 100000);
}

static void every_verdict_has_a_name(void)
{
	for (unsigned i = 0; i < GLB_GUE_VERDICT_COUNT; i++)
		CHECK(glb_gue_verdict_name(i) != NULL && strcmp(glb_gue_verdict_name(i), "unknown") != 0);
	CHECK(strcmp(glb_gue_verdict_name(GLB_GUE_VERDICT_COUNT), "unknown") == 0);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"reads every number of hops and index", reads_every_size},
		{"names each wrong field", names_each_wrong_field},
		{"refuses more hops than a chain has", refuses_more_hops_than_a_chain_has},
		{"cut at every length", cut_at_every_length},
		{"padding is not the packet", padding_is_not_the_packet},
		{"random bytes", random_bytes},
		{"every verdict has a name", every_verdict_has_a_name},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
