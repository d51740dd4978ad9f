/* What the fuzz targets share: an assertion that stays in every build, and bytes taken from the front of the input. */
#ifndef GLB_TESTS_FUZZ_H
#define GLB_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                              \
	do {                                                                         \
		if (!(condition)) {                                                  \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			fflush(NULL);                                                \
			abort();                                                     \
		}                                                                    \
	} while (0)

struct input {
	const uint8_t *data;
	size_t left;
};

/* The next byte; 0 behind the end. */
static inline uint8_t input_byte(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->data++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#endif
