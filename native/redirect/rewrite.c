/* What stands for a VIP on this host: a DSCP (L3DSR) or a protocol and port (NAT). As text, and in the map. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tool.h"

enum { DSCP_MAX = 63 };

/* A number from 1 to `most` that ends at `end`. */
static int read_number(const char *text, const char *end, unsigned long most, uint16_t *number)
{
	char *stop;
	unsigned long value = strtoul(text, &stop, 10);

	if (text[0] < '0' || text[0] > '9' || stop != end || value < 1 || value > most)
		return -EINVAL;
	*number = (uint16_t)value;
	return 0;
}

/* "203.0.113.10", "2001:db8::10", and with a port "203.0.113.10:80", "[2001:db8::10]:80"; brackets may always be there. *port stays
 * as it is where none is given. */
static int read_target(const char *text, struct glb_redirect_match *match, uint8_t addr[16], uint16_t *port)
{
	const bool brackets = text[0] == '[';
	const char *start = text + brackets, *end = brackets ? strchr(start, ']') : strchr(start, ':');
	char copy[PREFIX_TEXT];

	if (brackets && !end)
		return -EINVAL;
	if (!end || (!brackets && strchr(end + 1, ':'))) /* an address alone */
		end = start + strlen(start);
	if ((size_t)(end - start) >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, start, (size_t)(end - start));
	copy[end - start] = '\0';
	end += brackets;
	if (*end && (*end != ':' || read_number(end + 1, end + strlen(end), UINT16_MAX, port)))
		return -EINVAL;
	return address_parse(copy, &match->family, addr);
}

int rewrite_parse_l3dsr(struct rewrite *rewrite, const char *text)
{
	const char *equals = strchr(text, '=');
	uint16_t dscp, no_port = 0;

	*rewrite = (struct rewrite){.match = {.kind = GLB_REDIRECT_DSCP}};
	if (!equals || read_number(text, equals, DSCP_MAX, &dscp) ||
	    read_target(equals + 1, &rewrite->match, rewrite->target.addr, &no_port) || no_port)
		return -EINVAL;
	rewrite->match.value = glb_be16_put(dscp);
	return 0;
}

int rewrite_parse_nat(struct rewrite *rewrite, const char *text)
{
	const char *equals = strchr(text, '='), *colon = strchr(text, ':');
	uint16_t port, vip_port;

	*rewrite = (struct rewrite){0};
	if (!strncmp(text, "tcp:", 4))
		rewrite->match.kind = GLB_IPPROTO_TCP;
	else if (!strncmp(text, "udp:", 4))
		rewrite->match.kind = GLB_IPPROTO_UDP;
	else
		return -EINVAL;
	if (!equals || read_number(colon + 1, equals, UINT16_MAX, &port))
		return -EINVAL;
	vip_port = port;
	if (read_target(equals + 1, &rewrite->match, rewrite->target.addr, &vip_port))
		return -EINVAL;
	rewrite->match.value = glb_be16_put(port);
	rewrite->target.port = glb_be16_put(vip_port);
	return 0;
}

void rewrite_format(const struct rewrite *rewrite, char text[REWRITE_TEXT])
{
	const bool v6 = rewrite->match.family == GLB_REDIRECT_V6;
	char vip[PREFIX_TEXT];

	address_format(rewrite->match.family, rewrite->target.addr, vip);
	if (rewrite->match.kind == GLB_REDIRECT_DSCP)
		snprintf(text, REWRITE_TEXT, "%u=%s", glb_be16_get(rewrite->match.value), vip);
	else
		snprintf(text, REWRITE_TEXT, "%s:%u=%s%s%s:%u", rewrite->match.kind == GLB_IPPROTO_TCP ? "tcp" : "udp",
			 glb_be16_get(rewrite->match.value), v6 ? "[" : "", vip, v6 ? "]" : "",
			 glb_be16_get(rewrite->target.port));
}

bool rewrites_contain(const struct rewrites *rewrites, const struct glb_redirect_match *match)
{
	for (size_t i = 0; i < rewrites->count; i++)
		if (!memcmp(&rewrites->items[i].match, match, sizeof(*match)))
			return true;
	return false;
}

int rewrites_push(struct rewrites *rewrites, const struct rewrite *rewrite)
{
	void *items = realloc(rewrites->items, (rewrites->count + 1) * sizeof(*rewrites->items));

	if (!items)
		return -ENOMEM;
	rewrites->items = items;
	rewrites->items[rewrites->count++] = *rewrite;
	return 0;
}

void rewrites_free(struct rewrites *rewrites)
{
	free(rewrites->items);
	*rewrites = (struct rewrites){0};
}

static int by_match(const void *left, const void *right)
{
	const struct rewrite *a = left, *b = right;

	return memcmp(&a->match, &b->match, sizeof(a->match));
}

int rewrites_read(int fd, struct rewrites *rewrites)
{
	struct rewrite rewrite = {0};
	const void *previous = NULL;
	int err = 0;

	*rewrites = (struct rewrites){0};
	while (!err && !bpf_map_get_next_key(fd, previous, &rewrite.match)) {
		previous = &rewrite.match;
		if (!bpf_map_lookup_elem(fd, &rewrite.match, &rewrite.target))
			err = rewrites_push(rewrites, &rewrite);
	}
	if (rewrites->count > 1)
		qsort(rewrites->items, rewrites->count, sizeof(*rewrites->items), by_match);
	return err;
}

int rewrites_become(int fd, const struct rewrites *wanted)
{
	struct rewrites were;
	int err = rewrites_read(fd, &were);

	for (size_t i = 0; i < wanted->count && !err; i++)
		if (bpf_map_update_elem(fd, &wanted->items[i].match, &wanted->items[i].target, BPF_ANY))
			err = -errno;
	for (size_t i = 0; i < were.count && !err; i++)
		if (!rewrites_contain(wanted, &were.items[i].match) && bpf_map_delete_elem(fd, &were.items[i].match))
			err = -errno;
	rewrites_free(&were);
	return err;
}
