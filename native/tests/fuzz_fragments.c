/* Fuzz target: any fragments in any order, with pauses, through the packet path with a fragment table that is as small as can be.
 *
 * Input: operations of eight bytes: how long since the last, then a frame's family and protocol, its datagram, offset, length and flags, and a byte
 * of it that is damaged. Where the first operation says so the director has a peer, and frames may come from it, or from one that is none. A shadow of the table says for each datagram what it may say at most: where its first fragment went, and which bytes
 * have gone by since.
 */
#include "fuzz.h"
#include "world.h"

enum { DATAGRAMS = 32, OP_BYTES = 8, TIMEOUT = 2000, WAIT = 200, HELD_MAX = 4096 };

struct datagram {
	uint8_t went[65536 / 8]; /* 1: since it was begun, this unit has */
	uint64_t begun;          /* when its first fragment went */
	uint32_t service, hop;
	bool known;
};

struct box {
	struct world world;
	struct glb_peers peers;
	struct glb_fragments fragments;
	void *memory;
	struct datagram datagrams[2][DATAGRAMS]; /* by family */
	struct frame held[HELD_MAX];
	bool waits[HELD_MAX];
	uint32_t next_held, waiting;
	uint64_t now;
};

/* The frame as a peer would send it on, or somebody who is none. */
static struct frame wrapped(const struct frame *frame, bool listed)
{
	const struct glb_gue gue = {
		.version_control_hlen = 1, .protocol = frame->bytes[12] == 0x86 ? GLB_IPPROTO_IPV6 : GLB_IPPROTO_IPIP,
		.private_type = glb_be16_put(GLB_GUE_PRIVATE_FRAGMENT),
	};
	const struct glb_addr own = make_v4(10, 0, 0, 254), from = make_v4(10, 0, 0, listed ? 253 : 252);
	struct frame outer = {.len = 0};

	put_eth(&outer, GLB_ETHERTYPE_IPV4);
	put_ipv4(&outer, GLB_IPPROTO_UDP, from.bytes, own.bytes, 0);
	put_udp(&outer, 0x8000, GLB_GUE_PORT);
	frame_put(&outer, &gue, sizeof(gue));
	frame_put(&outer, frame->bytes + 14, frame->len - 14);
	frame_close(&outer);
	return outer;
}

/* What the operation says, as a frame. */
static struct frame frame_of(const uint8_t *op)
{
	const unsigned family = op[1] & 1 ? 6 : 4;
	const uint8_t protocol = op[1] & 2 ? GLB_IPPROTO_TCP : op[1] & 4 ? GLB_IPPROTO_ICMP : GLB_IPPROTO_UDP;
	const uint32_t offset = (uint32_t)(op[3] | (op[5] & 0x1f) << 8) * 8, len = op[4] * 2U;
	const bool more = op[5] & 0x20;
	struct frame frame = {.len = 0};
	uint32_t start;

	put_eth(&frame, family == 4 ? GLB_ETHERTYPE_IPV4 : GLB_ETHERTYPE_IPV6);
	if (family == 4) {
		struct glb_ipv4 *ip = put_ipv4(&frame, protocol, frame_client_v4, frame_vip_v4, op[5] >> 7);

		ip->id = glb_be16_put(op[2] % DATAGRAMS);
		ip->fragment = glb_be16_put((uint16_t)(offset / 8 | (more ? GLB_IPV4_MF : 0)));
	} else {
		struct glb_ipv6_extension *extension;

		put_ipv6(&frame, GLB_IPPROTO_FRAGMENT, frame_client_v6, frame_vip_v6);
		extension = put_extension(&frame, protocol, 0, 8);
		extension->fragment = glb_be16_put((uint16_t)(offset | (more ? GLB_IPV6_MF : 0)));
		extension->rest = glb_be32_put(op[2] % DATAGRAMS);
	}
	start = frame.len;
	if (offset == 0 && protocol == GLB_IPPROTO_TCP)
		put_tcp(&frame, op[2], op[5] & 0x40 ? 80 : 443);
	else if (offset == 0)
		put_udp(&frame, op[2], op[5] & 0x40 ? 53 : 54);
	put_zeros(&frame, 512);
	frame.len = start + len;
	frame_close(&frame);
	if (op[1] & 0x10)
		frame = wrapped(&frame, !(op[1] & 0x20));
	if (op[6] != 0)
		frame.bytes[14 + op[6] % (frame.len - 14)] ^= op[7];
	return frame;
}

/* The datagram that a fragment that goes by belongs to; NULL: it is no fragment any more, or another client's. */
static struct datagram *datagram_of(struct box *box, const struct glb_packet *packet, uint32_t *from, uint32_t *to)
{
	const uint8_t *l3 = packet->data + packet->l3_offset;
	uint32_t id, end;

	if (packet->family == GLB_FAMILY_V4) {
		const struct glb_ipv4 *ip = (const struct glb_ipv4 *)l3;

		id = glb_be16_get(ip->id);
		*from = glb_be16_get(ip->fragment) & GLB_IPV4_OFFSET;
		end = glb_be16_get(ip->total_length) - (ip->version_ihl & 15U) * 4;
		if (memcmp(ip->src, frame_client_v4, 4) != 0 || memcmp(ip->dst, frame_vip_v4, 4) != 0 || ip->protocol != GLB_IPPROTO_UDP)
			return NULL;
	} else {
		const struct glb_ipv6 *ip = (const struct glb_ipv6 *)l3;
		const struct glb_ipv6_extension *extension = (const struct glb_ipv6_extension *)(ip + 1);

		if (memcmp(ip->src, frame_client_v6, 16) != 0 || memcmp(ip->dst, frame_vip_v6, 16) != 0 ||
		    ip->next_header != GLB_IPPROTO_FRAGMENT)
			return NULL;
		id = glb_be32_get(extension->rest);
		*from = (glb_be16_get(extension->fragment) & GLB_IPV6_OFFSET) / 8U;
		end = glb_be16_get(ip->payload_length) - 8U;
	}
	*to = *from + (end + 7) / 8;
	return id < DATAGRAMS ? &box->datagrams[packet->family == GLB_FAMILY_V6][id] : NULL;
}

/* A fragment of a service that follows them goes by: not without the first one, where that went, and none of its bytes has before. */
static void check_gone(struct box *box, const struct glb_packet *packet)
{
	uint32_t from, to;
	struct datagram *d = datagram_of(box, packet, &from, &to);

	if (d == NULL || !packet->fragment || packet->protocol != GLB_IPPROTO_UDP)
		return;
	MUST(packet->chain_len != 0 && to <= sizeof(d->went) && from < to);
	if (packet->kind != GLB_PACKET_FRAGMENT) {
		memset(d, 0, sizeof(*d));
		*d = (struct datagram){.begun = box->now, .service = packet->service, .hop = packet->chain[0], .known = true};
	} else {
		MUST(d->known && box->now - d->begun < TIMEOUT);
		MUST(packet->service == d->service && packet->chain[0] == d->hop);
		for (uint32_t unit = from; unit < to; unit++)
			MUST(!d->went[unit]);
	}
	memset(d->went + from, 1, to - from);
}

static void check_table(const struct box *box)
{
	const struct glb_fragments *f = &box->fragments;

	MUST(f->count[0] <= f->limit[0] && f->count[1] <= f->limit[1]);
	MUST(f->waiting == box->waiting && box->waiting <= GLB_FRAGMENTS_MIN);
}

static void lose(struct box *box)
{
	struct glb_fragment_slot slot;

	while (glb_fragments_lost(&box->fragments, &slot)) {
		MUST(box->waits[slot.tag] && slot.buffer == &box->held[slot.tag]);
		MUST(slot.reason == GLB_REASON_FRAGMENT_TIMEOUT || slot.reason == GLB_REASON_FRAGMENT_NO_ROOM);
		box->waits[slot.tag] = false;
		box->waiting--;
	}
}

static void send_frame(struct box *box, struct frame *frame, uint32_t tag)
{
	const struct glb_path_memory memory = {.fragments = &box->fragments, .fragments_now = box->now};
	struct glb_packet p = packet_of(frame, frame->len);
	uint8_t out[GLB_HEADER_MAX];

	glb_path_burst_with(&box->world.path, &memory, &p, 1);
	if (p.verdict == GLB_VERDICT_WAIT) {
		const uint32_t place = box->fragments.place[0];
		bool waits = glb_fragments_wait(&box->fragments, place, frame, tag);

		lose(box);
		if (!waits)
			waits = glb_fragments_wait(&box->fragments, place, frame, tag);
		box->waits[tag] = waits;
		box->waiting += waits;
	} else if (p.verdict == GLB_VERDICT_FORWARD) {
		if (p.service != GLB_INDEX_NONE && p.service == 2)
			check_gone(box, &p);
		glb_path_encap(&box->world.path, &p, out);
	} else if (p.reason == GLB_REASON_FRAGMENT_REDIRECTED) {
		uint8_t header[GLB_PEER_HEADER_MAX];

		MUST(p.fragment && !p.from_peer && p.peer != box->peers.own);
		MUST(glb_path_redirect_header(&box->world.path, &p, header) <= sizeof(header));
	}
	MUST(!p.from_peer || (p.fragment && box->world.path.director.peers != NULL) || p.verdict == GLB_VERDICT_DROP);
	packet_free(&p);
}

static void release(struct box *box)
{
	struct glb_fragment_slot slots[8];
	unsigned n;

	while ((n = glb_fragments_release(&box->fragments, slots, 8)) != 0) {
		for (unsigned i = 0; i < n; i++) {
			MUST(box->waits[slots[i].tag] && slots[i].buffer == &box->held[slots[i].tag]);
			box->waits[slots[i].tag] = false;
			box->waiting--;
			send_frame(box, slots[i].buffer, slots[i].tag);
		}
	}
}

static void run_op(struct box *box, const uint8_t *op)
{
	uint32_t tag = box->next_held++ % HELD_MAX;

	box->now += op[0] < 192 ? op[0] / 16 : (op[0] - 191U) * 16;
	glb_fragments_expire(&box->fragments, box->now);
	lose(box);
	while (box->waits[tag])
		tag = box->next_held++ % HELD_MAX;
	box->held[tag] = frame_of(op);
	send_frame(box, &box->held[tag], tag);
	release(box);
	check_table(box);
}

static void open_box(struct box *box)
{
	const struct glb_addr directors[] = {make_v4(10, 0, 0, 254), make_v4(10, 0, 0, 253)};

	MUST(glb_peers_set(&box->peers, directors, 2, &directors[0], &directors[0], NULL) == 0);
	make_services(&box->world.make);
	for (unsigned i = 0; i < 3; i++)
		box->world.make.services[i].fragments = 1;
	box->world.make.services[2].alt_hash_fields = 0;
	MUST(world_compile(&box->world));
	box->memory = malloc(glb_fragments_bytes(GLB_FRAGMENTS_MIN, GLB_FRAGMENTS_MIN));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct box box;
	struct input input = {data, len};

	if (box.memory == NULL)
		open_box(&box);
	glb_fragments_init(&box.fragments, box.memory, GLB_FRAGMENTS_MIN, GLB_FRAGMENTS_MIN, (const uint8_t *)"0123456789abcdef",
			   TIMEOUT, WAIT);
	memset(box.datagrams, 0, sizeof(box.datagrams));
	memset(box.waits, 0, sizeof(box.waits));
	box.next_held = box.waiting = 0;
	box.now = 0;
	box.world.path.director.peers = len > 1 && (data[1] & 0x40) ? &box.peers : NULL;
	while (input.left >= OP_BYTES) {
		uint8_t op[OP_BYTES];

		for (unsigned i = 0; i < OP_BYTES; i++)
			op[i] = input_byte(&input);
		run_op(&box, op);
	}
	glb_fragments_flush(&box.fragments);
	lose(&box);
	MUST(box.waiting == 0 && box.fragments.waiting == 0);
	return 0;
}
