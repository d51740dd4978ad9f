/* SipHash-2-4 in lanes: GLB_LANES messages at a time, one in each lane of two registers; internal to libglb.
 *
 * The compiler lowers the vectors to what the machine has. Each vector is one AVX2 register: gcc takes wider ones than the
 * machine's apart again, which halves the speed; there are two, so that the work of one fills the other's waits. glb_siphash24() is the twin.
 */
#ifndef GLB_CORE_SIP_LANES_H
#define GLB_CORE_SIP_LANES_H

#include "lanes.h"

typedef uint64_t glb_lanes __attribute__((vector_size(32)));
typedef uint32_t glb_lanes_u32 __attribute__((vector_size(32)));
typedef uint8_t glb_lanes_u8 __attribute__((vector_size(32)));

enum {
	GLB_LANES_REGISTER = sizeof(glb_lanes) / sizeof(uint64_t),
	GLB_LANES = 2 * GLB_LANES_REGISTER,
};

struct sip_lanes { /* of one register */
	glb_lanes v0, v1, v2, v3;
};

GLB_INLINE glb_lanes glb_lanes_rotate(glb_lanes x, int bits)
{
	return x << bits | x >> (64 - bits);
}

/* By whole bytes: one instruction, where shifting would be three. */
GLB_INLINE glb_lanes glb_lanes_rotate_32(glb_lanes x)
{
	const glb_lanes_u32 halves = (glb_lanes_u32)x;

	return (glb_lanes)__builtin_shufflevector(halves, halves, 1, 0, 3, 2, 5, 4, 7, 6);
}

GLB_INLINE glb_lanes glb_lanes_rotate_16(glb_lanes x)
{
	const glb_lanes_u8 bytes = (glb_lanes_u8)x;

	return (glb_lanes)__builtin_shufflevector(bytes, bytes, 6, 7, 0, 1, 2, 3, 4, 5, 14, 15, 8, 9, 10, 11, 12, 13,
						  22, 23, 16, 17, 18, 19, 20, 21, 30, 31, 24, 25, 26, 27, 28, 29);
}

/* Between a digest and the big-endian number of its bytes. */
GLB_INLINE glb_lanes glb_lanes_swap(glb_lanes x)
{
	const glb_lanes_u8 bytes = (glb_lanes_u8)x;

	return (glb_lanes)__builtin_shufflevector(bytes, bytes, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8,
						  23, 22, 21, 20, 19, 18, 17, 16, 31, 30, 29, 28, 27, 26, 25, 24);
}

GLB_INLINE void sip_lanes_round(struct sip_lanes *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = glb_lanes_rotate(s->v1, 13) ^ s->v0;
	s->v3 = glb_lanes_rotate_16(s->v3) ^ s->v2;
	s->v0 = glb_lanes_rotate_32(s->v0);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = glb_lanes_rotate(s->v1, 17) ^ s->v2;
	s->v3 = glb_lanes_rotate(s->v3, 21) ^ s->v0;
	s->v2 = glb_lanes_rotate_32(s->v2);
}

/* Takes in a word of each message, in both registers. */
GLB_INLINE void sip_lanes_word(struct sip_lanes s[2], const glb_lanes m[2])
{
	s[0].v3 ^= m[0];
	s[1].v3 ^= m[1];
#pragma GCC unroll 2
	for (unsigned i = 0; i < 2; i++) {
		sip_lanes_round(&s[0]);
		sip_lanes_round(&s[1]);
	}
	s[0].v0 ^= m[0];
	s[1].v0 ^= m[1];
}

/* Ends the messages; their digests. */
GLB_INLINE void sip_lanes_end(struct sip_lanes s[2], glb_lanes digest[2])
{
	s[0].v2 ^= 0xff;
	s[1].v2 ^= 0xff;
#pragma GCC unroll 4
	for (unsigned i = 0; i < 4; i++) {
		sip_lanes_round(&s[0]);
		sip_lanes_round(&s[1]);
	}
	digest[0] = s[0].v0 ^ s[0].v1 ^ s[0].v2 ^ s[0].v3;
	digest[1] = s[1].v0 ^ s[1].v1 ^ s[1].v2 ^ s[1].v3;
}

#endif
