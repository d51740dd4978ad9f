/* IPv4 prefixes as text, and lists of them with their roles. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tool.h"

int prefix_parse(struct glb_redirect_prefix *prefix, const char *text)
{
	char addr[INET_ADDRSTRLEN], *end;
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	unsigned long bits = 32;
	uint32_t host;

	if (len >= sizeof(addr))
		return -EINVAL;
	memcpy(addr, text, len);
	addr[len] = '\0';
	if (inet_pton(AF_INET, addr, prefix->addr) != 1)
		return -EINVAL;
	if (slash) {
		if (slash[1] < '0' || slash[1] > '9')
			return -EINVAL;
		bits = strtoul(slash + 1, &end, 10);
		if (*end || bits > 32)
			return -EINVAL;
	}
	memcpy(&host, prefix->addr, 4);
	if (bits < 32 && ntohl(host) & (0xffffffffu >> bits))
		return -EINVAL;
	prefix->bits = (uint32_t)bits;
	return 0;
}

void prefix_format(const struct glb_redirect_prefix *prefix, char text[PREFIX_TEXT])
{
	snprintf(text, PREFIX_TEXT, "%u.%u.%u.%u/%u", prefix->addr[0], prefix->addr[1], prefix->addr[2],
		 prefix->addr[3], prefix->bits % 33);
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

void prefixes_free(struct prefixes *prefixes)
{
	free(prefixes->items);
	free(prefixes->roles);
	*prefixes = (struct prefixes){0};
}
