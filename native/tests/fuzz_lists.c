/* Fuzz target: any bytes as a lists file, and as text of prefixes. What opens must be safe to ask, and mean what compiling it again would.
 *
 * Length and digest are set right first, since they would stop nearly every input.
 */
#include "fuzz.h"
#include "lists_layout.h"
#include "snapshot_layout.h"

enum { FILE_MAX = 1 << 16 };

static void fit(uint8_t *bytes, size_t len)
{
	struct glb_lists_header *header = (struct glb_lists_header *)bytes;

	memcpy(header->magic, GLB_LISTS_MAGIC, sizeof(header->magic));
	header->file_bytes = len;
	memset(header->digest, 0, sizeof(header->digest));
	glb_snapshot_digest(bytes, len, header->digest);
}

/* The finest level of a family is its last one: each key of it turns the answer over. */
static void ask_side(const struct glb_list *list, bool v6)
{
	const struct glb_list_side *side = v6 ? &list->v6 : &list->v4;
	const uint8_t *level = side->keys;
	struct glb_addr addr = {.family = v6 ? GLB_FAMILY_V6 : GLB_FAMILY_V4};

	for (uint32_t l = 0; l + 1 < side->levels; l++)
		level += list_padded(side->count[l]) * list_key_bytes(v6);
	for (uint32_t i = 0; side->levels != 0 && i < side->count[side->levels - 1]; i++) {
		const struct glb_list_key6 key = list_key_at(level, i, v6);
		const uint64_t high = __builtin_bswap64(key.high), low = __builtin_bswap64(key.low);
		const uint32_t v4 = __builtin_bswap32((uint32_t)key.low);

		memcpy(addr.bytes, v6 ? (const void *)&high : (const void *)&v4, v6 ? 8 : 4);
		if (v6)
			memcpy(addr.bytes + 8, &low, 8);
		MUST(glb_list_has(list, &addr) == (i % 2 == 0));
	}
}

static void ask(const struct glb_lists *lists)
{
	for (uint32_t i = 0; i < lists->count; i++) {
		struct glb_list list;

		MUST(glb_lists_find(lists, lists->entries[i].name, &list));
		ask_side(&list, false);
		ask_side(&list, true);
	}
}

/* Text that is right compiles, opens, has its own prefixes, and stays itself when it is written and read again. */
static void read_text(const char *text, size_t len)
{
	struct glb_prefix *prefixes, *again;
	struct glb_error error;
	struct glb_buffer file, out;
	struct glb_lists lists;
	struct glb_list list;
	uint32_t count, count_again;

	if (glb_prefixes_read(text, len, &prefixes, &count, &error) != 0) {
		MUST(error.code < 0 && strncmp(error.text, "line ", 5) == 0);
		return;
	}
	MUST(glb_lists_compile(&(struct glb_list_config){"a", prefixes, count}, 1, &file, NULL) == 0);
	MUST(glb_lists_open(file.data, file.len, &lists, NULL) == 0 && glb_lists_find(&lists, "a", &list));
	for (uint32_t i = 0; i < count; i++)
		MUST(glb_list_has(&list, &prefixes[i].addr));
	MUST(glb_prefixes_write(prefixes, count, &out) == 0);
	MUST(glb_prefixes_read((const char *)out.data, out.len, &again, &count_again, NULL) == 0);
	MUST(count == count_again && memcmp(prefixes, again, count * sizeof(*prefixes)) == 0);
	free(prefixes);
	free(again);
	glb_buffer_free(&out);
	glb_buffer_free(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct glb_lists lists;
	struct glb_error error;
	uint8_t *bytes;

	if (len > FILE_MAX)
		return 0;
	read_text((const char *)data, len);
	bytes = aligned_alloc(64, (len + 64) & ~(size_t)63);
	MUST(bytes != NULL);
	memcpy(bytes, data, len);
	if (len >= sizeof(struct glb_lists_header))
		fit(bytes, len);
	if (glb_lists_open(bytes, len, &lists, &error) == 0)
		ask(&lists);
	else
		MUST(error.code < 0 && error.text[0] != '\0');
	free(bytes);
	return 0;
}
