/* The checksum against RFC 1071's own loop, at every length and alignment. */
#include "check.h"
#include "frames.h"

#include "checksum.h"

/* RFC 1071, 4.1: one 16-bit word at a time, in network order. */
static uint16_t naive(const uint8_t *bytes, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void published_example(void)
{
	/* RFC 1071, section 3: the sum of these is ddf2. */
	static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	CHECK(glb_be16_get(checksum_finish(checksum_add(0, bytes, sizeof(bytes)))) == (uint16_t)~0xddf2);
}

static void equals_naive_twin(void)
{
	uint64_t state = 7;

	for (unsigned len = 0; len < 300; len++) {
		uint8_t *bytes = malloc(len + 1); /* its last byte is the one read when len is odd */

		for (unsigned i = 0; i <= len; i++)
			bytes[i] = (uint8_t)(test_random(&state) % 4 == 0 ? 0xff : test_random(&state));
		CHECK(glb_be16_get(checksum_finish(checksum_add(0, bytes + 1, len))) == naive(bytes + 1, len));
		free(bytes);
	}
}

static void adds_in_parts(void)
{
	uint8_t bytes[64];
	uint64_t state = 8;

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)test_random(&state);
	for (unsigned split = 0; split <= sizeof(bytes); split += 2) {
		const uint64_t sum = checksum_add(checksum_add(0, bytes, split), bytes + split, sizeof(bytes) - split);

		CHECK(glb_be16_get(checksum_finish(sum)) == naive(bytes, sizeof(bytes)));
	}
}

/* An update of one word is what the whole sum gives, and keeps what was wrong wrong. */
static void updates_equal_a_new_sum(void)
{
	uint64_t state = 11;

	for (unsigned round = 0; round < 100000; round++) {
		uint8_t bytes[20];
		const unsigned at = 2 * (unsigned)(test_random(&state) % 10);
		glb_be16 field, old, now;

		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(test_random(&state) % 3 == 0 ? 0xff : test_random(&state));
		now = glb_be16_put((uint16_t)(test_random(&state) % 5 == 0 ? 0 : test_random(&state)));
		field = checksum_finish(checksum_add(0, bytes, sizeof(bytes)));
		memcpy(&old, bytes + at, 2);
		memcpy(bytes + at, &now, 2);
		field = checksum_update(field, old, now);
		/* what a receiver computes: data and field together */
		CHECK(glb_be16_get(checksum_finish(checksum_add(checksum_add(0, bytes, sizeof(bytes)), &field, 2))) == 0);
		field.b[1] ^= 1;
		CHECK(glb_be16_get(checksum_finish(checksum_add(checksum_add(0, bytes, sizeof(bytes)), &field, 2))) != 0);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"published example", published_example},
		{"equals its naive twin", equals_naive_twin},
		{"adds in parts", adds_in_parts},
		{"updates equal a new sum", updates_equal_a_new_sum},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
