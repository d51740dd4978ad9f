/* Packets that stay as long as they are, on the straight line (fast_write.h): for l2dsr only Ethernet is written; what l3dsr and nat change, rewrite.c says. */
#include "fast_write.h"

/* A checksum field after changes that add up to `change` < 2^48. */
GLB_INLINE uint16_t mended(uint16_t field, uint64_t change)
{
	uint64_t sum = (uint16_t)~field + change;

	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* The transport header's; TCP has it elsewhere than UDP, where 0 says that there is none. */
GLB_INLINE void mend_transport(uint8_t *l4, bool tcp, uint64_t change)
{
	uint8_t *field = l4 + (tcp ? offsetof(struct glb_tcp, checksum) : offsetof(struct glb_udp, checksum));
	const uint16_t was = load16(field);
	uint16_t now = mended(was, change);

	now = !tcp && now == 0 ? 0xffff : now;
	now = !tcp && was == 0 ? 0 : now;
	memcpy(field, &now, sizeof(now));
}

/* What becomes of a sum when four bytes become others. */
GLB_INLINE uint64_t change_of(uint32_t was, uint32_t now)
{
	return (uint64_t)(uint32_t)~was + now;
}

/* L3DSR's DSCP; the lower two bits stay. Returns what becomes of the header's sum. */
GLB_INLINE uint64_t put_tos(uint8_t *ip, const struct glb_fast_kind *kind, bool v6)
{
	const uint16_t was = load16(ip);
	const uint8_t tos = v6 ? (uint8_t)(ip[0] << 4 | ip[1] >> 4) : ip[1], now = (uint8_t)((tos & kind->tos_mask) | kind->tos);

	if (v6) {
		ip[0] = (uint8_t)((ip[0] & 0xf0) | now >> 4);
		ip[1] = (uint8_t)((ip[1] & 0x0f) | now << 4);
	} else {
		ip[1] = now;
	}
	return (uint64_t)(uint16_t)~was + load16(ip);
}

/* `port` is NULL where it stays. */
GLB_INLINE void readdress(uint8_t *ip, const uint8_t *backend, const uint16_t *port, const struct glb_fast_kind *kind, bool v6)
{
	const bool tcp = ip[v6 ? offsetof(struct glb_ipv6, next_header) : offsetof(struct glb_ipv4, protocol)] == GLB_IPPROTO_TCP;
	const unsigned addr_len = v6 ? 16 : 4;
	uint8_t *dst = ip + (v6 ? offsetof(struct glb_ipv6, dst) : offsetof(struct glb_ipv4, dst));
	uint8_t *l4 = dst + addr_len, *field = ip + offsetof(struct glb_ipv4, checksum);
	uint64_t addr = 0, header = 0, message = 0;
	uint16_t checksum;

	for (unsigned i = 0; i < addr_len; i += 4)
		addr += change_of(load32(dst + i), load32(backend + i));
	memcpy(dst, backend, addr_len);
	if (kind->encap == GLB_ENCAP_L3DSR)
		header = put_tos(ip, kind, v6);
	if (!v6) {
		checksum = mended(load16(field), addr + header);
		memcpy(field, &checksum, sizeof(checksum));
	}
	if (port != NULL) {
		message = (uint64_t)(uint16_t)~load16(l4 + 2) + *port;
		memcpy(l4 + 2, port, sizeof(*port));
	}
	mend_transport(l4, tcp, addr + message);
}

GLB_INLINE void rewrite(const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_egress *egress,
			struct glb_fast_burst *burst, const struct fast_work *work, bool v6)
{
	const struct glb_service *services = path->snapshot->services;
	const struct glb_backend *backends = path->snapshot->backends;
	const struct glb_fast_link *link = v6 ? &egress->link_v6 : &egress->link_v4;
	const uint32_t link_len = egress->link_len;

	for (unsigned i = 0; i < work->n; i++) {
		uint8_t *ip = burst->data[i] + IP;
		const uint8_t *backend = v6 ? backends[burst->backend[i]].addr.bytes : (const uint8_t *)&work->first[i];

		if (kind->encap != GLB_ENCAP_L2DSR) {
			const uint32_t value = services[burst->service[i]].encap_value;
			const uint16_t port = __builtin_bswap16((uint16_t)value);

			readdress(ip, backend, value != 0 ? &port : NULL, kind, v6);
		}
		memcpy(ip - sizeof(*link), link, sizeof(*link));
		burst->data[i] = ip - link_len;
		burst->len[i] = burst->l3_len[i] + link_len;
	}
}

GLB_LANES_CLONES
void fast_rewrite(const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_egress *egress,
		  struct glb_fast_burst *burst, const struct fast_work *work, bool v6)
{
	if (v6)
		rewrite(path, kind, egress, burst, work, true);
	else
		rewrite(path, kind, egress, burst, work, false);
}
