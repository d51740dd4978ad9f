/* One value of the configuration: its type, its range, and the words that say what is wrong with it. */
#ifndef FORWARDER_CONFIG_VALUE_H
#define FORWARDER_CONFIG_VALUE_H

#include <glb/err.h>

#include <jansson.h>

enum config_kind {
	CONFIG_NAME,     /* char[]: 1..32 of a-z 0-9 - */
	CONFIG_STRING,   /* char[]: not empty */
	CONFIG_PATH,     /* char[]: absolute */
	CONFIG_IPV4,     /* struct glb_addr: unicast */
	CONFIG_IPV6,     /* struct glb_addr: unicast */
	CONFIG_PREFIX_V4, /* struct glb_prefix: address/bits */
	CONFIG_PREFIX_V6,
	CONFIG_MAC,      /* uint8_t[6]: unicast, not zero */
	CONFIG_BOOL,     /* uint8_t */
	CONFIG_INTEGER,  /* int64_t: min..max */
	CONFIG_CHOICE,   /* uint8_t or int64_t: position in words */
	CONFIG_WORDS,    /* char *[]: owned strings; at most max */
	CONFIG_INTEGERS, /* int64_t[]: each min..max */
	CONFIG_ADDRESSES, /* struct glb_addr[]: unicast */
};

struct config_key {
	const char *section;
	const char *name;
	enum config_kind kind;
	size_t offset;            /* of the field, from the object */
	size_t size;              /* of the field */
	int64_t min, max;
	bool required;
	const char *const *words; /* CHOICE: ends with NULL */
	size_t count_offset;      /* WORDS, INTEGERS, ADDRESSES: of the unsigned count */
};

/* Checks `value` against *key and stores it in `object`. Returns 0, or -EINVAL or -ENOMEM with *error naming
 * the key and what would be right. What was stored before a failure stays, for config_free(). */
int config_value_read(void *object, const struct config_key *key, const json_t *value, const char *origin,
		      struct glb_error *error);

#endif
