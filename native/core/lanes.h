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

GLB_INLINE u64x4 widen(const uint32_t *lanes)
{
	return __builtin_convertvector(*(const u32x4 *)lanes, u64x4);
}

/* Of lanes with no other bits. */
GLB_INLINE u64x4 swap16(u64x4 x)
{
	return (x << 8 | x >> 8) & 0xffff;
}

GLB_INLINE u64x4 swap32(u64x4 x)
{
	return swap16(x & 0xffff) << 16 | swap16(x >> 16);
}

/* What lies at four places. Written out, since the compiler would go through memory. */
GLB_INLINE u64x4 gather16(u64x4 at)
{
	return (u64x4){load16((const void *)at[0]), load16((const void *)at[1]), load16((const void *)at[2]), load16((const void *)at[3])};
}

GLB_INLINE u64x4 gather64(u64x4 at)
{
	return (u64x4){load64((const void *)at[0]), load64((const void *)at[1]), load64((const void *)at[2]), load64((const void *)at[3])};
}

GLB_INLINE void store16(uint64_t at, uint64_t value)
{
	const uint16_t bytes = (uint16_t)value;

	memcpy((void *)at, &bytes, sizeof(bytes));
}

GLB_INLINE void scatter16(u64x4 at, u64x4 value)
{
	store16(at[0], value[0]);
	store16(at[1], value[1]);
	store16(at[2], value[2]);
	store16(at[3], value[3]);
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
