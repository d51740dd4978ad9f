/* QUIC-LB's encodings of server id and nonce (glb/quic.h): plain, one block, and the four-pass network for all other lengths. Section 5 of the draft. */
#include <glb/quic.h>

#include "aes128.h"

#include <string.h>

enum { BLOCK = 16, HALF_MAX = 10, LENGTH_AT = 14, PASS_AT = 15 };

/* Server id and nonce, in two halves; where their length is odd, the middle byte's upper bits belong to the left one, the lower to the right. */
struct halves {
	uint8_t left[HALF_MAX];
	uint8_t right[HALF_MAX];
	uint8_t len;  /* of a half, rounded up */
	uint8_t both;
};

static bool is_odd(const struct halves *h)
{
	return h->both % 2 != 0;
}

static void clear_middle(struct halves *h)
{
	if (is_odd(h)) {
		h->left[h->len - 1] &= 0xf0;
		h->right[0] &= 0x0f;
	}
}

static struct halves split(const uint8_t *bytes, unsigned len)
{
	struct halves h = {.len = (uint8_t)((len + 1) / 2), .both = (uint8_t)len};

	memcpy(h.left, bytes, h.len);
	memcpy(h.right, bytes + len - h.len, h.len);
	clear_middle(&h);
	return h;
}

static void join(const struct halves *h, uint8_t *bytes)
{
	memcpy(bytes, h->left, h->len);
	if (is_odd(h))
		bytes[h->len - 1] |= h->right[0];
	memcpy(bytes + h->len, h->right + is_odd(h), h->len - is_odd(h));
}

/* One pass: what one half is encrypted to changes the other. Undone by itself. */
static void pass(const struct glb_quic *quic, struct halves *h, uint8_t number)
{
	const bool from_left = number % 2 != 0;
	uint8_t *to = from_left ? h->right : h->left;
	uint8_t block[BLOCK] = {[LENGTH_AT] = h->both, [PASS_AT] = number};

	memcpy(block, from_left ? h->left : h->right, h->len);
	aes128_encrypt(quic->keys, block, block);
	for (unsigned i = 0; i < h->len; i++)
		to[i] ^= block[i];
	clear_middle(h);
}

static bool is_one_block(const struct glb_quic *quic)
{
	return quic->server_id_len + quic->nonce_len == BLOCK;
}

void glb_quic_expand_key(const uint8_t key[16], uint8_t keys[176])
{
	aes128_expand(key, keys);
}

void glb_quic_decode(const struct glb_quic *quic, const uint8_t *id, uint8_t server_id[16])
{
	uint8_t bytes[BLOCK + HALF_MAX];

	if (!quic->encrypted) {
		memcpy(bytes, id, quic->server_id_len);
	} else if (is_one_block(quic)) {
		aes128_decrypt(quic->keys, id, bytes);
	} else {
		struct halves h = split(id, quic->server_id_len + quic->nonce_len);

		pass(quic, &h, 4);
		pass(quic, &h, 3);
		pass(quic, &h, 2);
		if (quic->server_id_len > quic->nonce_len)
			pass(quic, &h, 1); /* else the left half has all of it */
		join(&h, bytes);
	}
	memset(server_id, 0, 16);
	memcpy(server_id, bytes, quic->server_id_len);
}

void glb_quic_encode(const struct glb_quic *quic, const uint8_t *server_id, const uint8_t *nonce, uint8_t *id)
{
	struct halves h;

	memcpy(id, server_id, quic->server_id_len);
	memcpy(id + quic->server_id_len, nonce, quic->nonce_len);
	if (!quic->encrypted)
		return;
	if (is_one_block(quic)) {
		aes128_encrypt(quic->keys, id, id);
		return;
	}
	h = split(id, quic->server_id_len + quic->nonce_len);
	for (uint8_t number = 1; number <= 4; number++)
		pass(quic, &h, number);
	join(&h, id);
}

/* ---- whose it is ---- */

/* The service's configuration with this id, or NULL: both ascend. */
static const struct glb_quic *find_config(const struct glb_snapshot *snapshot, uint32_t service, unsigned config_id)
{
	uint32_t low = 0, high = snapshot->quic_count;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;
		const struct glb_quic *quic = &snapshot->quics[middle];

		if (quic->service == service && quic->config_id == config_id)
			return quic;
		if (quic->service < service || (quic->service == service && quic->config_id < config_id))
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static uint32_t find_server(const struct glb_snapshot *snapshot, const struct glb_quic *quic, const uint8_t server_id[16])
{
	uint32_t low = quic->server_first, high = quic->server_first + quic->server_count;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;
		const int order = memcmp(snapshot->quic_servers[middle].id, server_id, 16);

		if (order == 0)
			return snapshot->quic_servers[middle].backend;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return GLB_INDEX_NONE;
}

uint32_t glb_quic_find(const struct glb_snapshot *snapshot, uint32_t service, const uint8_t *id, size_t len)
{
	const struct glb_quic *quic;
	uint8_t server_id[16];

	if (len == 0)
		return GLB_INDEX_NONE;
	quic = find_config(snapshot, service, id[0] >> 5);
	if (quic == NULL || len < 1U + quic->server_id_len + quic->nonce_len)
		return GLB_INDEX_NONE;
	glb_quic_decode(quic, id + 1, server_id);
	return find_server(snapshot, quic, server_id);
}

/* ---- from one snapshot to the next ---- */

/* The index of the backend after that a server's ids lead to, or GLB_INDEX_NONE. */
static uint32_t find_again(const struct glb_quic *was, const struct glb_quic_server *server, const struct glb_snapshot *after,
			   uint32_t service)
{
	const struct glb_quic *is = find_config(after, service, was->config_id);

	if (is == NULL || is->server_id_len != was->server_id_len || is->nonce_len != was->nonce_len ||
	    is->encrypted != was->encrypted || memcmp(is->keys, was->keys, sizeof(is->keys)) != 0)
		return GLB_INDEX_NONE;
	return find_server(after, is, server->id);
}

bool glb_quic_keeps(const struct glb_snapshot *before, uint32_t service_before, uint32_t backend, const struct glb_snapshot *after,
		    uint32_t service_after)
{
	bool found = false;

	for (unsigned id = 0; id < GLB_QUIC_CONFIGS_MAX; id++) {
		const struct glb_quic *was = find_config(before, service_before, id);

		for (uint32_t i = 0; was != NULL && i < was->server_count; i++) {
			const struct glb_quic_server *server = &before->quic_servers[was->server_first + i];
			uint32_t own;

			if (server->backend != backend)
				continue;
			own = find_again(was, server, after, service_after);
			if (own == GLB_INDEX_NONE || after->backends[own].state == GLB_STATE_INACTIVE ||
			    after->backends[own].health == GLB_HEALTH_UNHEALTHY ||
			    memcmp(&after->backends[own].addr, &before->backends[backend].addr, sizeof(struct glb_addr)) != 0)
				return false;
			found = true;
		}
	}
	return found;
}
