/* Counters have one writer and are read by anyone: plain addition, stored whole. */
#ifndef FORWARDER_COUNT_H
#define FORWARDER_COUNT_H

#include <stdint.h>

static inline void count_add(uint64_t *word, uint64_t n)
{
	__atomic_store_n(word, *word + n, __ATOMIC_RELAXED);
}

static inline void count_most(uint64_t *word, uint64_t n)
{
	if (n > *word)
		__atomic_store_n(word, n, __ATOMIC_RELAXED);
}

#endif
