/* AES-128, one block at a time (FIPS 197): the cipher that QUIC-LB is made of. No modes; nothing but quic_id.c needs it.
 *
 * With the CPU's instructions where it has them, else in plain C, which looks bytes up in tables and so takes a time that depends on the
 * data: see docs/adr.
 */
#ifndef GLB_CORE_AES128_H
#define GLB_CORE_AES128_H

#include <stdint.h>

enum { AES128_KEYS = 176 }; /* bytes of the round keys */

void aes128_expand(const uint8_t key[16], uint8_t keys[AES128_KEYS]);

/* `in` and `out` may be the same. */
void aes128_encrypt(const uint8_t keys[AES128_KEYS], const uint8_t in[16], uint8_t out[16]);
void aes128_decrypt(const uint8_t keys[AES128_KEYS], const uint8_t in[16], uint8_t out[16]);

/* The same in plain C, whatever the CPU has. */
void aes128_encrypt_plain(const uint8_t keys[AES128_KEYS], const uint8_t in[16], uint8_t out[16]);
void aes128_decrypt_plain(const uint8_t keys[AES128_KEYS], const uint8_t in[16], uint8_t out[16]);

#endif
