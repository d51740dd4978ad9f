/* Look-ups in a validated snapshot: VIP, service, row. No checks: glb_snapshot_open() made them. */
#include "snapshot_layout.h"

static uint32_t probe(const struct glb_snapshot *s, const struct glb_addr *masked, uint8_t bits)
{
	uint32_t slot = glb_vip_home(masked, bits);

	for (uint32_t i = 0; i < s->header->vip_probe_max; i++, slot++) {
		uint32_t entry = s->vip_slots[slot & s->vip_slot_mask];

		if (entry == 0)
			break;
		if (s->vips[entry - 1].bits == bits && glb_addr_equal(&s->vips[entry - 1].addr, masked))
			return entry - 1;
	}
	return GLB_INDEX_NONE;
}

uint32_t glb_snapshot_find_vip(const struct glb_snapshot *snapshot, const struct glb_addr *addr)
{
	uint32_t i = addr->family == GLB_FAMILY_V4 ? 0 : snapshot->prefix_v4_count;
	uint32_t end = addr->family == GLB_FAMILY_V4 ? snapshot->prefix_v4_count : snapshot->prefix_count;

	for (; i < end; i++) { /* longest first */
		struct glb_addr masked;
		uint32_t vip;

		glb_addr_mask(addr, snapshot->prefixes[i].bits, &masked);
		vip = probe(snapshot, &masked, snapshot->prefixes[i].bits);
		if (vip != GLB_INDEX_NONE)
			return vip;
	}
	return GLB_INDEX_NONE;
}

uint32_t glb_snapshot_find_service(const struct glb_snapshot *snapshot, uint32_t vip, uint8_t protocol,
				   uint16_t port)
{
	const struct glb_bind *binds = &snapshot->binds[snapshot->vips[vip].bind_first];
	uint32_t low = 0, high = snapshot->vips[vip].bind_count;

	while (low < high) { /* the first bind that does not end before the port */
		uint32_t middle = low + (high - low) / 2;
		const struct glb_bind *bind = &binds[middle];

		if (bind->protocol < protocol || (bind->protocol == protocol && bind->port_last < port))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == snapshot->vips[vip].bind_count || binds[low].protocol != protocol || binds[low].port_first > port)
		return GLB_INDEX_NONE;
	return binds[low].service;
}

const uint16_t *glb_snapshot_row(const struct glb_snapshot *snapshot, uint32_t table, uint32_t row)
{
	return &snapshot->rows[snapshot->tables[table].row_base + (uint64_t)row * snapshot->tables[table].hops];
}
