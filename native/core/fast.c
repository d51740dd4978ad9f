/* What the straight line works from (glb/fast.h): made once for each snapshot. */
#include <glb/fast.h>

#include "fast_cache.h"
#include "fast_index.h"
#include "fast_work.h"
#include "outer.h"

#include <errno.h>
#include <stdlib.h>

enum {
	SLOTS_MIN = 16,
	MULTIPLIERS_TRIED = 1 << 14, /* for one set of keys, before the slots are doubled */
};
static const uint32_t NOT_STRAIGHT = UINT32_MAX;

static bool is_exact(const struct glb_vip *vip, const struct glb_bind *bind)
{
	return vip->bits == (vip->addr.family == GLB_FAMILY_V4 ? 32 : 128) && bind->port_first == bind->port_last &&
	       (bind->protocol == GLB_IPPROTO_TCP || bind->protocol == GLB_IPPROTO_UDP);
}

/* ---- tables, and what is hashed ---- */

static void *aligned_zeros(size_t count, size_t size)
{
	const size_t bytes = (count * size + 63) / 64 * 64;
	void *memory = aligned_alloc(64, bytes == 0 ? 64 : bytes);

	if (memory != NULL)
		memset(memory, 0, bytes == 0 ? 64 : bytes);
	return memory;
}

static int make_tables(struct glb_fast *fast, const struct glb_snapshot *snapshot)
{
	fast->tables = aligned_zeros(snapshot->table_count + 1, sizeof(*fast->tables));
	if (fast->tables == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < snapshot->table_count; i++) {
		const struct glb_table *table = &snapshot->tables[i];

		fast->tables[i] = (struct glb_fast_table){
			.rows = snapshot->rows + table->row_base,
			.backends = fast->backends + table->backend_base,
			.row_count = table->rows,
			.row_mask = (table->rows & (table->rows - 1)) == 0 ? table->rows - 1 : 0,
			.backend_base = table->backend_base,
			.row_bytes = (uint16_t)(table->hops * sizeof(uint16_t)),
			.hops = table->hops,
		};
		fast->odd |= fast->tables[i].row_mask + 1 != table->rows;
	}
	return 0;
}

/* Bytes of a service's outer headers behind Ethernet, without hops, for packets to a VIP of `family`; or -1: the straight line is not for it. */
static int outer_of(const struct glb_path *path, const struct glb_service *service, uint8_t family)
{
	const struct glb_table *table = &path->snapshot->tables[service->table];
	const bool v4 = table->families == GLB_FAMILIES_V4, v6 = table->families == GLB_FAMILIES_V6;
	const bool remembers = (service->flags & GLB_SERVICE_FLOW_CACHE) != 0, keyed = (service->flags & GLB_SERVICE_GRE_KEY) != 0;
	const int ip = v4 ? (int)sizeof(struct glb_ipv4) : (int)sizeof(struct glb_ipv6);

	switch ((enum glb_encap_kind)service->encap) {
	case GLB_ENCAP_L2DSR: /* a remembered backend may not be on the link */
		return remembers ? -1 : 0;
	case GLB_ENCAP_L3DSR:
	case GLB_ENCAP_NAT:
		return (family == GLB_FAMILY_V4 ? v4 : v6) ? 0 : -1;
	case GLB_ENCAP_GRE:
		return !v4 && !v6 ? -1 : ip + (int)sizeof(struct glb_gre) + (keyed ? GRE_KEY_BYTES : 0);
	case GLB_ENCAP_IPIP:
	case GLB_ENCAP_6IN4:
		return v4 ? ip : -1;
	case GLB_ENCAP_IP6IP6:
	case GLB_ENCAP_4IN6:
		return v6 ? ip : -1;
	case GLB_ENCAP_GUE:
		if (v6) /* joining a remembered backend is for IPv4 */
			return !remembers && GUE_V6_BYTES + (table->hops - 1) * GUE_V6_HOP_BYTES <= GLB_FAST_OUTER_MAX ? GUE_V6_BYTES : -1;
		return v4 && path->director.outer_checksum == GLB_OUTER_CHECKSUM_ZERO ? GUE_V4_BYTES : -1;
	default:
		return -1;
	}
}

/* The index of a service's kind, or GLB_FAST_KINDS_MAX when there are too many. */
static uint32_t kind_of(struct glb_fast *fast, const struct glb_fast_kind *kind)
{
	uint32_t i = 0;

	while (i < fast->kind_count && memcmp(&fast->kinds[i], kind, sizeof(*kind)) != 0)
		i++;
	if (i == fast->kind_count && i < GLB_FAST_KINDS_MAX)
		fast->kinds[fast->kind_count++] = *kind;
	return i;
}

/* What some service of the straight line has, or the most that any has. */
static void note(struct glb_fast *fast, const struct glb_fast_kind *kind, uint32_t hops)
{
	const uint32_t outer = kind->outer + (hops - 1) * fast_hop_bytes(kind);

	if (outer > fast->outer_max)
		fast->outer_max = outer;
	fast->remembers |= kind->remembers;
	fast->on_link |= kind->encap == GLB_ENCAP_L2DSR;
}

/* Whether nothing else is to be done for a service's packets, whatever their encapsulation. */
static bool is_usual(const struct glb_snapshot *snapshot, const struct glb_service *service)
{
	if (service->flags & GLB_SERVICE_QUIC)
		return false;
	if (snapshot->udp_timeouts != NULL && snapshot->udp_timeouts[service - snapshot->services] != 0)
		return false;
	return service->alt_hash_fields == 0 && (service->flags & GLB_SERVICE_PROTECTED) == 0;
}

static bool is_pairs(const struct glb_fast_table *table)
{
	return table->hops == 2 && table->row_mask + 1 == table->row_count;
}

/* A slot's `table` for packets to a service by a VIP of `family`, or NOT_STRAIGHT. */
static uint32_t table_of(struct glb_fast *fast, const struct glb_path *path, const struct glb_service *service, uint8_t family)
{
	const int outer = outer_of(path, service, family);
	const struct glb_fast_kind kind = {
		.hash_fields = service->hash_fields, .source_bits_v4 = service->source_bits_v4, .source_bits_v6 = service->source_bits_v6,
		.remembers = (service->flags & GLB_SERVICE_FLOW_CACHE) != 0,
		.encap = service->encap, .outer = (uint8_t)outer, .tos = service->tos, .tos_mask = service->tos_mask,
	};
	uint32_t index;

	if (outer < 0 || !is_usual(path->snapshot, service) || service->table >= GLB_FAST_PAIRS)
		return NOT_STRAIGHT;
	index = kind_of(fast, &kind);
	if (index == GLB_FAST_KINDS_MAX)
		return NOT_STRAIGHT;
	note(fast, &kind, path->snapshot->tables[service->table].hops);
	return service->table | (is_pairs(&fast->tables[service->table]) ? GLB_FAST_PAIRS : 0) | index << GLB_FAST_TABLE_BITS;
}

/* ---- the index ---- */

/* A key on its way to its slot. */
struct entry {
	uint64_t mixed;
	uint32_t group; /* the keys of one multiplier */
	uint32_t bind, vip;
	uint32_t table; /* of the slot */
	uint32_t slot;
};

static int by_group(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->group < y->group ? -1 : x->group > y->group;
}

static bool fits(const struct glb_fast_index *index, struct entry *entries, unsigned n, uint32_t multiplier, uint8_t *taken)
{
	for (unsigned i = 0; i < n; i++) {
		entries[i].slot = fast_slot(index, entries[i].mixed, multiplier);
		if (taken[entries[i].slot]) {
			while (i-- > 0)
				taken[entries[i].slot] = 0;
			return false;
		}
		taken[entries[i].slot] = 1;
	}
	return true;
}

static bool place_group(struct glb_fast_index *index, struct entry *entries, unsigned n, uint8_t *taken)
{
	for (uint32_t try = 0; try < MULTIPLIERS_TRIED; try++) {
		const uint32_t multiplier = (0x9e3779b1 + try * 0x85ebca6b) | 1;

		if (!fits(index, entries, n, multiplier, taken))
			continue;
		index->multipliers[entries[0].group] = multiplier;
		return true;
	}
	return false;
}

/* Large groups first, while there is room: `entries` are sorted by group. */
static bool place(struct glb_fast_index *index, struct entry *entries, uint32_t n, uint8_t *taken)
{
	unsigned largest = 0;

	for (uint32_t i = 0, size; i < n; i += size) {
		for (size = 1; i + size < n && entries[i + size].group == entries[i].group; size++)
			;
		largest = size > largest ? size : largest;
	}
	for (unsigned wanted = largest; wanted > 0; wanted--)
		for (uint32_t i = 0, size; i < n; i += size) {
			for (size = 1; i + size < n && entries[i + size].group == entries[i].group; size++)
				;
			if (size == wanted && !place_group(index, &entries[i], size, taken))
				return false;
		}
	return true;
}

static unsigned log2_at_least(uint64_t n)
{
	unsigned bits = 0;

	while ((uint64_t)1 << bits < n)
		bits++;
	return bits;
}

/* Finds multipliers by which no two keys share a slot. Keys are `mix`ed again for every attempt. */
static int build_index(struct glb_fast_index *index, struct entry *entries, uint32_t n,
		       uint64_t (*mix)(const struct glb_fast_index *index, const struct entry *entry, const void *context),
		       const void *context)
{
	const unsigned group_bits = log2_at_least(n / 2 + 2);
	unsigned slot_bits = log2_at_least((uint64_t)n + n / 2 + SLOTS_MIN);
	uint8_t *taken = NULL;

	index->multiplier_shift = (uint8_t)(64 - group_bits);
	index->multipliers = calloc((size_t)1 << group_bits, sizeof(*index->multipliers));
	if (index->multipliers == NULL)
		return -ENOMEM;
	for (;; slot_bits++) {
		bool placed;

		index->seed = (index->seed + slot_bits) * 0x5851f42d4c957f2d | 1;
		index->slot_shift = (uint8_t)(32 - slot_bits);
		index->slot_count = (uint32_t)1 << slot_bits;
		taken = calloc(index->slot_count, 1);
		if (taken == NULL || slot_bits > 28) {
			free(taken);
			free(index->multipliers);
			index->multipliers = NULL;
			return -ENOMEM;
		}
		for (uint32_t i = 0; i < n; i++) {
			entries[i].mixed = mix(index, &entries[i], context);
			entries[i].group = (uint32_t)fast_multiplier(index, entries[i].mixed);
		}
		qsort(entries, n, sizeof(*entries), by_group);
		placed = place(index, entries, n, taken);
		free(taken);
		if (placed)
			return 0;
	}
}

/* ---- slots ---- */

static void key_v4(const struct glb_snapshot *snapshot, const struct entry *entry, uint64_t *key)
{
	const glb_be16 port = glb_be16_put(snapshot->binds[entry->bind].port_first);
	uint32_t dst;
	uint16_t dport;

	memcpy(&dst, snapshot->vips[entry->vip].addr.bytes, sizeof(dst));
	memcpy(&dport, &port, sizeof(dport));
	*key = fast_key_v4(dst, dport, snapshot->binds[entry->bind].protocol);
}

static void key_v6(const struct glb_snapshot *snapshot, const struct entry *entry, uint64_t key[3])
{
	const glb_be16 port = glb_be16_put(snapshot->binds[entry->bind].port_first);
	uint16_t dport;

	memcpy(key, snapshot->vips[entry->vip].addr.bytes, 16);
	memcpy(&dport, &port, sizeof(dport));
	key[2] = fast_key_v6_rest(dport, snapshot->binds[entry->bind].protocol);
}

static uint64_t mix_v4(const struct glb_fast_index *index, const struct entry *entry, const void *snapshot)
{
	uint64_t key;

	key_v4(snapshot, entry, &key);
	return fast_mix_v4(index, key);
}

static uint64_t mix_v6(const struct glb_fast_index *index, const struct entry *entry, const void *snapshot)
{
	uint64_t key[3];

	key_v6(snapshot, entry, key);
	return fast_mix_v6(index, key);
}

static uint32_t collect(struct glb_fast *fast, const struct glb_path *path, uint8_t family, struct entry *entries)
{
	const struct glb_snapshot *snapshot = path->snapshot;
	uint32_t n = 0;

	for (uint32_t v = 0; v < snapshot->vip_count; v++) {
		const struct glb_vip *vip = &snapshot->vips[v];

		if (vip->addr.family != family)
			continue;
		for (uint32_t b = vip->bind_first; b < vip->bind_first + vip->bind_count; b++) {
			const struct glb_bind *bind = &snapshot->binds[b];
			const uint32_t table = is_exact(vip, bind) ? table_of(fast, path, &snapshot->services[bind->service], family)
								   : NOT_STRAIGHT;

			if (table != NOT_STRAIGHT)
				entries[n++] = (struct entry){.bind = b, .vip = v, .table = table};
		}
	}
	return n;
}

static int make_v4(struct glb_fast *fast, const struct glb_path *path, struct entry *entries)
{
	const struct glb_snapshot *snapshot = path->snapshot;
	const uint32_t n = collect(fast, path, GLB_FAMILY_V4, entries);

	if (build_index(&fast->index_v4, entries, n, mix_v4, snapshot) != 0)
		return -ENOMEM;
	fast->slots_v4 = aligned_zeros(fast->index_v4.slot_count, sizeof(*fast->slots_v4));
	if (fast->slots_v4 == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t service = snapshot->binds[entries[i].bind].service;
		struct glb_fast_slot_v4 *slot = &fast->slots_v4[entries[i].slot];

		key_v4(snapshot, &entries[i], &slot->key);
		memcpy(slot->hash_key, snapshot->services[service].hash_key, sizeof(slot->hash_key));
		slot->table = entries[i].table;
		slot->service = service;
	}
	fast->usable |= n > 0;
	return 0;
}

static int make_v6(struct glb_fast *fast, const struct glb_path *path, struct entry *entries)
{
	const struct glb_snapshot *snapshot = path->snapshot;
	const uint32_t n = collect(fast, path, GLB_FAMILY_V6, entries);

	if (build_index(&fast->index_v6, entries, n, mix_v6, snapshot) != 0)
		return -ENOMEM;
	fast->slots_v6 = aligned_zeros(fast->index_v6.slot_count, sizeof(*fast->slots_v6));
	if (fast->slots_v6 == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t service = snapshot->binds[entries[i].bind].service;
		struct glb_fast_slot_v6 *slot = &fast->slots_v6[entries[i].slot];

		key_v6(snapshot, &entries[i], slot->key);
		memcpy(slot->hash_key, snapshot->services[service].hash_key, sizeof(slot->hash_key));
		slot->table = entries[i].table;
		slot->service = service;
	}
	fast->usable |= n > 0;
	return 0;
}

static int make_backends(struct glb_fast *fast, const struct glb_snapshot *snapshot)
{
	fast->backends = aligned_zeros(snapshot->backend_count + 1, sizeof(*fast->backends));
	if (fast->backends == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < snapshot->backend_count; i++) {
		struct glb_fast_backend *backend = &fast->backends[i + 1];

		memcpy(&backend->addr, snapshot->backends[i].addr.bytes, sizeof(backend->addr));
		backend->sum = (backend->addr & 0xffff) + (backend->addr >> 16);
	}
	return 0;
}

/* ---- egress ---- */

static struct glb_fast_ipv4 make_ipv4(const struct glb_addr *source, uint8_t protocol)
{
	static const uint8_t none[4];
	const struct glb_ipv4 ip = outer_ipv4(source->bytes, none, 0, protocol, 0, true);
	struct glb_fast_ipv4 made = {.sum = 0};
	uint16_t words[sizeof(ip) / 2];

	memcpy(made.word, &ip, sizeof(made.word));
	memcpy(words, &ip, sizeof(words));
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		made.sum += words[i];
	return made;
}

static void put_link(struct glb_fast_link *link, const struct glb_path *path, const struct glb_egress *egress, uint16_t type, uint32_t len)
{
	const struct glb_packet packet = {.next_hop = path->gateway};

	outer_ethernet(&packet, egress, type, link->bytes + sizeof(link->bytes) - len);
}

static void make_egress(struct glb_fast_egress *made, const struct glb_path *path, uint8_t port)
{
	const struct glb_egress *egress = &path->egress[port];
	const struct glb_director *director = &path->director;
	const struct glb_prefix *prefix = &director->outer_prefix_v4;

	*made = (struct glb_fast_egress){
		.gue = make_ipv4(&director->outer_source_v4, GLB_IPPROTO_UDP),
		.tunnel = make_ipv4(prefix->addr.family != GLB_FAMILY_NONE ? &prefix->addr : &director->outer_source_v4, 0),
		.ip_max = egress->mtu != 0 && egress->mtu < 65535 ? egress->mtu : 65535,
		.link_len = (uint32_t)sizeof(struct glb_eth) + outer_tag_length(egress),
	};
	put_link(&made->link_v4, path, egress, GLB_ETHERTYPE_IPV4, made->link_len);
	put_link(&made->link_v6, path, egress, GLB_ETHERTYPE_IPV6, made->link_len);
	memcpy((uint8_t *)&made->mac_end + 6, egress->mac, 2);
}

static int make_all(struct glb_fast *fast, const struct glb_path *path)
{
	const struct glb_snapshot *snapshot = path->snapshot;
	struct entry *entries = calloc(snapshot->bind_count + 1, sizeof(*entries));
	int status = entries == NULL ? -ENOMEM : make_backends(fast, snapshot);

	if (status == 0)
		status = make_tables(fast, snapshot);
	if (status == 0)
		status = make_v4(fast, path, entries);
	if (status == 0)
		status = make_v6(fast, path, entries);
	if (status == 0)
		status = fast_cache_make(fast, snapshot);
	free(entries);
	return status;
}

static uint64_t low_bits(unsigned bits)
{
	return bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
}

int glb_fast_make(struct glb_fast *fast, const struct glb_path *path, unsigned ports, struct glb_error *error)
{
	*fast = (struct glb_fast){0};
	if (path->snapshot == NULL)
		return 0;
	if (path->director.outer_prefix_v4.addr.family != GLB_FAMILY_NONE)
		fast->source_mask_v4 = (uint32_t)low_bits(32U - path->director.outer_prefix_v4.bits);
	if (path->director.outer_prefix_v6.addr.family != GLB_FAMILY_NONE)
		fast->source_mask_v6 = low_bits(128U - path->director.outer_prefix_v6.bits);
	for (unsigned i = 0; i < ports; i++)
		make_egress(&fast->egress[i], path, (uint8_t)i);
	if (make_all(fast, path) == 0)
		return 0;
	glb_fast_free(fast);
	return glb_error_set(error, -ENOMEM, "out of memory");
}

void glb_fast_free(struct glb_fast *fast)
{
	free(fast->index_v4.multipliers);
	free(fast->index_v6.multipliers);
	free(fast->slots_v4);
	free(fast->slots_v6);
	free(fast->tables);
	free(fast->backends);
	free(fast->backend_ids);
	free(fast->service_ids);
	*fast = (struct glb_fast){0};
}
