/* Times source lists: glb-bench-lists [PREFIXES [LOOKUPS]].
 *
 * For each family, one list of so many prefixes drawn at random (IPv4: /16 to /32; IPv6: /32 to /64 in 2000::/3), read from text, compiled,
 * opened, and asked for addresses half of which are in it. Times are of the CPU. To count instructions of a look-up: valgrind --tool=callgrind
 * --toggle-collect=glb_list_has, over the number of look-ups.
 */
#include <glb/lists.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1d;
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void draw(uint64_t *random, bool v6, struct glb_prefix *prefix)
{
	const uint64_t bits = next_random(random);

	memset(prefix, 0, sizeof(*prefix));
	prefix->addr.family = v6 ? GLB_FAMILY_V6 : GLB_FAMILY_V4;
	memcpy(prefix->addr.bytes, &bits, v6 ? 8 : 4);
	if (v6)
		prefix->addr.bytes[0] = 0x20 | (prefix->addr.bytes[0] & 0x1f);
	prefix->bits = (uint8_t)(v6 ? 32 + next_random(random) % 33 : 16 + next_random(random) % 17);
	for (unsigned i = 0; i < 16; i++) {
		const int kept = (int)prefix->bits - (int)i * 8;

		prefix->addr.bytes[i] &= kept >= 8 ? 0xff : kept <= 0 ? 0 : (uint8_t)(0xff00 >> kept);
	}
}

static void run(bool v6, uint32_t count, uint64_t lookups)
{
	struct glb_prefix *prefixes = malloc(count * sizeof(*prefixes)), *read;
	struct glb_addr *asked = malloc(1048576 * sizeof(*asked));
	struct glb_buffer text, file;
	struct glb_lists lists;
	struct glb_list list;
	uint64_t random = 5, found = 0;
	uint32_t distinct;
	double at[5];

	if (prefixes == NULL || asked == NULL)
		exit(1);
	for (uint32_t i = 0; i < count; i++)
		draw(&random, v6, &prefixes[i]);
	for (uint32_t i = 0; i < 1048576; i++) {
		struct glb_prefix other;

		draw(&random, v6, &other);
		asked[i] = i % 2 ? prefixes[next_random(&random) % count].addr : other.addr;
	}
	if (glb_prefixes_write(prefixes, count, &text) != 0)
		exit(1);
	at[0] = now_s();
	if (glb_prefixes_read((const char *)text.data, text.len, &read, &distinct, NULL) != 0)
		exit(1);
	at[1] = now_s();
	if (glb_lists_compile(&(struct glb_list_config){"a", read, distinct}, 1, &file, NULL) != 0)
		exit(1);
	at[2] = now_s();
	if (glb_lists_open(file.data, file.len, &lists, NULL) != 0 || !glb_lists_find(&lists, "a", &list))
		exit(1);
	at[3] = now_s();
	for (uint64_t i = 0; i < lookups; i++)
		found += glb_list_has(&list, &asked[i & 1048575]);
	at[4] = now_s();
	printf("IPv%d: %u prefixes, %u keys, %.1f MB; read %.0f ms, compile %.0f ms, open %.0f ms, look-up %.1f ns (%.0f %% in)\n", v6 ? 6 : 4,
	       distinct, v6 ? lists.entries[0].v6_keys : lists.entries[0].v4_keys, (double)file.len * 1e-6, (at[1] - at[0]) * 1e3,
	       (at[2] - at[1]) * 1e3, (at[3] - at[2]) * 1e3, (at[4] - at[3]) / (double)lookups * 1e9,
	       (double)found / (double)lookups * 100);
	glb_buffer_free(&text);
	glb_buffer_free(&file);
	free(read);
	free(prefixes);
	free(asked);
}

int main(int argc, char **argv)
{
	const uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
	const uint64_t lookups = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000000;

	run(false, count, lookups);
	run(true, count, lookups);
	return 0;
}
