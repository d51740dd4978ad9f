/* Source lists: text to prefixes, prefixes to bytes, look-ups against a naive twin, and files that must be refused. */
#include "check.h"
#include "frames.h"
#include "lists_layout.h"
#include "snapshot_layout.h"

#include <errno.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One list "a" of these prefixes, opened. */
struct opened {
	struct glb_buffer buffer;
	struct glb_lists lists;
	struct glb_list list;
	struct glb_error error;
};

static bool open_list(struct opened *o, const struct glb_prefix *prefixes, uint32_t count)
{
	const struct glb_list_config config = {"a", prefixes, count};

	memset(o, 0, sizeof(*o));
	return glb_lists_compile(&config, 1, &o->buffer, &o->error) == 0 &&
	       glb_lists_open(o->buffer.data, o->buffer.len, &o->lists, &o->error) == 0 && glb_lists_find(&o->lists, "a", &o->list);
}

static bool open_text(struct opened *o, const char *text)
{
	struct glb_prefix *prefixes;
	uint32_t count;
	bool done;

	if (glb_prefixes_read(text, strlen(text), &prefixes, &count, &o->error) != 0)
		return false;
	done = open_list(o, prefixes, count);
	free(prefixes);
	return done;
}

static struct glb_addr address(const char *text)
{
	struct glb_prefix *prefix;
	struct glb_addr addr = {.family = GLB_FAMILY_NONE};
	uint32_t count;

	if (glb_prefixes_read(text, strlen(text), &prefix, &count, NULL) == 0 && count == 1)
		addr = prefix->addr;
	free(prefix);
	return addr;
}

static bool has(const struct opened *o, const char *text)
{
	const struct glb_addr addr = address(text);

	return glb_list_has(&o->list, &addr);
}

static void an_address_is_in_or_out(void)
{
	struct opened o;

	CHECK(open_text(&o, "10.0.0.0/8\n10.1.0.0/16\n192.0.2.7\n2001:db8::/32\n2001:db9::1\n"));
	CHECK(has(&o, "10.0.0.0") && has(&o, "10.255.255.255") && has(&o, "10.1.2.3") && has(&o, "192.0.2.7"));
	CHECK(!has(&o, "9.255.255.255") && !has(&o, "11.0.0.0") && !has(&o, "192.0.2.6") && !has(&o, "192.0.2.8"));
	CHECK(has(&o, "2001:db8::") && has(&o, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff") && has(&o, "2001:db9::1"));
	CHECK(!has(&o, "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff") && !has(&o, "2001:db9::") && !has(&o, "2001:db9::2"));
	CHECK(o.lists.entries[0].prefixes == 5 && o.lists.entries[0].v4_keys == 4 && o.lists.entries[0].v6_keys == 4);
	glb_buffer_free(&o.buffer);
}

static void the_ends_of_the_address_spaces(void)
{
	struct opened o;

	CHECK(open_text(&o, "0.0.0.0/0\n::/0\n"));
	CHECK(has(&o, "0.0.0.0") && has(&o, "255.255.255.255") && has(&o, "::") && has(&o, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
	glb_buffer_free(&o.buffer);
	CHECK(open_text(&o, "255.255.255.255\n0.0.0.0\n::\nffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n"));
	CHECK(has(&o, "0.0.0.0") && has(&o, "255.255.255.255") && has(&o, "::") && has(&o, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
	CHECK(!has(&o, "0.0.0.1") && !has(&o, "255.255.255.254") && !has(&o, "::1") && !has(&o, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"));
	glb_buffer_free(&o.buffer);
	CHECK(open_text(&o, "# nothing\n"));
	CHECK(!has(&o, "0.0.0.0") && !has(&o, "255.255.255.255") && !has(&o, "::"));
	glb_buffer_free(&o.buffer);
}

/* Few different values per byte, so that prefixes meet. */
static void draw_addr(uint64_t *random, bool v6, struct glb_addr *addr)
{
	static const uint8_t values[] = {0, 1, 127, 128, 254, 255};

	memset(addr, 0, sizeof(*addr));
	addr->family = v6 ? GLB_FAMILY_V6 : GLB_FAMILY_V4;
	for (unsigned i = 0; i < (v6 ? 16u : 4u); i++)
		addr->bytes[i] = test_random(random) % 4 != 0 ? values[test_random(random) % COUNT(values)] : (uint8_t)test_random(random);
}

static bool naive(const struct glb_prefix *prefixes, uint32_t count, const struct glb_addr *addr)
{
	for (uint32_t i = 0; i < count; i++) {
		struct glb_addr masked;

		if (prefixes[i].addr.family != addr->family)
			continue;
		glb_addr_mask(addr, prefixes[i].bits, &masked);
		if (glb_addr_equal(&masked, &prefixes[i].addr))
			return true;
	}
	return false;
}

/* The address `by` above (or below) another one, in its last four bytes. */
static struct glb_addr beside(const struct glb_addr *addr, int32_t by)
{
	struct glb_addr out = *addr;
	uint8_t *last = out.bytes + glb_addr_len(addr->family) - 4;
	uint32_t value = (uint32_t)last[0] << 24 | (uint32_t)last[1] << 16 | (uint32_t)last[2] << 8 | last[3];

	value += (uint32_t)by;
	for (unsigned i = 0; i < 4; i++)
		last[i] = (uint8_t)(value >> (24 - 8 * i));
	return out;
}

static void look_ups_agree_with_a_naive_twin(void)
{
	static const uint32_t sizes[] = {0, 1, 2, 8, 9, 15, 16, 17, 40, 130, 300, 2500};
	static struct glb_prefix prefixes[2500];
	uint64_t random = 3;

	for (unsigned round = 0; round < 60; round++) {
		const uint32_t count = sizes[round % COUNT(sizes)];
		struct opened o;

		for (uint32_t i = 0; i < count; i++) {
			const bool v6 = test_random(&random) % 2;
			struct glb_addr addr;

			draw_addr(&random, v6, &addr);
			memset(&prefixes[i], 0, sizeof(prefixes[i]));
			prefixes[i].bits = (uint8_t)(test_random(&random) % 50 == 0 ? 0 : (v6 ? 8 + test_random(&random) % 121 : 6 + test_random(&random) % 27));
			glb_addr_mask(&addr, prefixes[i].bits, &prefixes[i].addr);
		}
		CHECK(open_list(&o, prefixes, count));
		for (unsigned i = 0; i < 3000; i++) {
			struct glb_addr addr;

			draw_addr(&random, i % 2, &addr);
			if (count > 0 && i % 3 != 0)
				addr = beside(&prefixes[test_random(&random) % count].addr, (int32_t)(test_random(&random) % 3) - 1);
			CHECK(glb_list_has(&o.list, &addr) == naive(prefixes, count, &addr));
		}
		glb_buffer_free(&o.buffer);
	}
}

static void equal_sets_give_equal_bytes(void)
{
	struct opened a, b;

	CHECK(open_text(&a, "10.0.0.0/9\n10.128.0.0/9\n2001:db8::/33\n2001:db8:8000::/33\n"));
	CHECK(open_text(&b, "2001:db8:8000::/33 # four\r\n2001:db8::/33\n\n10.128.0.0/9\n  10.0.0.0/9\n10.0.0.0/9"));
	CHECK(a.lists.entries[0].v4_keys == 2 && a.lists.entries[0].v6_keys == 2 && a.lists.entries[0].prefixes == 4);
	CHECK(a.buffer.len == b.buffer.len && memcmp(a.buffer.data, b.buffer.data, a.buffer.len) == 0);
	glb_buffer_free(&a.buffer);
	glb_buffer_free(&b.buffer);
}

static void lists_are_found_by_name(void)
{
	const struct glb_prefix one = {.addr = address("192.0.2.1"), .bits = 32}, two = {.addr = address("192.0.2.2"), .bits = 32};
	const struct glb_list_config configs[] = {{"office", &one, 1}, {"bots", &two, 1}, {"none", NULL, 0}};
	const struct glb_list_config twice[] = {{"a", &one, 1}, {"a", &two, 1}}, unnamed = {"", &one, 1};
	struct glb_prefix wrong = one;
	const struct glb_list_config host_bits = {"a", &wrong, 1};
	struct glb_buffer buffer;
	struct glb_lists lists;
	struct glb_list list;
	struct glb_error error;

	CHECK(glb_lists_compile(configs, 3, &buffer, NULL) == 0 && glb_lists_open(buffer.data, buffer.len, &lists, NULL) == 0);
	CHECK(lists.count == 3);
	CHECK(glb_lists_find(&lists, "office", &list) && glb_list_has(&list, &one.addr) && !glb_list_has(&list, &two.addr));
	CHECK(glb_lists_find(&lists, "bots", &list) && !glb_list_has(&list, &one.addr) && glb_list_has(&list, &two.addr));
	CHECK(glb_lists_find(&lists, "none", &list) && !glb_list_has(&list, &one.addr));
	CHECK(!glb_lists_find(&lists, "offic", &list) && !glb_list_has(&list, &one.addr) && !glb_lists_find(&lists, "z", &list));
	glb_buffer_free(&buffer);
	CHECK(glb_lists_compile(NULL, 0, &buffer, NULL) == 0 && glb_lists_open(buffer.data, buffer.len, &lists, NULL) == 0);
	CHECK(!glb_lists_find(&lists, "a", &list));
	glb_buffer_free(&buffer);
	CHECK(glb_lists_compile(twice, 2, &buffer, &error) == -EEXIST && strcmp(error.text, "two lists have the name a") == 0);
	CHECK(glb_lists_compile(&unnamed, 1, &buffer, &error) == -EINVAL && buffer.data == NULL);
	wrong.bits = 24;
	CHECK(glb_lists_compile(&host_bits, 1, &buffer, &error) == -EINVAL);
	CHECK(strcmp(error.text, "lists[0].prefixes[0]: has host bits set") == 0);
}

static void text_is_read_and_written(void)
{
	static const char text[] = "2001:DB8:0::/48\n\t10.0.0.0/8 \n# a comment\n\n192.0.2.1 # one\n10.0.0.0/8\n10.0.0.0/24\n::1";
	static const char wanted[] = "10.0.0.0/8\n10.0.0.0/24\n192.0.2.1/32\n::1/128\n2001:db8::/48\n";
	struct glb_prefix *prefixes;
	struct glb_buffer out;
	uint32_t count;

	CHECK(glb_prefixes_read(text, strlen(text), &prefixes, &count, NULL) == 0 && count == 5);
	CHECK(glb_prefixes_write(prefixes, count, &out) == 0);
	CHECK(out.len == strlen(wanted) && memcmp(out.data, wanted, out.len) == 0);
	free(prefixes);
	glb_buffer_free(&out);
}

static void wrong_text_names_line_and_fix(void)
{
	static const struct {
		const char *text, *error;
	} wrong[] = {
		{"10.0.0.0/8\n\n10.0.0.1/24\n", "line 3: 10.0.0.1/24 has host bits set; write 10.0.0.0/24"},
		{"2001:db8::1/32", "line 1: 2001:db8::1/32 has host bits set; write 2001:db8::/32"},
		{"#\nfoo", "line 2: foo is not an IPv4 or IPv6 prefix; write it as in 192.0.2.0/24 or 2001:db8::/32"},
		{"10.0.0/8", "line 1: 10.0.0/8 is not an IPv4 or IPv6 prefix; write it as in 192.0.2.0/24 or 2001:db8::/32"},
		{"10.0.0.0/33", "line 1: 10.0.0.0/33 has no length from 0 to 32 behind its /"},
		{"10.0.0.0/", "line 1: 10.0.0.0/ has no length from 0 to 32 behind its /"},
		{"10.0.0.0/08", "line 1: 10.0.0.0/08 has no length from 0 to 32 behind its /"},
		{"10.0.0.0/-8", "line 1: 10.0.0.0/-8 has no length from 0 to 32 behind its /"},
		{"::/129", "line 1: ::/129 has no length from 0 to 128 behind its /"},
		{"10.0.0.0/8 10.1.0.0/16 10.2.0.0/16 10.3.0.0/16 10.4.0.0/16 10.5.0.0/16",
		 "line 1: too long, or with a NUL; a line is one prefix, and a comment begins with #"},
	};

	for (unsigned i = 0; i < COUNT(wrong); i++) {
		struct glb_prefix *prefixes;
		struct glb_error error;
		uint32_t count;

		CHECK(glb_prefixes_read(wrong[i].text, strlen(wrong[i].text), &prefixes, &count, &error) == -EINVAL);
		CHECK(strcmp(error.text, wrong[i].error) == 0 && prefixes == NULL && count == 0);
	}
}

/* Any byte that is changed is found, by its digest or, with a right one, by what it means. */
static void changed_bytes_are_refused(void)
{
	struct opened o;
	struct glb_lists lists;
	uint8_t *bytes;
	char text[2000];
	size_t at = 0;

	for (unsigned i = 0; i < 40; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "10.0.%u.0/25\n2001:db8:%x::/48\n", i, i * 2);
	CHECK(open_text(&o, text));
	bytes = aligned_alloc(64, o.buffer.len + 64 - o.buffer.len % 64);
	for (size_t i = 0; i < o.buffer.len; i++) {
		const bool digest = i >= 24 && i < 40;
		struct glb_lists_header *header = (struct glb_lists_header *)bytes;
		struct glb_error error = {0};

		memcpy(bytes, o.buffer.data, o.buffer.len);
		bytes[i] ^= 0x80;
		CHECK(glb_lists_open(bytes, o.buffer.len, &lists, &error) < 0 && error.text[0] != '\0' && lists.count == 0);
		if (digest)
			continue;
		glb_snapshot_digest(bytes, o.buffer.len, header->digest);
		if (glb_lists_open(bytes, o.buffer.len, &lists, &error) == 0) /* another name, more prefixes, or the set ends elsewhere */
			CHECK(i >= sizeof(*header) && (i < 160 || memcmp(lists.entries, o.lists.entries, 96) == 0));
	}
	for (size_t len = 0; len < o.buffer.len; len++)
		CHECK(glb_lists_open(o.buffer.data, len, &lists, NULL) < 0);
	free(bytes);
	glb_buffer_free(&o.buffer);
}

static const struct check_case cases[] = {
	{"an address is in or out", an_address_is_in_or_out},
	{"the ends of the address spaces", the_ends_of_the_address_spaces},
	{"look-ups agree with a naive twin", look_ups_agree_with_a_naive_twin},
	{"equal sets give equal bytes", equal_sets_give_equal_bytes},
	{"lists are found by name", lists_are_found_by_name},
	{"text is read and written", text_is_read_and_written},
	{"wrong text names line and fix", wrong_text_names_line_and_fix},
	{"changed bytes are refused", changed_bytes_are_refused},
};

int main(void)
{
	return check_run(cases, COUNT(cases));
}
