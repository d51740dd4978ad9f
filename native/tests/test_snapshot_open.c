/* Opening snapshots: what was compiled comes back, and damage of every kind is refused.
 *
 * Damage is tried in buffers of exactly the file's size, so that the sanitizers see a read
 * beyond it, and once more with the digest made right again, so that the structural checks are
 * what refuses it.
 */
#include <errno.h>

#include "check.h"
#include "snapshot_make.h"

#include "snapshot_layout.h"

static struct glb_snapshot_header *copy_of(const struct glb_buffer *buffer)
{
	void *copy = malloc(buffer->len);

	memcpy(copy, buffer->data, buffer->len);
	return copy;
}

static void comes_back(void)
{
	struct glb_snapshot s;
	struct glb_buffer buffer;
	struct make m;

	make_full(&m);
	CHECK(make_open(&m, &buffer, &s));
	CHECK(buffer.len == s.header->file_bytes);
	CHECK(s.header->revision == 7);
	CHECK(s.service_count == 3 && s.backend_count == 8 && s.table_count == 3 && s.vip_count == 4);
	for (uint32_t i = 0; i < 3; i++) {
		CHECK(s.services[i].id == i + 1);
		CHECK(strcmp(s.strings + s.services[i].name, m.services[i].name) == 0);
		CHECK(memcmp(s.services[i].hash_key, m.services[i].hash_key, 16) == 0);
		CHECK(strcmp(s.strings + s.tables[s.services[i].table].pool_name, m.pools[i % 2].name) == 0);
		CHECK(s.tables[s.services[i].table].hops == m.services[i].hops);
		CHECK(s.udp_timeouts[i] == m.services[i].udp_timeout);
	}
	CHECK(s.quic_count == 2 && s.quic_server_count == 8 && s.quics[1].config_id == 5 && s.quics[1].service == 1);
	CHECK(s.quic_servers[3].backend == 7 && s.quic_servers[3].id[0] == 0x13);
	for (uint32_t b = 0; b < 8; b++) {
		CHECK(s.backends[b].id == m.backends[b / 4][b % 4].id);
		CHECK(strcmp(s.strings + s.backends[b].name, m.backends[b / 4][b % 4].name) == 0);
		CHECK(glb_addr_equal(&s.backends[b].addr, &m.backends[b / 4][b % 4].addr));
	}
	glb_buffer_free(&buffer);
}

static void every_truncation_is_refused(void)
{
	struct glb_buffer buffer;
	struct make m;

	make_full(&m);
	CHECK(glb_snapshot_compile(&m.config, &buffer, NULL) == 0);
	for (size_t len = 0; len < buffer.len; len++) {
		uint8_t *cut = malloc(len > 0 ? len : 1);
		struct glb_snapshot s;
		struct glb_error error = {0};
		int status;

		memcpy(cut, buffer.data, len);
		status = glb_snapshot_open(cut, len, &s, &error);
		free(cut);
		CHECK(status == -EINVAL);
		CHECK(error.text[0] != '\0');
		CHECK(s.header == NULL);
	}
	glb_buffer_free(&buffer);
}

static void every_flipped_bit_is_refused(void)
{
	struct glb_buffer buffer;
	struct make m;

	make_full(&m);
	CHECK(glb_snapshot_compile(&m.config, &buffer, NULL) == 0);
	for (size_t bit = 0; bit < buffer.len * 8; bit += bit < sizeof(struct glb_snapshot_header) * 8 ? 1 : 13) {
		void *copy = copy_of(&buffer);
		struct glb_snapshot s;
		int status;

		((uint8_t *)copy)[bit / 8] ^= 1 << bit % 8;
		status = glb_snapshot_open(copy, buffer.len, &s, NULL);
		free(copy);
		CHECK(status == -EINVAL || status == -EBADMSG || status == -EPROTONOSUPPORT);
	}
	glb_buffer_free(&buffer);
}

static void other_versions_are_refused_as_such(void)
{
	struct glb_snapshot_header *copy;
	struct glb_buffer buffer;
	struct glb_error error;
	struct glb_snapshot s;
	struct make m;

	make_full(&m);
	CHECK(glb_snapshot_compile(&m.config, &buffer, NULL) == 0);
	copy = copy_of(&buffer);
	copy->version = GLB_SNAPSHOT_VERSION + 1;
	CHECK(glb_snapshot_open(copy, buffer.len, &s, &error) == -EPROTONOSUPPORT);
	CHECK(strstr(error.text, "version 2") != NULL && strstr(error.text, "version 1") != NULL);
	free(copy);
	glb_buffer_free(&buffer);
}

static void bytes_behind_the_end_are_refused(void)
{
	struct glb_buffer buffer;
	struct glb_snapshot s;
	struct make m;
	uint8_t *longer;

	make_full(&m);
	CHECK(glb_snapshot_compile(&m.config, &buffer, NULL) == 0);
	longer = calloc(1, buffer.len + 64);
	memcpy(longer, buffer.data, buffer.len);
	CHECK(glb_snapshot_open(longer, buffer.len + 64, &s, NULL) == -EINVAL);
	free(longer);
	glb_buffer_free(&buffer);
}

/* Writes `value` over `bytes` bytes at `at` and makes the digest right. */
static int open_damaged(const struct glb_buffer *buffer, size_t at, unsigned bytes, uint64_t value)
{
	struct glb_snapshot_header *copy = copy_of(buffer);
	struct glb_error error = {0};
	struct glb_snapshot s;
	int status;

	memcpy((uint8_t *)copy + at, &value, bytes);
	glb_snapshot_digest(copy, buffer->len, copy->digest);
	status = glb_snapshot_open(copy, buffer->len, &s, &error);
	free(copy);
	return status == -EINVAL && error.text[0] == '\0' ? 0 : status;
}

#define FIELD(kind, type, index, field) \
	kind, (index) * sizeof(struct type) + offsetof(struct type, field), sizeof(((struct type *)0)->field)

static void every_field_is_checked_behind_the_digest(void)
{
	static const struct {
		enum glb_section_kind kind;
		size_t at;
		unsigned bytes;
		uint64_t value;
	} damages[] = {
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, id), 0},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, source_bits_v4), 0},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, source_bits_v4), 33},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, source_bits_v6), 129},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, alt_source_bits_v4), 0},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, alt_source_bits_v6), 129},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, algorithm), GLB_ALGORITHM_MAGLEV}, /* its rows are no prime */
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, algorithm), 2},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, rows), 257},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 1, id), 1},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, name), 0},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, name), 2},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, name), 0xffffffff},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, table), 3},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, alt_table), 3},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, hash_fields), 0},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, hash_fields), 16},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, alt_hash_fields), 32},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, encap), GLB_ENCAP_COUNT},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, encap), GLB_ENCAP_IP6IP6}, /* with IPv4 VIPs */
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, encap), GLB_ENCAP_L3DSR},  /* without a DSCP */
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, flags), GLB_SERVICE_GRE_KEY},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, flags), 128},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, encap_value), 1},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, tos), 1},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, tos_mask), 1},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, tos_mask), 4},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, pad[1]), 1},
		{FIELD(GLB_SECTION_SERVICES, glb_service, 1, flags), 0}, /* has a timeout for UDP flows */
		{GLB_SECTION_UDP_TIMEOUTS, 2, 2, 0}, /* none has one */
		{GLB_SECTION_UDP_TIMEOUTS, 2, 2, 32768},
		{GLB_SECTION_UDP_TIMEOUTS, 0, 2, 9}, /* remembers nothing */
		{FIELD(GLB_SECTION_SERVICES, glb_service, 0, flags), GLB_SERVICE_QUIC}, /* and no configuration */
		{FIELD(GLB_SECTION_QUIC, glb_quic, 0, keys[0]), 1}, /* in the clear */
		{FIELD(GLB_SECTION_QUIC, glb_quic, 1, keys[175]), 1},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 1, keys[0]), 1},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 0, service), 2},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 0, service), 0xffffffff},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 0, server_first), 1},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 0, server_count), 3},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 1, server_count), 0xffffffff},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 1, server_count), 3},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 1, config_id), 7},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 1, config_id), 2},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 0, server_id_len), 0},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 0, server_id_len), 16},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 0, nonce_len), 3},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 0, nonce_len), 17},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 0, encrypted), 1},
		{FIELD(GLB_SECTION_QUIC, glb_quic, 1, encrypted), 2},
		{FIELD(GLB_SECTION_QUIC_SERVERS, glb_quic_server, 0, backend), 3}, /* of another pool */
		{FIELD(GLB_SECTION_QUIC_SERVERS, glb_quic_server, 0, backend), 8},
		{FIELD(GLB_SECTION_QUIC_SERVERS, glb_quic_server, 0, id[0]), 0x11}, /* the next one's */
		{FIELD(GLB_SECTION_QUIC_SERVERS, glb_quic_server, 0, id[3]), 1},
		{FIELD(GLB_SECTION_BACKENDS, glb_backend, 1, id), 0},
		{FIELD(GLB_SECTION_BACKENDS, glb_backend, 1, name), 3},
		{FIELD(GLB_SECTION_BACKENDS, glb_backend, 1, addr.family), 0},
		{FIELD(GLB_SECTION_BACKENDS, glb_backend, 1, addr.family), 5},
		{FIELD(GLB_SECTION_BACKENDS, glb_backend, 1, addr.bytes[4]), 1},
		{FIELD(GLB_SECTION_BACKENDS, glb_backend, 1, addr.pad[0]), 1},
		{FIELD(GLB_SECTION_BACKENDS, glb_backend, 1, state), 4},
		{FIELD(GLB_SECTION_BACKENDS, glb_backend, 1, health), 3},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, row_base), 32},
		{FIELD(GLB_SECTION_TABLES, glb_table, 1, row_base), 0},
		{FIELD(GLB_SECTION_TABLES, glb_table, 1, row_base), UINT64_MAX},
		{FIELD(GLB_SECTION_TABLES, glb_table, 2, rows), 0},
		{FIELD(GLB_SECTION_TABLES, glb_table, 2, rows), 512},
		{FIELD(GLB_SECTION_TABLES, glb_table, 2, rows), 255},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, backend_base), 9},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, backend_base), 0xffffffff},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, backend_count), 9},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, backend_count), 1}, /* below indices in rows */
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, backend_count), 0xffffffff},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, pool_name), 2},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, hops), 0},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, hops), 9},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, policy), 2},
		{FIELD(GLB_SECTION_TABLES, glb_table, 1, policy), GLB_POLICY_GLB}, /* of 3 hops */
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, families), 0},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, families), 2},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, families), 4},
		{FIELD(GLB_SECTION_TABLES, glb_table, 0, pad[0]), 1},
		{GLB_SECTION_ROWS, 0, 2, 4},             /* not in the pool */
		{GLB_SECTION_ROWS, 0, 2, GLB_HOP_NONE},  /* a hole */
		{GLB_SECTION_ROWS, 0, 4, 0x00010001},    /* the same twice */
		{FIELD(GLB_SECTION_PREFIXES, glb_prefix_len, 0, bits), 31},
		{FIELD(GLB_SECTION_PREFIXES, glb_prefix_len, 0, family), GLB_FAMILY_V6},
		{FIELD(GLB_SECTION_VIPS, glb_vip, 0, addr.bytes[0]), 204}, /* not in its slot */
		{FIELD(GLB_SECTION_VIPS, glb_vip, 1, addr.bytes[3]), 1},   /* a host bit */
		{FIELD(GLB_SECTION_VIPS, glb_vip, 0, addr.family), GLB_FAMILY_V6},
		{FIELD(GLB_SECTION_VIPS, glb_vip, 0, bits), 33},
		{FIELD(GLB_SECTION_VIPS, glb_vip, 0, bits), 8},
		{FIELD(GLB_SECTION_VIPS, glb_vip, 0, bind_first), 1},
		{FIELD(GLB_SECTION_VIPS, glb_vip, 0, bind_count), 0},
		{FIELD(GLB_SECTION_VIPS, glb_vip, 0, bind_count), 2},
		{FIELD(GLB_SECTION_VIPS, glb_vip, 3, bind_count), 0xffffffff},
		{FIELD(GLB_SECTION_VIPS, glb_vip, 0, echo_service), 3},
		{FIELD(GLB_SECTION_VIPS, glb_vip, 0, pad[2]), 1},
		{FIELD(GLB_SECTION_BINDS, glb_bind, 0, port_first), 81},
		{FIELD(GLB_SECTION_BINDS, glb_bind, 1, port_last), 55}, /* overlaps the next */
		{FIELD(GLB_SECTION_BINDS, glb_bind, 0, protocol), 7},
		{FIELD(GLB_SECTION_BINDS, glb_bind, 1, protocol), GLB_IPPROTO_TCP}, /* before port 80's */
		{FIELD(GLB_SECTION_BINDS, glb_bind, 0, pad[1]), 1},
		{FIELD(GLB_SECTION_BINDS, glb_bind, 0, service), 3},
		{GLB_SECTION_STRINGS, 0, 1, 'x'},
	};
	struct glb_buffer buffer;
	struct glb_snapshot s;
	struct make m;

	make_full(&m);
	CHECK(make_open(&m, &buffer, &s));
	CHECK(open_damaged(&buffer, offsetof(struct glb_snapshot_header, revision), 8, 8) == 0); /* no damage at all */
	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		size_t at = s.header->sections[damages[i].kind].offset + damages[i].at;
		int status = open_damaged(&buffer, at, damages[i].bytes, damages[i].value);

		if (status != -EINVAL)
			printf("# damage %u of section %d is not refused\n", i, (int)damages[i].kind);
		CHECK(status == -EINVAL);
	}
	glb_buffer_free(&buffer);
}

static void header_and_slots_are_checked_behind_the_digest(void)
{
	struct glb_snapshot s;
	struct glb_buffer buffer;
	struct make m;

	make_full(&m);
	CHECK(make_open(&m, &buffer, &s));
	CHECK(open_damaged(&buffer, offsetof(struct glb_snapshot_header, vip_probe_max), 4, 0) == -EINVAL);
	CHECK(open_damaged(&buffer, offsetof(struct glb_snapshot_header, vip_probe_max), 4, 100) == -EINVAL);
	CHECK(open_damaged(&buffer, offsetof(struct glb_snapshot_header, pad), 4, 1) == -EINVAL);
	for (unsigned kind = 0; kind < GLB_SECTION_COUNT; kind++) {
		size_t at = offsetof(struct glb_snapshot_header, sections) + kind * sizeof(struct glb_section);
		const struct glb_section *section = &s.header->sections[kind];

		CHECK(open_damaged(&buffer, at, 8, section->offset + 64) == -EINVAL);
		CHECK(open_damaged(&buffer, at, 8, section->offset + 1) == -EINVAL);
		CHECK(open_damaged(&buffer, at, 8, UINT64_MAX - 7) == -EINVAL);
		CHECK(open_damaged(&buffer, at + 8, 8, section->count + 1) == -EINVAL);
		CHECK(open_damaged(&buffer, at + 8, 8, section->count - 1) == -EINVAL);
		CHECK(open_damaged(&buffer, at + 8, 8, UINT64_MAX / 2) == -EINVAL);
		CHECK(open_damaged(&buffer, at + 8, 8, 0) == -EINVAL);
	}
	for (uint32_t slot = 0; slot <= s.vip_slot_mask; slot++) { /* another VIP, none, one too many, out of range */
		size_t at = s.header->sections[GLB_SECTION_VIP_SLOTS].offset + slot * 4;

		for (uint32_t vip = 0; vip <= s.vip_count + 1; vip++)
			CHECK(vip == s.vip_slots[slot] || open_damaged(&buffer, at, 4, vip) == -EINVAL);
	}
	glb_buffer_free(&buffer);
}

/* Follows every index that a packet could make the data plane follow. */
static uint64_t walk(const struct glb_snapshot *s)
{
	uint64_t sum = 0;

	for (uint32_t v = 0; v < s->vip_count; v++) {
		uint32_t vip = glb_snapshot_find_vip(s, &s->vips[v].addr);

		sum += s->services[s->vips[vip].echo_service].id;
		for (uint32_t port = 0; port < 65536; port += 11) {
			uint32_t index = glb_snapshot_find_service(s, vip, port & 1 ? 6 : 17, (uint16_t)port);
			const struct glb_table *table;
			const uint16_t *row;

			if (index == GLB_INDEX_NONE)
				continue;
			table = &s->tables[s->services[index].alt_table];
			row = glb_snapshot_row(s, s->services[index].alt_table, port & (table->rows - 1));
			for (unsigned hop = 0; hop < table->hops && row[hop] != GLB_HOP_NONE; hop++)
				sum += strlen(s->strings + s->backends[table->backend_base + row[hop]].name);
		}
	}
	return sum + (uint64_t)glb_snapshot_leavers(s, s, NULL, 0);
}

/* Random damage with a right digest: refused, or else safe to follow. */
static void what_is_accepted_is_safe_to_follow(void)
{
	struct glb_buffer buffer;
	struct glb_snapshot original;
	uint64_t random = 0xda3a6e;
	unsigned accepted = 0, refused = 0;
	struct make m;

	make_full(&m);
	CHECK(make_open(&m, &buffer, &original));
	for (unsigned round = 0; round < 6000; round++) {
		struct glb_snapshot_header *copy = copy_of(&buffer);
		unsigned kind = make_random(&random, GLB_SECTION_COUNT);
		const struct glb_section *section = &original.header->sections[kind];
		struct glb_snapshot s;

		for (unsigned n = 1 + make_random(&random, 3); n > 0; n--) {
			uint64_t bytes = section->count * glb_section_element[kind];

			((uint8_t *)copy)[section->offset + make_random(&random, (uint32_t)bytes)] =
				(uint8_t)(make_random(&random, 2) ? make_random(&random, 8) : make_random(&random, 256));
		}
		glb_snapshot_digest(copy, buffer.len, copy->digest);
		if (glb_snapshot_open(copy, buffer.len, &s, NULL) == 0) {
			accepted++;
			check_failed |= walk(&s) == 0;
		} else {
			refused++;
		}
		free(copy);
	}
	CHECK(accepted > 100 && refused > 1000);
	glb_buffer_free(&buffer);
}

/* Hops of the pool, each once, then GLB_HOP_NONE to the end. */
static bool is_chain(const uint16_t *row, unsigned hops, unsigned backends)
{
	unsigned n = 0;

	while (n < hops && row[n] != GLB_HOP_NONE)
		n++;
	for (unsigned a = 0; a < hops; a++)
		for (unsigned b = 0; b < a; b++)
			if (a < n && row[a] == row[b])
				return false;
	for (unsigned a = 0; a < hops; a++)
		if (a < n ? row[a] >= backends : row[a] != GLB_HOP_NONE)
			return false;
	return true;
}

/* One hop is changed in a row, anywhere: in the first and last rows, too, and in those that are left when rows are taken by 256. */
static void a_wrong_row_is_found_wherever_it_is(void)
{
	enum { BACKENDS = 6, HOPS = 6, ROWS = 512, PRIME = 521, TRIES = 300 };
	static const uint16_t values[] = {0, 1, 2, 3, 4, 5, BACKENDS, 0x7fff, 0xfffe, GLB_HOP_NONE};
	uint64_t state = 5;

	for (unsigned hops = 1; hops <= HOPS; hops++) {
		unsigned accepted = 0;
		struct glb_snapshot s;
		struct glb_buffer buffer;
		struct make m;
		uint32_t rows;

		make_init(&m, 1, BACKENDS, 1);
		m.services[0].hops = (uint8_t)hops;
		m.services[0].rows = hops > 2 ? ROWS : PRIME;
		m.services[0].algorithm = hops > 2 ? GLB_ALGORITHM_RENDEZVOUS : GLB_ALGORITHM_MAGLEV;
		CHECK(make_open(&m, &buffer, &s));
		rows = s.tables[0].rows;
		for (unsigned try = 0; try < TRIES; try++) {
			const uint32_t row = try == 0 ? 0 : try == 1 ? rows - 1 : make_random(&state, rows);
			const unsigned at = make_random(&state, hops);
			const uint16_t value = values[make_random(&state, sizeof(values) / sizeof(values[0]))];
			uint16_t changed[HOPS];
			bool right;

			memcpy(changed, glb_snapshot_row(&s, 0, row), hops * sizeof(*changed));
			changed[at] = value;
			right = is_chain(changed, hops, BACKENDS);
			accepted += right;
			check_failed |= open_damaged(&buffer, (size_t)((const uint8_t *)(glb_snapshot_row(&s, 0, row) + at) - buffer.data),
						     sizeof(value), value) != (right ? 0 : -EINVAL);
		}
		CHECK(accepted > 10 && accepted < TRIES - 10);
		glb_buffer_free(&buffer);
	}
}

int main(void)
{
	static const struct check_case cases[] = {
		{"what was compiled comes back", comes_back},
		{"every truncation is refused", every_truncation_is_refused},
		{"every flipped bit is refused", every_flipped_bit_is_refused},
		{"other versions are refused as such", other_versions_are_refused_as_such},
		{"bytes behind the end are refused", bytes_behind_the_end_are_refused},
		{"every field is checked behind the digest", every_field_is_checked_behind_the_digest},
		{"header and slots are checked behind the digest", header_and_slots_are_checked_behind_the_digest},
		{"a wrong row is found wherever it is", a_wrong_row_is_found_wherever_it_is},
		{"what is accepted is safe to follow", what_is_accepted_is_safe_to_follow},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
