/* Backends by id (glb/backend_ids.h). Ids count up, so multiplying spreads them without collisions. */
#include <glb/backend_ids.h>

static uint32_t home(uint32_t id, uint32_t mask)
{
	return (uint32_t)(id * 0x9e3779b97f4a7c15 >> 32) & mask;
}

uint32_t glb_backend_ids_slots(const struct glb_snapshot *snapshot)
{
	uint32_t slots = 2;

	while (slots / 2 < snapshot->backend_count && slots < 1U << 31)
		slots *= 2;
	return slots;
}

/* Puts a backend in; false when one with its id is there. */
static bool put(struct glb_backend_ids *ids, const struct glb_snapshot *snapshot, uint32_t *slots, uint32_t index)
{
	const uint32_t id = snapshot->backends[index].id;
	uint32_t probes = 1;

	for (uint32_t slot = home(id, ids->mask);; slot = (slot + 1) & ids->mask, probes++) {
		if (slots[slot] == 0) {
			slots[slot] = index + 1;
			break;
		}
		if (snapshot->backends[slots[slot] - 1].id == id)
			return false;
	}
	if (probes > ids->probe_max)
		ids->probe_max = probes;
	return true;
}

void glb_backend_ids_init(struct glb_backend_ids *ids, const struct glb_snapshot *snapshot, uint32_t *slots)
{
	*ids = (struct glb_backend_ids){.slots = slots, .mask = glb_backend_ids_slots(snapshot) - 1, .probe_max = 1};
	for (uint32_t t = 0; t < snapshot->table_count; t++) {
		const struct glb_table *table = &snapshot->tables[t];

		for (uint32_t b = 0; b < table->backend_count; b++)
			if (!put(ids, snapshot, slots, table->backend_base + b) && b == 0)
				break; /* a pool that an earlier table has brought */
	}
}

uint32_t glb_backend_ids_find(const struct glb_backend_ids *ids, const struct glb_snapshot *snapshot, uint32_t id)
{
	uint32_t slot = home(id, ids->mask);

	for (uint32_t probes = 0; probes < ids->probe_max && ids->slots[slot] != 0; probes++) {
		if (snapshot->backends[ids->slots[slot] - 1].id == id)
			return ids->slots[slot] - 1;
		slot = (slot + 1) & ids->mask;
	}
	return GLB_INDEX_NONE;
}
