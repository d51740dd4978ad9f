/* SipHash-2-4 against the vectors that its authors publish (reference implementation, vectors.h). */
#include "check.h"

#include <glb/siphash.h>

/* key 00 01 .. 0f, message 00 01 .. (length - 1) */
static void published_vectors(void)
{
	static const struct {
		unsigned length;
		uint64_t hash;
	} vectors[] = {
		{0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd}, {2, 0x0d6c8009d9a94f5a},
		{3, 0x85676696d7fb7e2d}, {7, 0xab0200f58b01d137}, {8, 0x93f5f5799a932462},
		{15, 0xa129ca6149be45e5},
	};
	uint8_t key[16], message[16];

	for (unsigned i = 0; i < 16; i++)
		key[i] = message[i] = (uint8_t)i;
	for (unsigned i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		CHECK(glb_siphash24(key, message, vectors[i].length) == vectors[i].hash);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"published vectors", published_vectors},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
