/* Which worker a frame belongs to, before anything is known about services. */
#ifndef GLB_STEER_H
#define GLB_STEER_H

#include "peers.h"

/* Hash of the flow of a frame: `len` contiguous bytes at `data`, from the Ethernet header on, of `frame_len` in all. TCP and UDP: addresses, ports
 * and protocol; a too-big message: those of the flow that it quotes, as the client sends it; fragments, the first one included, and
 * everything else: the addresses. 0 for what is malformed or not IP. It is a function of the frame and `seed` alone, never of a
 * snapshot, and has nothing to do with the hash that finds a row. Pure; any thread. */
uint32_t glb_steer_hash(uint32_t seed, const uint8_t *data, uint32_t len, uint32_t frame_len);

/* The same on a director with peers, whose redirected fragments have the hash of what they carry: so they come to where those do that came
 * by themselves. */
uint32_t glb_steer_hash_shared(const struct glb_peers *peers, uint32_t seed, const uint8_t *data, uint32_t len, uint32_t frame_len);

/* The one of `workers` (1 or more) that gets the packets with this hash: even shares whatever bits the hash varies in. */
uint32_t glb_steer_worker(uint32_t hash, uint32_t workers);

#endif
