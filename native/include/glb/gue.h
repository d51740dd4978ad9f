/* The receiving side of the wire format: is this a well-formed GUE packet of ours, and what does it carry?
 *
 * The first of the receiver's steps in docs/wire/gue.md. Whose packet it is (the allow-list), and whether the
 * connection is known here, is for the receiver. glb-redirect does the same inside the kernel with a parser of
 * its own (its verifier's rules differ); tests and tools use this one.
 */
#ifndef GLB_GUE_H
#define GLB_GUE_H

#include "wire.h"

enum glb_gue_verdict {
	GLB_GUE_OK = 0,
	GLB_GUE_TRUNCATED,     /* ends inside the GUE header or its hops */
	GLB_GUE_BAD_VERSION,   /* version is not 0 */
	GLB_GUE_BAD_CONTROL,   /* a control message */
	GLB_GUE_BAD_PROTOCOL,  /* carries neither IPv4 nor IPv6 */
	GLB_GUE_BAD_FLAGS,     /* flags not 0, or the private type is not that of the outer header's family */
	GLB_GUE_BAD_HLEN,      /* header length is not 1 + words of hop count hops */
	GLB_GUE_BAD_HOP_COUNT, /* more hops than a chain can have */
	GLB_GUE_BAD_INDEX,     /* next hop index beyond the hop count */
	GLB_GUE_BAD_INNER,     /* the client's packet is cut short or not of the protocol named */
	GLB_GUE_VERDICT_COUNT
};

/* What a well-formed packet says. */
struct glb_gue_packet {
	uint32_t inner_offset; /* of the client's IP packet, bytes from the GUE header */
	uint32_t inner_len;    /* by its own header; ≤ what the datagram holds */
	uint8_t inner_family;  /* enum glb_family */
	uint8_t next_hop;      /* index of the next hop to try; = hop_count: none is left */
	uint8_t hop_count;     /* 0..GLB_HOPS_MAX - 1 */
	uint8_t hop_family;    /* enum glb_family of the hops: the outer header's */
	uint8_t hops[7][16];   /* addresses after the first, hop_count of them, IPv4 in the first 4 bytes; GLB_HOPS_MAX - 1 */
};

/* Judges a UDP payload of `len` bytes that was sent to GLB_GUE_PORT behind an outer header of `outer_family` (enum glb_family), and
 * fills *packet when the answer is GLB_GUE_OK. Reads only [data, data + len). Pure; any thread. */
enum glb_gue_verdict glb_gue_parse(uint8_t outer_family, const uint8_t *data, uint32_t len, struct glb_gue_packet *packet);

/* Stable lower-case name of a verdict, for example "bad_index"; "unknown" when out of range. Never freed. */
const char *glb_gue_verdict_name(unsigned verdict);

#endif
