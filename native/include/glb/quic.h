/* QUIC-LB connection ids (draft-ietf-quic-load-balancers-21): which server chose one.
 *
 * A connection id of a server has a first octet, whose upper three bits name a configuration, then server id and nonce, in the clear or
 * encrypted. Here they are taken apart, and put together for tests and tools; path_quic.c decides which packets are asked. docs/quic.md.
 */
#ifndef GLB_QUIC_H
#define GLB_QUIC_H

#include "snapshot.h"

enum {
	GLB_QUIC_ID_MAX = 20, /* bytes of a connection id, first octet included: QUIC 1 and 2 */
};

/* The AES-128 round keys of a key, as struct glb_quic has them. */
void glb_quic_expand_key(const uint8_t key[16], uint8_t keys[176]);

/* Writes the server id of a connection id, followed by zeros. `id` has server_id_len + nonce_len bytes, what comes behind the first octet. */
void glb_quic_decode(const struct glb_quic *quic, const uint8_t *id, uint8_t server_id[16]);

/* The other way round: writes server_id_len + nonce_len bytes. */
void glb_quic_encode(const struct glb_quic *quic, const uint8_t *server_id, const uint8_t *nonce, uint8_t *id);

/* The index of the backend that a connection id of `len` bytes names, or GLB_INDEX_NONE where no configuration of the service has its first
 * bits, it is too short, or no server has the id. Any thread, no locks. */
uint32_t glb_quic_find(const struct glb_snapshot *snapshot, uint32_t service, const uint8_t *id, size_t len);

/* Whether connections with ids of a backend, an index into `before`, go on by `after`: every configuration of the service that gives it an id
 * leads to the same address still, where packets may go. Services are indices, too. False for one that has no id. Any thread. */
bool glb_quic_keeps(const struct glb_snapshot *before, uint32_t service_before, uint32_t backend, const struct glb_snapshot *after,
		    uint32_t service_after);

/* A connection id that a server has chosen, in a UDP payload of a client: its address, with *len bytes that may be part of it (exactly, in
 * a long header). NULL: there is none, or the client may have made it up (Initial and 0-RTT packets, unless a packet behind them shows
 * otherwise; long headers of versions other than 1 and 2). RFC 8999, 9000, 9369. */
const uint8_t *glb_quic_server_chosen(const uint8_t *payload, size_t payload_len, size_t *len);

#endif
