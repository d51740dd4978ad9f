/* SipHash-2-4 with a 64-bit result (Aumasson, Bernstein 2012). */
#ifndef GLB_SIPHASH_H
#define GLB_SIPHASH_H

#include "err.h"

/* Hash of `len` bytes at `in` under the 16-byte `key`. The result is the digest's 8
 * bytes read as a little-endian integer. Pure; any thread. */
uint64_t glb_siphash24(const uint8_t key[16], const void *in, size_t len);

#endif
