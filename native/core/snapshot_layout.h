/* What compiling, opening and looking up have to agree on; internal to libglb. */
#ifndef GLB_CORE_SNAPSHOT_LAYOUT_H
#define GLB_CORE_SNAPSHOT_LAYOUT_H

#include <string.h>

#include <glb/snapshot.h>

#define GLB_SNAPSHOT_MAGIC "GLBSNAP\n" /* 8 bytes, without the NUL */

/* Bytes of one element, by enum glb_section_kind. */
extern const uint8_t glb_section_element[GLB_SECTION_COUNT];

/* The next multiple of GLB_SNAPSHOT_ALIGN. */
static inline uint64_t glb_snapshot_align(uint64_t bytes)
{
	return (bytes + GLB_SNAPSHOT_ALIGN - 1) / GLB_SNAPSHOT_ALIGN * GLB_SNAPSHOT_ALIGN;
}

static inline bool all_zero(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= p[i];
	return any == 0;
}

/* Elements of the rows section that a table takes: rounded up, so that each table begins at a multiple of GLB_SNAPSHOT_ALIGN. */
static inline uint64_t glb_table_words(uint32_t rows, uint16_t hops)
{
	return ((uint64_t)rows * hops + 31) / 32 * 32;
}

/* Writes the digest of a snapshot's bytes, its digest field taken as zero. len ≥ the header's size. */
void glb_snapshot_digest(const void *data, size_t len, uint8_t digest[16]);

/* Where the probe for a VIP prefix begins, before masking with the number of slots. `addr`'s host bits are zero. */
static inline uint32_t glb_vip_home(const struct glb_addr *addr, uint8_t bits)
{
	uint64_t a, b;

	memcpy(&a, addr->bytes, 8);
	memcpy(&b, addr->bytes + 8, 8);
	a = (a ^ ((uint64_t)addr->family << 8 | bits)) * 0x9e3779b97f4a7c15;
	b = (b ^ a ^ a >> 32) * 0xff51afd7ed558ccd;
	b = (b ^ b >> 33) * 0xc4ceb9fe1a85ec53;
	return (uint32_t)(b >> 32);
}

/* Copies `addr` with all but its first `bits` bits, and the padding, cleared. */
static inline void glb_addr_mask(const struct glb_addr *addr, uint8_t bits, struct glb_addr *out)
{
	*out = *addr;
	memset(out->pad, 0, sizeof(out->pad));
	for (unsigned i = bits / 8; i < 16; i++)
		out->bytes[i] &= i == bits / 8u ? (uint8_t)(0xff00 >> bits % 8) : 0;
}

static inline bool glb_addr_equal(const struct glb_addr *a, const struct glb_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* The order of VIPs: IPv4 first, longer prefixes first, then by address. < 0, 0, > 0. */
static inline int glb_vip_order(const struct glb_addr *a, uint8_t a_bits, const struct glb_addr *b, uint8_t b_bits)
{
	if (a->family != b->family)
		return (int)a->family - b->family;
	if (a_bits != b_bits)
		return (int)b_bits - a_bits;
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

#endif
