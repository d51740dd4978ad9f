/* Which hash a receiver takes. The buffers are made here: no device of the test machine computes a hash. */
#include "check.h"
#include "frames.h"

#include <flow_hash.h>

enum { SEED = 7 };

static struct frame tcp(uint16_t sport)
{
	struct frame frame = {.len = 0};

	put_eth(&frame, GLB_ETHERTYPE_IPV4);
	put_ipv4(&frame, GLB_IPPROTO_TCP, frame_client_v4, frame_vip_v4, 0);
	put_tcp(&frame, sport, 80);
	frame_close(&frame);
	return frame;
}

static struct rte_mbuf mbuf_of(struct frame *frame)
{
	return (struct rte_mbuf){.buf_addr = frame->bytes, .data_len = (uint16_t)frame->len, .pkt_len = frame->len};
}

static void the_nics_where_it_is_valid(void)
{
	struct frame frame = tcp(40000), other = tcp(40001);
	struct rte_mbuf mbuf = mbuf_of(&frame), another = mbuf_of(&other);

	mbuf.hash.rss = another.hash.rss = 0x12345678;
	mbuf.ol_flags = another.ol_flags = RTE_MBUF_F_RX_RSS_HASH;
	CHECK(flow_hash(SEED, &mbuf) == 0x12345678);
	CHECK(flow_hash(SEED + 1, &mbuf) == 0x12345678); /* it has its own seed */
	CHECK(flow_hash(SEED, &another) == 0x12345678);
}

static void ours_where_it_is_not(void)
{
	struct frame frame = tcp(40000), other = tcp(40001);
	struct rte_mbuf mbuf = mbuf_of(&frame), another = mbuf_of(&other);
	const uint32_t expected = glb_steer_hash(SEED, frame.bytes, frame.len, frame.len);

	mbuf.hash.rss = another.hash.rss = 0x12345678; /* left there by somebody */
	mbuf.ol_flags = RTE_MBUF_F_RX_FDIR | RTE_MBUF_F_RX_VLAN;
	CHECK(flow_hash(SEED, &mbuf) == expected);
	CHECK(expected != 0x12345678);
	CHECK(flow_hash(SEED, &another) != expected);
	CHECK(flow_hash(SEED + 1, &mbuf) != expected);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"the NIC's where it is valid", the_nics_where_it_is_valid},
		{"ours where it is not", ours_where_it_is_not},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
