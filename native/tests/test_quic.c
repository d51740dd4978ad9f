/* QUIC-LB: the cipher against FIPS 197 and its plain twin, ids against the draft's vectors, and which of a client's packets have a server's id. */
#include "check.h"
#include "snapshot_make.h"

#include "aes128.h"

#include <glb/quic.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Bytes of hex digits; returns how many. */
static size_t unhex(const char *text, uint8_t *out)
{
	size_t n = 0;
	unsigned value;

	for (; sscanf(text, "%2x", &value) == 1; text += 2)
		out[n++] = (uint8_t)value;
	return n;
}

static void random_bytes(uint64_t *state, uint8_t *out, size_t n)
{
	while (n-- > 0)
		*out++ = (uint8_t)make_random(state, 256);
}

/* ---- the cipher ---- */

static void the_cipher_is_aes(void)
{
	uint8_t key[16], keys[AES128_KEYS], in[16], expected[16], out[16];

	unhex("000102030405060708090a0b0c0d0e0f", key); /* FIPS 197, C.1 */
	unhex("00112233445566778899aabbccddeeff", in);
	unhex("69c4e0d86a7b0430d8cdb78070b4c55a", expected);
	aes128_expand(key, keys);
	aes128_encrypt_plain(keys, in, out);
	CHECK(memcmp(out, expected, 16) == 0);
	aes128_decrypt_plain(keys, out, out);
	CHECK(memcmp(out, in, 16) == 0);
	unhex("2b7e151628aed2a6abf7158809cf4f3c", key); /* A.1 */
	aes128_expand(key, keys);
	unhex("d014f9a8c9ee2589e13f0cc8b6630ca6", expected);
	CHECK(memcmp(keys + 160, expected, 16) == 0);
}

static void the_cpus_instructions_do_the_same(void)
{
	uint8_t key[16], keys[AES128_KEYS], in[16], fast[16], plain[16];
	uint64_t state = 197;

	for (unsigned round = 0; round < 20000; round++) {
		random_bytes(&state, key, sizeof(key));
		random_bytes(&state, in, sizeof(in));
		aes128_expand(key, keys);
		aes128_encrypt(keys, in, fast);
		aes128_encrypt_plain(keys, in, plain);
		CHECK(memcmp(fast, plain, 16) == 0);
		aes128_decrypt(keys, in, fast);
		aes128_decrypt_plain(keys, in, plain);
		CHECK(memcmp(fast, plain, 16) == 0);
	}
}

/* ---- ids ---- */

static struct glb_quic quic_of(const char *key, unsigned server_id_len, unsigned nonce_len)
{
	struct glb_quic quic = {.server_id_len = (uint8_t)server_id_len, .nonce_len = (uint8_t)nonce_len, .encrypted = key != NULL};
	uint8_t bytes[16];

	if (key != NULL && unhex(key, bytes) == 16)
		glb_quic_expand_key(bytes, quic.keys);
	return quic;
}

/* Appendix B of the draft: first octets have the configuration's id and the length. */
static void ids_are_the_drafts(void)
{
	static const char *key = "8f95f09245765f80256934e50c66207f";
	static const struct {
		const char *key, *server_id, *nonce, *id;
	} vectors[] = {
		{NULL, "c4605e", "4504cc4f", "07c4605e4504cc4f"},
		{NULL, "350d28b420", "03487d970b", "2a350d28b42003487d970b"}, /* printed there with two zeros out of place */
		{"", "ed793a", "ee080dbf", "0720b1d07b359d3c"},
		{"", "ed793a51d49b8f5fab65", "ee080dbf48", "2fcc381bc74cb4fbad2823a3d1f8fed2"},
		{"", "ed793a51d49b8f5f", "ee080dbf48c0d1e5", "504dd2d05a7b0de9b2b9907afb5ecf8cc3"},
		{"", "ed793a51d49b8f5fab", "ee080dbf48c0d1e55d", "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc"},
	};

	for (unsigned i = 0; i < COUNT(vectors); i++) {
		uint8_t server_id[16] = {0}, nonce[20], id[21], made[20], found[16];
		const size_t server_id_len = unhex(vectors[i].server_id, server_id), nonce_len = unhex(vectors[i].nonce, nonce);
		const size_t len = unhex(vectors[i].id, id);
		const struct glb_quic quic = quic_of(vectors[i].key ? key : NULL, (unsigned)server_id_len, (unsigned)nonce_len);

		CHECK(len == 1 + server_id_len + nonce_len);
		glb_quic_decode(&quic, id + 1, found);
		CHECK(memcmp(found, server_id, 16) == 0);
		glb_quic_encode(&quic, server_id, nonce, made);
		CHECK(memcmp(made, id + 1, len - 1) == 0);
	}
}

static void every_length_comes_back(void)
{
	uint64_t state = 9000;

	for (unsigned server_id_len = 1; server_id_len <= GLB_QUIC_SERVER_ID_MAX; server_id_len++) {
		for (unsigned nonce_len = GLB_QUIC_NONCE_MIN; server_id_len + nonce_len < GLB_QUIC_ID_MAX; nonce_len++) {
			for (unsigned round = 0; round < 50; round++) {
				struct glb_quic quic = quic_of(NULL, server_id_len, nonce_len);
				uint8_t key[16], server_id[16] = {0}, nonce[20], id[19], found[16];

				random_bytes(&state, key, sizeof(key));
				random_bytes(&state, server_id, server_id_len);
				random_bytes(&state, nonce, nonce_len);
				quic.encrypted = round % 5 != 0;
				glb_quic_expand_key(key, quic.keys);
				glb_quic_encode(&quic, server_id, nonce, id);
				glb_quic_decode(&quic, id, found);
				CHECK(memcmp(found, server_id, 16) == 0);
			}
		}
	}
}

/* ---- packets ---- */

/* The id that is a server's, as an offset into the payload, or -1; `hex` in a buffer of its own length, for the sanitizers. */
static long chosen(const char *hex, size_t *len)
{
	uint8_t bytes[1500];
	const size_t n = unhex(hex, bytes);
	uint8_t *payload = malloc(n + 1);
	const uint8_t *id;
	long at;

	memcpy(payload, bytes, n);
	id = glb_quic_server_chosen(payload, n, len);
	at = id == NULL ? -1 : id - payload;
	free(payload);
	return at;
}

#define V1 "00000001"
#define V2 "6b3343cf"
#define ID "081122334455667788"  /* with its length */
#define OTHER "089922334455667788"
#define SOURCE "0455667788"
#define INITIAL1 "c3" V1 ID SOURCE "02aabb" "4004" "01020304" /* token of two bytes, length in two */
#define ZERO1 "d0" V1 ID SOURCE "03" "010203"
#define HANDSHAKE1 "e0" V1 ID SOURCE "03" "010203"
#define SHORT "41" "1122334455667788" "010203"

static void a_clients_own_id_is_not_a_servers(void)
{
	static const char *payloads[] = {
		"", INITIAL1, ZERO1, INITIAL1 ZERO1, INITIAL1 "00000000000000000000000000", INITIAL1 INITIAL1,
		"d3" V2 ID SOURCE "00" "03" "010203", "e3" V2 ID SOURCE "03" "010203",
		INITIAL1 "e0" V1 OTHER SOURCE "03" "010203", INITIAL1 "41" "9922334455667788" "010203", /* no server would send that */
		INITIAL1 "01" "1122334455667788" "010203", INITIAL1 "41" "11223344556677",
		"f0" V1 ID SOURCE "010203",                     /* Retry: servers send it */
		"c0" "00000000" ID SOURCE, "e0" "ff00001d" ID SOURCE "03" "010203", "ea" "1a2a3a4a" ID SOURCE,
		"e0" V1, "e0" V1 "08112233", "e0" V1 ID, "e0" V1 ID "0455", "e0" V1 "15" "112233445566778899001122334455667788990011" "00",
		INITIAL1 "e0" V1 ID "05112233", "c3" V1 ID SOURCE "02aa", "c3" V1 ID SOURCE "c0ffffffffffffffff", "c3" V1 ID SOURCE "0040",
		INITIAL1 ZERO1 ZERO1 ZERO1 HANDSHAKE1,          /* further than is looked */
	};
	size_t len;

	for (unsigned i = 0; i < COUNT(payloads); i++)
		CHECK(chosen(payloads[i], &len) == -1);
}

static void what_shows_that_a_server_chose_it(void)
{
	static const struct {
		const char *payload;
		long at;
		size_t len;
	} cases[] = {
		{SHORT, 1, 11}, {"40", 1, 0}, {"17fefd0000", 1, 4}, /* DTLS 1.2 looks like this: 0xfe is of no configuration */
		{HANDSHAKE1, 6, 8}, {"f0" V2 ID SOURCE "03" "010203", 6, 8},
		{"e0" V1 "00" SOURCE "03" "010203", 6, 0},
		{INITIAL1 HANDSHAKE1, 6, 8}, {INITIAL1 SHORT, 6, 8}, {INITIAL1 ZERO1 HANDSHAKE1, 6, 8}, {ZERO1 HANDSHAKE1, 6, 8},
		{"d3" V2 ID SOURCE "00" "03" "010203" "f0" V2 ID SOURCE "03" "010203", 6, 8},
	};
	size_t len;

	for (unsigned i = 0; i < COUNT(cases); i++)
		CHECK(chosen(cases[i].payload, &len) == cases[i].at && len == cases[i].len);
}

/* Every prefix of each, and with bytes changed at random: nothing beyond the end is read, and what is found is inside. */
static void damaged_packets_are_read_within_bounds(void)
{
	static const char *payloads[] = {INITIAL1 ZERO1 HANDSHAKE1, INITIAL1 SHORT, HANDSHAKE1, SHORT};
	uint64_t state = 1;
	size_t len = 0;

	for (unsigned round = 0; round < 20000; round++) {
		char hex[400];
		long at;

		snprintf(hex, sizeof(hex), "%s", payloads[round % COUNT(payloads)]);
		for (unsigned n = make_random(&state, 4); n > 0; n--)
			hex[make_random(&state, (uint32_t)strlen(hex))] = "0123456789abcdef"[make_random(&state, 16)];
		hex[make_random(&state, (uint32_t)strlen(hex) + 1) & ~1U] = 0;
		at = chosen(hex, &len);
		CHECK(at == -1 || (size_t)at + len <= strlen(hex) / 2);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"the cipher is AES", the_cipher_is_aes},
		{"the CPU's instructions do the same", the_cpus_instructions_do_the_same},
		{"ids are the draft's", ids_are_the_drafts},
		{"every length comes back", every_length_comes_back},
		{"a client's own id is not a server's", a_clients_own_id_is_not_a_servers},
		{"what shows that a server chose it", what_shows_that_a_server_chose_it},
		{"damaged packets are read within bounds", damaged_packets_are_read_within_bounds},
	};

	return check_run(cases, COUNT(cases));
}
