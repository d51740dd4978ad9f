/* The fragment table (glb/fragments.h): datagrams in chains by hash, and in two queues by age; slots for what waits.
 *
 * Knows nothing of packets or services, and does not put datagrams together.
 */
#include <glb/fragments.h>
#include <glb/siphash.h>

#include <stddef.h>
#include <string.h>

enum queue { KNOWN = 0, WAITING = 1, ENDED = 2 };

enum {
	NONE = GLB_FRAGMENT_NONE,
	DATAGRAM_MAX = 65535,    /* bytes */
	TCP_HEADER = 20,
	ENDED_MAX = 256,         /* datagrams that one burst can end: four for each packet */
};

struct key {
	uint8_t src[16];
	uint8_t dst[16];
	uint32_t id;
	uint8_t family;
	uint8_t protocol;
	uint8_t pad[2];
};
GLB_STATIC_ASSERT(sizeof(struct key) == 40, "hashed and compared as bytes: no padding")

struct glb_datagram {
	struct key key;
	struct glb_fragment_first first;
	uint64_t deadline;
	uint64_t covered[GLB_FRAGMENT_UNITS / 64]; /* units that have gone by */
	struct glb_fragment_list slots;            /* that wait */
	uint32_t slot_count;
	uint32_t chain;          /* its place in chains */
	uint32_t next_in_chain;
	uint32_t older, newer;   /* in its queue; `older`, too, in the lists of ended and free ones */
	uint32_t units;          /* covered */
	uint32_t end;            /* bytes; 0: the last fragment has not come */
	uint32_t reached;        /* bytes: the farthest that any fragment went */
	uint32_t released;       /* the turn in which the first one met later ones that waited, or were about to */
	uint8_t queue;           /* enum queue */
	uint8_t bad;             /* fragments overlapped */
	uint8_t alone;           /* known from later ones that did not wait; the first has not come */
};

static uint32_t chain_count(uint32_t datagrams)
{
	uint32_t n = 1;

	while (n < datagrams)
		n *= 2;
	return n;
}

static uint32_t pool_size(uint32_t datagrams, uint32_t waiting)
{
	return datagrams + waiting + ENDED_MAX;
}

size_t glb_fragments_bytes(uint32_t datagrams, uint32_t waiting)
{
	const uint32_t pool = pool_size(datagrams, waiting);

	return pool * sizeof(struct glb_datagram) + waiting * sizeof(struct glb_fragment_slot) +
	       chain_count(pool) * sizeof(uint32_t);
}

void glb_fragments_init(struct glb_fragments *f, void *memory, uint32_t datagrams, uint32_t waiting, const uint8_t key[16],
			uint64_t timeout, uint64_t wait)
{
	const uint32_t pool = pool_size(datagrams, waiting);

	*f = (struct glb_fragments){
		.datagrams = memory, .limit = {datagrams, waiting}, .timeout = timeout, .wait = wait, .turn = 1,
		.queue = {{NONE, NONE}, {NONE, NONE}}, .ended = NONE, .ready = {NONE, NONE}, .lost = {NONE, NONE},
		.chain_mask = chain_count(pool) - 1,
	};
	f->slots = (struct glb_fragment_slot *)(f->datagrams + pool);
	f->chains = (uint32_t *)(f->slots + waiting);
	memcpy(f->key, key, sizeof(f->key));
	memset(f->chains, 0xff, (f->chain_mask + 1ul) * sizeof(f->chains[0]));
	for (uint32_t i = 0; i < pool; i++)
		f->datagrams[i].older = i + 1 < pool ? i + 1 : NONE;
	for (uint32_t i = 0; i < waiting; i++)
		f->slots[i].next = i + 1 < waiting ? i + 1 : NONE;
}

/* ---- lists of slots ---- */

static void append_slot(struct glb_fragments *f, struct glb_fragment_list *list, uint32_t slot)
{
	f->slots[slot].next = NONE;
	if (list->head == NONE)
		list->head = slot;
	else
		f->slots[list->tail].next = slot;
	list->tail = slot;
}

/* Moves all of `from` behind `to`. */
static void join_slots(struct glb_fragments *f, struct glb_fragment_list *to, struct glb_fragment_list *from)
{
	if (from->head == NONE)
		return;
	if (to->head == NONE)
		to->head = from->head;
	else
		f->slots[to->tail].next = from->head;
	to->tail = from->tail;
	*from = (struct glb_fragment_list){NONE, NONE};
}

static bool take_slot(struct glb_fragments *f, struct glb_fragment_list *list, struct glb_fragment_slot *out)
{
	const uint32_t slot = list->head;

	if (slot == NONE)
		return false;
	*out = f->slots[slot];
	list->head = out->next;
	if (list->head == NONE)
		list->tail = NONE;
	f->slots[slot].next = f->free_slot;
	f->free_slot = slot;
	f->waiting--;
	return true;
}

/* ---- datagrams ---- */

static void unqueue(struct glb_fragments *f, uint32_t place)
{
	struct glb_datagram *d = &f->datagrams[place];
	struct glb_fragment_list *queue = &f->queue[d->queue];

	if (d->older != NONE)
		f->datagrams[d->older].newer = d->newer;
	else
		queue->head = d->newer;
	if (d->newer != NONE)
		f->datagrams[d->newer].older = d->older;
	else
		queue->tail = d->older;
	f->count[d->queue]--;
}

static void enqueue(struct glb_fragments *f, uint32_t place, enum queue queue, uint64_t now)
{
	struct glb_datagram *d = &f->datagrams[place];

	d->queue = (uint8_t)queue;
	d->deadline = now + (queue == WAITING ? f->wait : f->timeout);
	d->older = f->queue[queue].tail;
	d->newer = NONE;
	if (d->older != NONE)
		f->datagrams[d->older].newer = place;
	else
		f->queue[queue].head = place;
	f->queue[queue].tail = place;
	f->count[queue]++;
}

static void lose_slots(struct glb_fragments *f, struct glb_datagram *d, enum glb_reason reason)
{
	for (uint32_t slot = d->slots.head; slot != NONE; slot = f->slots[slot].next)
		f->slots[slot].reason = reason;
	join_slots(f, &f->lost, &d->slots);
	d->slot_count = 0;
}

/* Nobody finds it any more; places that a burst has of it stay good. */
static void end(struct glb_fragments *f, uint32_t place, enum glb_reason reason)
{
	struct glb_datagram *d = &f->datagrams[place];
	uint32_t *link = &f->chains[d->chain];

	while (*link != place)
		link = &f->datagrams[*link].next_in_chain;
	*link = d->next_in_chain;
	unqueue(f, place);
	lose_slots(f, d, reason);
	d->queue = ENDED;
	d->older = f->ended;
	f->ended = place;
}

void glb_fragments_tidy(struct glb_fragments *f)
{
	while (f->ended != NONE) {
		const uint32_t place = f->ended;

		f->ended = f->datagrams[place].older;
		f->datagrams[place].older = f->free_datagram;
		f->free_datagram = place;
	}
}

static struct key key_of(const struct glb_fragment *fragment)
{
	struct key key = {.id = fragment->id, .family = fragment->family, .protocol = fragment->protocol};

	memcpy(key.src, fragment->src, sizeof(key.src));
	memcpy(key.dst, fragment->dst, sizeof(key.dst));
	return key;
}

static uint32_t chain_of(const struct glb_fragments *f, const struct key *key)
{
	return (uint32_t)glb_siphash24(f->key, key, sizeof(*key)) & f->chain_mask;
}

static uint32_t find(const struct glb_fragments *f, const struct key *key, uint32_t chain)
{
	uint32_t place = f->chains[chain];

	while (place != NONE && memcmp(&f->datagrams[place].key, key, sizeof(*key)) != 0)
		place = f->datagrams[place].next_in_chain;
	return place;
}

static void make_room(struct glb_fragments *f, enum queue queue)
{
	if (f->count[queue] == f->limit[queue])
		end(f, f->queue[queue].head, GLB_REASON_FRAGMENT_NO_ROOM);
}

static uint32_t insert(struct glb_fragments *f, const struct key *key, uint32_t chain, enum queue queue, uint64_t now)
{
	struct glb_datagram *d;
	uint32_t place;

	make_room(f, queue);
	place = f->free_datagram;
	d = &f->datagrams[place];
	f->free_datagram = d->older;
	*d = (struct glb_datagram){.key = *key, .slots = {NONE, NONE}, .chain = chain, .next_in_chain = f->chains[chain]};
	f->chains[chain] = place;
	enqueue(f, place, queue, now);
	return place;
}

/* ---- fragments ---- */

enum glb_reason glb_fragment_check(const struct glb_fragment *fragment)
{
	if (fragment->header_len + fragment->offset + fragment->len > DATAGRAM_MAX)
		return GLB_REASON_FRAGMENT_ENDLESS;
	if (fragment->len == 0 || (fragment->more && fragment->len % 8 != 0))
		return GLB_REASON_FRAGMENT_BAD_LENGTH;
	if (fragment->tcp && fragment->offset != 0 && fragment->offset < TCP_HEADER)
		return GLB_REASON_FRAGMENT_TINY;
	return GLB_REASON_FORWARDED;
}

/* How many of the units [from, to) have gone by; they have all, afterwards. */
static uint32_t mark(struct glb_datagram *d, uint32_t from, uint32_t to)
{
	uint32_t before = 0;

	for (uint32_t unit = from; unit < to;) {
		const uint32_t bit = unit % 64, bits = to - unit < 64 - bit ? to - unit : 64 - bit;
		const uint64_t mask = (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1) << bit;

		before += (uint32_t)__builtin_popcountll(d->covered[unit / 64] & mask);
		d->covered[unit / 64] |= mask;
		unit += bits;
	}
	return before;
}

/* Does the fragment say of where the datagram ends what the others said? */
static bool agrees(struct glb_datagram *d, const struct glb_fragment *fragment)
{
	const uint32_t end_at = fragment->offset + fragment->len;

	if (d->end != 0 && (fragment->more ? end_at >= d->end : end_at != d->end))
		return false;
	if (!fragment->more && d->reached > end_at)
		return false;
	if (!fragment->more)
		d->end = end_at;
	if (d->reached < end_at)
		d->reached = end_at;
	return true;
}

/* A fragment goes by, unless it has bytes that did already. */
static enum glb_reason pass(struct glb_fragments *f, uint32_t place, const struct glb_fragment *fragment)
{
	struct glb_datagram *d = &f->datagrams[place];
	const uint32_t from = fragment->offset / 8, to = (fragment->offset + fragment->len + 7) / 8;
	uint32_t before;

	if (d->bad)
		return GLB_REASON_FRAGMENT_OVERLAP;
	if (!agrees(d, fragment)) {
		d->bad = 1;
		return GLB_REASON_FRAGMENT_OVERLAP;
	}
	before = mark(d, from, to);
	if (before != 0) {
		d->bad = before != to - from; /* else the same once more, which does no harm */
		return GLB_REASON_FRAGMENT_OVERLAP;
	}
	d->units += to - from;
	if (d->end != 0 && d->units == (d->end + 7) / 8)
		end(f, place, GLB_REASON_FRAGMENT_OVERLAP);
	return GLB_REASON_FORWARDED;
}

enum glb_reason glb_fragments_first(struct glb_fragments *f, const struct glb_fragment *fragment,
				    const struct glb_fragment_first *first, uint64_t now, uint32_t *place)
{
	const struct key key = key_of(fragment);
	const uint32_t chain = chain_of(f, &key);
	struct glb_datagram *d;

	*place = find(f, &key, chain);
	if (*place == NONE) {
		*place = insert(f, &key, chain, KNOWN, now);
		f->datagrams[*place].first = *first;
		return pass(f, *place, fragment);
	}
	d = &f->datagrams[*place];
	if (d->queue == WAITING) {
		d->first = *first;
		unqueue(f, *place);
		make_room(f, KNOWN);
		enqueue(f, *place, KNOWN, now);
		d->released = f->turn;
		join_slots(f, &f->ready, &d->slots);
	} else if (d->alone) {
		d->first = *first;
		d->alone = 0;
	}
	return pass(f, *place, fragment);
}

enum glb_reason glb_fragments_later(struct glb_fragments *f, const struct glb_fragment *fragment, bool alone, uint64_t now,
				    uint32_t *place)
{
	const struct key key = key_of(fragment);
	const uint32_t chain = chain_of(f, &key);
	const struct glb_datagram *d;

	*place = find(f, &key, chain);
	if (*place == NONE) {
		*place = insert(f, &key, chain, alone ? KNOWN : WAITING, now);
		if (!alone)
			return GLB_REASON_FORWARDED;
		f->datagrams[*place].first.taken = f->datagrams[*place].alone = 1;
	}
	d = &f->datagrams[*place];
	if (d->queue == KNOWN && !d->first.taken)
		return GLB_REASON_LATER_FRAGMENT;
	if (glb_fragments_must_wait(f, *place))
		return GLB_REASON_FORWARDED;
	return pass(f, *place, fragment);
}

bool glb_fragments_must_wait(const struct glb_fragments *f, uint32_t place)
{
	const struct glb_datagram *d = &f->datagrams[place];

	return d->queue == WAITING || (d->queue == KNOWN && d->released == f->turn);
}

struct glb_fragment_first *glb_fragments_said(const struct glb_fragments *f, uint32_t place)
{
	return &f->datagrams[place].first;
}

bool glb_fragments_wait(struct glb_fragments *f, uint32_t place, void *buffer, uint32_t tag)
{
	struct glb_datagram *d = &f->datagrams[place];
	const uint32_t slot = f->free_slot, oldest = f->queue[WAITING].head;

	if (d->queue == ENDED || d->slot_count == GLB_FRAGMENTS_OF_DATAGRAM_MAX)
		return false;
	if (slot == NONE) {
		if (f->lost.head == NONE && oldest != NONE && oldest != place)
			end(f, oldest, GLB_REASON_FRAGMENT_NO_ROOM);
		return false;
	}
	f->free_slot = f->slots[slot].next;
	f->slots[slot] = (struct glb_fragment_slot){.buffer = buffer, .tag = tag};
	f->waiting++;
	d->slot_count++;
	append_slot(f, d->queue == WAITING ? &d->slots : &f->ready, slot);
	return true;
}

unsigned glb_fragments_release(struct glb_fragments *f, struct glb_fragment_slot *out, unsigned n)
{
	unsigned taken = 0;

	f->turn++; /* what is released need not wait once more */
	while (taken < n && take_slot(f, &f->ready, &out[taken]))
		taken++;
	return taken;
}

bool glb_fragments_lost(struct glb_fragments *f, struct glb_fragment_slot *out)
{
	return take_slot(f, &f->lost, out);
}

static void expire_queue(struct glb_fragments *f, enum queue queue, uint64_t now)
{
	while (f->queue[queue].head != NONE && f->datagrams[f->queue[queue].head].deadline <= now)
		end(f, f->queue[queue].head, GLB_REASON_FRAGMENT_TIMEOUT);
}

void glb_fragments_expire(struct glb_fragments *f, uint64_t now)
{
	expire_queue(f, KNOWN, now);
	expire_queue(f, WAITING, now);
	glb_fragments_tidy(f);
}

void glb_fragments_flush(struct glb_fragments *f)
{
	while (f->queue[WAITING].head != NONE)
		end(f, f->queue[WAITING].head, GLB_REASON_FRAGMENT_TIMEOUT);
	glb_fragments_tidy(f);
}
