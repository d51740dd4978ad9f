/* From the table of keys to a JSON Schema (config_schema.h). */
#include "config_schema.h"
#include "config.h"
#include "config_value.h"

#include <string.h>

static json_t *choices(const struct config_key *key)
{
	json_t *words = json_array();

	for (unsigned i = 0; key->words[i] != NULL; i++)
		json_array_append_new(words, json_string(key->words[i]));
	return json_pack("{s:o}", "enum", words);
}

static json_t *integer(const struct config_key *key)
{
	return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", (json_int_t)key->min, "maximum",
			 (json_int_t)key->max);
}

static json_t *text_like(const char *keyword, const char *value)
{
	return json_pack("{s:s, s:s}", "type", "string", keyword, value);
}

static json_t *value_schema(const struct config_key *key)
{
	switch (key->kind) {
	case CONFIG_NAME:
		return text_like("pattern", "^[a-z0-9-]{1,32}$");
	case CONFIG_STRING:
		return json_pack("{s:s, s:i, s:I}", "type", "string", "minLength", 1, "maxLength",
				 (json_int_t)key->size - 1);
	case CONFIG_PATH:
		return text_like("pattern", "^/");
	case CONFIG_IPV4:
		return text_like("format", "ipv4");
	case CONFIG_IPV6:
		return text_like("format", "ipv6");
	case CONFIG_PREFIX_V4:
		return text_like("pattern", "^[0-9.]+/[0-9]{1,2}$");
	case CONFIG_PREFIX_V6:
		return text_like("pattern", "^[0-9A-Fa-f:.]+/[0-9]{1,3}$");
	case CONFIG_MAC:
		return text_like("pattern", "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$");
	case CONFIG_BOOL:
		return json_pack("{s:s}", "type", "boolean");
	case CONFIG_INTEGER:
		return integer(key);
	case CONFIG_CHOICE:
		return choices(key);
	case CONFIG_WORDS:
		return json_pack("{s:s, s:I, s:{s:s}}", "type", "array", "maxItems", (json_int_t)key->max, "items",
				 "type", "string");
	case CONFIG_INTEGERS:
		return json_pack("{s:s, s:i, s:I, s:o}", "type", "array", "minItems", 1, "maxItems",
				 (json_int_t)(key->size / sizeof(int64_t)), "items", integer(key));
	case CONFIG_ADDRESSES:
		return json_pack("{s:s, s:i, s:I, s:{s:[{s:s}, {s:s}]}}", "type", "array", "minItems", 2, "maxItems",
				 (json_int_t)(key->size / sizeof(struct glb_addr)), "items", "anyOf", "format", "ipv4", "format",
				 "ipv6");
	}
	return NULL;
}

static json_t *empty_table(void)
{
	return json_pack("{s:s, s:b, s:{}}", "type", "object", "additionalProperties", 0, "properties");
}

static void require(json_t *table, const char *name)
{
	json_t *list = json_object_get(table, "required");

	if (list == NULL) {
		list = json_array();
		json_object_set_new(table, "required", list);
	}
	json_array_append_new(list, json_string(name));
}

/* The schema of the table that holds `section`'s keys, made when it is not there; a list's is that of its items. */
static json_t *table_of(json_t *sections, const char *section, bool list)
{
	json_t *table = json_object_get(sections, section);

	if (table == NULL) {
		table = list ? json_pack("{s:s, s:i, s:o}", "type", "array", "maxItems", CONFIG_PORTS_MAX, "items",
					 empty_table())
			     : empty_table();
		json_object_set_new(sections, section, table);
	}
	return list ? json_object_get(table, "items") : table;
}

static void add_keys(json_t *root, const struct config_key *keys, unsigned count, bool list)
{
	json_t *sections = json_object_get(root, "properties");

	for (unsigned i = 0; i < count; i++) {
		json_t *table = table_of(sections, keys[i].section, list);

		json_object_set_new(json_object_get(table, "properties"), keys[i].name, value_schema(&keys[i]));
		if (keys[i].required)
			require(table, keys[i].name);
	}
}

json_t *config_schema(void)
{
	json_t *root = empty_table(), *forward;
	const struct config_key *keys;
	unsigned count;

	json_object_set_new(root, "$schema", json_string("https://json-schema.org/draft/2020-12/schema"));
	json_object_set_new(root, "title", json_string("A director's configuration, for glb-forwarder and glb serve"));
	json_object_set_new(root, "description",
			    json_string("Printed by `glb-forwarder --schema`. What each key means: "
					"native/forwarder/README.md. `glb-forwarder --check` also checks what spans keys."));
	keys = config_keys(&count);
	add_keys(root, keys, count, false);
	keys = config_port_keys(&count);
	add_keys(root, keys, count, true);
	forward = table_of(json_object_get(root, "properties"), "forward", false);
	json_object_set_new(forward, "anyOf", json_pack("[{s:[s]}, {s:[s]}]", "required", "outer_source_v4", "required",
							 "outer_source_v6"));
	require(root, "director");
	require(root, "forward");
	return root;
}
