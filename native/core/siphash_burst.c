/* SipHash in lanes (siphash_burst.h): two registers of four lanes at a time, whose work overlaps. */
#include "siphash_burst.h"

#include "sip_lanes.h"

GLB_INLINE void sip_start(struct sip_lanes *s, const struct siphash_burst *burst, unsigned at)
{
	const glb_lanes k0 = *(const glb_lanes *)&burst->key[0][at], k1 = *(const glb_lanes *)&burst->key[1][at];

	s->v0 = k0 ^ 0x736f6d6570736575; /* "somepseudorandomlygeneratedbytes" */
	s->v1 = k1 ^ 0x646f72616e646f6d;
	s->v2 = k0 ^ 0x6c7967656e657261;
	s->v3 = k1 ^ 0x7465646279746573;
}

GLB_INLINE void hash_all(struct siphash_burst *burst, unsigned words, unsigned first, unsigned end)
{
	for (unsigned at = first; at < end; at += GLB_LANES) {
		const unsigned next = at + GLB_LANES_REGISTER;
		struct sip_lanes s[2];
		glb_lanes digest[2];

		sip_start(&s[0], burst, at);
		sip_start(&s[1], burst, next);
		for (unsigned w = 0; w < words; w++) {
			const glb_lanes m[2] = {*(const glb_lanes *)&burst->word[w][at], *(const glb_lanes *)&burst->word[w][next]};

			sip_lanes_word(s, m);
		}
		sip_lanes_end(s, digest);
		*(glb_lanes *)&burst->hash[at] = digest[0];
		*(glb_lanes *)&burst->hash[next] = digest[1];
	}
}

GLB_LANES_CLONES void siphash_burst(struct siphash_burst *burst, unsigned words, unsigned first, unsigned end)
{
	if (words == 1) /* the usual, so that the loop over them goes away */
		hash_all(burst, 1, first, end);
	else
		hash_all(burst, words, first, end);
}
