/* The straight line itself (glb/fast.h): the stages of the path, each a loop over the burst, without a branch that depends on a packet's
 * contents. What is wrong with a packet is gathered, and looked at once for all of them, before anything is written.
 */
#include <glb/fast.h>
#include <glb/wire.h>

#include "fast_index.h"
#include "outer.h"
#include "siphash_burst.h"

#define INLINE static inline __attribute__((always_inline))

enum {
	IP = sizeof(struct glb_eth), /* where it begins in a frame */
	V4_L4 = IP + sizeof(struct glb_ipv4),
	V6_L4 = IP + sizeof(struct glb_ipv6),
};

struct burst {
	struct siphash_burst sip;
	uint32_t slot[GLB_BURST_MAX];
	uint32_t table[GLB_BURST_MAX];
	const uint16_t *row[GLB_BURST_MAX];
	struct glb_next_hop next_hop[GLB_BURST_MAX];
};

INLINE uint16_t load16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

INLINE uint32_t load32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

INLINE uint64_t load64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

INLINE uint16_t in_network_order(uint16_t value)
{
	const glb_be16 wire = glb_be16_put(value);

	return load16(wire.b);
}

INLINE uint16_t host_order(uint16_t value)
{
	uint8_t bytes[2];

	memcpy(bytes, &value, sizeof(bytes));
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/* Not 0 where the filter by MAC would not let the frame pass. */
INLINE uint64_t wrong_mac(const struct glb_director *director, const uint8_t *frame)
{
	const uint64_t mask = ((uint64_t)1 << 48) - 1;
	uint64_t local = 0;

	memcpy(&local, director->local_mac, sizeof(director->local_mac));
	return ((load64(frame) & mask) ^ local) | ((load64(frame + 4) >> 16) == local);
}

/* What is wrong with an IPv4 frame that has neither options nor fragments; its length. */
INLINE uint64_t check_v4(const struct glb_fast_packet *packet, uint32_t *l3_len)
{
	const uint8_t *frame = packet->data;
	const uint32_t length = host_order(load16(frame + IP + 2));
	const uint8_t protocol = frame[IP + 9];
	const uint32_t least = protocol == GLB_IPPROTO_TCP ? sizeof(struct glb_ipv4) + sizeof(struct glb_tcp)
							   : sizeof(struct glb_ipv4) + sizeof(struct glb_udp);
	const uint32_t type_version = load32(frame + 12) & load32((const uint8_t[]){0xff, 0xff, 0xff, 0});

	*l3_len = length;
	return (type_version ^ load32((const uint8_t[]){0x08, 0x00, 0x45, 0})) |
	       (load16(frame + IP + 6) & in_network_order(GLB_IPV4_MF | GLB_IPV4_OFFSET)) |
	       (length < least) | (IP + length > packet->len);
}

INLINE uint64_t check_v6(const struct glb_fast_packet *packet, uint32_t *l3_len)
{
	const uint8_t *frame = packet->data;
	const uint32_t length = host_order(load16(frame + IP + 4));
	const uint32_t least = frame[IP + 6] == GLB_IPPROTO_TCP ? sizeof(struct glb_tcp) : sizeof(struct glb_udp);
	const uint32_t type_version = load32(frame + 12) & load32((const uint8_t[]){0xff, 0xff, 0xf0, 0});

	*l3_len = length + (uint32_t)sizeof(struct glb_ipv6);
	return (type_version ^ load32((const uint8_t[]){0x86, 0xdd, 0x60, 0})) |
	       (length < least) | (V6_L4 + length > packet->len);
}

/* Parse, and begin to classify: the slot where the packet's service would be, on its way into the cache. */
INLINE uint64_t find_slots(const struct glb_fast *fast, const struct glb_path *path, struct burst *burst,
			   struct glb_fast_packet *packets, unsigned n, bool v6)
{
	const bool filter = path->director.filter_mac;
	uint64_t wrong = 0;

	for (unsigned i = 0; i < n; i++) {
		struct glb_fast_packet *packet = &packets[i];
		const uint8_t *frame = packet->data;
		uint64_t mixed;

		if (filter)
			wrong |= wrong_mac(&path->director, frame);
		if (v6) {
			const uint64_t key[3] = {load64(frame + IP + 24), load64(frame + IP + 32),
						 fast_key_v6_rest(load16(frame + V6_L4 + 2), frame[IP + 6])};

			wrong |= check_v6(packet, &packet->l3_len);
			mixed = fast_mix_v6(&fast->index_v6, key);
		} else {
			wrong |= check_v4(packet, &packet->l3_len);
			mixed = fast_mix_v4(&fast->index_v4, fast_key_v4(load32(frame + IP + 16), load16(frame + V4_L4 + 2),
									 frame[IP + 9]));
		}
		if (v6) {
			burst->slot[i] = fast_slot(&fast->index_v6, mixed,
						   fast->index_v6.multipliers[fast_multiplier(&fast->index_v6, mixed)]);
			__builtin_prefetch(&fast->slots_v6[burst->slot[i]]);
		} else {
			burst->slot[i] = fast_slot(&fast->index_v4, mixed,
						   fast->index_v4.multipliers[fast_multiplier(&fast->index_v4, mixed)]);
			__builtin_prefetch(&fast->slots_v4[burst->slot[i]]);
		}
	}
	return wrong;
}

/* The message that is hashed of a packet, into its lane. Returns its words. */
static unsigned put_message(const struct glb_fast_table *table, const uint8_t *frame, bool v6, struct siphash_burst *sip, unsigned lane)
{
	const unsigned addr_len = v6 ? 16 : 4, bits = v6 ? table->source_bits_v6 : table->source_bits_v4;
	const uint8_t *addrs = frame + IP + (v6 ? 8 : 12), *ports = frame + (v6 ? V6_L4 : V4_L4);
	uint64_t words[SIPHASH_WORDS_MAX] = {0};
	uint8_t *message = (uint8_t *)words;
	unsigned len = 0;

	if (table->hash_fields & GLB_HASH_SRC_ADDR) {
		memcpy(message, addrs, addr_len);
		for (unsigned bit = bits; bit < addr_len * 8; bit += 8 - bit % 8)
			message[bit / 8] &= (uint8_t)(0xff00 >> bit % 8);
		len += addr_len;
	}
	if (table->hash_fields & GLB_HASH_DST_ADDR) {
		memcpy(message + len, addrs + addr_len, addr_len);
		len += addr_len;
	}
	if (table->hash_fields & GLB_HASH_SRC_PORT) {
		memcpy(message + len, ports, 2);
		len += 2;
	}
	if (table->hash_fields & GLB_HASH_DST_PORT) {
		memcpy(message + len, ports + 2, 2);
		len += 2;
	}
	words[len / 8] |= (uint64_t)len << 56;
	for (unsigned w = 0; w <= len / 8; w++)
		sip->word[w][lane] = words[w];
	return len / 8 + 1;
}

enum shape { /* of messages; the usual ones are loaded straight from the frame */
	SHAPE_SOURCE,
	SHAPE_FLOW,
	SHAPE_OTHER,
};

enum { FLOW = GLB_HASH_SRC_ADDR | GLB_HASH_DST_ADDR | GLB_HASH_SRC_PORT | GLB_HASH_DST_PORT };

INLINE enum shape shape_of(const struct glb_fast_table *table, bool v6)
{
	if ((v6 ? table->source_bits_v6 != 128 : table->source_bits_v4 != 32))
		return SHAPE_OTHER;
	if (table->hash_fields == GLB_HASH_SRC_ADDR)
		return SHAPE_SOURCE;
	return table->hash_fields == FLOW ? SHAPE_FLOW : SHAPE_OTHER;
}

INLINE void put_shape(enum shape shape, bool v6, const uint8_t *frame, struct siphash_burst *sip, unsigned lane)
{
	if (v6) {
		sip->word[0][lane] = load64(frame + IP + 8);
		sip->word[1][lane] = load64(frame + IP + 16);
		if (shape == SHAPE_FLOW) {
			sip->word[2][lane] = load64(frame + IP + 24);
			sip->word[3][lane] = load64(frame + IP + 32);
			sip->word[4][lane] = load32(frame + V6_L4) | (uint64_t)36 << 56;
		} else {
			sip->word[2][lane] = (uint64_t)16 << 56;
		}
	} else if (shape == SHAPE_FLOW) {
		sip->word[0][lane] = load64(frame + IP + 12);
		sip->word[1][lane] = load32(frame + V4_L4) | (uint64_t)12 << 56;
	} else {
		sip->word[0][lane] = load32(frame + IP + 12) | (uint64_t)4 << 56;
	}
}

INLINE unsigned words_of(enum shape shape, bool v6)
{
	if (shape == SHAPE_FLOW)
		return v6 ? 5 : 2;
	return v6 ? 3 : 1;
}

/* Ends classifying. Returns not 0 where a packet has no service here, or not all hash the same fields. */
INLINE uint64_t read_slots(const struct glb_fast *fast, struct burst *burst, struct glb_fast_packet *packets, unsigned n, bool v6)
{
	uint64_t wrong = 0;

	for (unsigned i = 0; i < n; i++) {
		const uint8_t *frame = packets[i].data;

		if (v6) {
			const struct glb_fast_slot_v6 *slot = &fast->slots_v6[burst->slot[i]];

			wrong |= (slot->key[0] ^ load64(frame + IP + 24)) | (slot->key[1] ^ load64(frame + IP + 32)) |
				 (slot->key[2] ^ fast_key_v6_rest(load16(frame + V6_L4 + 2), frame[IP + 6]));
			burst->sip.key[0][i] = slot->hash_key[0];
			burst->sip.key[1][i] = slot->hash_key[1];
			burst->table[i] = slot->table;
			packets[i].service = slot->service;
		} else {
			const struct glb_fast_slot_v4 *slot = &fast->slots_v4[burst->slot[i]];

			wrong |= slot->key ^ fast_key_v4(load32(frame + IP + 16), load16(frame + V4_L4 + 2), frame[IP + 9]);
			burst->sip.key[0][i] = slot->hash_key[0];
			burst->sip.key[1][i] = slot->hash_key[1];
			burst->table[i] = slot->table;
			packets[i].service = slot->service;
		}
	}
	return wrong;
}

INLINE bool hash_flows(const struct glb_fast *fast, struct burst *burst, const struct glb_fast_packet *packets, unsigned n, bool v6)
{
	const struct glb_fast_table *one = &fast->tables[burst->table[0]];
	const enum shape shape = shape_of(one, v6);
	unsigned differ = 0, words = words_of(shape, v6);

	for (unsigned i = 0; i < n; i++) {
		const struct glb_fast_table *table = &fast->tables[burst->table[i]];

		differ |= (unsigned)(table->hash_fields ^ one->hash_fields) |
			  (unsigned)(table->source_bits_v4 ^ one->source_bits_v4) |
			  (unsigned)(table->source_bits_v6 ^ one->source_bits_v6);
	}
	if (differ != 0)
		return false;
	if (shape == SHAPE_SOURCE)
		for (unsigned i = 0; i < n; i++)
			put_shape(SHAPE_SOURCE, v6, packets[i].data, &burst->sip, i);
	else if (shape == SHAPE_FLOW)
		for (unsigned i = 0; i < n; i++)
			put_shape(SHAPE_FLOW, v6, packets[i].data, &burst->sip, i);
	else
		for (unsigned i = 0; i < n; i++)
			words = put_message(one, packets[i].data, v6, &burst->sip, i);
	siphash_burst(&burst->sip, words, n);
	return true;
}

INLINE void find_rows(const struct glb_fast *fast, struct burst *burst, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct glb_fast_table *table = &fast->tables[burst->table[i]];
		const uint64_t hash = burst->sip.hash[i];
		const uint32_t row = table->power_of_two ? (uint32_t)hash & (table->row_count - 1)
							 : (uint32_t)((unsigned __int128)hash * table->row_count >> 64);

		burst->row[i] = table->rows + (uint64_t)row * table->hops;
		__builtin_prefetch(burst->row[i]);
	}
}

/* The first hop, and its next hop. */
INLINE uint64_t select_backends(const struct glb_fast *fast, const struct glb_path *path, struct burst *burst,
				struct glb_fast_packet *packets, unsigned n)
{
	uint64_t wrong = 0;

	for (unsigned i = 0; i < n; i++) {
		const uint32_t hop = burst->row[i][0];

		wrong |= hop == GLB_HOP_NONE;
		packets[i].backend = fast->tables[burst->table[i]].backend_base + (hop == GLB_HOP_NONE ? 0 : hop);
		__builtin_prefetch(&fast->backends[packets[i].backend]);
	}
	if (path->next_hops == NULL)
		return wrong;
	for (unsigned i = 0; i < n; i++)
		burst->next_hop[i] = glb_next_hop_load(&path->next_hops[packets[i].backend]);
	for (unsigned i = 0; i < n; i++)
		wrong |= (burst->next_hop[i].kind == GLB_NEXT_HOP_UNKNOWN) | (burst->next_hop[i].port ^ burst->next_hop[0].port);
	return wrong;
}

/* The further hops of a row. */
INLINE unsigned count_hops(const uint16_t *row, unsigned hops)
{
	unsigned count = 1;

	while (count < hops && row[count] != GLB_HOP_NONE)
		count++;
	return count;
}

INLINE uint64_t measure(const struct glb_fast *fast, const struct glb_fast_egress *egress, const struct burst *burst,
			const struct glb_fast_packet *packets, unsigned n)
{
	uint64_t wrong = 0;

	for (unsigned i = 0; i < n; i++)
		wrong |= packets[i].l3_len + GUE_V4_BYTES + (fast->tables[burst->table[i]].hops - 1U) * GUE_V4_HOP_BYTES
			 > egress->ip_max;
	return wrong;
}

INLINE void encapsulate(const struct glb_fast *fast, const struct glb_fast_egress *egress, const struct glb_next_hop *next_hop,
			const uint16_t *row, const struct glb_fast_table *table, uint64_t hash, bool v6, struct glb_fast_packet *packet)
{
	const unsigned further = count_hops(row, table->hops) - 1;
	const struct glb_fast_backend *backends = &fast->backends[table->backend_base];
	const struct glb_fast_backend first = backends[row[0]];
	const uint32_t length = packet->l3_len + GUE_V4_BYTES + further * GUE_V4_HOP_BYTES;
	const uint16_t ip_length = in_network_order((uint16_t)length);
	uint8_t *ip = packet->data + IP, *hops = ip - further * GUE_V4_HOP_BYTES;
	uint32_t sum = egress->sum + first.sum + ip_length;
	const uint16_t varies = (uint16_t)hash ^ host_order(load16(ip + (v6 ? sizeof(struct glb_ipv6) : sizeof(struct glb_ipv4))));
	const uint16_t sport = in_network_order(GUE_SOURCE_PORT_BASE | varies);
	uint16_t folded;

	memcpy(hops - 64, egress->header, 64);
	memcpy(hops - egress->header_len, next_hop->mac, 6);
	sum = (sum & 0xffff) + (sum >> 16);
	folded = (uint16_t)~((sum & 0xffff) + (sum >> 16));
	memcpy(hops - 34, &ip_length, 2);
	memcpy(hops - 26, &folded, 2);
	memcpy(hops - 20, &first.addr, 4);
	memcpy(hops - 16, &sport, 2);
	folded = in_network_order((uint16_t)(length - sizeof(struct glb_ipv4)));
	memcpy(hops - 12, &folded, 2);
	hops[-8] = (uint8_t)(1 + further);
	hops[-7] = v6 ? GLB_IPPROTO_IPV6 : GLB_IPPROTO_IPIP;
	hops[-1] = (uint8_t)further;
	for (unsigned h = 0; h < further; h++)
		memcpy(hops + h * GUE_V4_HOP_BYTES, &backends[row[h + 1]].addr, GUE_V4_HOP_BYTES);
	packet->data = hops - egress->header_len;
	packet->len = (uint32_t)(ip - packet->data) + packet->l3_len;
}

INLINE int run(const struct glb_fast *fast, const struct glb_path *path, struct glb_fast_packet *packets, unsigned n, bool v6)
{
	const struct glb_fast_egress *egress;
	struct burst burst;
	unsigned port;

	if (find_slots(fast, path, &burst, packets, n, v6) != 0 || read_slots(fast, &burst, packets, n, v6) != 0)
		return -1;
	if (!hash_flows(fast, &burst, packets, n, v6))
		return -1;
	find_rows(fast, &burst, n);
	if (select_backends(fast, path, &burst, packets, n) != 0)
		return -1;
	port = path->next_hops != NULL ? burst.next_hop[0].port : path->gateway.port;
	egress = &fast->egress[port];
	if (measure(fast, egress, &burst, packets, n) != 0)
		return -1;
	for (unsigned i = 0; i < n; i++)
		encapsulate(fast, egress, path->next_hops != NULL ? &burst.next_hop[i] : &path->gateway, burst.row[i],
			    &fast->tables[burst.table[i]], burst.sip.hash[i], v6, &packets[i]);
	return (int)port;
}

int glb_fast_burst(const struct glb_fast *fast, const struct glb_path *path, struct glb_fast_packet *packets, unsigned n)
{
	uint32_t shortest = UINT32_MAX;
	uint16_t type;

	if (!fast->usable || n == 0)
		return -1;
	for (unsigned i = 0; i < n; i++)
		shortest = packets[i].len < shortest ? packets[i].len : shortest;
	if (shortest < V4_L4 + sizeof(struct glb_udp))
		return -1;
	type = load16(packets[0].data + 12);
	if (type == in_network_order(GLB_ETHERTYPE_IPV4))
		return run(fast, path, packets, n, false);
	if (type == in_network_order(GLB_ETHERTYPE_IPV6) && shortest >= V6_L4 + sizeof(struct glb_udp))
		return run(fast, path, packets, n, true);
	return -1;
}
