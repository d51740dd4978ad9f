/* Reading one value of the configuration (config_value.h). */
#include "config_value.h"

#include <glb/addr.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "origin: section.name: must be X, not VALUE" */
static int refuse(const struct config_key *key, const json_t *value, const char *origin, struct glb_error *error,
		  const char *wanted)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	int ret = glb_error_set(error, -EINVAL, "%s: %s.%s: must be %s, not %.60s", origin, key->section, key->name,
				wanted, text != NULL ? text : "that");

	free(text);
	return ret;
}

static const char *copy_text(const struct config_key *key, const json_t *value, char *out)
{
	const char *text = json_string_value(value);
	size_t len = json_string_length(value);

	if (text == NULL || len == 0)
		return "a string that is not empty";
	if (len >= key->size || strlen(text) != len)
		return "a shorter string";
	if (key->kind == CONFIG_PATH && text[0] != '/')
		return "an absolute path";
	if (key->kind == CONFIG_NAME && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") != len)
		return "1 to 32 characters of a-z, 0-9 and -";
	memcpy(out, text, len + 1);
	return NULL;
}

static const char *parse_address(const struct config_key *key, const json_t *value, struct glb_addr *out)
{
	const char *text = json_string_value(value);
	struct glb_addr addr = {.family = key->kind == CONFIG_IPV4 ? GLB_FAMILY_V4 : GLB_FAMILY_V6};
	static const uint8_t zero[16];

	if (key->kind == CONFIG_IPV4) {
		if (text == NULL || inet_pton(AF_INET, text, addr.bytes) != 1 || addr.bytes[0] == 0 ||
		    addr.bytes[0] >= 224)
			return "a unicast IPv4 address in quotes";
	} else if (text == NULL || inet_pton(AF_INET6, text, addr.bytes) != 1 || addr.bytes[0] == 0xff ||
		   memcmp(addr.bytes, zero, 16) == 0) {
		return "a unicast IPv6 address in quotes";
	}
	*out = addr;
	return NULL;
}

static bool has_host_bits(const struct glb_prefix *prefix)
{
	for (unsigned bit = prefix->bits; bit < glb_addr_len(prefix->addr.family) * 8; bit++)
		if (prefix->addr.bytes[bit / 8] & 0x80 >> bit % 8)
			return true;
	return false;
}

/* address/bits, with at least one bit left for hosts. */
static const char *parse_prefix(const struct config_key *key, const json_t *value, struct glb_prefix *out)
{
	const bool v4 = key->kind == CONFIG_PREFIX_V4;
	struct glb_prefix prefix = {.addr.family = v4 ? GLB_FAMILY_V4 : GLB_FAMILY_V6};
	const char *text = json_string_value(value), *slash = text != NULL ? strchr(text, '/') : NULL;
	char address[INET6_ADDRSTRLEN];
	unsigned bits = 0;
	int end = 0;

	if (slash != NULL && slash - text < (long)sizeof(address) && slash[1] >= '0' && slash[1] <= '9' &&
	    sscanf(slash + 1, "%3u%n", &bits, &end) == 1 && slash[1 + end] == '\0' && bits > 0 && bits < (v4 ? 32 : 128)) {
		snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
		prefix.bits = (uint8_t)bits;
		if (inet_pton(v4 ? AF_INET : AF_INET6, address, prefix.addr.bytes) == 1 && !has_host_bits(&prefix)) {
			*out = prefix;
			return NULL;
		}
	}
	return v4 ? "an IPv4 prefix in quotes, \"172.16.0.0/16\", its host bits 0"
		  : "an IPv6 prefix in quotes, \"100::/64\", its host bits 0";
}

static const char *parse_mac(const json_t *value, uint8_t out[6])
{
	static const char *const wanted = "a unicast MAC address like \"02:00:00:00:00:01\"";
	const char *text = json_string_value(value);
	unsigned byte[6];
	int end = 0, sum = 0;

	if (text == NULL || strlen(text) != 17 ||
	    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &byte[0], &byte[1], &byte[2], &byte[3], &byte[4], &byte[5],
		   &end) != 6 || end != 17)
		return wanted;
	for (int i = 0; i < 6; i++)
		sum |= (int)byte[i];
	if (sum == 0 || byte[0] & 1)
		return wanted;
	for (int i = 0; i < 6; i++)
		out[i] = (uint8_t)byte[i];
	return NULL;
}

static const char *read_integer(const struct config_key *key, const json_t *value, int64_t *out, char *room,
				size_t len)
{
	if (!json_is_integer(value) || json_integer_value(value) < key->min || json_integer_value(value) > key->max) {
		snprintf(room, len, "an integer from %lld to %lld", (long long)key->min, (long long)key->max);
		return room;
	}
	*out = json_integer_value(value);
	return NULL;
}

static const char *read_choice(const struct config_key *key, const json_t *value, void *out, char *room, size_t len)
{
	const char *text = json_string_value(value);

	for (unsigned i = 0; text != NULL && key->words[i] != NULL; i++) {
		if (strcmp(text, key->words[i]) != 0)
			continue;
		if (key->size == 1)
			*(uint8_t *)out = (uint8_t)i;
		else
			*(int64_t *)out = i;
		return NULL;
	}
	snprintf(room, len, "\"%s\"", key->words[0]);
	for (unsigned i = 1; key->words[i] != NULL; i++)
		snprintf(room + strlen(room), len - strlen(room), " or \"%s\"", key->words[i]);
	return room;
}

static const char *read_words(const struct config_key *key, const json_t *value, char **out, unsigned *count)
{
	static const char *const wanted = "a list of strings";
	const json_t *word;
	size_t i;

	if (!json_is_array(value))
		return wanted;
	if (json_array_size(value) > (size_t)key->max)
		return "a shorter list";
	json_array_foreach(value, i, word) {
		const char *text = json_string_value(word);

		if (text == NULL || strlen(text) != json_string_length(word))
			return wanted;
		out[*count] = strdup(text);
		if (out[*count] == NULL)
			return "smaller: out of memory";
		++*count;
	}
	return NULL;
}

static const char *read_integers(const struct config_key *key, const json_t *value, int64_t *out, unsigned *count,
				 char *room, size_t len)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value) || json_array_size(value) == 0)
		return "a list of integers, [1, 2]";
	if (json_array_size(value) > key->size / sizeof(*out))
		return "a shorter list";
	json_array_foreach(value, i, item) {
		const char *wrong = read_integer(key, item, &out[i], room, len);

		if (wrong != NULL)
			return wrong;
	}
	*count = (unsigned)json_array_size(value);
	return NULL;
}

static const char *read_addresses(const struct config_key *key, const json_t *value, struct glb_addr *out, unsigned *count)
{
	static const struct config_key kinds[] = {{.kind = CONFIG_IPV4}, {.kind = CONFIG_IPV6}};
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return "a list of addresses, [\"10.0.0.2\", \"10.0.0.3\"]";
	if (json_array_size(value) > key->size / sizeof(*out))
		return "a shorter list";
	json_array_foreach(value, i, item)
		if (parse_address(&kinds[0], item, &out[i]) != NULL && parse_address(&kinds[1], item, &out[i]) != NULL)
			return "a list of unicast IPv4 or IPv6 addresses, each in quotes";
	*count = (unsigned)json_array_size(value);
	return NULL;
}

int config_value_read(void *object, const struct config_key *key, const json_t *value, const char *origin,
		      struct glb_error *error)
{
	uint8_t *field = (uint8_t *)object + key->offset;
	unsigned *count = (unsigned *)(void *)((uint8_t *)object + key->count_offset);
	const char *wrong = "something else";
	char room[160];

	switch (key->kind) {
	case CONFIG_NAME:
	case CONFIG_STRING:
	case CONFIG_PATH:
		wrong = copy_text(key, value, (char *)field);
		break;
	case CONFIG_IPV4:
	case CONFIG_IPV6:
		wrong = parse_address(key, value, (struct glb_addr *)(void *)field);
		break;
	case CONFIG_PREFIX_V4:
	case CONFIG_PREFIX_V6:
		wrong = parse_prefix(key, value, (struct glb_prefix *)(void *)field);
		break;
	case CONFIG_MAC:
		wrong = parse_mac(value, field);
		break;
	case CONFIG_BOOL:
		wrong = json_is_boolean(value) ? NULL : "true or false";
		*field = json_is_true(value);
		break;
	case CONFIG_INTEGER:
		wrong = read_integer(key, value, (int64_t *)(void *)field, room, sizeof(room));
		break;
	case CONFIG_CHOICE:
		wrong = read_choice(key, value, field, room, sizeof(room));
		break;
	case CONFIG_WORDS:
		wrong = read_words(key, value, (char **)(void *)field, count);
		break;
	case CONFIG_INTEGERS:
		wrong = read_integers(key, value, (int64_t *)(void *)field, count, room, sizeof(room));
		break;
	case CONFIG_ADDRESSES:
		wrong = read_addresses(key, value, (struct glb_addr *)(void *)field, count);
		break;
	}
	return wrong != NULL ? refuse(key, value, origin, error, wrong) : 0;
}
