/* The question and the answer of `glb-redirect report`, as in docs/wire/report.md. Big-endian. */
#ifndef GLB_REDIRECT_REPORT_H
#define GLB_REDIRECT_REPORT_H

#include "glb/wire.h"

enum {
	REPORT_PORT = 19524,
	REPORT_VERSION = 1,
	REPORT_ASKED_MAX = 32, /* VIPs in one question */
	REPORT_MAC = 8,        /* bytes of the SipHash-2-4 at the end of each message */
};

enum report_status {
	REPORT_COUNTED,
	REPORT_FAILED, /* the kernel does not list its sockets; numbers are 0 */
};

struct report_head {
	uint8_t magic[4]; /* "GLBQ" asks, "GLBR" answers */
	uint8_t version;
	uint8_t asked;    /* VIPs that follow; 0 in an answer */
	uint8_t reserved; /* 0 */
	uint8_t status;   /* enum report_status; 0 in a question */
	uint8_t nonce[16]; /* the asker's, in the answer again */
};
GLB_STATIC_ASSERT(sizeof(struct report_head) == 24, "as documented")

/* Connections of a protocol to an address of the prefix and a port from `first` to `last`. */
struct report_asked {
	uint8_t family; /* 4 or 6 */
	uint8_t bits;   /* of the prefix; the others of `addr` are 0 */
	glb_be16 first, last;
	uint8_t protocol; /* 6: TCP; 17: UDP, sockets that are connected */
	uint8_t reserved; /* 0 */
	uint8_t addr[16]; /* IPv4 in the first 4 */
};
GLB_STATIC_ASSERT(sizeof(struct report_asked) == 24, "as documented")

struct report_answer {
	struct report_head head;
	uint8_t open[8], closing[8];
	uint8_t mac[REPORT_MAC];
};
GLB_STATIC_ASSERT(sizeof(struct report_answer) == 48, "as documented")

#endif
