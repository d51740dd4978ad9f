/* SipHash in lanes (siphash_burst.h): two registers of four lanes at a time, whose work overlaps. */
#include "siphash_burst.h"

typedef uint64_t lanes __attribute__((vector_size(32)));
typedef uint32_t halves __attribute__((vector_size(32)));

enum {
	IN_REGISTER = sizeof(lanes) / sizeof(uint64_t),
	AT_ONCE = 2 * IN_REGISTER,
};

struct state {
	lanes v0, v1, v2, v3;
};

#define INLINE static inline __attribute__((always_inline))

INLINE void rotate(lanes *x, int bits)
{
	*x = *x << bits | *x >> (64 - bits);
}

/* Exchanging halves is one instruction, where shifting would be three. */
INLINE void rotate_32(lanes *x)
{
	*x = (lanes)__builtin_shuffle((halves)*x, (halves){1, 0, 3, 2, 5, 4, 7, 6});
}

INLINE void sip_round(struct state *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	rotate(&s->v1, 13);
	rotate(&s->v3, 16);
	s->v1 ^= s->v0;
	s->v3 ^= s->v2;
	rotate_32(&s->v0);
	s->v2 += s->v1;
	s->v0 += s->v3;
	rotate(&s->v1, 17);
	rotate(&s->v3, 21);
	s->v1 ^= s->v2;
	s->v3 ^= s->v0;
	rotate_32(&s->v2);
}

INLINE void sip_start(struct state *s, const struct siphash_burst *burst, unsigned at)
{
	const lanes k0 = *(const lanes *)&burst->key[0][at], k1 = *(const lanes *)&burst->key[1][at];

	s->v0 = k0 ^ 0x736f6d6570736575; /* "somepseudorandomlygeneratedbytes" */
	s->v1 = k1 ^ 0x646f72616e646f6d;
	s->v2 = k0 ^ 0x6c7967656e657261;
	s->v3 = k1 ^ 0x7465646279746573;
}

INLINE void hash_all(struct siphash_burst *burst, unsigned words, unsigned n)
{
	for (unsigned at = 0; at < n; at += AT_ONCE) {
		struct state a, b;

		sip_start(&a, burst, at);
		sip_start(&b, burst, at + IN_REGISTER);
		for (unsigned w = 0; w < words; w++) {
			const lanes m = *(const lanes *)&burst->word[w][at];
			const lanes l = *(const lanes *)&burst->word[w][at + IN_REGISTER];

			a.v3 ^= m;
			b.v3 ^= l;
			sip_round(&a);
			sip_round(&b);
			sip_round(&a);
			sip_round(&b);
			a.v0 ^= m;
			b.v0 ^= l;
		}
		a.v2 ^= 0xff;
		b.v2 ^= 0xff;
		for (unsigned i = 0; i < 4; i++) {
			sip_round(&a);
			sip_round(&b);
		}
		*(lanes *)&burst->hash[at] = a.v0 ^ a.v1 ^ a.v2 ^ a.v3;
		*(lanes *)&burst->hash[at + IN_REGISTER] = b.v0 ^ b.v1 ^ b.v2 ^ b.v3;
	}
}

/* The loader picks the form for the CPU, once. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
__attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#endif
void siphash_burst(struct siphash_burst *burst, unsigned words, unsigned n)
{
	if (words == 1) /* the usual, so that the loop over them goes away */
		hash_all(burst, 1, n);
	else
		hash_all(burst, words, n);
}
