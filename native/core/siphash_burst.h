/* SipHash-2-4 of many short messages at once, in the lanes of vector registers. */
#ifndef GLB_CORE_SIPHASH_BURST_H
#define GLB_CORE_SIPHASH_BURST_H

#include <stdint.h>

enum {
	SIPHASH_WORDS_MAX = 5, /* of a message: its bytes in words of eight, little-endian, the last with its length on top */
	SIPHASH_LANES = 64,
};

struct siphash_burst {
	uint64_t key[2][SIPHASH_LANES];
	uint64_t word[SIPHASH_WORDS_MAX][SIPHASH_LANES];
	uint64_t hash[SIPHASH_LANES]; /* out */
} __attribute__((aligned(64)));

/* Hashes lanes first..end-1 of `words` words each, where `first` is a multiple of 8; lanes up to the next one behind `end` are read and written, too. Its twin
 * is glb_siphash24(). */
void siphash_burst(struct siphash_burst *burst, unsigned words, unsigned first, unsigned end);

#endif
