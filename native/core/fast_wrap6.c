/* Outer IPv6 headers on the straight line (fast_write.h), what encap_gue.c and encap_tunnel.c write: one packet after the other. */
#include "fast_write.h"
#include "outer.h"

/* What all packets of a burst have in common. */
struct wrap6 {
	const struct glb_director *director;
	const struct glb_service *services;
	const struct glb_backend *backends;
	const struct glb_fast_kind *kind;
	const uint8_t *source; /* 16 bytes */
	uint64_t source_mask;  /* what varies of its second half, in host order */
	uint8_t inner;         /* protocol of the client's packet */
};

/* Of UDP behind `ip`, `length` bytes, all of which are there: addresses, UDP and what it carries lie one behind the other. 0 would say that there is none. */
static glb_be16 udp_checksum(const uint8_t *ip, uint32_t length)
{
	const struct {
		glb_be16 length, protocol;
	} rest = {glb_be16_put((uint16_t)length), glb_be16_put(GLB_IPPROTO_UDP)};
	const size_t addrs = offsetof(struct glb_ipv6, src);
	const glb_be16 checksum = checksum_finish(checksum_add(checksum_add(0, &rest, sizeof(rest)), ip + addrs,
							       sizeof(struct glb_ipv6) - addrs + length));

	return glb_be16_get(checksum) == 0 ? glb_be16_put(0xffff) : checksum;
}

/* UDP and GUE, `length` bytes with the client's packet i, behind `ip`, and the further hops. */
GLB_INLINE void put_gue(const struct wrap6 *wrap, const struct fast_work *work, unsigned i, uint64_t varies, uint32_t length, uint8_t *ip)
{
	const struct glb_backend *backends = &wrap->backends[work->of[i]->backend_base];
	struct gue_header *gue = (struct gue_header *)(ip + sizeof(struct glb_ipv6));
	uint8_t *hops = (uint8_t *)(gue + 1);

	*gue = gue_header(varies, wrap->inner, length, GLB_GUE_PRIVATE_V6, work->further[i], GUE_V6_HOP_BYTES);
	for (unsigned h = 0; h < work->further[i]; h++)
		memcpy(hops + h * GUE_V6_HOP_BYTES, backends[work->row[i][1 + h]].addr.bytes, GUE_V6_HOP_BYTES);
	if (wrap->director->outer_checksum_v6 != GLB_OUTER_CHECKSUM_ZERO)
		gue->udp.checksum = udp_checksum(ip, length);
}

GLB_INLINE void put_gre(const struct glb_service *service, bool v6, uint8_t *at)
{
	const bool keyed = (service->flags & GLB_SERVICE_GRE_KEY) != 0;
	struct glb_gre *gre = (struct glb_gre *)at;

	*gre = (struct glb_gre){
		.flags = glb_be16_put(keyed ? GLB_GRE_KEY : 0),
		.type = glb_be16_put(v6 ? GLB_ETHERTYPE_IPV6 : GLB_ETHERTYPE_IPV4),
	};
	if (keyed)
		*(glb_be32 *)(gre + 1) = glb_be32_put(service->encap_value);
}

/* Returns where the outer header begins. */
GLB_INLINE uint8_t *wrap_one(const struct wrap6 *wrap, const struct glb_fast_burst *burst, const struct fast_work *work, unsigned i,
				bool v6, uint8_t protocol)
{
	uint8_t *inner = burst->data[i] + IP, *ip;
	const uint64_t varies = work->sip.hash[i] ^ __builtin_bswap16((uint16_t)(work->source[i] >> 32));
	const uint64_t source = __builtin_bswap64(varies & wrap->source_mask) | load64(wrap->source + 8);
	const uint32_t hops = protocol == GLB_IPPROTO_UDP ? work->further[i] * GUE_V6_HOP_BYTES : 0, outer = wrap->kind->outer + hops;
	const uint32_t length = burst->l3_len[i] + outer;

	ip = inner - outer;
	*(struct glb_ipv6 *)ip = outer_ipv6(wrap->source, wrap->backends[burst->backend[i]].addr.bytes,
					    fast_is_marked(wrap->kind) ? fast_tos(wrap->kind, inner, v6) : 0, varies, protocol, length);
	memcpy(ip + offsetof(struct glb_ipv6, src) + 8, &source, sizeof(source));
	if (protocol == GLB_IPPROTO_UDP)
		put_gue(wrap, work, i, varies, length - (uint32_t)sizeof(struct glb_ipv6), ip);
	else if (protocol == GLB_IPPROTO_GRE)
		put_gre(&wrap->services[burst->service[i]], v6, ip + sizeof(struct glb_ipv6));
	return ip;
}

GLB_INLINE void wrap_all(const struct wrap6 *wrap, const struct glb_fast_egress *egress, struct glb_fast_burst *burst,
			 const struct fast_work *work, bool v6, uint8_t protocol)
{
	const struct glb_fast_link link = egress->link_v6;

	for (unsigned i = 0; i < work->n; i++) {
		const uint8_t *inner = burst->data[i] + IP;
		uint8_t *ip = wrap_one(wrap, burst, work, i, v6, protocol);

		memcpy(ip - sizeof(link), &link, sizeof(link));
		burst->data[i] = ip - egress->link_len;
		burst->len[i] = (uint32_t)(inner - burst->data[i]) + burst->l3_len[i];
	}
}

GLB_LANES_CLONES
void fast_wrap6(const struct glb_fast *fast, const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_egress *egress,
		struct glb_fast_burst *burst, const struct fast_work *work, bool v6)
{
	const struct glb_director *director = &path->director;
	struct wrap6 wrap = {
		.director = director, .services = path->snapshot->services, .backends = path->snapshot->backends, .kind = kind,
		.source = director->outer_source_v6.bytes, .inner = v6 ? GLB_IPPROTO_IPV6 : GLB_IPPROTO_IPIP,
	};

	if (kind->encap == GLB_ENCAP_GUE) {
		wrap_all(&wrap, egress, burst, work, v6, GLB_IPPROTO_UDP);
		return;
	}
	if (director->outer_prefix_v6.addr.family != GLB_FAMILY_NONE) {
		wrap.source = director->outer_prefix_v6.addr.bytes;
		wrap.source_mask = fast->source_mask_v6;
	}
	wrap_all(&wrap, egress, burst, work, v6, kind->encap == GLB_ENCAP_GRE ? GLB_IPPROTO_GRE : wrap.inner);
}
