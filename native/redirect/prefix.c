/* IPv4 and IPv6 prefixes as text, and lists of them with their roles. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tool.h"

int address_parse(const char *text, uint8_t *family, uint8_t addr[16])
{
	memset(addr, 0, 16);
	*family = strchr(text, ':') ? GLB_REDIRECT_V6 : GLB_REDIRECT_V4;
	return inet_pton(*family == GLB_REDIRECT_V6 ? AF_INET6 : AF_INET, text, addr) == 1 ? 0 : -EINVAL;
}

/* Are all bits of an address behind the first `bits` zero? */
static bool host_bits_zero(const uint8_t addr[16], unsigned long bits)
{
	for (unsigned long i = bits; i < 128; i++)
		if (addr[i / 8] & 0x80 >> i % 8)
			return false;
	return true;
}

int prefix_parse(struct glb_redirect_prefix *prefix, const char *text)
{
	char addr[INET6_ADDRSTRLEN], *end;
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	unsigned long bits, most;

	*prefix = (struct glb_redirect_prefix){0};
	if (len >= sizeof(addr))
		return -EINVAL;
	memcpy(addr, text, len);
	addr[len] = '\0';
	if (address_parse(addr, &prefix->family, prefix->addr))
		return -EINVAL;
	bits = most = prefix->family == GLB_REDIRECT_V6 ? 128 : 32;
	if (slash) {
		if (slash[1] < '0' || slash[1] > '9')
			return -EINVAL;
		bits = strtoul(slash + 1, &end, 10);
		if (*end || bits > most)
			return -EINVAL;
	}
	if (!host_bits_zero(prefix->addr, bits))
		return -EINVAL;
	prefix->bits = (uint32_t)bits + GLB_REDIRECT_FAMILY_BITS;
	return 0;
}

bool prefix_contains(const struct glb_redirect_prefix *prefix, uint8_t family, const uint8_t addr[16])
{
	uint32_t bits = prefix->bits - GLB_REDIRECT_FAMILY_BITS;
	uint32_t whole = bits / 8, mask = 0xff00u >> bits % 8;

	return prefix->family == family && !memcmp(prefix->addr, addr, whole) &&
	       (bits % 8 == 0 || !((prefix->addr[whole] ^ addr[whole]) & mask));
}

void address_format(uint8_t family, const uint8_t addr[16], char text[PREFIX_TEXT])
{
	inet_ntop(family == GLB_REDIRECT_V6 ? AF_INET6 : AF_INET, addr, text, PREFIX_TEXT);
}

void prefix_format(const struct glb_redirect_prefix *prefix, char text[PREFIX_TEXT])
{
	size_t len;

	address_format(prefix->family, prefix->addr, text);
	len = strlen(text);
	snprintf(text + len, PREFIX_TEXT - len, "/%u", (prefix->bits - GLB_REDIRECT_FAMILY_BITS) % 129);
}

int prefixes_push(struct prefixes *prefixes, const struct glb_redirect_prefix *prefix, uint32_t roles)
{
	void *items = realloc(prefixes->items, (prefixes->count + 1) * sizeof(*prefixes->items));
	void *all = realloc(prefixes->roles, (prefixes->count + 1) * sizeof(*prefixes->roles));

	if (items)
		prefixes->items = items;
	if (all)
		prefixes->roles = all;
	if (!items || !all)
		return -ENOMEM;
	prefixes->items[prefixes->count] = *prefix;
	prefixes->roles[prefixes->count++] = roles;
	return 0;
}

static int order(const struct glb_redirect_prefix *a, const struct glb_redirect_prefix *b)
{
	int difference = a->family != b->family ? a->family - b->family : memcmp(a->addr, b->addr, sizeof(a->addr));

	return difference ? difference : a->bits < b->bits ? -1 : a->bits > b->bits;
}

/* Where a prefix is in a sorted list, or would be. */
static size_t place(const struct prefixes *prefixes, const struct glb_redirect_prefix *prefix)
{
	size_t first = 0, last = prefixes->count;

	while (first < last) {
		size_t middle = first + (last - first) / 2;

		if (order(&prefixes->items[middle], prefix) < 0)
			first = middle + 1;
		else
			last = middle;
	}
	return first;
}

bool prefixes_have(const struct prefixes *prefixes, const struct glb_redirect_prefix *prefix)
{
	size_t at = place(prefixes, prefix);

	return at < prefixes->count && !order(&prefixes->items[at], prefix);
}

int prefixes_insert(struct prefixes *prefixes, const struct glb_redirect_prefix *prefix, uint32_t roles)
{
	size_t at = place(prefixes, prefix), behind = prefixes->count - at;
	int err;

	if (at < prefixes->count && !order(&prefixes->items[at], prefix)) {
		prefixes->roles[at] |= roles;
		return 0;
	}
	err = prefixes_push(prefixes, prefix, roles);
	if (err)
		return err;
	memmove(&prefixes->items[at + 1], &prefixes->items[at], behind * sizeof(*prefixes->items));
	memmove(&prefixes->roles[at + 1], &prefixes->roles[at], behind * sizeof(*prefixes->roles));
	prefixes->items[at] = *prefix;
	prefixes->roles[at] = roles;
	return 0;
}

void prefixes_free(struct prefixes *prefixes)
{
	free(prefixes->items);
	free(prefixes->roles);
	*prefixes = (struct prefixes){0};
}
