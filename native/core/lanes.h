/* Vector types of the compiler's own, and loads of what lies anywhere. Each operation becomes what the target has for it. */
#ifndef GLB_CORE_LANES_H
#define GLB_CORE_LANES_H

#include <stdint.h>
#include <string.h>

#define GLB_INLINE static inline __attribute__((always_inline))

/* Before a loop over four lanes: they stay in registers. */
#define GLB_EACH_LANE _Pragma("GCC unroll 4")

/* A function of these is compiled for several CPUs, and the loader picks one of them, once. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define GLB_LANES_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define GLB_LANES_CLONES
#endif

typedef uint8_t u8x16 __attribute__((vector_size(16), may_alias));
typedef uint64_t u64x2 __attribute__((vector_size(16), may_alias));
typedef uint16_t u16x16 __attribute__((vector_size(32), may_alias));
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

/* The words of half the size at `lanes`, and back. Written so that each becomes one instruction, which the compiler makes of __builtin_convertvector() only
 * in later versions. */
GLB_INLINE u64x4 widen(const uint32_t *lanes)
{
	return (u64x4){lanes[0], lanes[1], lanes[2], lanes[3]};
}

GLB_INLINE u32x4 narrow(u64x4 words)
{
	return __builtin_shufflevector((u32x8)words, (u32x8)words, 0, 2, 4, 6);
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

/* Four by four words: lane i of each of the four becomes word 0 to 3 of the i-th. */
GLB_INLINE void transpose(u64x4 w[4])
{
	const u64x4 a = __builtin_shufflevector(w[0], w[1], 0, 4, 2, 6), b = __builtin_shufflevector(w[0], w[1], 1, 5, 3, 7);
	const u64x4 c = __builtin_shufflevector(w[2], w[3], 0, 4, 2, 6), d = __builtin_shufflevector(w[2], w[3], 1, 5, 3, 7);

	w[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
	w[1] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
	w[2] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
	w[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

/* Not 0 if any bit is set. */
GLB_INLINE uint64_t any_u8x16(const u8x16 *x)
{
	const u64x2 halves = (u64x2)*x;

	return halves[0] | halves[1];
}

GLB_INLINE uint64_t any_u64x4(const u64x4 *x)
{
	return (*x)[0] | (*x)[1] | (*x)[2] | (*x)[3];
}

GLB_INLINE uint64_t any_u32x8(const u32x8 *x)
{
	const u64x4 quarters = (u64x4)*x;

	return any_u64x4(&quarters);
}

#endif
