/* Every index, range, order and padding of a snapshot: what lets the packet path follow it unchecked.
 *
 * Each check is strict enough that equal content has one form only, so what is not canonical is refused, too.
 */
#include "snapshot_check.h"
#include "encap_rules.h"

#include <errno.h>
#include <stdlib.h>

#include <glb/flow_cache.h>
#include <glb/wire.h>

#include "maglev.h"
#include "protection.h"
#include "quic_config.h"
#include "snapshot_layout.h"
#include "snapshot_rows.h"

#define REFUSE(...) glb_error_set(error, -EINVAL, "snapshot " __VA_ARGS__)

enum { HASH_FIELDS = GLB_HASH_SRC_ADDR | GLB_HASH_DST_ADDR | GLB_HASH_SRC_PORT | GLB_HASH_DST_PORT };

enum { SERVICE_FLAGS = GLB_SERVICE_KEEP_DUPLICATES | GLB_SERVICE_FLOW_CACHE | GLB_SERVICE_GRE_KEY | GLB_SERVICE_FRAGMENTS |
		     GLB_SERVICE_QUIC | GLB_SERVICE_PROTECTED };

static uint64_t count_of(const struct glb_snapshot *s, enum glb_section_kind kind)
{
	return s->header->sections[kind].count;
}

/* Is `addr` one address, its unused bits zero, of `bits` significant ones? */
static bool addr_ok(const struct glb_addr *addr, unsigned bits)
{
	struct glb_addr masked;

	if (bits > glb_addr_len(addr->family) * 8)
		return false;
	glb_addr_mask(addr, (uint8_t)bits, &masked);
	return glb_addr_len(addr->family) != 0 && glb_addr_equal(addr, &masked);
}

/* Names begin right behind a NUL and end within GLB_NAME_MAX bytes; the strings' last byte is NUL. */
bool snapshot_name_ok(const struct glb_snapshot *s, uint32_t name)
{
	if (name == 0 || name >= count_of(s, GLB_SECTION_STRINGS) || s->strings[name - 1] != '\0')
		return false;
	return s->strings[name] != '\0' && strnlen(&s->strings[name], GLB_NAME_MAX + 1) <= GLB_NAME_MAX;
}

static int check_strings(const struct glb_snapshot *s, struct glb_error *error)
{
	uint64_t count = count_of(s, GLB_SECTION_STRINGS);

	if (count == 0 || s->strings[0] != '\0' || s->strings[count - 1] != '\0')
		return REFUSE("strings do not begin and end with a NUL");
	for (uint64_t i = 1; i < count; i++)
		if (s->strings[i] == '\0' && s->strings[i - 1] == '\0')
			return REFUSE("string at offset %llu is empty", (unsigned long long)i);
	return 0;
}

static bool source_bits_ok(uint8_t v4, uint8_t v6)
{
	return v4 >= 1 && v4 <= 32 && v6 >= 1 && v6 <= 128;
}

static bool encap_ok(const struct glb_service *service)
{
	return encap_fields_wrong(&(struct encap_fields){service->encap, (service->flags & GLB_SERVICE_GRE_KEY) != 0,
							 service->tos, service->tos_mask, service->encap_value}) == NULL;
}

static int check_services(const struct glb_snapshot *s, struct glb_error *error)
{
	for (uint32_t i = 0; i < s->service_count; i++) {
		const struct glb_service *service = &s->services[i];

		if (service->id <= (i > 0 ? s->services[i - 1].id : GLB_ID_NONE))
			return REFUSE("service %u: id %u does not ascend from 1", i, service->id);
		if (!snapshot_name_ok(s, service->name))
			return REFUSE("service %u: no name at string offset %u", i, service->name);
		if (service->table >= s->table_count || service->alt_table >= s->table_count)
			return REFUSE("service %u: table %u or %u of %u", i, service->table, service->alt_table,
				      s->table_count);
		if (service->hash_fields == 0 || ((service->hash_fields | service->alt_hash_fields) & ~HASH_FIELDS) != 0)
			return REFUSE("service %u: hash fields 0x%x, 0x%x", i, service->hash_fields,
				      service->alt_hash_fields);
		if (!source_bits_ok(service->source_bits_v4, service->source_bits_v6) ||
		    !source_bits_ok(service->alt_source_bits_v4, service->alt_source_bits_v6))
			return REFUSE("service %u: bits of source addresses out of range", i);
		if (service->encap >= GLB_ENCAP_COUNT)
			return REFUSE("service %u: unknown encapsulation %u", i, service->encap);
		if (service->oversize > GLB_OVERSIZE_DROP)
			return REFUSE("service %u: unknown oversize %u", i, service->oversize);
		if (!encap_ok(service))
			return REFUSE("service %u: fields that encapsulation %s does not have", i,
				      encap_rules[service->encap].name);
		if ((service->flags & ~SERVICE_FLAGS) != 0 ||
		    !all_zero(service->pad, sizeof(service->pad)))
			return REFUSE("service %u: unknown flags 0x%x, or padding that is not zero", i, service->flags);
	}
	return 0;
}

static int check_backends(const struct glb_snapshot *s, struct glb_error *error)
{
	for (uint32_t i = 0; i < s->backend_count; i++) {
		const struct glb_backend *backend = &s->backends[i];

		if (backend->id == GLB_ID_NONE)
			return REFUSE("backend %u: 0 is no id", i);
		if (!snapshot_name_ok(s, backend->name))
			return REFUSE("backend %u: no name at string offset %u", i, backend->name);
		if (!addr_ok(&backend->addr, glb_addr_len(backend->addr.family) * 8))
			return REFUSE("backend %u: malformed address", i);
		if (backend->state > GLB_STATE_INACTIVE || backend->health > GLB_HEALTH_UNHEALTHY)
			return REFUSE("backend %u: unknown state %u or health %u", i, backend->state, backend->health);
	}
	return 0;
}

/* The packet path takes the low bits of a hash for a power of two, and a share of its range for a prime. */
static bool rows_ok(const struct glb_table *table)
{
	if (table->rows > GLB_TABLE_ROWS_MAX)
		return false;
	if (table->algorithm == GLB_ALGORITHM_MAGLEV)
		return table->rows >= GLB_MAGLEV_ROWS_MIN && glb_is_prime(table->rows);
	return table->algorithm == GLB_ALGORITHM_RENDEZVOUS && table->rows >= GLB_TABLE_ROWS_MIN &&
	       (table->rows & (table->rows - 1)) == 0;
}

static unsigned families_of(const struct glb_backend *pool, uint32_t count)
{
	unsigned families = 0;

	for (uint32_t i = 0; i < count; i++)
		families |= encap_family(pool[i].addr.family);
	return families;
}

static int check_table(const struct glb_snapshot *s, uint32_t t, uint64_t row_base, struct glb_error *error)
{
	const struct glb_table *table = &s->tables[t];
	uint64_t row_words = count_of(s, GLB_SECTION_ROWS);
	uint64_t used = (uint64_t)table->rows * table->hops, words = glb_table_words(table->rows, table->hops);
	uint32_t row;

	if (!rows_ok(table))
		return REFUSE("table %u: %u rows by algorithm %u", t, table->rows, table->algorithm);
	if (table->hops < 1 || table->hops > GLB_HOPS_MAX || table->policy > GLB_POLICY_GLB ||
	    (table->policy == GLB_POLICY_GLB && table->hops != 2))
		return REFUSE("table %u: %u hops with policy %u", t, table->hops, table->policy);
	if (!all_zero(table->pad, sizeof(table->pad)))
		return REFUSE("table %u: padding is not zero", t);
	if (!snapshot_name_ok(s, table->pool_name))
		return REFUSE("table %u: no pool name at string offset %u", t, table->pool_name);
	if (table->backend_count > GLB_POOL_BACKENDS_MAX || table->backend_base > s->backend_count ||
	    table->backend_count > s->backend_count - table->backend_base)
		return REFUSE("table %u: backends %u + %u of %u", t, table->backend_base, table->backend_count,
			      s->backend_count);
	if (table->families != families_of(s->backends + table->backend_base, table->backend_count))
		return REFUSE("table %u: families %u are not those of its backends", t, table->families);
	if (table->row_base != row_base || words > row_words - row_base)
		return REFUSE("table %u: rows begin at %llu or do not fit into %llu", t,
			      (unsigned long long)table->row_base, (unsigned long long)row_words);
	row = glb_rows_check(s->rows + row_base, table->rows, table->hops, table->backend_count);
	if (row < table->rows)
		return REFUSE("table %u: row %u is not a chain of its pool", t, row);
	if (!all_zero(s->rows + row_base + used, (words - used) * sizeof(*s->rows)))
		return REFUSE("table %u: what follows its rows is not zero", t);
	return 0;
}

static int check_tables(const struct glb_snapshot *s, struct glb_error *error)
{
	uint64_t row_base = 0;

	for (uint32_t t = 0; t < s->table_count; t++) {
		int status = check_table(s, t, row_base, error);

		if (status != 0)
			return status;
		row_base += glb_table_words(s->tables[t].rows, s->tables[t].hops);
	}
	if (row_base != count_of(s, GLB_SECTION_ROWS))
		return REFUSE("tables have %llu row entries, the section %llu", (unsigned long long)row_base,
			      (unsigned long long)count_of(s, GLB_SECTION_ROWS));
	return 0;
}

/* VIPs ascend in their order, and prefixes lists exactly their distinct lengths. */
static int check_vips(const struct glb_snapshot *s, struct glb_error *error)
{
	uint32_t prefix = 0, bind = 0;

	for (uint32_t i = 0; i < s->vip_count; i++) {
		const struct glb_vip *vip = &s->vips[i], *previous = i > 0 ? vip - 1 : NULL;

		if (!addr_ok(&vip->addr, vip->bits) || vip->unmatched > GLB_UNMATCHED_REJECT || !all_zero(vip->pad, sizeof(vip->pad)))
			return REFUSE("VIP %u: malformed address, prefix length, policy or padding", i);
		if (previous && glb_vip_order(&previous->addr, previous->bits, &vip->addr, vip->bits) >= 0)
			return REFUSE("VIP %u: out of order", i);
		if (!previous || previous->addr.family != vip->addr.family || previous->bits != vip->bits)
			prefix++;
		if (prefix > s->prefix_count || s->prefixes[prefix - 1].family != vip->addr.family ||
		    s->prefixes[prefix - 1].bits != vip->bits)
			return REFUSE("VIP %u: its prefix length is not listed", i);
		if (vip->bind_first != bind || vip->bind_count == 0 || vip->bind_count > s->bind_count - bind)
			return REFUSE("VIP %u: binds %u + %u of %u", i, vip->bind_first, vip->bind_count, s->bind_count);
		bind += vip->bind_count;
		if (vip->echo_service >= s->service_count)
			return REFUSE("VIP %u: service %u of %u", i, vip->echo_service, s->service_count);
	}
	if (prefix != s->prefix_count || bind != s->bind_count)
		return REFUSE("prefix lengths or binds belong to no VIP");
	return 0;
}

static int check_binds(const struct glb_snapshot *s, struct glb_error *error)
{
	for (uint32_t v = 0; v < s->vip_count; v++) {
		const struct glb_bind *binds = &s->binds[s->vips[v].bind_first];
		bool follows = false;

		for (uint32_t b = 0; b < s->vips[v].bind_count; b++) {
			const struct glb_bind *bind = &binds[b];

			if (bind->port_last < bind->port_first || bind->service >= s->service_count ||
			    (bind->protocol != GLB_IPPROTO_TCP && bind->protocol != GLB_IPPROTO_UDP &&
			     (bind->protocol != GLB_PROTOCOL_OTHER || bind->port_first != 0 || bind->port_last != UINT16_MAX)) ||
			    !all_zero(bind->pad, sizeof(bind->pad)))
				return REFUSE("VIP %u, bind %u: malformed", v, b);
			if ((encap_rules[s->services[bind->service].encap].vips & encap_family(s->vips[v].addr.family)) == 0)
				return REFUSE("VIP %u, bind %u: not for its service's encapsulation", v, b);
			if (b > 0 && (bind->protocol < bind[-1].protocol || (bind->protocol == bind[-1].protocol &&
									    bind->port_first <= bind[-1].port_last)))
				return REFUSE("VIP %u, bind %u: out of order", v, b);
			follows |= (s->services[bind->service].flags & GLB_SERVICE_FRAGMENTS) != 0;
		}
		if (s->vips[v].follows != follows)
			return REFUSE("VIP %u: does not say what its services do with fragments", v);
	}
	return 0;
}

/* Every VIP is in exactly one slot, its probe meets no empty one before, and the longest is vip_probe_max. */
static int check_slots(const struct glb_snapshot *s, struct glb_error *error)
{
	uint64_t slots = count_of(s, GLB_SECTION_VIP_SLOTS);
	uint32_t used = 0, longest = 1;

	if (slots == 0 || slots > 1u << 31 || (slots & (slots - 1)) != 0)
		return REFUSE("has %llu VIP slots, not a power of two", (unsigned long long)slots);
	for (uint64_t i = 0; i < slots; i++) {
		if (s->vip_slots[i] > s->vip_count)
			return REFUSE("VIP slot %llu: VIP %u of %u", (unsigned long long)i, s->vip_slots[i] - 1,
				      s->vip_count);
		used += s->vip_slots[i] != 0;
	}
	if (used != s->vip_count || used == slots)
		return REFUSE("has %u VIPs in %llu slots instead of %u", used, (unsigned long long)slots, s->vip_count);
	for (uint32_t v = 0; v < s->vip_count; v++) {
		uint32_t slot = glb_vip_home(&s->vips[v].addr, s->vips[v].bits), probes = 1;

		for (; s->vip_slots[slot & s->vip_slot_mask] != v + 1; slot++, probes++)
			if (s->vip_slots[slot & s->vip_slot_mask] == 0)
				return REFUSE("VIP %u: cannot be found from its slot", v);
		if (probes > longest)
			longest = probes;
	}
	if (longest != s->header->vip_probe_max)
		return REFUSE("says its longest probe is %u, not %u", s->header->vip_probe_max, longest);
	return 0;
}

/* There are none when no service has one. */
static int check_udp_timeouts(const struct glb_snapshot *s, struct glb_error *error)
{
	const uint64_t count = count_of(s, GLB_SECTION_UDP_TIMEOUTS);

	if (count == 0)
		return 0;
	if (count != s->service_count || all_zero(s->udp_timeouts, count * sizeof(*s->udp_timeouts)))
		return REFUSE("has %llu timeouts for UDP, none of them used or not one for each of %u services",
			      (unsigned long long)count, s->service_count);
	for (uint32_t i = 0; i < s->service_count; i++)
		if (s->udp_timeouts[i] > GLB_FLOW_TIMEOUT_MAX ||
		    (s->udp_timeouts[i] != 0 && (s->services[i].flags & GLB_SERVICE_FLOW_CACHE) == 0))
			return REFUSE("service %u: remembers UDP for %u s, or not at all", i, s->udp_timeouts[i]);
	return 0;
}

int glb_snapshot_check(const struct glb_snapshot *snapshot, struct glb_error *error)
{
	static int (*const checks[])(const struct glb_snapshot *, struct glb_error *) = {
		check_strings, check_services, check_backends, check_tables, check_vips, check_binds, check_slots,
		check_udp_timeouts, quic_snapshot_check, protection_check,
	};

	for (unsigned i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		int status = checks[i](snapshot, error);

		if (status != 0)
			return status;
	}
	return 0;
}
