/* The straight line itself (glb/fast.h): the stages of the path, each a loop over the burst, without a branch that depends on a packet's
 * contents. What is wrong with a packet is gathered, and looked at once for all of them, before anything is written.
 *
 * Arithmetic is done in lanes. A burst is filled up to whole registers with copies of its first frame, which are only read.
 */
#include <glb/fast.h>
#include <glb/stage.h>
#include <glb/wire.h>

#include "fast_cache.h"
#include "fast_index.h"
#include "fast_work.h"
#include "fast_write.h"
#include "outer.h"
#include "strict.h"

/* ---- parse ---- */

/* Not 0 where the filter by MAC would not let a frame pass. */
GLB_INLINE uint64_t check_macs(const struct glb_director *director, const struct glb_fast_burst *burst, unsigned n)
{
	const uint64_t mask = ((uint64_t)1 << 48) - 1;
	uint64_t local = 0, wrong = 0;

	if (!director->filter_mac)
		return 0;
	memcpy(&local, director->local_mac, sizeof(director->local_mac));
	for (unsigned i = 0; i < n; i++)
		wrong |= ((load64(burst->data[i]) & mask) ^ local) | ((load64(burst->data[i] + 4) >> 16) == local);
	return wrong;
}

/* Ethernet's type to IPv4's protocol, of what is taken, and which bits matter: no options, no fragments. */
static const uint8_t v4_usual[16] = {0x08, 0x00, 0x45};
static const uint8_t v4_matters[16] = {0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0x3f, 0xff};

/* Of the bytes from the TTL on, a key as fast_key_v4() makes it, and struct fast_work's `source`. */
GLB_INLINE u64x2 key_and_source(u8x16 x)
{
	return (u64x2)__builtin_shufflevector(x, x, 8, 9, 10, 11, 14, 15, 1, 1, 4, 5, 6, 7, 12, 13, 12, 13);
}

/* Lengths are left as they are in the frames. */
GLB_INLINE uint64_t parse_v4(const struct glb_fast *fast, struct glb_fast_burst *burst, struct fast_work *work)
{
	const struct glb_fast_index index = fast->index_v4;
	const struct glb_fast_slot_v4 *slots = fast->slots_v4;
	const u8x16 usual = load128(v4_usual), matters = load128(v4_matters);
	u8x16 wrong = {0};

	for (unsigned i = 0; i < work->filled; i++) {
		const uint8_t *frame = burst->data[i];
		const u64x2 key_source = key_and_source(load128(frame + IP + 8));
		const uint64_t mixed = fast_mix_v4(&index, key_source[0]);
		const uint32_t slot = fast_slot(&index, mixed, index.multipliers[fast_multiplier(&index, mixed)]);

		__builtin_prefetch(&slots[slot]);
		wrong |= (load128(frame + 12) ^ usual) & matters;
		burst->l3_len[i] = load16(frame + IP + 2);
		work->key[i] = key_source[0];
		work->source[i] = key_source[1];
		work->slot[i] = slot;
	}
	return any_u8x16(&wrong);
}

GLB_INLINE uint64_t parse_v6(const struct glb_fast *fast, struct glb_fast_burst *burst, struct fast_work *work)
{
	const struct glb_fast_index index = fast->index_v6;
	const struct glb_fast_slot_v6 *slots = fast->slots_v6;
	const uint32_t usual = load32((const uint8_t[]){0x86, 0xdd, 0x60, 0}), matters = load32((const uint8_t[]){0xff, 0xff, 0xf0, 0});
	uint64_t wrong = 0;

	for (unsigned i = 0; i < work->filled; i++) {
		const uint8_t *frame = burst->data[i];
		const uint64_t key[3] = {load64(frame + IP + 24), load64(frame + IP + 32),
					 fast_key_v6_rest(load16(frame + V6_L4 + 2), frame[IP + 6])};
		const uint64_t mixed = fast_mix_v6(&index, key);
		const uint32_t slot = fast_slot(&index, mixed, index.multipliers[fast_multiplier(&index, mixed)]);

		__builtin_prefetch(&slots[slot]);
		wrong |= (load32(frame + 12) ^ usual) & matters;
		burst->l3_len[i] = load16(frame + IP + 4);
		work->source[i] = (uint64_t)load16(frame + V6_L4) << 32;
		work->slot[i] = slot;
	}
	return wrong;
}

/* Short packets, which are rare, one by one: whether they hold what their protocol says. */
GLB_INLINE uint64_t check_short(const struct glb_fast_burst *burst, unsigned n, bool v6)
{
	uint64_t wrong = 0;

	for (unsigned i = 0; i < n; i++) {
		const uint8_t protocol = burst->data[i][IP + (v6 ? 6 : 9)];
		const uint32_t l4_len = burst->l3_len[i] - (uint32_t)(v6 ? sizeof(struct glb_ipv6) : sizeof(struct glb_ipv4));

		wrong |= (int32_t)l4_len < (int32_t)(protocol == GLB_IPPROTO_TCP ? sizeof(struct glb_tcp) : sizeof(struct glb_udp));
	}
	return wrong;
}

/* Makes the frames' length fields lengths of IP packets, and compares. */
GLB_INLINE uint64_t measure(struct glb_fast_burst *burst, const struct fast_work *work, bool v6, uint32_t *longest)
{
	const int32_t surely = (int32_t)((v6 ? sizeof(struct glb_ipv6) : sizeof(struct glb_ipv4)) + sizeof(struct glb_tcp));
	i32x8 wrong = {0}, brief = {0}, longer;
	i32x8 most = {0};

	for (unsigned i = 0; i < work->filled; i += WIDTH) {
		const u32x8 field = *(const u32x8 *)&burst->l3_len[i], swapped = (field << 8 | field >> 8) & 0xffff;
		const u32x8 length = swapped + (v6 ? (uint32_t)sizeof(struct glb_ipv6) : 0);

		*(u32x8 *)&burst->l3_len[i] = length;
		wrong |= (i32x8)(length + IP) > *(const i32x8 *)&burst->len[i];
		brief |= (i32x8)length < surely;
		longer = (i32x8)length > most;
		most = ((i32x8)length & longer) | (most & ~longer);
	}
	*longest = 0;
	for (unsigned lane = 0; lane < WIDTH; lane++)
		*longest = (uint32_t)most[lane] > *longest ? (uint32_t)most[lane] : *longest;
	if (any_u32x8((const u32x8 *)&brief) == 0)
		return any_u32x8((const u32x8 *)&wrong);
	return any_u32x8((const u32x8 *)&wrong) | check_short(burst, work->n, v6);
}

/* Whether the strict stage would drop one of them. The headers are whole, and lengths are known. */
static bool any_strict(const struct glb_fast_burst *burst, unsigned n, bool v6)
{
	const uint32_t header_len = v6 ? sizeof(struct glb_ipv6) : sizeof(struct glb_ipv4);
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		const uint8_t *ip = burst->data[i] + IP;
		const uint32_t l4_len = burst->l3_len[i] - header_len;

		any |= strict_check(&(struct strict){
			.ip = ip, .l4 = ip + header_len, .l4_len = l4_len, .readable = l4_len, .protocol = ip[v6 ? 6 : 9], .v6 = v6,
		}) != GLB_REASON_FORWARDED;
	}
	return any;
}

/* ---- classify ---- */

/* What a slot says of its table, of four packets. Empty slots have the first, which is not looked at. */
GLB_INLINE void put_tables(const struct glb_fast *fast, struct glb_fast_burst *burst, struct fast_work *work, unsigned i, u64x4 last)
{
	const uint64_t tables = (uint64_t)(uintptr_t)fast->tables;

	*(u64x4 *)&work->of[i] = (last & (GLB_FAST_PAIRS - 1)) * sizeof(*fast->tables) + tables;
	*(u32x4 *)&work->table[i] = narrow(last);
	*(u32x4 *)&burst->service[i] = narrow(last >> 32);
}

/* Returns not 0 where a packet has no service here. */
GLB_INLINE uint64_t read_slots_v4(const struct glb_fast *fast, struct glb_fast_burst *burst, struct fast_work *work)
{
	const u64x4 *slots = (const u64x4 *)fast->slots_v4;
	const uint32_t *slot = work->slot;
	u64x4 wrong = {0}, every = ~wrong;

	for (unsigned i = 0; i < work->filled; i += 4) {
		u64x4 w[4] = {slots[slot[i]], slots[slot[i + 1]], slots[slot[i + 2]], slots[slot[i + 3]]};

		transpose(w);
		wrong |= w[0] ^ *(const u64x4 *)&work->key[i];
		*(u64x4 *)&work->sip.key[0][i] = w[1];
		*(u64x4 *)&work->sip.key[1][i] = w[2];
		put_tables(fast, burst, work, i, w[3]);
		every &= w[3];
	}
	work->pairs = (every[0] & every[1] & every[2] & every[3] & GLB_FAST_PAIRS) != 0;
	return any_u64x4(&wrong);
}

GLB_INLINE uint64_t read_slots_v6(const struct glb_fast *fast, struct glb_fast_burst *burst, struct fast_work *work)
{
	const struct glb_fast_slot_v6 *slots = fast->slots_v6;
	uint64_t wrong = 0;
	uint32_t every = ~0U;

	for (unsigned i = 0; i < work->filled; i++) {
		const struct glb_fast_slot_v6 *slot = &slots[work->slot[i]];
		const uint8_t *frame = burst->data[i];

		wrong |= (slot->key[0] ^ load64(frame + IP + 24)) | (slot->key[1] ^ load64(frame + IP + 32)) |
			 (slot->key[2] ^ fast_key_v6_rest(load16(frame + V6_L4 + 2), frame[IP + 6]));
		work->sip.key[0][i] = slot->hash_key[0];
		work->sip.key[1][i] = slot->hash_key[1];
		work->of[i] = &fast->tables[slot->table & (GLB_FAST_PAIRS - 1)];
		work->table[i] = slot->table;
		burst->service[i] = slot->service;
		every &= slot->table;
	}
	work->pairs = (every & GLB_FAST_PAIRS) != 0;
	return wrong;
}

/* ---- select ---- */

/* Numbers of rows that are no power of two: the upper bits of a product. */
static void find_odd_rows(struct fast_work *work)
{
	for (unsigned i = 0; i < work->filled; i++) {
		const struct glb_fast_table *table = work->of[i];

		if (table->row_mask == 0)
			work->row[i] = (const uint16_t *)((const uint8_t *)table->rows +
				       (uint64_t)((unsigned __int128)work->sip.hash[i] * table->row_count >> 64) * table->row_bytes);
	}
}

GLB_INLINE void find_rows(const struct glb_fast *fast, struct fast_work *work)
{
	for (unsigned i = 0; i < work->filled; i++) {
		const struct glb_fast_table *table = work->of[i];

		work->row[i] = (const uint16_t *)((const uint8_t *)table->rows +
						  (uint64_t)((uint32_t)work->sip.hash[i] & table->row_mask) * table->row_bytes);
		__builtin_prefetch(work->row[i]);
	}
	if (fast->odd)
		find_odd_rows(work);
}

/* The same where every table is of GLB_FAST_PAIRS. */
GLB_INLINE void find_pairs(struct fast_work *work)
{
	for (unsigned i = 0; i < work->filled; i++) {
		const struct glb_fast_table *table = work->of[i];

		work->row[i] = table->rows + (uint64_t)((uint32_t)work->sip.hash[i] & table->row_mask) * 2;
		__builtin_prefetch(work->row[i]);
	}
}

/* The addresses of both hops of each. Returns not 0 where one is missing. */
GLB_INLINE uint64_t select_pairs(struct glb_fast_burst *burst, struct fast_work *work)
{
	u16x16 wrong = {0};

	for (unsigned i = 0; i < work->filled; i++) {
		const struct glb_fast_table *table = work->of[i];
		const uint32_t pair = load32(work->row[i]) + 0x10001;

		work->pair[i] = pair;
		work->first[i] = load64(table->backends + (uint16_t)pair);
		work->second[i] = table->backends[pair >> 16].addr;
		burst->backend[i] = table->backend_base + (uint16_t)pair - 1;
	}
	for (unsigned i = 0; i < work->filled; i += WIDTH)
		wrong |= (u16x16)(*(const u16x16 *)&work->pair[i] == 0);
	return any_u32x8((const u32x8 *)&wrong);
}

GLB_INLINE uint32_t count_further(const uint16_t *row, unsigned hops)
{
	uint32_t count = 1;

	while (count < hops && row[count] != GLB_HOP_NONE)
		count++;
	return count - 1;
}

/* The first hop, and how many follow. Returns not 0 where there is none. */
GLB_INLINE uint32_t select_any(struct glb_fast_burst *burst, struct fast_work *work)
{
	uint32_t wrong = 0;

	for (unsigned i = 0; i < work->filled; i++) {
		const struct glb_fast_table *table = work->of[i];
		const uint32_t first = work->row[i][0];

		wrong |= first + 1;
		work->first[i] = load64(table->backends + (uint16_t)(first + 1));
		work->further[i] = count_further(work->row[i], table->hops);
		burst->backend[i] = table->backend_base + first;
	}
	return wrong >> 16;
}

/* Returns not 0 where a next hop is not known, or is not behind the same port as that of the others. */
GLB_INLINE uint64_t find_next_hops(const struct glb_path *path, const struct glb_fast_burst *burst, struct fast_work *work)
{
	uint64_t wrong = 0, first;
	struct glb_next_hop next_hop;

	for (unsigned i = 0; i < work->n; i++) {
		next_hop = glb_next_hop_load(&path->next_hops[burst->backend[i]]);
		wrong |= next_hop.kind == GLB_NEXT_HOP_UNKNOWN;
		memcpy(&work->next_hop[i], &next_hop, sizeof(next_hop));
	}
	first = work->next_hop[0];
	for (unsigned i = 0; i < work->n; i++)
		wrong |= (work->next_hop[i] ^ first) & (uint64_t)0xff << 48;
	return wrong;
}

/* What is known of the ways to the backends of a packet's row, where its service has outer headers. With a flow cache it may go elsewhere. */
static uint32_t way_of(const struct glb_path *path, const struct fast_work *work, unsigned lane, uint32_t least, unsigned more)
{
	const struct glb_fast_table *table = work->of[lane];
	uint32_t way = UINT32_MAX;

	if (more != 0 || least == UINT32_MAX)
		return least;
	for (unsigned hop = 0; hop < table->hops && work->row[lane][hop] != GLB_HOP_NONE; hop++) {
		const uint32_t mtu = glb_path_mtu(path->mtus->backends, table->backend_base + work->row[lane][hop]);

		way = mtu < way ? mtu : way;
	}
	return way;
}

/* Whether all of them fit, each with the longest chain that its table has, and `more` hops. `least`: known of any way to backends. */
static bool fit(const struct glb_fast *fast, const struct glb_path *path, const struct glb_fast_egress *egress,
		const struct glb_fast_burst *burst, const struct fast_work *work, unsigned more, uint32_t least)
{
	for (unsigned i = 0; i < work->n; i++) {
		const struct glb_fast_kind *kind = fast_kind(fast, work, i);
		const uint32_t length = burst->l3_len[i] + kind->outer + (work->of[i]->hops - 1U + more) * fast_hop_bytes(kind);

		if (length > egress->ip_max || (length > least && length > way_of(path, work, i, least, more)))
			return false;
	}
	return true;
}

/* Whether backends that must be on the link are. */
static bool are_on_link(const struct glb_fast *fast, const struct fast_work *work)
{
	for (unsigned i = 0; i < work->n; i++)
		if (fast_kind(fast, work, i)->encap == GLB_ENCAP_L2DSR && (work->next_hop[i] >> 56) != GLB_NEXT_HOP_BACKEND)
			return false;
	return true;
}

/* ---- write ---- */

/* Over what was written for the gateway. */
GLB_INLINE void write_macs(const struct glb_fast_egress *egress, struct glb_fast_burst *burst, const struct fast_work *work)
{
	for (unsigned i = 0; i < work->n; i++) {
		const uint64_t macs = (work->next_hop[i] & (((uint64_t)1 << 48) - 1)) | egress->mac_end;

		memcpy(burst->data[i], &macs, sizeof(macs));
	}
}

/* ---- */

GLB_INLINE int forward(const struct glb_fast *fast, const struct glb_path *path, struct fast_flows *flows, struct glb_fast_burst *burst,
		   struct fast_work *work, uint32_t longest, bool v6, bool two)
{
	const bool routed = path->next_hops != NULL;
	const unsigned more = flows != NULL; /* hops, than the table has */
	const uint32_t least = glb_path_mtus_least(path->mtus);
	const struct glb_fast_egress *egress;
	uint32_t port = path->gateway.port, fits;

	STAGE_END(choose);
	if (routed) {
		if (find_next_hops(path, burst, work) != 0)
			return -1;
		port = (uint32_t)(work->next_hop[0] >> 48 & 0xff);
	}
	egress = &fast->egress[port];
	fits = least < egress->ip_max ? least : egress->ip_max;
	if (longest + fast->outer_max + more * GUE_V4_HOP_BYTES > fits && !fit(fast, path, egress, burst, work, more, least))
		return -1;
	if (fast->on_link && !are_on_link(fast, work))
		return -1;
	if (flows != NULL && !fast_cache_join(fast, path, flows, burst, work, two))
		return -1;
	STAGE_END(remember);
	fast_write(fast, path, egress, burst, work, v6, two && !(flows != NULL && flows->joined != 0));
	if (flows != NULL)
		fast_cache_write(fast, flows, burst, egress->link_len + GUE_V4_BYTES);
	if (routed)
		write_macs(egress, burst, work);
	STAGE_END(write);
	return (int)port;
}

GLB_INLINE int run(const struct glb_fast *fast, const struct glb_path *path, struct fast_flows *flows, struct glb_fast_burst *burst,
	       struct fast_work *work, bool v6)
{
	uint64_t wrong = check_macs(&path->director, burst, work->n);
	uint32_t longest;

	wrong |= v6 ? parse_v6(fast, burst, work) : parse_v4(fast, burst, work);
	wrong |= measure(burst, work, v6, &longest);
	wrong |= v6 ? read_slots_v6(fast, burst, work) : read_slots_v4(fast, burst, work);
	STAGE_END(find_slots);
	if (wrong != 0 || (path->director.strict && any_strict(burst, work->n, v6)))
		return -1;
	if (flows != NULL && !fast_cache_ask(fast, flows, burst, work, v6))
		flows = NULL;
	STAGE_END(recall);
	fast_hash(fast, flows, burst, work, v6);
	STAGE_END(hash_flows);
	if (work->pairs)
		find_pairs(work);
	else
		find_rows(fast, work);
	STAGE_END(find_rows);
	if (work->pairs && select_pairs(burst, work) == 0)
		return forward(fast, path, flows, burst, work, longest, v6, true);
	if (select_any(burst, work) != 0)
		return -1;
	return forward(fast, path, flows, burst, work, longest, v6, false);
}

/* Fills lanes up. */
GLB_INLINE void fill(struct glb_fast_burst *burst, struct fast_work *work, unsigned n)
{
	work->n = n;
	work->filled = (n + WIDTH - 1) / WIDTH * WIDTH;
	for (unsigned i = n; i < work->filled; i++) {
		burst->data[i] = burst->data[0];
		burst->len[i] = burst->len[0];
	}
	work->table[0] = 0; /* to the compiler, there may be no lanes */
}

/* Whether each frame has `least` bytes, that may be read. */
GLB_INLINE bool all_long(const struct glb_fast_burst *burst, const struct fast_work *work, int32_t least)
{
	i32x8 brief = {0};

	for (unsigned i = 0; i < work->filled; i += WIDTH)
		brief |= *(const i32x8 *)&burst->len[i] < least;
	return any_u32x8((const u32x8 *)&brief) == 0;
}

GLB_LANES_CLONES
int glb_fast_run_cached(const struct glb_fast *fast, const struct glb_path *path, struct glb_flow_cache *cache, uint32_t now,
			struct glb_fast_burst *burst, unsigned n)
{
	struct fast_flows asked, *flows = NULL;
	struct fast_work work;
	uint16_t type;

	if (!fast->usable || n == 0)
		return -1;
	if (fast->remembers && cache != NULL && path->backend_ids != NULL) {
		asked.cache = cache;
		asked.now = now;
		flows = &asked;
	}
	fill(burst, &work, n);
	if (!all_long(burst, &work, V4_LEAST))
		return -1;
	type = load16(burst->data[0] + 12);
	if (type == load16((const uint8_t[]){0x08, 0x00}))
		return run(fast, path, flows, burst, &work, false);
	if (type == load16((const uint8_t[]){0x86, 0xdd}) && all_long(burst, &work, V6_LEAST))
		return run(fast, path, flows, burst, &work, true);
	return -1;
}

int glb_fast_run(const struct glb_fast *fast, const struct glb_path *path, struct glb_fast_burst *burst, unsigned n)
{
	return glb_fast_run_cached(fast, path, NULL, 0, burst, n);
}
