/* Which backends leave chains between two snapshots, while connections may live on them.
 *
 * A look-up is what turns a flow into a row: hash fields, key, table size. Each of a service's look-ups before (its
 * own and its alt one) is compared with those after that give every flow the same row number. A backend is the same server
 * where the address is the same. What counts is whom packets still reach: only the first hop without GUE or without TCP, nobody behind
 * a dead hop or of another family than the first, and of an alt look-up only what surely fits behind the own hops. Whom QUIC-LB finds by
 * connection id does not leave.
 */
#include <errno.h>
#include <stdlib.h>

#include <glb/quic.h>
#include <glb/wire.h>

#include "snapshot_layout.h"

struct lookup {
	const struct glb_snapshot *snapshot;
	const struct glb_table *table;
	const uint8_t *key;
	uint8_t fields;
	uint8_t bits_v4, bits_v6; /* of the source address */
};

/* A look-up after that gives the same row number, and where the backends before are in its pool. */
struct match {
	struct lookup lookup;
	unsigned reach;     /* hops of its chains that packets get to */
	uint16_t *position; /* [backends of the table before] index in the pool after, or GLB_HOP_NONE */
};

struct numbered {
	uint32_t id;
	uint32_t index;
};

struct addressed {
	struct glb_addr addr;
	uint32_t index;
};

/* Only TCP has a second chance. A service may take nothing. */
enum takes { TAKES_TCP = 1, TAKES_OTHERS = 2 };

struct work {
	const struct glb_snapshot *before, *after;
	struct addressed *after_by_addr; /* equal ones ascend by index */
	uint8_t *before_takes, *after_takes; /* [services] enum takes */
	uint16_t *positions[2];  /* memory for two matches, [largest pool before] each */
	uint32_t *rows, *first;  /* [backends before], of the current service; zero in between */
	struct numbered *leaving; /* [backends before] */
	struct glb_leaver *out;
	size_t capacity;
	int64_t count;
};

static int by_id(const void *left, const void *right)
{
	const struct numbered *a = left, *b = right;

	return a->id < b->id ? -1 : a->id > b->id;
}

static int by_addr(const void *left, const void *right)
{
	const struct addressed *a = left, *b = right;
	const int order = memcmp(&a->addr, &b->addr, sizeof(a->addr));

	return order != 0 ? order : a->index < b->index ? -1 : a->index > b->index;
}

static unsigned lookups_of(const struct glb_snapshot *s, const struct glb_service *service, struct lookup out[2])
{
	out[0] = (struct lookup){s, &s->tables[service->table], service->hash_key, service->hash_fields,
				 service->source_bits_v4, service->source_bits_v6};
	out[1] = (struct lookup){s, &s->tables[service->alt_table], service->alt_hash_key, service->alt_hash_fields,
				 service->alt_source_bits_v4, service->alt_source_bits_v6};
	return service->alt_hash_fields != 0 ? 2 : 1;
}

static bool same_row(const struct lookup *a, const struct lookup *b)
{
	return a->fields == b->fields && a->bits_v4 == b->bits_v4 && a->bits_v6 == b->bits_v6 &&
	       a->table->rows == b->table->rows && memcmp(a->key, b->key, 16) == 0;
}

/* The first backend after, from `index` on, that has this address; behind the last one where there is none. */
static const struct addressed *find_addr(const struct work *w, const struct glb_addr *addr, uint32_t index)
{
	const struct addressed wanted = {*addr, index};
	uint32_t low = 0, high = w->after->backend_count;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;

		if (by_addr(&w->after_by_addr[middle], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return &w->after_by_addr[low];
}

/* Finds the backends of a table before in the pool of a table after. */
static void map_backends(const struct work *w, const struct glb_table *before, const struct glb_table *after,
			 uint16_t *position)
{
	const struct addressed *end = w->after_by_addr + w->after->backend_count;

	for (uint32_t b = 0; b < before->backend_count; b++) {
		const struct glb_addr *addr = &w->before->backends[before->backend_base + b].addr;
		const struct addressed *found = find_addr(w, addr, after->backend_base);

		position[b] = GLB_HOP_NONE;
		if (found != end && found->index - after->backend_base < after->backend_count &&
		    glb_addr_equal(&found->addr, addr))
			position[b] = (uint16_t)(found->index - after->backend_base);
	}
}

static bool stays(const struct match *match, uint32_t row, uint16_t hop)
{
	const struct glb_table *table = match->lookup.table;
	const struct glb_backend *pool = &match->lookup.snapshot->backends[table->backend_base];
	const uint16_t *chain = &match->lookup.snapshot->rows[table->row_base + (uint64_t)row * table->hops];
	const uint16_t wanted = match->position[hop];
	bool hidden = false;

	if (wanted == GLB_HOP_NONE)
		return false;
	for (unsigned i = 0; i < match->reach && chain[i] != GLB_HOP_NONE; i++) {
		if (chain[i] == wanted)
			return (!hidden || pool[wanted].health == GLB_HEALTH_UNHEALTHY) &&
			       pool[wanted].addr.family == pool[chain[0]].addr.family;
		hidden |= pool[chain[i]].health == GLB_HEALTH_UNHEALTHY;
	}
	return false;
}

/* `reach`: hops of the chains before that packets may get to. */
static void count_rows(struct work *w, const struct lookup *before, unsigned reach, const struct match *matches,
		       unsigned n, bool own)
{
	const struct glb_table *table = before->table;
	const struct glb_backend *pool = &w->before->backends[table->backend_base];

	for (uint32_t row = 0; row < table->rows; row++) {
		const uint16_t *chain = &w->before->rows[table->row_base + (uint64_t)row * table->hops];

		for (unsigned i = 0; i < reach && chain[i] != GLB_HOP_NONE; i++) {
			bool leaves = !own || pool[chain[i]].addr.family == pool[chain[0]].addr.family; /* else never got to */

			for (unsigned m = 0; leaves && m < n; m++)
				leaves = !stays(&matches[m], row, chain[i]);
			w->rows[table->backend_base + chain[i]] += leaves;
			w->first[table->backend_base + chain[i]] += leaves && own && i == 0;
		}
	}
}

/* Writes the leavers among the backends of the look-ups' tables and clears their counts. */
static void report(struct work *w, uint32_t service_id, const struct lookup *before, unsigned n)
{
	uint32_t leaving = 0;

	for (unsigned l = 0; l < n; l++) {
		const struct glb_table *table = before[l].table;

		for (uint32_t b = table->backend_base; b < table->backend_base + table->backend_count; b++) {
			bool seen = l > 0 && b >= before[0].table->backend_base &&
				    b - before[0].table->backend_base < before[0].table->backend_count;

			if (w->rows[b] != 0 && !seen)
				w->leaving[leaving++] = (struct numbered){w->before->backends[b].id, b};
		}
	}
	qsort(w->leaving, leaving, sizeof(w->leaving[0]), by_id);
	for (uint32_t i = 0; i < leaving; i++) {
		uint32_t b = w->leaving[i].index;

		if ((uint64_t)w->count < w->capacity)
			w->out[w->count] = (struct glb_leaver){service_id, w->leaving[i].id, w->rows[b], w->first[b]};
		w->count++;
		w->rows[b] = w->first[b] = 0;
	}
}

static bool has_second_chance(const struct glb_snapshot *snapshot, const struct glb_service *service, const uint8_t *takes)
{
	return service->encap == GLB_ENCAP_GUE && takes[service - snapshot->services] != TAKES_OTHERS;
}

/* Hops of the chains of a service's look-up, its own or the alt one, that packets may get to. */
static unsigned hops_of(const struct work *w, const struct glb_service *service, const struct lookup *lookup, bool own)
{
	return has_second_chance(w->before, service, w->before_takes) ? lookup->table->hops : own ? 1 : 0;
}

/* The same, that packets get to for sure. */
static unsigned reach_of(const struct work *w, const struct glb_service *service, bool own)
{
	const struct glb_snapshot *snapshot = w->after;
	const struct glb_table *table = &snapshot->tables[service->table], *alt = &snapshot->tables[service->alt_table];
	const unsigned hops = table->hops, alt_hops = alt->hops;

	if (!has_second_chance(snapshot, service, w->after_takes))
		return own ? 1 : 0;
	if (own)
		return hops;
	if ((table->families | alt->families) == (GLB_FAMILIES_V4 | GLB_FAMILIES_V6))
		return 0; /* all hops of a chain are of the first one's family */
	return hops + alt_hops <= GLB_HOPS_MAX ? alt_hops : GLB_HOPS_MAX - hops;
}

/* Backends that connection ids lead to whatever the rows are. */
static void forget_kept(struct work *w, const struct glb_service *before, const struct glb_service *after, const struct glb_table *table)
{
	const uint32_t was = (uint32_t)(before - w->before->services), is = (uint32_t)(after - w->after->services);

	for (uint32_t b = table->backend_base; b < table->backend_base + table->backend_count; b++)
		if (w->rows[b] != 0 && glb_quic_keeps(w->before, was, b, w->after, is))
			w->rows[b] = w->first[b] = 0;
}

static void compare_service(struct work *w, const struct glb_service *before, const struct glb_service *after)
{
	struct lookup was[2], is[2];
	unsigned was_count = lookups_of(w->before, before, was);
	unsigned is_count = after != NULL ? lookups_of(w->after, after, is) : 0;

	for (unsigned l = 0; l < was_count; l++) {
		struct match matches[2];
		unsigned n = 0;

		for (unsigned i = 0; i < is_count; i++) {
			if (!same_row(&was[l], &is[i]))
				continue;
			matches[n] = (struct match){is[i], reach_of(w, after, i == 0), w->positions[n]};
			map_backends(w, was[l].table, is[i].table, matches[n].position);
			n++;
		}
		count_rows(w, &was[l], hops_of(w, before, &was[l], l == 0), matches, n, l == 0);
	}
	if (after != NULL && (before->flags & after->flags & GLB_SERVICE_QUIC))
		forget_kept(w, before, after, was[0].table);
	report(w, before->id, was, was_count);
}

/* What the services take; NULL when there is no memory. */
static uint8_t *list_takes(const struct glb_snapshot *snapshot)
{
	uint8_t *takes = calloc(snapshot->service_count + 1ul, 1);

	for (uint32_t b = 0; takes != NULL && b < snapshot->bind_count; b++)
		takes[snapshot->binds[b].service] |= snapshot->binds[b].protocol == GLB_IPPROTO_TCP ? TAKES_TCP : TAKES_OTHERS;
	return takes;
}

static int work_init(struct work *w, const struct glb_snapshot *before, const struct glb_snapshot *after)
{
	size_t n = before->backend_count + 1ul;

	w->before = before;
	w->after = after;
	w->after_by_addr = calloc(after->backend_count + 1ul, sizeof(*w->after_by_addr));
	w->before_takes = list_takes(before);
	w->after_takes = list_takes(after);
	w->positions[0] = calloc(GLB_POOL_BACKENDS_MAX, sizeof(uint16_t));
	w->positions[1] = calloc(GLB_POOL_BACKENDS_MAX, sizeof(uint16_t));
	w->rows = calloc(n, sizeof(*w->rows));
	w->first = calloc(n, sizeof(*w->first));
	w->leaving = calloc(n, sizeof(*w->leaving));
	if (!w->after_by_addr || !w->before_takes || !w->after_takes || !w->positions[0] || !w->positions[1] || !w->rows ||
	    !w->first || !w->leaving)
		return -ENOMEM;
	for (uint32_t i = 0; i < after->backend_count; i++)
		w->after_by_addr[i] = (struct addressed){after->backends[i].addr, i};
	qsort(w->after_by_addr, after->backend_count, sizeof(*w->after_by_addr), by_addr);
	return 0;
}

int64_t glb_snapshot_leavers(const struct glb_snapshot *before, const struct glb_snapshot *after,
			     struct glb_leaver *out, size_t capacity)
{
	struct work w = {.out = out, .capacity = capacity};
	int64_t result = work_init(&w, before, after);
	uint32_t a = 0;

	if (result == 0) {
		for (uint32_t b = 0; b < before->service_count; b++) { /* both ascend by id */
			const struct glb_service *service = &before->services[b];

			while (a < after->service_count && after->services[a].id < service->id)
				a++;
			compare_service(&w, service,
					a < after->service_count && after->services[a].id == service->id
						? &after->services[a] : NULL);
		}
		result = w.count;
	}
	free(w.after_by_addr);
	free(w.before_takes);
	free(w.after_takes);
	free(w.positions[0]);
	free(w.positions[1]);
	free(w.rows);
	free(w.first);
	free(w.leaving);
	return result;
}
