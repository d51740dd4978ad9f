/* Fuzz target: ICMP and ICMPv6 messages to a VIP or to the director itself, and packets that exceed the MTU, with any bytes behind their headers.
 *
 * Input: a byte of settings, type and code, one that cuts the contiguous part (and is an eighth of the MTU that the director is told), then what follows the ICMP header. The headers in front are
 * right, so that the quoted packet is what is tried.
 */
#include "encap_world.h"
#include "fuzz_sent.h"

#include <glb/steer.h>

enum { V6 = 1, NARROW = 2, OVERSIZE_SHIFT = 2, KIND_SHIFT = 4, OUTER = 64, CUT = 128, BODY_MAX = 1800 };

static const struct encap_case cases[] = {
	{GLB_ENCAP_GUE, 4, 4, .hops = 2}, {GLB_ENCAP_GUE, 6, 6, .hops = 3}, {GLB_ENCAP_NAT, 4, 4, .hops = 1, .value = 8080},
	{GLB_ENCAP_NAT, 6, 6, .hops = 1, .value = 8080}, {GLB_ENCAP_L3DSR, 4, 4, .hops = 1, .tos = 4, .tos_mask = 3},
	{GLB_ENCAP_L3DSR, 6, 6, .hops = 1, .tos = 4, .tos_mask = 3}, {GLB_ENCAP_GRE, 4, 6, .hops = 1}, {GLB_ENCAP_GRE, 6, 4, .hops = 1},
};
enum { CASES = sizeof(cases) / sizeof(cases[0]), BACKENDS = 6 }; /* of encap_open() */

static struct frame make(unsigned family, uint8_t type, uint8_t code, struct input *rest)
{
	struct frame frame = ip_frame(family, family == 4 ? GLB_IPPROTO_ICMP : GLB_IPPROTO_ICMPV6);
	const uint32_t len = rest->left < BODY_MAX ? (uint32_t)rest->left : BODY_MAX;

	put_icmp(&frame, type, code);
	if (len != 0)
		frame_put(&frame, rest->data, len);
	frame_close(&frame);
	return frame;
}

/* To the director's own address, about a way with this MTU, as a router between it and backends sends them. */
static void readdress(const struct glb_director *director, struct frame *frame, unsigned family, uint32_t mtu)
{
	struct glb_icmp *icmp;

	if (family == 4) {
		memcpy(((struct glb_ipv4 *)(frame->bytes + frame->l3))->dst, director->outer_source_v4.bytes, 4);
		icmp = (struct glb_icmp *)(frame->bytes + frame->l3 + sizeof(struct glb_ipv4));
	} else {
		memcpy(((struct glb_ipv6 *)(frame->bytes + frame->l3))->dst, director->outer_source_v6.bytes, 16);
		icmp = (struct glb_icmp *)(frame->bytes + frame->l3 + sizeof(struct glb_ipv6));
	}
	icmp->rest = glb_be32_put(mtu);
}

/* What it claims is within bounds, and lowers the MTU of backends with the address that it names, if there are any. */
static void look_at_claim(const struct glb_path *path, const struct glb_packet *p)
{
	uint32_t backends[BACKENDS], tables[1], n;
	struct glb_path_mtus mtus = {.backends = backends, .tables = tables};
	struct glb_outer_too_big said;

	MUST(glb_outer_too_big(path, p, &said) == p->reason);
	MUST(path->snapshot->backend_count == BACKENDS && path->snapshot->table_count == 1);
	if (p->reason != GLB_REASON_OUTER_TOO_BIG)
		return;
	MUST(said.mtu >= (p->family == GLB_FAMILY_V4 ? GLB_PATH_MTU_V4_MIN : GLB_PATH_MTU_V6_MIN) && said.mtu < 65535 + sizeof(struct glb_ipv6));
	glb_path_mtus_clear(&mtus, path->snapshot);
	n = glb_path_mtus_lower(&mtus, path->snapshot, &said.backend, said.mtu);
	MUST(n <= 1 && glb_path_mtus_least(&mtus) == (n == 0 ? UINT32_MAX : said.mtu));
}

static void look(const struct glb_path *path, const struct glb_packet *p, const uint8_t *data)
{
	MUST(p->reason < GLB_REASON_COUNT && glb_reason_verdict(p->reason) == p->verdict);
	MUST(p->kind == GLB_PACKET_ECHO || p->kind == GLB_PACKET_TOO_BIG || p->kind == GLB_PACKET_ICMP || p->kind == GLB_PACKET_ERROR);
	if (p->reason == GLB_REASON_OUTER_TOO_BIG || p->reason == GLB_REASON_OUTER_TOO_BIG_IGNORED)
		look_at_claim(path, p);
	if (p->verdict == GLB_VERDICT_FORWARD)
		look_at_forwarded(path, p, data);
	else if (p->verdict == GLB_VERDICT_ANSWER)
		look_at_answer(path, p, data);
	if (glb_packet_quotes(p->kind) && p->verdict == GLB_VERDICT_FORWARD) /* the flow is one of the service's */
		MUST(p->dport == 80 || p->dport == 53);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct world worlds[CASES];
	struct input input = {data, len};
	const uint8_t settings = input_byte(&input), type = input_byte(&input), code = input_byte(&input), cut = input_byte(&input);
	const unsigned which = (settings >> KIND_SHIFT & 3) * 2 + (settings & V6);
	struct world *w = &worlds[which];
	struct frame frame = make(cases[which].client, type, code, &input);
	struct glb_packet p;

	if (w->snapshot.header == NULL)
		MUST(encap_open(w, cases[which]));
	w->path.egress[0].mtu = settings & NARROW ? 110 : 1500;
	((struct glb_service *)(uintptr_t)w->snapshot.services)->oversize = (settings >> OVERSIZE_SHIFT & 3) % 3;
	if (input.left % 2 == 1 && cases[which].client == 4) /* may be fragmented */
		((struct glb_ipv4 *)(frame.bytes + frame.l3))->fragment = glb_be16_put(0);
	if (settings & OUTER)
		readdress(&w->director, &frame, cases[which].client, cut * 8U);
	p = packet_of(&frame, settings & CUT && cut < frame.len ? cut : frame.len);
	p.frame_len = frame.len;
	glb_path_burst(&w->path, &p, 1);
	if (p.reason != GLB_REASON_L4_TRUNCATED && p.reason != GLB_REASON_IPV4_TRUNCATED && p.reason != GLB_REASON_IPV6_TRUNCATED &&
	    p.reason != GLB_REASON_ETH_TRUNCATED && p.reason != GLB_REASON_ICMP_QUOTE_TRUNCATED)
		look(&w->path, &p, p.data);
	glb_steer_hash(1, p.data, p.data_len, p.frame_len);
	packet_free(&p);
	return 0;
}
