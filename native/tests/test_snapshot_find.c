/* Looking up VIPs and services: random overlapping binds against a search through the configuration. */
#include "check.h"
#include "snapshot_make.h"

static bool covers(const struct glb_bind_config *bind, const struct glb_addr *addr)
{
	if (bind->addr.family != addr->family)
		return false;
	for (unsigned i = 0; i < bind->bits; i++)
		if ((bind->addr.bytes[i / 8] ^ addr->bytes[i / 8]) & 0x80 >> i % 8)
			return false;
	return true;
}

/* Is a more specific than b: longer prefix, then narrower range, then lower first port? */
static bool beats(const struct glb_bind_config *a, const struct glb_bind_config *b)
{
	if (a->bits != b->bits)
		return a->bits > b->bits;
	if (a->port_last - a->port_first != b->port_last - b->port_first)
		return a->port_last - a->port_first < b->port_last - b->port_first;
	return a->port_first < b->port_first;
}

struct answer {
	bool vip;
	uint32_t service; /* id, or 0 */
	uint32_t echo;    /* id, or 0 */
};

static struct answer search(const struct make *m, const struct glb_addr *addr, uint8_t protocol, uint16_t port)
{
	const struct glb_bind_config *best = NULL;
	struct answer answer = {0};
	int longest = -1;

	for (unsigned s = 0; s < m->config.service_count; s++) {
		for (unsigned b = 0; b < m->services[s].bind_count; b++) {
			const struct glb_bind_config *bind = &m->binds[s][b];

			if (!covers(bind, addr))
				continue;
			answer.vip = true;
			if (bind->bits > longest || (bind->bits == longest && m->services[s].id < answer.echo)) {
				longest = bind->bits;
				answer.echo = m->services[s].id;
			}
			if (bind->protocol == protocol && bind->port_first <= port && port <= bind->port_last &&
			    (best == NULL || beats(bind, best))) {
				best = bind;
				answer.service = m->services[s].id;
			}
		}
	}
	return answer;
}

static struct answer look_up(const struct glb_snapshot *s, const struct glb_addr *addr, uint8_t protocol, uint16_t port)
{
	uint32_t vip = glb_snapshot_find_vip(s, addr), service;
	struct answer answer = {0};

	if (vip == GLB_INDEX_NONE)
		return answer;
	answer.vip = true;
	answer.echo = s->services[s->vips[vip].echo_service].id;
	service = glb_snapshot_find_service(s, vip, protocol, port);
	if (service != GLB_INDEX_NONE)
		answer.service = s->services[service].id;
	return answer;
}

/* Addresses, prefixes and ports from small sets, so that binds nest, touch and overlap. */
static struct glb_addr some_addr(uint64_t *random)
{
	static const uint8_t bytes[] = {0, 1, 2, 3, 64, 65, 127, 128, 255};
	struct glb_addr addr;

	if (make_random(random, 2))
		addr = make_v4(203, 0, bytes[make_random(random, 3)], bytes[make_random(random, sizeof(bytes))]);
	else
		addr = make_v6(bytes[make_random(random, sizeof(bytes))]);
	return addr;
}

static uint16_t some_port(uint64_t *random)
{
	static const uint16_t ports[] = {0, 1, 79, 80, 81, 443, 1000, 8000, 8080, 65534, 65535};

	return ports[make_random(random, sizeof(ports) / sizeof(ports[0]))];
}

static void random_make(struct make *m, uint64_t *random)
{
	static const uint8_t cuts[] = {0, 1, 2, 5, 8, 15, 16, 32};
	unsigned services = 1 + make_random(random, MAKE_SERVICES);

	make_init(m, 2, 3, services);
	for (unsigned s = 0; s < services; s++) {
		m->services[s].id = 100 - 7 * s; /* configuration order is not id order */
		for (unsigned b = make_random(random, MAKE_BINDS); b > 0; b--) {
			struct glb_addr addr = some_addr(random);
			unsigned full = glb_addr_len(addr.family) * 8;
			uint16_t x = some_port(random), y = make_random(random, 2) ? x : some_port(random);

			make_bind(m, s, addr, (uint8_t)(full - cuts[make_random(random, sizeof(cuts))]),
				  make_random(random, 3) ? GLB_IPPROTO_TCP : GLB_IPPROTO_UDP, x < y ? x : y, x < y ? y : x);
		}
	}
}

static void agrees_with_search(void)
{
	uint64_t random = 0x5eed;
	unsigned opened = 0;

	for (unsigned round = 0; round < 1500; round++) {
		struct glb_snapshot snapshot;
		struct glb_buffer buffer;
		struct glb_error error;
		struct make m;
		int status;

		random_make(&m, &random);
		status = glb_snapshot_compile(&m.config, &buffer, &error);
		if (status == -17) /* EEXIST: random binds do coincide */
			continue;
		CHECK(status == 0);
		CHECK(glb_snapshot_open(buffer.data, buffer.len, &snapshot, &error) == 0);
		opened++;
		for (unsigned i = 0; i < 200; i++) {
			struct glb_addr addr = some_addr(&random);
			uint8_t protocol = make_random(&random, 2) ? GLB_IPPROTO_TCP : GLB_IPPROTO_UDP;
			uint16_t port = (uint16_t)(some_port(&random) + make_random(&random, 2));
			struct answer wanted = search(&m, &addr, protocol, port);
			struct answer got = look_up(&snapshot, &addr, protocol, port);

			CHECK(wanted.vip == got.vip);
			CHECK(wanted.service == got.service);
			CHECK(wanted.echo == got.echo);
		}
		glb_buffer_free(&buffer);
	}
	CHECK(opened > 300);
}

static void nothing_matches_an_empty_snapshot(void)
{
	struct glb_addr v4 = make_v4(203, 0, 113, 10), v6 = make_v6(1);
	struct glb_snapshot snapshot;
	struct glb_buffer buffer;
	struct make m;

	make_init(&m, 0, 0, 0);
	CHECK(make_open(&m, &buffer, &snapshot));
	CHECK(glb_snapshot_find_vip(&snapshot, &v4) == GLB_INDEX_NONE);
	CHECK(glb_snapshot_find_vip(&snapshot, &v6) == GLB_INDEX_NONE);
	glb_buffer_free(&buffer);
}

static void default_route_prefixes_match_everything(void)
{
	struct glb_addr v4 = make_v4(8, 8, 8, 8), v6 = make_v6(9);
	struct glb_snapshot snapshot;
	struct glb_buffer buffer;
	struct make m;

	make_init(&m, 1, 2, 2);
	make_bind(&m, 0, make_v4(0, 0, 0, 0), 0, GLB_IPPROTO_TCP, 0, 65535);
	make_bind(&m, 1, make_v6(0), 0, GLB_IPPROTO_UDP, 53, 53);
	CHECK(make_open(&m, &buffer, &snapshot));
	CHECK(look_up(&snapshot, &v4, GLB_IPPROTO_TCP, 65535).service == 1);
	CHECK(look_up(&snapshot, &v4, GLB_IPPROTO_UDP, 53).service == 0);
	CHECK(look_up(&snapshot, &v6, GLB_IPPROTO_UDP, 53).service == 2);
	CHECK(look_up(&snapshot, &v6, GLB_IPPROTO_TCP, 53).service == 0);
	glb_buffer_free(&buffer);
}

static void many_vips_are_all_found(void)
{
	enum { VIPS = 5000 };
	static struct glb_bind_config binds[VIPS];
	struct glb_snapshot snapshot;
	struct glb_buffer buffer;
	struct make m;

	make_init(&m, 1, 2, 1);
	for (unsigned i = 0; i < VIPS; i++)
		binds[i] = (struct glb_bind_config){make_v4(198, 18, (uint8_t)(i >> 8), (uint8_t)i), 32, GLB_IPPROTO_TCP,
						    (uint16_t)i, (uint16_t)i};
	m.services[0].binds = binds;
	m.services[0].bind_count = VIPS;
	CHECK(make_open(&m, &buffer, &snapshot));
	CHECK(snapshot.vip_count == VIPS);
	CHECK(snapshot.header->vip_probe_max < 32);
	for (unsigned i = 0; i < VIPS; i++) {
		CHECK(look_up(&snapshot, &binds[i].addr, GLB_IPPROTO_TCP, (uint16_t)i).service == 1);
		CHECK(look_up(&snapshot, &binds[i].addr, GLB_IPPROTO_TCP, (uint16_t)(i + 1)).service == 0);
	}
	glb_buffer_free(&buffer);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"random overlapping binds agree with a search", agrees_with_search},
		{"nothing matches an empty snapshot", nothing_matches_an_empty_snapshot},
		{"prefixes of length 0 match everything", default_route_prefixes_match_everything},
		{"many VIPs are all found", many_vips_are_all_found},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
