/* The straight line's hashes (fast_burst.c): what the services of a burst say is hashed, put into the lanes of siphash_burst(). */
#include "fast_cache.h"

enum { FLOW = GLB_HASH_SRC_ADDR | GLB_HASH_DST_ADDR | GLB_HASH_SRC_PORT | GLB_HASH_DST_PORT };

/* The message that is hashed of a packet, into its lane. Returns its words. */
static unsigned put_message(const struct glb_fast_kind *kind, const uint8_t *frame, bool v6, struct siphash_burst *sip, unsigned lane)
{
	const unsigned addr_len = v6 ? 16 : 4, bits = v6 ? kind->source_bits_v6 : kind->source_bits_v4;
	const uint8_t *addrs = frame + IP + (v6 ? 8 : 12), *ports = frame + (v6 ? V6_L4 : V4_L4);
	uint64_t words[SIPHASH_WORDS_MAX] = {0};
	uint8_t *message = (uint8_t *)words;
	unsigned len = 0;

	if (kind->hash_fields & GLB_HASH_SRC_ADDR) {
		memcpy(message, addrs, addr_len);
		for (unsigned bit = bits; bit < addr_len * 8; bit += 8 - bit % 8)
			message[bit / 8] &= (uint8_t)(0xff00 >> bit % 8);
		len += addr_len;
	}
	if (kind->hash_fields & GLB_HASH_DST_ADDR) {
		memcpy(message + len, addrs + addr_len, addr_len);
		len += addr_len;
	}
	if (kind->hash_fields & GLB_HASH_SRC_PORT) {
		memcpy(message + len, ports, 2);
		len += 2;
	}
	if (kind->hash_fields & GLB_HASH_DST_PORT) {
		memcpy(message + len, ports + 2, 2);
		len += 2;
	}
	words[len / 8] |= (uint64_t)len << 56;
	for (unsigned w = 0; w <= len / 8; w++)
		sip->word[w][lane] = words[w];
	return len / 8 + 1;
}

/* The same for all of the burst where the source address is all that is hashed. */
GLB_INLINE unsigned put_sources(const struct glb_fast_burst *burst, struct fast_work *work, bool v6)
{
	struct siphash_burst *sip = &work->sip;

	if (!v6) {
		for (unsigned i = 0; i < work->filled; i += 4)
			*(u64x4 *)&sip->word[0][i] = (*(const u64x4 *)&work->source[i] & 0xffffffff) | (uint64_t)4 << 56;
		return 1;
	}
	for (unsigned i = 0; i < work->filled; i++) {
		const uint8_t *source = burst->data[i] + IP + 8;

		sip->word[0][i] = load64(source);
		sip->word[1][i] = load64(source + 8);
		sip->word[2][i] = (uint64_t)16 << 56;
	}
	return 3;
}

/* And where both addresses and both ports are. */
GLB_INLINE unsigned put_flows(const struct glb_fast_burst *burst, struct fast_work *work, bool v6)
{
	struct siphash_burst *sip = &work->sip;

	for (unsigned i = 0; i < work->filled; i++) {
		const uint8_t *addrs = burst->data[i] + IP + (v6 ? 8 : 12);
		const unsigned last = v6 ? 4 : 1;

		for (unsigned w = 0; w < last; w++)
			sip->word[w][i] = load64(addrs + w * 8);
		sip->word[last][i] = load32(addrs + last * 8) | (uint64_t)(last * 8 + 4) << 56;
	}
	return v6 ? 5 : 2;
}

/* The lines of the flow cache are fetched a few at a time, between hashes. */
GLB_INLINE void hash_messages(const struct fast_flows *flows, struct siphash_burst *sip, unsigned words, unsigned n)
{
	if (flows == NULL) {
		siphash_burst(sip, words, 0, n);
		return;
	}
	for (unsigned i = 0, end; i < n; i = end) {
		end = fast_cache_few(i, n);
		siphash_burst(sip, words, i, end);
		fast_cache_fetch(flows, i, end);
	}
}

GLB_INLINE void hash_kind(const struct glb_fast_kind *kind, const struct fast_flows *flows, const struct glb_fast_burst *burst, struct fast_work *work, bool v6)
{
	const bool whole = v6 ? kind->source_bits_v6 == 128 : kind->source_bits_v4 == 32;
	unsigned words = 0;

	if (whole && kind->hash_fields == GLB_HASH_SRC_ADDR)
		words = put_sources(burst, work, v6);
	else if (whole && kind->hash_fields == FLOW)
		words = v6 ? put_flows(burst, work, true) : put_flows(burst, work, false);
	else
		for (unsigned i = 0; i < work->filled; i++)
			words = put_message(kind, burst->data[i], v6, &work->sip, i);
	hash_messages(flows, &work->sip, words, work->filled);
}

/* Services of a burst that hash different things: all lanes as each of them, and of each what is its own. */
static void hash_kinds(const struct glb_fast *fast, const struct fast_flows *flows, const struct glb_fast_burst *burst, struct fast_work *work, bool v6)
{
	uint64_t hash[GLB_BURST_MAX];
	uint64_t left = ((uint64_t)2 << (work->filled - 1)) - 1;

	while (left != 0) {
		const struct glb_fast_kind *kind = fast_kind(fast, work, (unsigned)__builtin_ctzll(left));

		hash_kind(kind, flows, burst, work, v6);
		flows = NULL; /* all is fetched */
		for (unsigned i = 0; i < work->filled; i++) {
			if (fast_hashed(fast_kind(fast, work, i)) != fast_hashed(kind))
				continue;
			hash[i] = work->sip.hash[i];
			left &= ~((uint64_t)1 << i);
		}
	}
	memcpy(work->sip.hash, hash, work->filled * sizeof(hash[0]));
}

GLB_LANES_CLONES
void fast_hash(const struct glb_fast *fast, const struct fast_flows *flows, const struct glb_fast_burst *burst, struct fast_work *work, bool v6)
{
	u32x8 differ = {0};

	for (unsigned i = 0; i < work->filled; i += WIDTH)
		differ |= *(const u32x8 *)&work->table[i] ^ work->table[0];
	differ >>= GLB_FAST_TABLE_BITS;
	work->alike = any_u32x8(&differ) == 0;
	if (work->alike)
		hash_kind(fast_kind(fast, work, 0), flows, burst, work, v6);
	else
		hash_kinds(fast, flows, burst, work, v6);
}
