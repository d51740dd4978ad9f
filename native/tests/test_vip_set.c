/* Sets of VIP prefixes: sorted, each once; the difference of two. */
#include "check.h"

#include "vip_set.h"

#include <string.h>

static struct glb_vip vips[8];
static struct glb_snapshot snapshot = {.vips = vips};

/* One IPv4 /32 for each character; NULL vips when there is no memory. */
static struct vip_set made(const char *last_bytes)
{
	struct vip_set set;

	snapshot.vip_count = 0;
	for (; *last_bytes != '\0'; last_bytes++) {
		struct glb_vip *vip = &vips[snapshot.vip_count++];

		*vip = (struct glb_vip){.addr = {.bytes = {203, 0, 113, (uint8_t)*last_bytes}, .family = GLB_FAMILY_V4},
					.bits = 32};
	}
	vip_set_make(&set, &snapshot);
	return set;
}

static char seen[16];

static int note(void *context, const struct vip *vip)
{
	const char *stop_at = context;

	strncat(seen, (const char[]){(char)vip->key.addr[3], '\0'}, sizeof(seen) - strlen(seen) - 1);
	return stop_at != NULL && *stop_at == (char)vip->key.addr[3] ? -5 : 0;
}

static const char *difference(const char *left, const char *right)
{
	struct vip_set a = made(left), b = made(right);

	seen[0] = '\0';
	if (a.vips == NULL || b.vips == NULL || vip_set_difference(&a, &b, note, NULL) != 0)
		strcpy(seen, "failed");
	vip_set_free(&a);
	vip_set_free(&b);
	return seen;
}

static void holds_each_once_in_order(void)
{
	struct vip_set set = made("cabca");

	CHECK(set.count == 3);
	for (unsigned i = 0; i < 3; i++)
		CHECK(set.vips[i].key.addr[3] == 'a' + i && set.vips[i].key.bits == 32);
	vip_set_free(&set);
	CHECK(set.count == 0 && set.vips == NULL);
}

static void tells_families_and_lengths_apart(void)
{
	struct vip_set set, none = {0};

	memset(vips, 0, sizeof(vips));
	vips[0] = (struct glb_vip){.addr = {.bytes = {0x20}, .family = GLB_FAMILY_V4}, .bits = 8};
	vips[1] = (struct glb_vip){.addr = {.bytes = {0x20}, .family = GLB_FAMILY_V6}, .bits = 8};
	vips[2] = (struct glb_vip){.addr = {.bytes = {0x20}, .family = GLB_FAMILY_V6}, .bits = 9};
	snapshot.vip_count = 3;
	CHECK(vip_set_make(&set, &snapshot) == 0);
	CHECK(set.count == 3);
	CHECK(set.vips[0].family == GLB_FAMILY_V4 && set.vips[2].key.bits == 9);
	seen[0] = '\0';
	CHECK(vip_set_difference(&set, &set, note, NULL) == 0 && seen[0] == '\0');
	CHECK(vip_set_difference(&none, &set, note, NULL) == 0 && seen[0] == '\0');
	vip_set_free(&set);
}

static void differences(void)
{
	CHECK(strcmp(difference("abcd", "bd"), "ac") == 0);
	CHECK(strcmp(difference("bd", "abcd"), "") == 0);
	CHECK(strcmp(difference("abc", ""), "abc") == 0);
	CHECK(strcmp(difference("", "abc"), "") == 0);
	CHECK(strcmp(difference("xyz", "abc"), "xyz") == 0);
	CHECK(strcmp(difference("abc", "xyz"), "abc") == 0);
}

static void stops_at_the_first_failure(void)
{
	struct vip_set a = made("abcd"), none = {0};

	seen[0] = '\0';
	CHECK(vip_set_difference(&a, &none, note, (char[]){"b"}) == -5);
	CHECK(strcmp(seen, "ab") == 0);
	vip_set_free(&a);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"holds each VIP once, in order", holds_each_once_in_order},
		{"tells families and lengths apart", tells_families_and_lengths_apart},
		{"differences", differences},
		{"stops at the first failure", stops_at_the_first_failure},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
