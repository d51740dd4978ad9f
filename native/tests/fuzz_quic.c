/* Fuzz target: any UDP payload as a client's QUIC datagram, through the whole packet path, with every form of connection id.
 *
 * Input: a byte that chooses the lengths, one of settings, then the payload. Some inputs get a server's id put where one would be, so that more than the
 * parsing is reached. Reading beyond the payload is ASan's to find; what comes out is held against its contracts here.
 */
#include "fuzz.h"
#include "world.h"

#include <glb/quic.h>

enum { BACKENDS = 4, PAYLOAD_MAX = 1400, SEALED = 1, PLAIN = 2, LATE = 4, V6 = 8, LENGTHS = 4 };

static const struct { uint8_t server_id_len, nonce_len; } lengths[LENGTHS] = {{3, 13}, {1, 4}, {9, 10}, {15, 4}};

static struct world worlds[LENGTHS];

static void world_make(struct world *world, unsigned kind)
{
	make_init(&world->make, 1, BACKENDS, 1);
	make_one_family(&world->make);
	world->make.backends[0][2].state = GLB_STATE_DRAINING;
	world->make.backends[0][3].state = GLB_STATE_INACTIVE;
	world->make.services[0].hash_fields = 0xf;
	make_quic(&world->make, 0, lengths[kind].server_id_len, lengths[kind].nonce_len);
	make_bind(&world->make, 0, vip4(), 32, GLB_IPPROTO_UDP, 443, 443);
	make_bind(&world->make, 0, vip6(), 128, GLB_IPPROTO_UDP, 443, 443);
	MUST(world_compile(world));
}

/* Puts the id of a backend, made of the input's own bytes, into the payload, behind a short header or a long one's beginning. */
static void put_id(const struct glb_snapshot *snapshot, uint8_t settings, uint8_t *payload, size_t len)
{
	const struct glb_quic *quic = &snapshot->quics[settings & SEALED ? 1 : 0];
	const size_t at = settings & LATE ? 6 : 1, id_len = 1U + quic->server_id_len + quic->nonce_len;
	uint8_t server_id[16] = {0}, nonce[GLB_QUIC_ID_MAX];

	if (len < at + id_len)
		return;
	server_id[0] = (uint8_t)(0x10 + payload[at] % BACKENDS);
	payload[at] = (uint8_t)(quic->config_id << 5 | (payload[at] & 0x1f));
	if (at == 6)
		payload[5] = (uint8_t)id_len;
	memcpy(nonce, payload + at + 1, quic->nonce_len);
	glb_quic_encode(quic, server_id, nonce, payload + at + 1);
}

static void look_at(const struct glb_snapshot *snapshot, const struct glb_packet *p, const uint8_t *payload, size_t len)
{
	const struct glb_table *table = &snapshot->tables[0];
	size_t id_len = 0;
	const uint8_t *id = glb_quic_server_chosen(payload, len, &id_len);
	uint32_t own = GLB_INDEX_NONE;

	MUST(p->verdict == GLB_VERDICT_FORWARD && p->chain_len >= 1 && p->chain_len <= table->hops);
	if (id != NULL) {
		MUST(id > payload && id + id_len <= payload + len);
		own = glb_quic_find(snapshot, 0, id, id_len);
		MUST(own == GLB_INDEX_NONE || own < snapshot->backend_count);
	}
	MUST(p->by_id == (own != GLB_INDEX_NONE && snapshot->backends[own].state != GLB_STATE_INACTIVE));
	MUST(!p->by_id || p->chain[0] == own);
	for (unsigned i = 0; i < p->chain_len; i++)
		for (unsigned j = 0; j < i; j++)
			MUST(p->chain[i] != p->chain[j]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input input = {data, len};
	const unsigned kind = input_byte(&input) % LENGTHS;
	const uint8_t settings = input_byte(&input);
	struct frame frame = udp_frame(settings & V6 ? 6 : 4, 5000, 443);
	uint8_t *bytes, *payload;
	struct glb_packet p;

	if (worlds[kind].snapshot.header == NULL)
		world_make(&worlds[kind], kind);
	if (input.left > PAYLOAD_MAX)
		return 0;
	frame.len = (uint32_t)(14 + (settings & V6 ? 40 : 20) + 8);
	bytes = malloc(frame.len + input.left); /* exactly as long, so that one byte too far is seen */
	MUST(bytes != NULL);
	memcpy(bytes, frame.bytes, frame.len);
	payload = bytes + frame.len;
	memcpy(payload, input.data, input.left);
	if (settings & (SEALED | PLAIN))
		put_id(&worlds[kind].snapshot, settings, payload, input.left);
	if (settings & V6) {
		bytes[18] = (uint8_t)((8 + input.left) >> 8);
		bytes[19] = (uint8_t)(8 + input.left);
	} else {
		bytes[16] = (uint8_t)((28 + input.left) >> 8);
		bytes[17] = (uint8_t)(28 + input.left);
	}
	p = (struct glb_packet){.data = bytes, .data_len = frame.len + (uint32_t)input.left, .frame_len = frame.len + (uint32_t)input.left};
	glb_path_burst(&worlds[kind].path, &p, 1);
	look_at(&worlds[kind].snapshot, &p, payload, input.left);
	free(bytes);
	return 0;
}
