/* Writes a burst by the kinds of its services (fast_write.h): all of it at once, or each kind's packets as a burst of their own. */
#include "fast_write.h"

static void write_alike(const struct glb_fast *fast, const struct glb_path *path, const struct glb_fast_egress *egress,
			const struct glb_fast_kind *kind, struct glb_fast_burst *burst, struct fast_work *work, bool v6, bool two)
{
	if (fast_is_wide(kind)) {
		fast_wrap6(fast, path, kind, egress, burst, work, v6);
		return;
	}
	switch ((enum glb_encap_kind)kind->encap) {
	case GLB_ENCAP_GUE:
		fast_gue(kind, egress, burst, work, v6, two);
		break;
	case GLB_ENCAP_L2DSR:
	case GLB_ENCAP_L3DSR:
	case GLB_ENCAP_NAT:
		fast_rewrite(path, kind, egress, burst, work, v6);
		break;
	default:
		fast_tunnel(fast, path, kind, egress, burst, work, v6);
	}
}

static bool are_sent_alike(const struct glb_fast *fast, const struct fast_work *work)
{
	const uint32_t first = fast_sent(fast_kind(fast, work, 0));
	uint32_t differ = 0;

	for (unsigned i = 1; i < work->n; i++)
		differ |= fast_sent(fast_kind(fast, work, i)) ^ first;
	return differ == 0;
}

/* ---- packets of several kinds ---- */

struct part {
	struct glb_fast_burst burst;
	struct fast_work work;
	unsigned lane[GLB_BURST_MAX]; /* where they are in the whole burst */
};

/* Makes `lane` of the whole the part's i-th: what writing asks for. */
static void copy(struct part *part, unsigned i, const struct glb_fast_burst *burst, const struct fast_work *work, unsigned lane)
{
	part->lane[i] = lane;
	part->burst.data[i] = burst->data[lane];
	part->burst.l3_len[i] = burst->l3_len[lane];
	part->burst.service[i] = burst->service[lane];
	part->burst.backend[i] = burst->backend[lane];
	part->work.sip.hash[i] = work->sip.hash[lane];
	part->work.source[i] = work->source[lane];
	part->work.first[i] = work->first[lane];
	part->work.row[i] = work->row[lane];
	part->work.of[i] = work->of[lane];
	part->work.further[i] = work->further[lane];
}

/* Moves all of one kind out of `left`. */
static void take(const struct glb_fast *fast, const struct glb_fast_kind *kind, const struct glb_fast_burst *burst,
		 const struct fast_work *work, uint64_t *left, struct part *part)
{
	unsigned n = 0, filled;

	for (uint64_t lanes = *left; lanes != 0; lanes &= lanes - 1) {
		const unsigned lane = (unsigned)__builtin_ctzll(lanes);

		if (fast_sent(fast_kind(fast, work, lane)) != fast_sent(kind))
			continue;
		copy(part, n++, burst, work, lane);
		*left &= ~((uint64_t)1 << lane);
	}
	filled = (n + WIDTH - 1) / WIDTH * WIDTH;
	part->work.n = n;
	part->work.filled = filled;
	for (unsigned i = n; i < filled; i++)
		copy(part, i, burst, work, part->lane[0]);
}

static void write_parts(const struct glb_fast *fast, const struct glb_path *path, const struct glb_fast_egress *egress,
			struct glb_fast_burst *burst, const struct fast_work *work, bool v6)
{
	uint64_t left = ((uint64_t)2 << (work->n - 1)) - 1;
	struct part part;

	while (left != 0) {
		const struct glb_fast_kind *kind = fast_kind(fast, work, (unsigned)__builtin_ctzll(left));

		take(fast, kind, burst, work, &left, &part);
		write_alike(fast, path, egress, kind, &part.burst, &part.work, v6, false);
		for (unsigned i = 0; i < part.work.n; i++) {
			burst->data[part.lane[i]] = part.burst.data[i];
			burst->len[part.lane[i]] = part.burst.len[i];
		}
	}
}

/* Makes "two hops" one further hop. */
static void spell_out(struct fast_work *work)
{
	for (unsigned i = 0; i < work->filled; i++)
		work->further[i] = 1;
}

void fast_write(const struct glb_fast *fast, const struct glb_path *path, const struct glb_fast_egress *egress,
		struct glb_fast_burst *burst, struct fast_work *work, bool v6, bool two)
{
	const struct glb_fast_kind *kind = fast_kind(fast, work, 0);
	const bool alike = work->alike || are_sent_alike(fast, work);

	if (two && (!alike || fast_is_marked(kind) || fast_is_wide(kind))) {
		spell_out(work);
		two = false;
	}
	if (alike)
		write_alike(fast, path, egress, kind, burst, work, v6, two);
	else
		write_parts(fast, path, egress, burst, work, v6);
}
