/* QUIC by connection id: did this host choose the one that a client's datagram has, or another server? QUIC-LB, docs/quic.md.
 *
 * A short header has a server's id, and so has a Handshake packet at the front of a datagram. Every other id a client may have made up.
 * Nothing behind the id is read: where that makes no packet (a source id longer than 20 bytes), the server that gets it drops it.
 */
#ifndef GLB_REDIRECT_QUIC_H
#define GLB_REDIRECT_QUIC_H

#include "parse.h"

enum {
	QUIC_LONG_HEADER = 0x80,
	QUIC_TYPE = 0x30,            /* of a long header's first byte */
	QUIC_HANDSHAKE_1 = 0x20,     /* of RFC 9000 */
	QUIC_HANDSHAKE_2 = 0x30,     /* of RFC 9369 */
	QUIC_VERSION_1 = 0x00000001,
	QUIC_VERSION_2 = 0x6b3343cf,
	QUIC_ID_MAX = 20,
	QUIC_HEAD = 8, /* bytes that are looked at */
	QUIC_BEHIND = 20, /* bytes that follow the id of every packet that can be decrypted (RFC 9001, 5.4.2) */
};

static __always_inline bool is_handshake(uint32_t version, uint8_t first)
{
	const uint8_t type = first & QUIC_TYPE;

	return (version == QUIC_VERSION_1 && type == QUIC_HANDSHAKE_1) || (version == QUIC_VERSION_2 && type == QUIC_HANDSHAKE_2);
}

/* Whose is the datagram whose UDP header is at `at`? The key has protocol and address of its service. One look at the packet: the
 * verifier follows each. */
static __always_inline enum quic_owner quic_owner_of(const struct packet *packet, struct glb_redirect_quic_key *key, uint32_t at, uint32_t end)
{
	struct {
		struct glb_udp udp;
		uint8_t first, rest[QUIC_HEAD - 1];
	} head ALIGNED;
	const struct glb_redirect_quic *quic;
	uint32_t id_at = at + sizeof(head.udp) + 1, len = end - id_at;
	glb_be32 version;

	if (at + sizeof(head) > end || !way_load(packet, at, &head, sizeof(head)))
		return QUIC_NOBODYS;
	key->service.port = head.udp.dport;
	key->config_id = head.rest[0] >> 5;
	if (head.first & QUIC_LONG_HEADER) {
		__builtin_memcpy(&version, head.rest, sizeof(version));
		if (!is_handshake(glb_be32_get(version), head.first))
			return QUIC_NOBODYS;
		len = head.rest[4];
		id_at += 5;
		key->config_id = head.rest[5] >> 5;
	}
	if (!len || len > end - id_at || id_at + QUIC_BEHIND > end || (len > QUIC_ID_MAX && head.first & QUIC_LONG_HEADER))
		return QUIC_NOBODYS;
	quic = way_quic(packet, key);
	if (!quic || len < 1u + quic->server_id_len + quic->nonce_len)
		return QUIC_NOBODYS;
	return way_is_own_id(packet, quic, id_at + 1) ? QUIC_OURS : QUIC_ANOTHERS;
}

/* Whose is a whole datagram? The cursor stands at its UDP header. */
static __always_inline enum quic_owner owner_of(const struct cursor *c, const struct inner *inner)
{
	struct glb_redirect_quic_key key = {.service.protocol = GLB_IPPROTO_UDP};

	if (inner->is_v6) {
		key.service.family = GLB_REDIRECT_V6;
		__builtin_memcpy(key.service.addr, inner->ip.v6.dst, 16);
	} else {
		key.service.family = GLB_REDIRECT_V4;
		__builtin_memcpy(key.service.addr, inner->ip.v4.dst, 4);
	}
	return way_owner(&c->packet, &key, c->at, c->end);
}

#endif
