/* Is this configuration one that can be compiled? Field by field, then what must be unique. */
#include "protection.h"
#include "config_check.h"
#include "encap_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glb/flow_cache.h>
#include <glb/wire.h>

#include "maglev.h"
#include "prior.h"
#include "quic_config.h"

enum { CONFIG_ENTRIES_MAX = 1 << 24 }; /* so that no 32-bit count or offset of a snapshot overflows */
enum { HASH_FIELDS = GLB_HASH_SRC_ADDR | GLB_HASH_DST_ADDR | GLB_HASH_SRC_PORT | GLB_HASH_DST_PORT };

static bool name_ok(const char *name)
{
	return name != NULL && name[0] != '\0' && strnlen(name, GLB_NAME_MAX + 1) <= GLB_NAME_MAX;
}

static int check_maglev(const char *where, uint32_t rows, unsigned hops, unsigned policy, struct glb_error *error)
{
	if (rows < GLB_MAGLEV_ROWS_MIN || rows > GLB_TABLE_ROWS_MAX || !glb_is_prime(rows))
		return glb_error_set(error, -EINVAL, "%srows: %u is not a prime from %d to %d, as maglev needs; %u is near",
				     where, rows, GLB_MAGLEV_ROWS_MIN, GLB_TABLE_ROWS_MAX, glb_nearest_prime(rows));
	if (hops < 1 || hops > GLB_MAGLEV_HOPS_MAX)
		return glb_error_set(error, -EINVAL, "%shops: %u is not from 1 to %d, as maglev needs", where, hops,
				     GLB_MAGLEV_HOPS_MAX);
	if (policy != GLB_POLICY_ORDERED)
		return glb_error_set(error, -EINVAL, "%spolicy: maglev has policy ordered only", where);
	return 0;
}

int glb_table_check_shape(const char *where, uint32_t rows, unsigned hops, unsigned policy, unsigned algorithm,
			  struct glb_error *error)
{
	if (algorithm == GLB_ALGORITHM_MAGLEV)
		return check_maglev(where, rows, hops, policy, error);
	if (algorithm != GLB_ALGORITHM_RENDEZVOUS)
		return glb_error_set(error, -EINVAL, "%salgorithm: unknown algorithm %u", where, algorithm);
	if (rows < GLB_TABLE_ROWS_MIN || rows > GLB_TABLE_ROWS_MAX || (rows & (rows - 1)) != 0)
		return glb_error_set(error, -EINVAL, "%srows: %u is not a power of two from %d to %d", where, rows,
				     GLB_TABLE_ROWS_MIN, GLB_TABLE_ROWS_MAX);
	if (hops < 1 || hops > GLB_HOPS_MAX)
		return glb_error_set(error, -EINVAL, "%shops: %u is not from 1 to %d", where, hops, GLB_HOPS_MAX);
	if (policy > GLB_POLICY_GLB)
		return glb_error_set(error, -EINVAL, "%spolicy: unknown policy %u", where, policy);
	if (policy == GLB_POLICY_GLB && hops != 2)
		return glb_error_set(error, -EINVAL, "%shops: policy glb has exactly 2 hops, not %u", where, hops);
	return 0;
}

int glb_table_check_backends(const char *where, const struct glb_backend_config *backends, uint32_t count,
			     struct glb_error *error)
{
	if (count > GLB_POOL_BACKENDS_MAX)
		return glb_error_set(error, -EINVAL, "%sbackends: %u backends, a pool has at most %d", where, count,
				     GLB_POOL_BACKENDS_MAX);
	for (uint32_t b = 0; b < count; b++) {
		if (glb_addr_len(backends[b].addr.family) == 0)
			return glb_error_set(error, -EINVAL, "%sbackends[%u].address: unknown family %u", where, b,
					     backends[b].addr.family);
		if (backends[b].state > GLB_STATE_INACTIVE)
			return glb_error_set(error, -EINVAL, "%sbackends[%u].state: unknown state %u", where, b,
					     backends[b].state);
		if (backends[b].health > GLB_HEALTH_UNHEALTHY)
			return glb_error_set(error, -EINVAL, "%sbackends[%u].health: unknown health %u", where, b,
					     backends[b].health);
	}
	return 0;
}

static int check_pool(const struct glb_pool_config *pool, uint32_t p, struct glb_error *error)
{
	char where[32];

	if (!name_ok(pool->name))
		return glb_error_set(error, -EINVAL, "pools[%u].name: not from 1 to %d bytes", p, GLB_NAME_MAX);
	for (uint32_t b = 0; b < pool->backend_count; b++) {
		if (!name_ok(pool->backends[b].name))
			return glb_error_set(error, -EINVAL, "pools[%u].backends[%u].name: not from 1 to %d bytes",
					     p, b, GLB_NAME_MAX);
		if (pool->backends[b].id == GLB_ID_NONE)
			return glb_error_set(error, -EINVAL, "pools[%u].backends[%u].id: 0 is no id", p, b);
	}
	snprintf(where, sizeof(where), "pools[%u].", p);
	return glb_table_check_backends(where, pool->backends, pool->backend_count, error);
}

static int check_bind(const struct glb_bind_config *bind, uint32_t s, uint32_t b, struct glb_error *error)
{
	unsigned len = glb_addr_len(bind->addr.family);

	if (len == 0)
		return glb_error_set(error, -EINVAL, "services[%u].binds[%u].address: unknown family %u", s, b,
				     bind->addr.family);
	if (bind->bits > len * 8)
		return glb_error_set(error, -EINVAL, "services[%u].binds[%u].bits: prefix length %u is above %u", s, b,
				     bind->bits, len * 8);
	if (bind->protocol != GLB_IPPROTO_TCP && bind->protocol != GLB_IPPROTO_UDP && bind->protocol != GLB_PROTOCOL_ANY)
		return glb_error_set(error, -EINVAL, "services[%u].binds[%u].protocol: %u is neither TCP, UDP nor any", s, b,
				     bind->protocol);
	if (bind->port_last < bind->port_first)
		return glb_error_set(error, -EINVAL, "services[%u].binds[%u].port_last: %u is below the first port, %u",
				     s, b, bind->port_last, bind->port_first);
	return 0;
}

static int check_service(const struct glb_config *config, uint32_t s, struct glb_error *error)
{
	const struct glb_service_config *service = &config->services[s];
	char where[32];
	int status;

	if (!name_ok(service->name))
		return glb_error_set(error, -EINVAL, "services[%u].name: not from 1 to %d bytes", s, GLB_NAME_MAX);
	if (service->id == GLB_ID_NONE)
		return glb_error_set(error, -EINVAL, "services[%u].id: 0 is no id", s);
	if (service->pool >= config->pool_count)
		return glb_error_set(error, -EINVAL, "services[%u].pool: there is no pool %u", s, service->pool);
	if (service->encap >= GLB_ENCAP_COUNT)
		return glb_error_set(error, -EINVAL, "services[%u].encapsulation: unknown kind %u", s, service->encap);
	if (service->hash_fields == 0 || (service->hash_fields & ~HASH_FIELDS) != 0)
		return glb_error_set(error, -EINVAL, "services[%u].hash_fields: 0x%x names no field, or an unknown one",
				     s, service->hash_fields);
	if ((service->alt_hash_fields & ~HASH_FIELDS) != 0)
		return glb_error_set(error, -EINVAL, "services[%u].alt_hash_fields: 0x%x names an unknown field", s,
				     service->alt_hash_fields);
	if (service->source_bits_v4 > 32 || service->source_bits_v6 > 128)
		return glb_error_set(error, -EINVAL, "services[%u].source_bits: %u or %u is longer than an address", s,
				     service->source_bits_v4, service->source_bits_v6);
	if (service->udp_timeout > GLB_FLOW_TIMEOUT_MAX || (service->udp_timeout != 0 && !service->flow_cache))
		return glb_error_set(error, -EINVAL, "services[%u].udp_timeout: %u s is above %d, or there is no flow cache", s,
				     service->udp_timeout, GLB_FLOW_TIMEOUT_MAX);
	if (service->oversize > GLB_OVERSIZE_DROP)
		return glb_error_set(error, -EINVAL, "services[%u].oversize: unknown policy %u", s, service->oversize);
	if (service->unmatched > GLB_UNMATCHED_REJECT)
		return glb_error_set(error, -EINVAL, "services[%u].unmatched: unknown policy %u", s, service->unmatched);
	snprintf(where, sizeof(where), "services[%u].", s);
	status = glb_table_check_shape(where, service->rows, service->hops, service->policy, service->algorithm,
				       error);
	if (status == 0 && service->protection != NULL)
		status = protection_config_check(service->protection, s, error);
	for (uint32_t b = 0; status == 0 && b < service->bind_count; b++)
		status = check_bind(&service->binds[b], s, b, error);
	return status;
}

/* Whether a service's encapsulation has its fields, and is one for its VIPs. */
static int check_encap(const struct glb_service_config *service, uint32_t s, struct glb_error *error)
{
	const struct encap_rule *rule = &encap_rules[service->encap];
	const char *wrong = encap_fields_wrong(&(struct encap_fields){
		service->encap, service->gre_keyed, service->tos, service->tos_mask, service->encap_value});

	if (wrong != NULL)
		return glb_error_set(error, -EINVAL, "services[%u].%s: not one of encapsulation %s", s, wrong, rule->name);
	for (uint32_t b = 0; b < service->bind_count; b++) {
		const struct glb_bind_config *bind = &service->binds[b];

		if ((encap_family(bind->addr.family) & rule->vips) == 0)
			return glb_error_set(error, -EINVAL, "services[%u].binds[%u].address: a VIP of a family that encapsulation %s "
					     "does not carry", s, b, rule->name);
		if (rule->alike && bind->protocol == GLB_PROTOCOL_ANY)
			return glb_error_set(error, -EINVAL, "services[%u].binds[%u].protocol: encapsulation %s rewrites checksums, and "
					     "knows those of TCP and UDP only", s, b, rule->name);
		if (rule->alike && (bind->bits != glb_addr_len(bind->addr.family) * 8 ||
				    memcmp(&bind->addr, &service->binds[0].addr, sizeof(bind->addr)) != 0))
			return glb_error_set(error, -EINVAL, "services[%u].binds[%u].address: with encapsulation %s a service has "
					     "one VIP, an address", s, b, rule->name);
	}
	return 0;
}

/* Something that must be unique: sorted, equal keys become neighbours. */
struct item {
	uint32_t scope; /* equal items of different scopes do not clash */
	uint32_t id;    /* 0 when only the name or address counts */
	const char *name;
	const struct glb_addr *addr;
	uint32_t outer, inner; /* where it is: pools[outer].backends[inner], services[outer] */
};

static int by_key(const void *left, const void *right)
{
	const struct item *a = left, *b = right;

	if (a->scope != b->scope)
		return a->scope < b->scope ? -1 : 1;
	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	if (a->name != NULL)
		return strcmp(a->name, b->name);
	if (a->addr == NULL)
		return 0;
	if (a->addr->family != b->addr->family)
		return (int)a->addr->family - b->addr->family;
	return memcmp(a->addr->bytes, b->addr->bytes, glb_addr_len(a->addr->family));
}

static int by_item(const void *left, const void *right)
{
	const struct item *a = left, *b = right;
	int order = by_key(a, b);

	if (order == 0 && a->outer != b->outer)
		order = a->outer < b->outer ? -1 : 1;
	if (order == 0 && a->inner != b->inner)
		order = a->inner < b->inner ? -1 : 1;
	return order;
}

/* Finds two equal items; returns the later one, and *twin the earlier. */
static const struct item *find_twin(struct item *items, uint32_t n, const struct item **twin)
{
	qsort(items, n, sizeof(*items), by_item);
	for (uint32_t i = 1; i < n; i++) {
		if (by_key(&items[i - 1], &items[i]) == 0) {
			*twin = &items[i - 1];
			return &items[i];
		}
	}
	return NULL;
}

enum unique { UNIQUE_ID, UNIQUE_NAME, UNIQUE_ADDR };

static struct item key_of(enum unique what, uint32_t id, const char *name, const struct glb_addr *addr)
{
	return (struct item){
		.id = what == UNIQUE_ID ? id : 0,
		.name = what == UNIQUE_NAME ? name : NULL,
		.addr = what == UNIQUE_ADDR ? addr : NULL,
	};
}

static int check_unique_backends(const struct glb_config *config, struct item *items, enum unique what,
				 struct glb_error *error)
{
	static const char *const field[] = {"id", "name", "address"};
	const struct item *item, *twin;
	uint32_t n = 0;

	for (uint32_t p = 0; p < config->pool_count; p++) {
		for (uint32_t b = 0; b < config->pools[p].backend_count; b++) {
			const struct glb_backend_config *backend = &config->pools[p].backends[b];

			items[n] = key_of(what, backend->id, backend->name, &backend->addr);
			items[n].scope = what == UNIQUE_ID ? 0 : p;
			items[n].outer = p;
			items[n++].inner = b;
		}
	}
	item = find_twin(items, n, &twin);
	if (item == NULL)
		return 0;
	return glb_error_set(error, -EEXIST, "pools[%u].backends[%u].%s: the same as pools[%u].backends[%u].%s",
			     item->outer, item->inner, field[what], twin->outer, twin->inner, field[what]);
}

static int check_unique_services(const struct glb_config *config, struct item *items, enum unique what,
				 struct glb_error *error)
{
	static const char *const field[] = {"id", "name"};
	const struct item *item, *twin;

	for (uint32_t s = 0; s < config->service_count; s++) {
		items[s] = key_of(what, config->services[s].id, config->services[s].name, NULL);
		items[s].outer = s;
	}
	item = find_twin(items, config->service_count, &twin);
	if (item == NULL)
		return 0;
	return glb_error_set(error, -EEXIST, "services[%u].%s: the same as services[%u].%s", item->outer, field[what],
			     twin->outer, field[what]);
}

static int check_unique_pools(const struct glb_config *config, struct item *items, struct glb_error *error)
{
	const struct item *item, *twin;

	for (uint32_t p = 0; p < config->pool_count; p++) {
		items[p] = key_of(UNIQUE_NAME, 0, config->pools[p].name, NULL);
		items[p].outer = p;
	}
	item = find_twin(items, config->pool_count, &twin);
	if (item == NULL)
		return 0;
	return glb_error_set(error, -EEXIST, "pools[%u].name: the same as pools[%u].name", item->outer, twin->outer);
}

static int check_unique(const struct glb_config *config, struct glb_error *error)
{
	size_t n = 1 + (size_t)config->pool_count + config->service_count;
	struct item *items;
	int status;

	for (uint32_t p = 0; p < config->pool_count; p++)
		n += config->pools[p].backend_count;
	items = calloc(n, sizeof(*items));
	if (items == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory for %zu names", n);
	status = check_unique_pools(config, items, error);
	for (int what = UNIQUE_ID; status == 0 && what <= UNIQUE_ADDR; what++)
		status = check_unique_backends(config, items, what, error);
	for (int what = UNIQUE_ID; status == 0 && what <= UNIQUE_NAME; what++)
		status = check_unique_services(config, items, what, error);
	free(items);
	return status;
}

int glb_config_check(const struct glb_config *config, struct glb_error *error)
{
	uint64_t entries = (uint64_t)config->pool_count + config->service_count;
	int status = 0;

	for (uint32_t p = 0; p < config->pool_count; p++)
		entries += config->pools[p].backend_count;
	for (uint32_t s = 0; s < config->service_count; s++)
		entries += config->services[s].bind_count;
	if (entries > CONFIG_ENTRIES_MAX)
		return glb_error_set(error, -EINVAL, "%llu pools, backends, services and binds are more than %d",
				     (unsigned long long)entries, CONFIG_ENTRIES_MAX);
	for (uint32_t p = 0; status == 0 && p < config->pool_count; p++)
		status = check_pool(&config->pools[p], p, error);
	for (uint32_t s = 0; status == 0 && s < config->service_count; s++)
		status = check_service(config, s, error);
	for (uint32_t s = 0; status == 0 && s < config->service_count; s++)
		status = check_encap(&config->services[s], s, error);
	for (uint32_t s = 0; status == 0 && s < config->service_count; s++)
		status = glb_prior_check(config, s, error);
	for (uint32_t s = 0; status == 0 && s < config->service_count; s++)
		status = quic_config_check(config, s, error);
	return status != 0 ? status : check_unique(config, error);
}
