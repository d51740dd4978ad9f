/* Vector types of the compiler's own, and loads of what lies anywhere. Each operation becomes what the target has for it. */
#ifndef GLB_CORE_LANES_H
#define GLB_CORE_LANES_H

#include <stdint.h>
#include <string.h>

#define GLB_INLINE static inline __attribute__((always_inline))

/* A function of these is compiled for several CPUs, and the loader picks one of them, once. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define GLB_LANES_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define GLB_LANES_CLONES
#endif

typedef uint8_t u8x16 __attribute__((vector_size(16), may_alias));
typedef uint64_t u64x2 __attribute__((vector_size(16), may_alias));
typedef int32_t i32x8 __attribute__((vector_size(32), may_alias));
typedef uint32_t u32x4 __attribute__((vector_size(16), may_alias));
typedef uint32_t u32x8 __attribute__((vector_size(32), may_alias));
typedef uint64_t u64x4 __attribute__((vector_size(32), may_alias));

GLB_INLINE uint16_t load16(const void *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

GLB_INLINE uint32_t load32(const void *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

GLB_INLINE uint64_t load64(const void *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

GLB_INLINE u8x16 load128(const void *at)
{
	u8x16 value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* Not 0 if any bit is set. */
GLB_INLINE uint64_t any_u8x16(const u8x16 *x)
{
	const u64x2 halves = (u64x2)*x;

	return halves[0] | halves[1];
}

GLB_INLINE uint64_t any_u32x8(const u32x8 *x)
{
	const u64x4 quarters = (u64x4)*x;

	return quarters[0] | quarters[1] | quarters[2] | quarters[3];
}

#endif
