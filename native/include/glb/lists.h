/* Source lists: named sets of address prefixes, which services block or allow (docs/protection.md).
 *
 * They are a file of their own, so that a change of them touches no snapshot. Compile turns lists of prefixes into its bytes; open
 * validates such bytes once, so that look-ups may follow them unchecked. Equal sets give equal bytes. The format is
 * little-endian, versioned, and specified in docs/wire/lists.md.
 */
#ifndef GLB_LISTS_H
#define GLB_LISTS_H

#include "addr.h"
#include "snapshot.h"

enum {
	GLB_LISTS_VERSION = 1,
	GLB_LISTS_MAX = 4096,              /* lists in a file */
	GLB_LIST_PREFIXES_MAX = 16777216,  /* in one list */
	GLB_LIST_FANOUT = 16,              /* keys of a node: 64 bytes for IPv4, 256 for IPv6 */
	GLB_LIST_LEVELS_MAX = 7,           /* 16^7 keys are more than two for each prefix */
};

/* A key of IPv6; of IPv4 it is a uint32_t. Both in host order. */
struct glb_list_key6 {
	uint64_t high;
	uint64_t low;
};

struct glb_lists_header {
	uint8_t magic[8];      /* "GLBLIST\n" */
	uint32_t version;      /* GLB_LISTS_VERSION */
	uint32_t header_bytes; /* sizeof(struct glb_lists_header) */
	uint64_t file_bytes;
	uint8_t digest[16];    /* XXH3-128, canonical form, of the whole file with this field zero */
	uint32_t lists;        /* struct glb_list_entry, behind the header, ascending by name */
	uint32_t pad[5];
};
GLB_STATIC_ASSERT(sizeof(struct glb_lists_header) == 64, "lists header")

/* Of each family, `keys` are addresses at which the set begins and ends, in turn, ascending: an address is in the set when an odd number of
 * them are not above it. They are stored as levels, coarsest first: the last level has them all, each other one every 16th of
 * the next, the first at most 16. A level is padded to a multiple of 16 keys with bits that are all 1. */
struct glb_list_entry {
	char name[64];         /* 1 to GLB_NAME_MAX bytes, then zeros */
	uint64_t v4;           /* offset of the first level; a multiple of 64 */
	uint64_t v6;
	uint32_t v4_keys;
	uint32_t v6_keys;
	uint32_t prefixes;     /* that it was made of: distinct, but they may lie in each other */
	uint32_t pad;
};
GLB_STATIC_ASSERT(sizeof(struct glb_list_entry) == 96, "list entry")

/* ---- compile ---- */

struct glb_list_config {
	const char *name;
	const struct glb_prefix *prefixes; /* in any order; host bits 0 */
	uint32_t count;
};

/* Compiles `count` lists, in any order. On success *out owns the bytes; on failure it is empty, and *error says which list is wrong. Returns 0,
 * -EINVAL, -EEXIST (two have one name) or -ENOMEM. Any thread; a million prefixes take about 0.3 s. */
int glb_lists_compile(const struct glb_list_config *lists, uint32_t count, struct glb_buffer *out, struct glb_error *error);

/* Reads prefixes from text, one in a line; an address alone is a prefix of all its bits; empty lines, and what follows a #, do not count. On
 * success *prefixes, until glb_prefixes_free(), has *count of them, IPv4 first, ascending, each once. *error names the line and the fix. Returns 0,
 * -EINVAL or -ENOMEM. Any thread. */
int glb_prefixes_read(const char *text, size_t len, struct glb_prefix **prefixes, uint32_t *count, struct glb_error *error);

void glb_prefixes_free(struct glb_prefix *prefixes);

/* The same prefixes as text again, one in a line, addresses in their canonical form (RFC 5952), all with their length. Returns 0 or -ENOMEM. */
int glb_prefixes_write(const struct glb_prefix *prefixes, uint32_t count, struct glb_buffer *out);

/* ---- open ---- */

/* Validated lists: pointers into bytes that the caller keeps alive and unchanged. */
struct glb_lists {
	const struct glb_lists_header *header;
	const struct glb_list_entry *entries;
	uint32_t count;
};

/* Validates `len` bytes at `data` (64-byte aligned, for speed; 8 will do) and fills *lists. Returns 0, or, with *error saying what and where:
 * -EINVAL (truncated, wrong magic, out of range, not canonical), -EPROTONOSUPPORT (another format version), -EBADMSG (digest
 * differs). Never reads outside [data, data + len). Any thread. */
int glb_lists_open(const void *data, size_t len, struct glb_lists *lists, struct glb_error *error);

/* ---- look up ---- */

struct glb_list_side {
	const uint8_t *keys;                  /* borrowed: the first level, the others behind it */
	uint32_t count[7];                    /* keys of each level, without padding */
	uint32_t levels;                      /* 0: the set is empty */
};

/* A list, ready to be asked. All zero is the empty one. */
struct glb_list {
	struct glb_list_side v4;
	struct glb_list_side v6;
};

/* The list of this name. Returns false, and the empty list, when there is none. */
bool glb_lists_find(const struct glb_lists *lists, const char *name, struct glb_list *list);

/* Whether `addr` is in the list; an address without family is in none. Any thread, no locks. */
bool glb_list_has(const struct glb_list *list, const struct glb_addr *addr);

/* ---- with a snapshot ---- */

/* The lists of a service that has some; which of the two it has is in its protection. */
struct glb_filter {
	struct glb_list block;
	struct glb_list allow;
};

/* A list that a service names, and that is not there. */
struct glb_list_missing {
	uint32_t service;  /* index */
	const char *name;  /* of the list; borrowed from the snapshot */
};

/* Finds the lists that a snapshot's services name: one filter for each of its protections, in their order. One that is missing is empty: as a
 * block list it blocks nobody, as an allow list it allows nobody. `lists` may be NULL: all are missing. Writes up to `capacity` of them; returns
 * how many there are. The filters borrow from the lists. */
uint32_t glb_filters_bind(const struct glb_snapshot *snapshot, const struct glb_lists *lists, struct glb_filter *filters,
			  struct glb_list_missing *missing, uint32_t capacity);

#endif
