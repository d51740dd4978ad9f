/* The source lists in force, as `status` has them (status.h). */
#include "status.h"

#include <stdio.h>
#include <stdlib.h>

enum { MISSING_MAX = 16 }; /* that are named */

static json_t *text_of(const char *text)
{
	json_t *made = json_string(text);

	return made != NULL ? made : json_string("(a message that is not UTF-8)");
}

static json_t *digest_of(const struct lists_file *file)
{
	char digest[2 * sizeof(file->lists.header->digest) + 1];

	if (file == NULL)
		return json_null();
	for (unsigned i = 0; i < sizeof(file->lists.header->digest); i++)
		snprintf(digest + 2 * i, 3, "%02x", file->lists.header->digest[i]);
	return json_string(digest);
}

/* Services that name a list which is not there. */
static json_t *missing_of(const struct swap *swap)
{
	const struct glb_snapshot *snapshot = &swap->current->snapshot;
	struct glb_filter *scratch = calloc(snapshot->protection_count + 1ul, sizeof(*scratch));
	struct glb_list_missing missing[MISSING_MAX];
	json_t *list = json_array();
	uint32_t count = 0;

	if (scratch != NULL)
		count = glb_filters_bind(snapshot, swap->lists.current != NULL ? &swap->lists.current->lists : NULL, scratch, missing, MISSING_MAX);
	for (uint32_t i = 0; i < count && i < MISSING_MAX; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "service",
						      snapshot->strings + snapshot->services[missing[i].service].name, "list", missing[i].name));
	free(scratch);
	return list;
}

json_t *status_lists(const struct swap *swap)
{
	const struct lists *lists = &swap->lists;
	const struct lists_file *file = lists->current;
	json_t *error = lists->last_error.code == 0 ? json_null() :
		json_pack("{s:s, s:o, s:s}", "code", "lists_refused", "message", text_of(lists->last_error.text), "path", lists->last_error_path);

	return json_pack("{s:I, s:o, s:I, s:I, s:o, s:o, s:I, s:o, s:o}", "generation", (json_int_t)lists->generation, "digest", digest_of(file),
			 "count", (json_int_t)(file != NULL ? file->lists.count : 0), "prefixes", (json_int_t)(file != NULL ? file->prefixes : 0),
			 "path", file != NULL ? json_string(file->path) : json_null(), "missing", missing_of(swap), "refused",
			 (json_int_t)lists->refused, "last_error", error, "keep_error",
			 lists->keep_error.code != 0 ? text_of(lists->keep_error.text) : json_null());
}
