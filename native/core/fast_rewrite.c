/* Packets that stay as long as they are, on the straight line (fast_write.h): for l2dsr only Ethernet is written; what l3dsr and nat change, rewrite.c says. Over
 * IPv4 in lanes, four packets at a time. */
#include "fast_write.h"

/* Where bits of the fields are in IPv4's words of eight bytes, loaded as they lie there. */
enum {
	PROTOCOL = 8,  /* in the second */
	CHECKSUM = 16,
	DPORT = 48,    /* in that which begins with the destination address, and goes on with ports */
	SECOND = 8,    /* bytes in front of these words */
	THIRD = 16,
	TCP_CHECKSUM = sizeof(struct glb_ipv4) + offsetof(struct glb_tcp, checksum),
	UDP_CHECKSUM = sizeof(struct glb_ipv4) + offsetof(struct glb_udp, checksum),
};

/* Ethernet in front of four packets, which go as they are by now. */
GLB_INLINE void send_on(const struct glb_fast_egress *egress, struct glb_fast_burst *burst, unsigned i, u64x4 link)
{
	const u64x4 ip = *(const u64x4 *)&burst->data[i] + IP;

	GLB_EACH_LANE
	for (unsigned lane = 0; lane < 4; lane++)
		memcpy((uint8_t *)ip[lane] - sizeof(link), &link, sizeof(link));
	*(u64x4 *)&burst->data[i] = ip - egress->link_len;
	*(u32x4 *)&burst->len[i] = *(const u32x4 *)&burst->l3_len[i] + egress->link_len;
}

/* ---- IPv4 ---- */

/* Checksum fields after changes that add up to `change` < 2^20. */
GLB_INLINE u64x4 mended(u64x4 field, u64x4 change)
{
	u64x4 sum = (field ^ 0xffff) + change;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum ^ 0xffff;
}

/* L3DSR's DSCP; the lower two bits of TOS stay. Returns what becomes of the header's sum. */
GLB_INLINE u64x4 mark_v4(const struct glb_fast_kind *kind, u64x4 ip)
{
	const uint64_t kept = 0xff | (uint64_t)kind->tos_mask << 8;
	const u64x4 was = gather16(ip), now = (was & kept) | (uint64_t)kind->tos << 8;

	scatter16(ip, now);
	return (was ^ 0xffff) + now;
}

/* The ports that NAT puts in place of `old`, as in the frame. */
GLB_INLINE u64x4 new_ports(const struct glb_service *services, const uint32_t *service, u64x4 old)
{
	const u64x4 ports = {services[service[0]].encap_value, services[service[1]].encap_value,
			     services[service[2]].encap_value, services[service[3]].encap_value};

	return swap16(ports) | (old & (u64x4)(ports == 0));
}

/* The transport header's checksum; UDP has it elsewhere than TCP, and there 0 says that there is none. */
GLB_INLINE void mend_transport(u64x4 ip, u64x4 second, u64x4 change)
{
	const u64x4 tcp = (u64x4)((second >> PROTOCOL & 0xff) == GLB_IPPROTO_TCP);
	const u64x4 at = ip + UDP_CHECKSUM + (tcp & (TCP_CHECKSUM - UDP_CHECKSUM));
	const u64x4 was = gather16(at), mended_was = mended(was, change);
	const u64x4 now = mended_was | (~tcp & (u64x4)(mended_was == 0) & 0xffff);

	scatter16(at, now & (tcp | (u64x4)(was != 0)));
}

GLB_INLINE void rewrite_v4(const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_burst *burst,
			   const struct fast_work *work, unsigned i, bool nat)
{
	const u64x4 ip = *(const u64x4 *)&burst->data[i] + IP, first = *(const u64x4 *)&work->first[i];
	u64x4 second = gather64(ip + SECOND), third = gather64(ip + THIRD), header, message, port = third >> DPORT;

	header = message = (~third & 0xffff) + (~third >> 16 & 0xffff) + (first >> 32);
	if (nat) {
		message += port ^ 0xffff;
		port = new_ports(path->snapshot->services, &burst->service[i], port);
		message += port;
	} else {
		header += mark_v4(kind, ip);
	}
	third = (third & 0xffff00000000) | (first & 0xffffffff) | port << DPORT;
	second = (second & ~((uint64_t)0xffff << CHECKSUM)) | mended(second >> CHECKSUM & 0xffff, header) << CHECKSUM;
	GLB_EACH_LANE
	for (unsigned lane = 0; lane < 4; lane++) {
		const u64x2 words = {second[lane], third[lane]};

		memcpy((uint8_t *)ip[lane] + SECOND, &words, sizeof(words));
	}
	mend_transport(ip, second, message);
}

/* ---- IPv6 ---- */

GLB_INLINE uint16_t mended_one(uint16_t field, uint64_t change)
{
	uint64_t sum = (uint16_t)~field + change; /* < 2^36 */

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static inline void rewrite_v6(const struct glb_fast_kind *kind, const uint8_t *backend, uint16_t port, uint8_t *ip)
{
	const bool tcp = ip[offsetof(struct glb_ipv6, next_header)] == GLB_IPPROTO_TCP;
	uint8_t *dst = ip + offsetof(struct glb_ipv6, dst), *l4 = ip + sizeof(struct glb_ipv6), *dport = l4 + offsetof(struct glb_udp, dport);
	uint8_t *field = l4 + (tcp ? offsetof(struct glb_tcp, checksum) : offsetof(struct glb_udp, checksum));
	const uint16_t old_port = load16(dport), was = load16(field);
	uint64_t change = (uint64_t)(uint16_t)~old_port + port;
	uint16_t now;

	for (unsigned i = 0; i < 16; i += 4)
		change += (uint64_t)(uint32_t)~load32(dst + i) + load32(backend + i);
	memcpy(dst, backend, 16);
	memcpy(dport, &port, sizeof(port));
	if (kind->encap == GLB_ENCAP_L3DSR) {
		const uint8_t tos = fast_tos(kind, ip, true);

		ip[0] = (uint8_t)((ip[0] & 0xf0) | tos >> 4);
		ip[1] = (uint8_t)((ip[1] & 0x0f) | tos << 4);
	}
	now = mended_one(was, change);
	now = !tcp && now == 0 ? 0xffff : now;
	now = !tcp && was == 0 ? 0 : now;
	memcpy(field, &now, sizeof(now));
}

GLB_INLINE void rewrite_all_v6(const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_burst *burst,
			       const struct fast_work *work)
{
	for (unsigned i = 0; i < work->n; i++) {
		const uint32_t value = path->snapshot->services[burst->service[i]].encap_value;
		uint8_t *ip = burst->data[i] + IP;

		rewrite_v6(kind, path->snapshot->backends[burst->backend[i]].addr.bytes,
			   value != 0 ? __builtin_bswap16((uint16_t)value) : load16(ip + V6_L4 - IP + 2), ip);
	}
}

/* ---- */

GLB_INLINE void rewrite(const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_egress *egress,
			struct glb_fast_burst *burst, const struct fast_work *work, const struct glb_fast_link *ethernet, bool readdress, bool nat)
{
	u64x4 link;

	memcpy(&link, ethernet, sizeof(link));
	for (unsigned i = 0; i < work->filled; i += 4) {
		if (readdress)
			rewrite_v4(path, kind, burst, work, i, nat);
		send_on(egress, burst, i, link);
	}
}

GLB_LANES_CLONES
void fast_rewrite(const struct glb_path *path, const struct glb_fast_kind *kind, const struct glb_fast_egress *egress,
		  struct glb_fast_burst *burst, const struct fast_work *work, bool v6)
{
	uint8_t spare[GLB_FAST_LINK + TCP_CHECKSUM + 2] = {0}; /* for lanes that are no packets: frame 0 is to be changed once */

	for (unsigned i = work->n; i < work->filled; i++)
		burst->data[i] = spare + GLB_FAST_LINK - IP;
	if (v6 && kind->encap != GLB_ENCAP_L2DSR)
		rewrite_all_v6(path, kind, burst, work);
	if (v6 || kind->encap == GLB_ENCAP_L2DSR)
		rewrite(path, kind, egress, burst, work, v6 ? &egress->link_v6 : &egress->link_v4, false, false);
	else
		rewrite(path, kind, egress, burst, work, &egress->link_v4, true, kind->encap == GLB_ENCAP_NAT);
}
