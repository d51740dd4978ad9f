/* Which connection id of a client's UDP payload a server has chosen (glb/quic.h). Headers only; knows nothing of QUIC-LB.
 *
 * A client makes up the first destination id, and uses it until it has the server's first packet. So its Initial and 0-RTT packets say nothing,
 * and all later ones do: Handshake packets, and those with a short header. All packets of a datagram have the same id, so that one of
 * these behind an Initial shows whose the Initial's is.
 */
#include <glb/quic.h>
#include <glb/wire.h>

#include <string.h>

enum {
	LONG_HEADER = 0x80,
	FIXED_BIT = 0x40,
	VERSION_1 = 0x00000001, /* RFC 9000 */
	VERSION_2 = 0x6b3343cf, /* RFC 9369 */
	LONG_MIN = 6,           /* first byte, version, length of the destination id */
	PACKETS_MAX = 4,        /* of one datagram that are looked at */
};

enum long_type { INITIAL, ZERO_RTT, HANDSHAKE, RETRY, UNKNOWN };

struct span {
	const uint8_t *at;
	size_t len;
};

struct long_header {
	enum long_type type;
	struct span id;   /* destination */
	struct span rest; /* behind the source id */
};

static enum long_type type_of(uint32_t version, uint8_t first)
{
	static const uint8_t second[] = {RETRY, INITIAL, ZERO_RTT, HANDSHAKE};
	const unsigned bits = first >> 4 & 3;

	if (version == VERSION_1)
		return (enum long_type)bits;
	return version == VERSION_2 ? (enum long_type)second[bits] : UNKNOWN;
}

/* Takes a length of one byte and as many bytes off the front. */
static bool take_id(struct span *from, struct span *id)
{
	if (from->len == 0 || from->at[0] > GLB_QUIC_ID_MAX || from->len - 1 < from->at[0])
		return false;
	*id = (struct span){from->at + 1, from->at[0]};
	*from = (struct span){id->at + id->len, from->len - 1 - id->len};
	return true;
}

static bool parse_long(struct span packet, struct long_header *header)
{
	glb_be32 version;
	struct span source;

	if (packet.len < LONG_MIN)
		return false;
	memcpy(&version, packet.at + 1, sizeof(version));
	header->type = type_of(glb_be32_get(version), packet.at[0]);
	header->rest = (struct span){packet.at + 5, packet.len - 5};
	return header->type != UNKNOWN && take_id(&header->rest, &header->id) && take_id(&header->rest, &source);
}

/* Takes an integer of variable length off the front, and as many bytes. */
static bool skip_counted(struct span *from)
{
	uint64_t value;
	size_t bytes;

	if (from->len == 0)
		return false;
	bytes = (size_t)1 << (from->at[0] >> 6);
	if (from->len < bytes)
		return false;
	value = from->at[0] & 0x3f;
	for (size_t i = 1; i < bytes; i++)
		value = value << 8 | from->at[i];
	if (from->len - bytes < value)
		return false;
	*from = (struct span){from->at + bytes + value, from->len - bytes - (size_t)value};
	return true;
}

/* Whether behind the Initial or 0-RTT packet with this header comes one with the same id that only a server can have given. */
static bool is_given_behind(struct long_header header)
{
	const struct span id = header.id;

	for (unsigned n = 1; n < PACKETS_MAX; n++) {
		struct span left = header.rest;

		if ((header.type == INITIAL && !skip_counted(&left)) || !skip_counted(&left) || left.len == 0)
			return false; /* token, then what is encrypted */
		if ((left.at[0] & LONG_HEADER) == 0) /* what may be padding is too alike to be left to chance */
			return (left.at[0] & FIXED_BIT) != 0 && id.len > 0 && left.len - 1 >= id.len &&
			       memcmp(left.at + 1, id.at, id.len) == 0;
		if (!parse_long(left, &header) || header.id.len != id.len || memcmp(header.id.at, id.at, id.len) != 0)
			return false;
		if (header.type != INITIAL && header.type != ZERO_RTT)
			return header.type == HANDSHAKE;
	}
	return false;
}

const uint8_t *glb_quic_server_chosen(const uint8_t *payload, size_t payload_len, size_t *len)
{
	struct long_header header;

	if (payload_len == 0)
		return NULL;
	if ((payload[0] & LONG_HEADER) == 0) {
		*len = payload_len - 1;
		return payload + 1;
	}
	if (!parse_long((struct span){payload, payload_len}, &header))
		return NULL;
	if (header.type != HANDSHAKE && (header.type == RETRY || !is_given_behind(header)))
		return NULL;
	*len = header.id.len;
	return header.id.at;
}
