/* Opens lists, and looks addresses up in them. */
#include "lists_layout.h"
#include "snapshot_layout.h"

#include <errno.h>

GLB_STATIC_ASSERT(offsetof(struct glb_lists_header, digest) == offsetof(struct glb_snapshot_header, digest), "one digest function")

#define REFUSE(...) glb_error_set(error, -EINVAL, "lists " __VA_ARGS__)

static int check_frame(const struct glb_lists_header *header, size_t len, struct glb_error *error)
{
	if (len < offsetof(struct glb_lists_header, file_bytes))
		return glb_error_set(error, -EINVAL, "not a lists file: %zu bytes are fewer than a header has", len);
	if (memcmp(header->magic, GLB_LISTS_MAGIC, sizeof(header->magic)) != 0)
		return glb_error_set(error, -EINVAL, "not a lists file: it does not begin with \"GLBLIST\"");
	if (header->version != GLB_LISTS_VERSION)
		return glb_error_set(error, -EPROTONOSUPPORT, "lists have format version %u, this program reads version %d",
				     header->version, GLB_LISTS_VERSION);
	if (len < sizeof(*header))
		return REFUSE("are truncated: %zu bytes, the header alone has %zu", len, sizeof(*header));
	if (header->header_bytes != sizeof(*header))
		return REFUSE("header says it has %u bytes, not %zu", header->header_bytes, sizeof(*header));
	if (header->file_bytes != len)
		return REFUSE("%s: %zu bytes, the header says %llu", header->file_bytes > len ? "are truncated" : "have bytes behind their end",
			      len, (unsigned long long)header->file_bytes);
	if (header->lists > GLB_LISTS_MAX || sizeof(*header) + header->lists * sizeof(struct glb_list_entry) > len)
		return REFUSE("header: %u lists are too many", header->lists);
	return 0;
}

static int check_entry(const struct glb_lists *lists, uint32_t i, struct glb_error *error)
{
	const struct glb_list_entry *entry = &lists->entries[i];
	const size_t len = strnlen(entry->name, sizeof(entry->name));

	if (len == 0 || len > GLB_NAME_MAX || !all_zero(entry->name + len, sizeof(entry->name) - len))
		return REFUSE("list %u: its name is empty, too long or not padded with zeros", i);
	if (i > 0 && strcmp(lists->entries[i - 1].name, entry->name) >= 0)
		return REFUSE("list %u: its name does not ascend", i);
	if (entry->pad != 0)
		return REFUSE("list %u: padding is not zero", i);
	if (entry->prefixes > GLB_LIST_PREFIXES_MAX ||
	    (entry->v4_keys + 1ull) / 2 + (entry->v6_keys + 1ull) / 2 > entry->prefixes)
		return REFUSE("list %u: %u prefixes cannot have %u and %u keys", i, entry->prefixes, entry->v4_keys, entry->v6_keys);
	return 0;
}

/* Every key of one level: above the one before, every 16th one of the next level, padding as it must be. */
static bool level_ok(const uint8_t *level, uint32_t count, const uint8_t *next, bool v6)
{
	const uint64_t padded = list_padded(count);
	const struct glb_list_key6 last = {v6 ? UINT64_MAX : 0, v6 ? UINT64_MAX : UINT32_MAX};
	struct glb_list_key6 before = {0, 0};

	for (uint64_t i = 0; i < padded; i++) {
		const struct glb_list_key6 key = list_key_at(level, i, v6);
		struct glb_list_key6 wanted = last;

		if (i > 0 && i < count && !list_key_above(key, before))
			return false;
		before = key;
		if (i < count && next == NULL)
			continue;
		if (i < count)
			wanted = list_key_at(next, i * GLB_LIST_FANOUT, v6);
		if (key.high != wanted.high || key.low != wanted.low)
			return false;
	}
	return true;
}

/* One family of a list, which begins at *at, where it must: moves *at behind it. */
static int check_side(const struct glb_lists *lists, uint32_t i, bool v6, uint64_t *at, struct glb_error *error)
{
	const struct glb_list_entry *entry = &lists->entries[i];
	const uint8_t *data = (const uint8_t *)lists->header, *level;
	const uint64_t offset = v6 ? entry->v6 : entry->v4, end = lists->header->file_bytes;
	const size_t key = list_key_bytes(v6);
	struct glb_list_side side;
	const uint64_t keys = list_levels(v6 ? entry->v6_keys : entry->v4_keys, &side);

	if (offset != *at)
		return REFUSE("list %u: its IPv%d keys begin at %llu instead of %llu", i, v6 ? 6 : 4, (unsigned long long)offset,
			      (unsigned long long)*at);
	if (keys * key > end - offset)
		return REFUSE("list %u: its IPv%d keys end behind the file", i, v6 ? 6 : 4);
	level = data + offset;
	for (uint32_t l = 0; l < side.levels; l++) {
		const uint8_t *next = level + list_padded(side.count[l]) * key;

		if (!level_ok(level, side.count[l], l + 1 < side.levels ? next : NULL, v6))
			return REFUSE("list %u: its IPv%d keys do not ascend, or level %u is not what it must be", i, v6 ? 6 : 4, l);
		level = next;
	}
	*at = offset + keys * key;
	return 0;
}

static int check_content(const struct glb_lists *lists, struct glb_error *error)
{
	const struct glb_lists_header *header = lists->header;
	const uint64_t entries_end = sizeof(*header) + lists->count * sizeof(struct glb_list_entry);
	uint64_t at = glb_snapshot_align(entries_end);
	int status = 0;

	if (!all_zero(header->pad, sizeof(header->pad)))
		return REFUSE("header's padding is not zero");
	if (at > header->file_bytes || !all_zero((const uint8_t *)header + entries_end, at - entries_end))
		return REFUSE("entries are not followed by zeros up to a multiple of 64 bytes");
	for (uint32_t i = 0; i < lists->count && status == 0; i++) {
		status = check_entry(lists, i, error);
		if (status == 0)
			status = check_side(lists, i, false, &at, error);
		if (status == 0)
			status = check_side(lists, i, true, &at, error);
	}
	if (status == 0 && at != header->file_bytes)
		return REFUSE("end at %llu, the file at %llu", (unsigned long long)at, (unsigned long long)header->file_bytes);
	return status;
}

int glb_lists_open(const void *data, size_t len, struct glb_lists *lists, struct glb_error *error)
{
	const struct glb_lists_header *header = data;
	uint8_t digest[sizeof(header->digest)];
	int status;

	memset(lists, 0, sizeof(*lists));
	if ((uintptr_t)data % 8 != 0)
		return REFUSE("are not 8-byte aligned in memory");
	status = check_frame(header, len, error);
	if (status != 0)
		return status;
	glb_snapshot_digest(data, len, digest);
	if (memcmp(digest, header->digest, sizeof(digest)) != 0)
		return glb_error_set(error, -EBADMSG, "lists are damaged: their digest does not match their content");
	*lists = (struct glb_lists){header, (const void *)(header + 1), header->lists};
	status = check_content(lists, error);
	if (status != 0)
		memset(lists, 0, sizeof(*lists));
	return status;
}

bool glb_lists_find(const struct glb_lists *lists, const char *name, struct glb_list *list)
{
	uint32_t low = 0, high = lists->count;

	memset(list, 0, sizeof(*list));
	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;

		if (strcmp(lists->entries[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == lists->count || strcmp(lists->entries[low].name, name) != 0)
		return false;
	list_levels(lists->entries[low].v4_keys, &list->v4);
	list_levels(lists->entries[low].v6_keys, &list->v6);
	list->v4.keys = (const uint8_t *)lists->header + lists->entries[low].v4;
	list->v6.keys = (const uint8_t *)lists->header + lists->entries[low].v6;
	return true;
}

/* How many keys are not above `key`. In each level one node is searched, in which the first key is not above it. Inlined once for each family. */
static inline __attribute__((always_inline)) uint32_t rank(const struct glb_list_side *side, struct glb_list_key6 key, bool v6)
{
	const uint8_t *level = side->keys;
	uint32_t at = 0;

	if (side->levels == 0 || list_key_above(list_key_at(level, 0, v6), key))
		return 0;
	for (uint32_t l = 0; l < side->levels; l++) {
		const uint8_t *node = level + (size_t)at * GLB_LIST_FANOUT * list_key_bytes(v6);
		uint32_t in = 0;

		for (unsigned line = 0; v6 && line < 4; line++)
			__builtin_prefetch(node + line * 64);
		in += 8 * !list_key_above(list_key_at(node, in + 8, v6), key);
		in += 4 * !list_key_above(list_key_at(node, in + 4, v6), key);
		in += 2 * !list_key_above(list_key_at(node, in + 2, v6), key);
		in += 1 * !list_key_above(list_key_at(node, in + 1, v6), key);
		at = at * GLB_LIST_FANOUT + in;
		if (at >= side->count[l])
			at = side->count[l] - 1; /* the last address of all is not below the padding */
		level += list_padded(side->count[l]) * list_key_bytes(v6);
	}
	return at + 1;
}

bool glb_list_has(const struct glb_list *list, const struct glb_addr *addr)
{
	if (addr->family == GLB_FAMILY_V4)
		return rank(&list->v4, list_key_of(addr), false) & 1;
	return addr->family == GLB_FAMILY_V6 && (rank(&list->v6, list_key_of(addr), true) & 1) != 0;
}

uint32_t glb_filters_bind(const struct glb_snapshot *snapshot, const struct glb_lists *lists, struct glb_filter *filters,
			  struct glb_list_missing *missing, uint32_t capacity)
{
	static const struct glb_lists none;
	uint32_t count = 0;

	memset(filters, 0, snapshot->protection_count * sizeof(*filters));
	for (uint32_t i = 0; i < snapshot->protection_count; i++) {
		const struct glb_protection *protection = &snapshot->protections[i];
		struct glb_list *const list[] = {&filters[i].block, &filters[i].allow};
		const uint32_t name[] = {protection->block, protection->allow};

		for (unsigned kind = 0; kind < 2; kind++) {
			const char *text = snapshot->strings + name[kind];

			if (name[kind] == 0 || glb_lists_find(lists != NULL ? lists : &none, text, list[kind]))
				continue;
			if (count < capacity)
				missing[count] = (struct glb_list_missing){protection->service, text};
			count++;
		}
	}
	return count;
}
