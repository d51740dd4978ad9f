/* Lists of prefixes into the bytes of a lists file: prefixes become disjoint ranges, whose ends are the keys. */
#include "lists_layout.h"
#include "snapshot_layout.h"

#include <errno.h>
#include <stdlib.h>

/* The keys of one family of a list, while they are made. */
struct keys {
	uint8_t *data;  /* as stored in the last level */
	uint32_t count;
};

struct plan {
	const struct glb_list_config *config;
	struct keys keys[2]; /* IPv4, IPv6 */
	uint32_t prefixes;
};

struct range {
	struct glb_list_key6 first, last;
};

static int by_first(const void *a, const void *b)
{
	const struct range *left = a, *right = b;

	if (list_key_above(left->first, right->first))
		return 1;
	return list_key_above(right->first, left->first) ? -1 : 0;
}

static struct range range_of(const struct glb_prefix *prefix)
{
	const bool v6 = prefix->addr.family == GLB_FAMILY_V6;
	const unsigned host = (v6 ? 128u : 32u) - prefix->bits;
	struct range range = {.first = list_key_of(&prefix->addr)};

	range.last = range.first;
	range.last.low |= host >= 64 ? UINT64_MAX : (1ull << host) - 1;
	if (host > 64)
		range.last.high |= host == 128 ? UINT64_MAX : (1ull << (host - 64)) - 1;
	return range;
}

static void put(struct keys *keys, struct glb_list_key6 key, bool v6)
{
	if (v6)
		((struct glb_list_key6 *)keys->data)[keys->count++] = key;
	else
		((uint32_t *)keys->data)[keys->count++] = (uint32_t)key.low;
}

/* The key behind `last`; false where there is none. */
static bool next_of(struct glb_list_key6 last, bool v6, struct glb_list_key6 *next)
{
	*next = (struct glb_list_key6){last.high + (last.low == UINT64_MAX), last.low + 1};
	return v6 ? next->high != 0 || next->low != 0 : last.low != UINT32_MAX;
}

/* Ranges that overlap or touch become one. */
static void put_ranges(struct keys *keys, const struct range *ranges, uint32_t count, bool v6)
{
	struct glb_list_key6 next;

	for (uint32_t i = 0; i < count;) {
		struct glb_list_key6 last = ranges[i].last;
		bool more;

		put(keys, ranges[i++].first, v6);
		while ((more = next_of(last, v6, &next)) && i < count && !list_key_above(ranges[i].first, next)) {
			if (list_key_above(ranges[i].last, last))
				last = ranges[i].last;
			i++;
		}
		if (!more)
			return;
		put(keys, next, v6);
	}
}

static int make_keys(const struct glb_list_config *config, bool v6, struct keys *keys)
{
	struct range *ranges = malloc((config->count + 1ul) * sizeof(*ranges));
	uint32_t count = 0;
	bool ordered = true;

	keys->data = malloc((2ul * config->count + 1) * list_key_bytes(v6));
	if (ranges == NULL || keys->data == NULL) {
		free(ranges);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < config->count; i++) {
		if (config->prefixes[i].addr.family != (v6 ? GLB_FAMILY_V6 : GLB_FAMILY_V4))
			continue;
		ranges[count] = range_of(&config->prefixes[i]);
		ordered &= count == 0 || by_first(&ranges[count - 1], &ranges[count]) <= 0;
		count++;
	}
	if (!ordered)
		qsort(ranges, count, sizeof(*ranges), by_first);
	put_ranges(keys, ranges, count, v6);
	free(ranges);
	return 0;
}

static int check_config(const struct glb_list_config *config, uint32_t l, struct glb_error *error)
{
	const size_t len = config->name == NULL ? 0 : strnlen(config->name, GLB_NAME_MAX + 1);

	if (len == 0 || len > GLB_NAME_MAX)
		return glb_error_set(error, -EINVAL, "lists[%u].name: must have 1 to %d bytes", l, GLB_NAME_MAX);
	if (config->count > GLB_LIST_PREFIXES_MAX)
		return glb_error_set(error, -EINVAL, "lists[%u] (%s): %u prefixes; a list has at most %d", l, config->name, config->count,
				     GLB_LIST_PREFIXES_MAX);
	for (uint32_t i = 0; i < config->count; i++) {
		const struct glb_prefix *prefix = &config->prefixes[i];
		struct glb_addr masked;

		if (glb_addr_len(prefix->addr.family) == 0 || prefix->bits > glb_addr_len(prefix->addr.family) * 8)
			return glb_error_set(error, -EINVAL, "lists[%u].prefixes[%u]: family or length out of range", l, i);
		glb_addr_mask(&prefix->addr, prefix->bits, &masked);
		if (!glb_addr_equal(&masked, &prefix->addr))
			return glb_error_set(error, -EINVAL, "lists[%u].prefixes[%u]: has host bits set", l, i);
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct plan *)a)->config->name, ((const struct plan *)b)->config->name);
}

static uint64_t bytes_of(const struct keys *keys, bool v6)
{
	struct glb_list_side side;

	return list_levels(keys->count, &side) * list_key_bytes(v6);
}

/* Writes the levels of one family at `out`, from the finest to the coarsest. */
static void write_levels(const struct keys *keys, bool v6, uint8_t *out)
{
	const size_t key = list_key_bytes(v6);
	struct glb_list_side side;
	const uint64_t total = list_levels(keys->count, &side);
	const uint8_t *finer = keys->data;
	uint8_t *level = out + total * key;

	memset(out, 0xff, total * key);
	for (uint32_t l = side.levels; l-- > 0; finer = level) {
		const uint32_t stride = l + 1 == side.levels ? 1 : GLB_LIST_FANOUT;

		level -= list_padded(side.count[l]) * key;
		for (uint32_t i = 0; i < side.count[l]; i++)
			memcpy(level + i * key, finer + (uint64_t)i * stride * key, key);
	}
}

static void write_all(const struct plan *plans, uint32_t count, struct glb_buffer *out)
{
	struct glb_lists_header *header = (struct glb_lists_header *)out->data;
	struct glb_list_entry *entries = (struct glb_list_entry *)(header + 1);
	uint64_t at = glb_snapshot_align(sizeof(*header) + count * sizeof(*entries));

	*header = (struct glb_lists_header){
		.version = GLB_LISTS_VERSION, .header_bytes = sizeof(*header), .file_bytes = out->len, .lists = count,
	};
	memcpy(header->magic, GLB_LISTS_MAGIC, sizeof(header->magic));
	for (uint32_t l = 0; l < count; l++) {
		const struct keys *keys = plans[l].keys;

		memcpy(entries[l].name, plans[l].config->name, strlen(plans[l].config->name));
		entries[l].prefixes = plans[l].prefixes;
		entries[l].v4_keys = keys[0].count;
		entries[l].v6_keys = keys[1].count;
		entries[l].v4 = at;
		entries[l].v6 = at + bytes_of(&keys[0], false);
		write_levels(&keys[0], false, out->data + entries[l].v4);
		write_levels(&keys[1], true, out->data + entries[l].v6);
		at = entries[l].v6 + bytes_of(&keys[1], true);
	}
	glb_snapshot_digest(out->data, out->len, header->digest);
}

static int compile(const struct glb_list_config *lists, uint32_t count, struct plan *plans, struct glb_buffer *out, struct glb_error *error)
{
	uint64_t bytes = glb_snapshot_align(sizeof(struct glb_lists_header) + count * sizeof(struct glb_list_entry));
	int status;

	for (uint32_t l = 0; l < count; l++) {
		plans[l].config = &lists[l];
		plans[l].prefixes = lists[l].count;
		status = check_config(&lists[l], l, error);
		for (unsigned v6 = 0; v6 < 2 && status == 0; v6++)
			if (make_keys(&lists[l], v6 == 1, &plans[l].keys[v6]) != 0)
				status = glb_error_set(error, -ENOMEM, "out of memory for %u prefixes", lists[l].count);
		if (status != 0)
			return status;
		bytes += bytes_of(&plans[l].keys[0], false) + bytes_of(&plans[l].keys[1], true);
	}
	qsort(plans, count, sizeof(*plans), by_name);
	for (uint32_t l = 1; l < count; l++)
		if (by_name(&plans[l - 1], &plans[l]) == 0)
			return glb_error_set(error, -EEXIST, "two lists have the name %s", plans[l].config->name);
	out->data = calloc(1, bytes);
	if (out->data == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory for %llu bytes", (unsigned long long)bytes);
	out->len = bytes;
	write_all(plans, count, out);
	return 0;
}

int glb_lists_compile(const struct glb_list_config *lists, uint32_t count, struct glb_buffer *out, struct glb_error *error)
{
	struct plan *plans;
	int status;

	*out = (struct glb_buffer){NULL, 0};
	if (count > GLB_LISTS_MAX)
		return glb_error_set(error, -EINVAL, "%u lists; there may be %d", count, GLB_LISTS_MAX);
	plans = calloc(count + 1ul, sizeof(*plans));
	if (plans == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory for %u lists", count);
	status = compile(lists, count, plans, out, error);
	for (uint32_t l = 0; l < count; l++) {
		free(plans[l].keys[0].data);
		free(plans[l].keys[1].data);
	}
	free(plans);
	return status;
}
