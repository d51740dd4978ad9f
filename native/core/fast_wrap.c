/* Outer IPv4 headers on the straight line (fast_write.h), what encap_gue.c and encap_tunnel.c write: words of four packets at a time, in lanes, which are then transposed
 * into one store or two for each packet. */
#include "fast_write.h"
#include "outer.h"

/* Where bits of the fields are in the outer headers' words of eight bytes, loaded as they lie there. */
enum {
	TOS = 8,            /* in IPv4's first word */
	TOTAL_LENGTH = 16,
	PROTOCOL = 8,       /* in its second */
	IP_CHECKSUM = 16,
	SOURCE = 32,
	SPORT = 32,         /* in the word that begins with the destination address */
	DPORT = 48,
	GRE = 32,
	GUE_FIRST = 32,     /* in the word that begins with UDP's length */
	GUE_PROTOCOL = 40,
	HOP_COUNT = 24,     /* in the word with GUE's private data and a hop */
	HOP = 32,
};

GLB_INLINE uint64_t be16(uint16_t value)
{
	return load16((const uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value});
}

/* IPv4's words, the third of them only half. `first` are struct glb_fast_backend; `tos` and `source`, as in the frame, are added to what `ip` has. */
GLB_INLINE void put_ipv4(const struct glb_fast_ipv4 *ip, u64x4 length, u64x4 first, u64x4 tos, u64x4 source, u64x4 w[4])
{
	const u64x4 wire = swap16(length);
	u64x4 sum = wire + (first >> 32) + (tos << TOS) + (source & 0xffff) + (source >> 16) + ip->sum;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	w[0] = wire << TOTAL_LENGTH | tos << TOS | ip->word[0];
	w[1] = ((~sum & 0xffff) << IP_CHECKSUM | source << SOURCE) + ip->word[1];
	w[2] = first & 0xffffffff;
}

/* Of the outer header, where the service says something about it. */
GLB_INLINE u64x4 tos_of(const struct glb_fast_kind *kind, uint8_t *const *frames, bool v6)
{
	u64x4 tos = {0};

	GLB_EACH_LANE
	for (unsigned lane = 0; lane < 4; lane++)
		tos[lane] = fast_tos(kind, frames[lane] + IP, v6);
	return tos;
}

/* ---- GUE ---- */

GLB_INLINE void wrap_gue(const struct glb_fast_kind *kind, const struct glb_fast_egress *egress, struct glb_fast_burst *burst,
			 const struct fast_work *work, bool v6, bool two, bool marked)
{
	const uint64_t dport = be16(GLB_GUE_PORT), base = be16(GUE_SOURCE_PORT_BASE), tail = be16(GLB_GUE_PRIVATE_V4);
	const uint64_t gue = (uint64_t)1 << GUE_FIRST | (uint64_t)(v6 ? GLB_IPPROTO_IPV6 : GLB_IPPROTO_IPIP) << GUE_PROTOCOL;
	const struct glb_fast_ipv4 outer_ip = egress->gue;
	const uint32_t link_len = egress->link_len;
	const u64x4 ones = {1, 1, 1, 1}, none = {0};
	u64x4 link;

	memcpy(&link, egress->link_v4.bytes, sizeof(link));
	for (unsigned i = 0; i < work->filled; i += 4) {
		const u64x4 first = *(const u64x4 *)&work->first[i], hash = *(const u64x4 *)&work->sip.hash[i] & 0xffff;
		const u64x4 further = two ? ones : widen(&work->further[i]), l3_len = widen(&burst->l3_len[i]);
		const u64x4 outer = further * GUE_V4_HOP_BYTES + GUE_V4_BYTES, length = l3_len + outer;
		const u64x4 sport = ((*(const u64x4 *)&work->source[i] >> 32 & 0xffff) ^ swap16(hash)) | base;
		const u64x4 last = (two ? widen(&work->second[i]) << HOP : none) | tail | further << HOP_COUNT;
		const u64x4 at = *(const u64x4 *)&burst->data[i] + IP - outer;
		u64x4 w[4];

		put_ipv4(&outer_ip, length, first, marked ? tos_of(kind, &burst->data[i], v6) : none, none, w);
		w[2] |= sport << SPORT | dport << DPORT;
		w[3] = swap16(length - sizeof(struct glb_ipv4)) | (gue + (further << GUE_FIRST));
		transpose(w);
		GLB_EACH_LANE
		for (unsigned lane = 0; lane < 4; lane++) {
			uint8_t *ip = (uint8_t *)at[lane];
			const uint64_t word = last[lane];

			memcpy(ip - sizeof(link), &link, sizeof(link));
			memcpy(ip, &w[lane], sizeof(w[lane]));
			memcpy(ip + sizeof(w[lane]), &word, two ? 8 : 4);
		}
		*(u64x4 *)&burst->data[i] = at - link_len;
		*(u32x4 *)&burst->len[i] = narrow(length + link_len);
	}
}

/* All hops but the first, between what was written and the client's packet. */
GLB_INLINE void write_hops(struct glb_fast_burst *burst, const struct fast_work *work, uint32_t header_len)
{
	for (unsigned i = 0; i < work->n; i++) {
		const struct glb_fast_backend *backends = work->of[i]->backends + 1;
		const uint16_t *row = work->row[i] + 1;
		uint8_t *hops = burst->data[i] + header_len;

		for (unsigned h = 0; h < work->further[i]; h++)
			memcpy(hops + h * GUE_V4_HOP_BYTES, &backends[row[h]].addr, GUE_V4_HOP_BYTES);
	}
}

GLB_LANES_CLONES
void fast_gue(const struct glb_fast_kind *kind, const struct glb_fast_egress *egress, struct glb_fast_burst *burst,
	      const struct fast_work *work, bool v6, bool two)
{
	if (two) {
		wrap_gue(kind, egress, burst, work, v6, true, false);
		return;
	}
	if (fast_is_marked(kind))
		wrap_gue(kind, egress, burst, work, v6, false, true);
	else
		wrap_gue(kind, egress, burst, work, v6, false, false);
	write_hops(burst, work, egress->link_len + GUE_V4_BYTES);
}

/* ---- GRE, and IPv4 alone ---- */

GLB_INLINE u64x4 keys_of(const struct glb_service *services, const uint32_t *service)
{
	u64x4 keys = {0};

	GLB_EACH_LANE
	for (unsigned lane = 0; lane < 4; lane++)
		keys[lane] = services[service[lane]].encap_value;
	return swap32(keys);
}

/* `bytes` of outer headers. */
GLB_INLINE void wrap(const struct glb_fast *fast, const struct glb_path *path, const struct glb_fast_kind *kind,
		     const struct glb_fast_egress *egress, struct glb_fast_burst *burst, const struct fast_work *work, bool v6, unsigned bytes)
{
	const bool keyed = bytes == sizeof(struct glb_ipv4) + sizeof(struct glb_gre) + GRE_KEY_BYTES;
	const bool marked = fast_is_marked(kind), gre = bytes != sizeof(struct glb_ipv4);
	const uint64_t type = be16(keyed ? GLB_GRE_KEY : 0) | be16(v6 ? GLB_ETHERTYPE_IPV6 : GLB_ETHERTYPE_IPV4) << 16;
	const uint64_t protocol = (uint64_t)(gre ? GLB_IPPROTO_GRE : v6 ? GLB_IPPROTO_IPV6 : GLB_IPPROTO_IPIP) << PROTOCOL;
	struct glb_fast_ipv4 outer_ip = egress->tunnel;
	const uint32_t mask = fast->source_mask_v4, link_len = egress->link_len;
	const u64x4 none = {0};
	u64x4 link;

	outer_ip.word[1] |= protocol;
	outer_ip.sum += protocol;
	memcpy(&link, egress->link_v4.bytes, sizeof(link));
	for (unsigned i = 0; i < work->filled; i += 4) {
		const u64x4 hash = *(const u64x4 *)&work->sip.hash[i], hint = swap16(*(const u64x4 *)&work->source[i] >> 32 & 0xffff);
		const u64x4 length = widen(&burst->l3_len[i]) + bytes, at = *(const u64x4 *)&burst->data[i] + IP - bytes;
		u64x4 w[4];

		put_ipv4(&outer_ip, length, *(const u64x4 *)&work->first[i], marked ? tos_of(kind, &burst->data[i], v6) : none,
			 mask != 0 ? swap32((hash ^ hint) & mask) : none, w);
		w[2] |= gre ? type << GRE : 0;
		w[3] = keyed ? keys_of(path->snapshot->services, &burst->service[i]) : none;
		transpose(w);
		GLB_EACH_LANE
		for (unsigned lane = 0; lane < 4; lane++) {
			uint8_t *ip = (uint8_t *)at[lane];

			memcpy(ip - sizeof(link), &link, sizeof(link));
			memcpy(ip, &w[lane], bytes);
		}
		*(u64x4 *)&burst->data[i] = at - link_len;
		*(u32x4 *)&burst->len[i] = narrow(length + link_len);
	}
}

GLB_LANES_CLONES
void fast_tunnel(const struct glb_fast *fast, const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_egress *egress,
		 struct glb_fast_burst *burst, const struct fast_work *work, bool v6)
{
	enum { ALONE = sizeof(struct glb_ipv4), WITH_GRE = ALONE + sizeof(struct glb_gre), WITH_KEY = WITH_GRE + GRE_KEY_BYTES };

	if (kind->outer == ALONE)
		wrap(fast, path, kind, egress, burst, work, v6, ALONE);
	else if (kind->outer == WITH_GRE)
		wrap(fast, path, kind, egress, burst, work, v6, WITH_GRE);
	else
		wrap(fast, path, kind, egress, burst, work, v6, WITH_KEY);
}
