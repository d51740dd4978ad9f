/* What the straight line works from (glb/fast.h): made once for each snapshot. */
#include <glb/fast.h>

#include "fast_index.h"
#include "outer.h"

#include <errno.h>
#include <stdlib.h>

enum {
	SLOTS_MIN = 16,
	MULTIPLIERS_TRIED = 1 << 14, /* for one set of keys, before the slots are doubled */
};

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
		if (table->hops > fast->hops_max)
			fast->hops_max = table->hops;
		if (i == 0 || table->hops < fast->hops_min)
			fast->hops_min = table->hops;
	}
	return 0;
}

/* The index of what is hashed for a service, or GLB_FAST_KINDS_MAX when there are too many. */
static uint32_t kind_of(struct glb_fast *fast, const struct glb_service *service)
{
	const struct glb_fast_kind kind = {service->hash_fields, service->source_bits_v4, service->source_bits_v6,
					   (service->flags & GLB_SERVICE_FLOW_CACHE) != 0};
	uint32_t i = 0;

	while (i < fast->kind_count && memcmp(&fast->kinds[i], &kind, sizeof(kind)) != 0)
		i++;
	if (i == fast->kind_count && i < GLB_FAST_KINDS_MAX)
		fast->kinds[fast->kind_count++] = kind;
	fast->remembers |= kind.remembers;
	return i;
}

static uint32_t table_of(struct glb_fast *fast, const struct glb_service *service)
{
	return service->table | kind_of(fast, service) << GLB_FAST_TABLE_BITS;
}

/* Whether the straight line is for this service. */
static bool is_straight(struct glb_fast *fast, const struct glb_snapshot *snapshot, const struct glb_service *service)
{
	if (snapshot->udp_timeouts != NULL && snapshot->udp_timeouts[service - snapshot->services] != 0)
		return false;
	return service->encap == GLB_ENCAP_GUE && service->tos == 0 && service->tos_mask == 0 &&
	       service->alt_hash_fields == 0 &&
	       snapshot->tables[service->table].families == GLB_FAMILIES_V4 && service->table >> GLB_FAST_TABLE_BITS == 0 &&
	       kind_of(fast, service) < GLB_FAST_KINDS_MAX;
}

/* ---- the index ---- */

/* A key on its way to its slot. */
struct entry {
	uint64_t mixed;
	uint32_t group; /* the keys of one multiplier */
	uint32_t bind, vip;
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

static uint32_t collect(struct glb_fast *fast, const struct glb_snapshot *snapshot, uint8_t family, struct entry *entries)
{
	uint32_t n = 0;

	for (uint32_t v = 0; v < snapshot->vip_count; v++) {
		const struct glb_vip *vip = &snapshot->vips[v];

		if (vip->addr.family != family)
			continue;
		for (uint32_t b = vip->bind_first; b < vip->bind_first + vip->bind_count; b++)
			if (is_exact(vip, &snapshot->binds[b]) && is_straight(fast, snapshot, &snapshot->services[snapshot->binds[b].service]))
				entries[n++] = (struct entry){.bind = b, .vip = v};
	}
	return n;
}

static int make_v4(struct glb_fast *fast, const struct glb_snapshot *snapshot, struct entry *entries)
{
	const uint32_t n = collect(fast, snapshot, GLB_FAMILY_V4, entries);

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
		slot->table = table_of(fast, &snapshot->services[service]);
		slot->service = service;
	}
	fast->usable |= n > 0;
	return 0;
}

static int make_v6(struct glb_fast *fast, const struct glb_snapshot *snapshot, struct entry *entries)
{
	const uint32_t n = collect(fast, snapshot, GLB_FAMILY_V6, entries);

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
		slot->table = table_of(fast, &snapshot->services[service]);
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

static void make_egress(struct glb_fast_egress *made, const struct glb_path *path, uint8_t port)
{
	const struct glb_egress *egress = &path->egress[port];
	const struct glb_packet packet = {.next_hop = path->gateway, .family = GLB_FAMILY_V4};
	static const uint8_t none[4];
	const struct glb_ipv4 ip = outer_ipv4(path->director.outer_source_v4.bytes, none, 0, GLB_IPPROTO_UDP, 0, true);
	const uint32_t link_len = (uint32_t)sizeof(struct glb_eth) + outer_tag_length(egress);
	uint16_t words[sizeof(ip) / 2];

	*made = (struct glb_fast_egress){
		.header_len = link_len + GUE_V4_BYTES,
		.ip_max = egress->mtu != 0 && egress->mtu < 65535 ? egress->mtu : 65535,
	};
	outer_ethernet(&packet, egress, GLB_ETHERTYPE_IPV4, made->link + sizeof(made->link) - link_len);
	memcpy(made->ip, &ip, sizeof(made->ip));
	memcpy(words, &ip, sizeof(words));
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		made->sum += words[i];
	memcpy((uint8_t *)&made->mac_end + 6, egress->mac, 2);
}

static int make_all(struct glb_fast *fast, const struct glb_snapshot *snapshot)
{
	struct entry *entries = calloc(snapshot->bind_count + 1, sizeof(*entries));
	int status = entries == NULL ? -ENOMEM : make_backends(fast, snapshot);

	if (status == 0)
		status = make_tables(fast, snapshot);
	if (status == 0)
		status = make_v4(fast, snapshot, entries);
	if (status == 0)
		status = make_v6(fast, snapshot, entries);
	free(entries);
	return status;
}

int glb_fast_make(struct glb_fast *fast, const struct glb_path *path, unsigned ports, struct glb_error *error)
{
	*fast = (struct glb_fast){0};
	if (path->snapshot == NULL || path->director.outer_checksum != GLB_OUTER_CHECKSUM_ZERO ||
	    path->director.outer_source_v4.family == GLB_FAMILY_NONE)
		return 0;
	for (unsigned i = 0; i < ports; i++)
		make_egress(&fast->egress[i], path, (uint8_t)i);
	if (make_all(fast, path->snapshot) == 0)
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
	*fast = (struct glb_fast){0};
}
