/* Prefixes as text, one in a line: read, put in order, and written (glb/lists.h). */
#include "snapshot_layout.h"

#include <glb/lists.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORD_MAX = 63 }; /* bytes of a line's prefix; the longest there can be has 49 */

static int by_family_and_address(const void *a, const void *b)
{
	const struct glb_prefix *left = a, *right = b;
	int order;

	if (left->addr.family != right->addr.family)
		return (int)left->addr.family - right->addr.family;
	order = memcmp(left->addr.bytes, right->addr.bytes, sizeof(left->addr.bytes));
	return order != 0 ? order : (int)left->bits - right->bits;
}

static void print(const struct glb_prefix *prefix, char out[WORD_MAX + 1])
{
	char text[INET6_ADDRSTRLEN] = "?";

	inet_ntop(prefix->addr.family == GLB_FAMILY_V4 ? AF_INET : AF_INET6, prefix->addr.bytes, text, sizeof(text));
	snprintf(out, WORD_MAX + 1, "%s/%u", text, prefix->bits);
}

/* Decimal digits without a leading zero, up to `most`. */
static bool read_length(const char *text, unsigned most, uint8_t *bits)
{
	unsigned value = 0;
	const size_t len = strlen(text);

	if (len == 0 || len > 3 || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	*bits = (uint8_t)value;
	return value <= most;
}

/* Says what is wrong with a line's word, whose slash may have been cut out. */
static int refuse(char *word, char *slash, unsigned long line, struct glb_prefix *prefix, struct glb_error *error)
{
	const bool v6 = prefix->addr.family == GLB_FAMILY_V6;
	const bool address = inet_pton(v6 ? AF_INET6 : AF_INET, word, prefix->addr.bytes) == 1;
	char right[WORD_MAX + 1];

	if (slash != NULL)
		*slash = '/';
	if (!address)
		return glb_error_set(error, -EINVAL, "line %lu: %s is not an IPv4 or IPv6 prefix; write it as in 192.0.2.0/24 or 2001:db8::/32",
				     line, word);
	if (slash != NULL && !read_length(slash + 1, v6 ? 128 : 32, &prefix->bits))
		return glb_error_set(error, -EINVAL, "line %lu: %s has no length from 0 to %u behind its /", line, word, v6 ? 128 : 32);
	glb_addr_mask(&prefix->addr, prefix->bits, &prefix->addr);
	print(prefix, right);
	return glb_error_set(error, -EINVAL, "line %lu: %s has host bits set; write %s", line, word, right);
}

static int read_prefix(char *word, unsigned long line, struct glb_prefix *out, struct glb_error *error)
{
	char *slash = strchr(word, '/');
	const bool v6 = strchr(word, ':') != NULL;
	struct glb_addr masked;

	memset(out, 0, sizeof(*out));
	if (slash != NULL)
		*slash = '\0';
	out->addr.family = v6 ? GLB_FAMILY_V6 : GLB_FAMILY_V4;
	out->bits = v6 ? 128 : 32;
	if (inet_pton(v6 ? AF_INET6 : AF_INET, word, out->addr.bytes) != 1 ||
	    (slash != NULL && !read_length(slash + 1, out->bits, &out->bits)))
		return refuse(word, slash, line, out, error);
	glb_addr_mask(&out->addr, out->bits, &masked);
	return glb_addr_equal(&masked, &out->addr) ? 0 : refuse(word, slash, line, out, error);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* What counts of a line, without the space around it, into `word`; returns its length, or WORD_MAX + 1 when it is longer. */
static size_t cut(const char *line, size_t len, char word[WORD_MAX + 1])
{
	const char *comment = memchr(line, '#', len);

	if (comment != NULL)
		len = (size_t)(comment - line);
	while (len > 0 && is_space(line[len - 1]))
		len--;
	while (len > 0 && is_space(line[0])) {
		line++;
		len--;
	}
	if (len > WORD_MAX || memchr(line, '\0', len) != NULL)
		return WORD_MAX + 1;
	memcpy(word, line, len);
	word[len] = '\0';
	return len;
}

static int read_lines(const char *text, size_t len, struct glb_prefix *out, uint32_t *count, struct glb_error *error)
{
	char word[WORD_MAX + 1];
	unsigned long line = 1;

	for (const char *at = text, *end = text + len; at < end; line++) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const size_t whole = newline != NULL ? (size_t)(newline - at) : (size_t)(end - at);
		const size_t n = cut(at, whole, word);
		int status;

		at += whole + 1;
		if (n == 0)
			continue;
		if (n > WORD_MAX)
			return glb_error_set(error, -EINVAL, "line %lu: too long, or with a NUL; a line is one prefix, and a comment begins with #", line);
		if (*count == GLB_LIST_PREFIXES_MAX)
			return glb_error_set(error, -EINVAL, "line %lu: a list has at most %d prefixes", line, GLB_LIST_PREFIXES_MAX);
		status = read_prefix(word, line, &out[*count], error);
		if (status != 0)
			return status;
		(*count)++;
	}
	return 0;
}

/* No more than there are lines. */
static size_t count_lines(const char *text, size_t len)
{
	size_t lines = 1;

	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	return lines < GLB_LIST_PREFIXES_MAX ? lines : GLB_LIST_PREFIXES_MAX;
}

static void put_in_order(struct glb_prefix *prefixes, uint32_t *count)
{
	bool ordered = true;
	uint32_t kept = 0;

	for (uint32_t i = 1; i < *count && ordered; i++)
		ordered = by_family_and_address(&prefixes[i - 1], &prefixes[i]) < 0;
	if (ordered)
		return;
	qsort(prefixes, *count, sizeof(*prefixes), by_family_and_address);
	for (uint32_t i = 0; i < *count; i++)
		if (i == 0 || by_family_and_address(&prefixes[kept - 1], &prefixes[i]) != 0)
			prefixes[kept++] = prefixes[i];
	*count = kept;
}

int glb_prefixes_read(const char *text, size_t len, struct glb_prefix **prefixes, uint32_t *count, struct glb_error *error)
{
	int status;

	*count = 0;
	*prefixes = malloc(count_lines(text, len) * sizeof(**prefixes));
	if (*prefixes == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory for %zu bytes of prefixes", len);
	status = read_lines(text, len, *prefixes, count, error);
	if (status == 0) {
		put_in_order(*prefixes, count);
		return 0;
	}
	free(*prefixes);
	*prefixes = NULL;
	*count = 0;
	return status;
}

void glb_prefixes_free(struct glb_prefix *prefixes)
{
	free(prefixes);
}

int glb_prefixes_write(const struct glb_prefix *prefixes, uint32_t count, struct glb_buffer *out)
{
	char word[WORD_MAX + 1];
	size_t len = 0;

	*out = (struct glb_buffer){NULL, 0};
	out->data = malloc((size_t)count * (WORD_MAX + 1) + 1);
	if (out->data == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		size_t n;

		print(&prefixes[i], word);
		n = strlen(word);
		memcpy(out->data + len, word, n);
		out->data[len + n] = '\n';
		len += n + 1;
	}
	out->len = len;
	return 0;
}
