/* From the services' binds to VIPs whose own binds decide alone.
 *
 * Where binds overlap, the most specific wins: the longest prefix, then the narrowest port range, then the
 * lower first port, then a named protocol before any. Every VIP gets the binds of all prefixes around it, cut by that
 * rule, so a look-up never has to go back to a shorter prefix.
 */
#include "vip_build.h"

#include <errno.h>
#include <stdlib.h>

#include <glb/wire.h>

#include "snapshot_layout.h"

enum { BINDS_MAX = 1 << 28 }; /* nested prefixes multiply binds; no 32-bit count overflows */

/* A bind of the configuration, with its prefix masked. */
struct rule {
	struct glb_addr addr;
	uint8_t bits;
	uint8_t protocol;  /* of the configuration */
	uint8_t unmatched; /* enum glb_unmatched of the service */
	uint16_t first, last;
	uint32_t service; /* in the snapshot */
	uint32_t config_service, config_bind;
};

struct work {
	struct rule *rules;          /* sorted: VIP by VIP, in each most specific first */
	uint32_t rule_count;
	const struct rule **around;  /* of one VIP and protocol, least specific first */
	uint32_t *edges;             /* port range boundaries, ascending */
	const struct rule **owner;   /* of the ports from edges[i] to edges[i + 1] - 1, or NULL */
	uint32_t bind_capacity;
};

static int by_rule(const void *left, const void *right)
{
	const struct rule *a = left, *b = right;
	int order = glb_vip_order(&a->addr, a->bits, &b->addr, b->bits);

	if (order != 0)
		return order;
	if (a->last - a->first != b->last - b->first)
		return (a->last - a->first) - (b->last - b->first);
	if (a->first != b->first)
		return (int)a->first - b->first;
	if (a->protocol != b->protocol)
		return (int)b->protocol - a->protocol; /* any comes last */
	if (a->config_service != b->config_service)
		return a->config_service < b->config_service ? -1 : 1;
	return a->config_bind < b->config_bind ? -1 : a->config_bind > b->config_bind;
}

static bool same_vip(const struct rule *a, const struct rule *b)
{
	return a->bits == b->bits && glb_addr_equal(&a->addr, &b->addr);
}

/* Whether a rule has a say about a bind of `protocol`. Protocols other than TCP and UDP have no ports to choose by. */
static bool rule_takes(const struct rule *rule, uint8_t protocol)
{
	if (protocol == GLB_PROTOCOL_OTHER)
		return rule->protocol == GLB_PROTOCOL_ANY && rule->first == 0 && rule->last == UINT16_MAX;
	return rule->protocol == protocol || rule->protocol == GLB_PROTOCOL_ANY;
}

static int refuse_conflicts(const struct glb_config *config, const struct work *w, struct glb_error *error)
{
	for (uint32_t i = 1; i < w->rule_count; i++) {
		const struct rule *a = &w->rules[i - 1], *b = &w->rules[i];

		if (same_vip(a, b) && a->unmatched != b->unmatched)
			return glb_error_set(error, -EINVAL,
					     "services[%u].unmatched: service %s shares a VIP with service %s, which says "
					     "something else; give both the same",
					     b->config_service, config->services[b->config_service].name,
					     config->services[a->config_service].name);
		if (same_vip(a, b) && a->protocol == b->protocol && a->first == b->first && a->last == b->last)
			return glb_error_set(error, -EEXIST,
					     "services[%u].binds[%u]: the same as services[%u].binds[%u] "
					     "(services %s and %s); remove one of them",
					     b->config_service, b->config_bind, a->config_service, a->config_bind,
					     config->services[a->config_service].name,
					     config->services[b->config_service].name);
	}
	return 0;
}

static void collect_rules(const struct glb_config *config, const uint32_t *order, struct work *w)
{
	uint32_t n = 0;

	for (uint32_t s = 0; s < config->service_count; s++) {
		for (uint32_t b = 0; b < config->services[s].bind_count; b++) {
			const struct glb_bind_config *bind = &config->services[s].binds[b];
			struct rule *rule = &w->rules[n++];

			glb_addr_mask(&bind->addr, bind->bits, &rule->addr);
			rule->bits = bind->bits;
			rule->protocol = bind->protocol;
			rule->unmatched = config->services[s].unmatched;
			rule->first = bind->port_first;
			rule->last = bind->port_last;
			rule->service = order[s];
			rule->config_service = s;
			rule->config_bind = b;
		}
	}
	qsort(w->rules, w->rule_count, sizeof(w->rules[0]), by_rule);
}

static int by_port(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return a < b ? -1 : a > b;
}

/* The first rule of the group (VIP) addr/bits, or rule_count. */
static uint32_t find_group(const struct work *w, const struct glb_addr *addr, uint8_t bits)
{
	uint32_t low = 0, high = w->rule_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (glb_vip_order(&w->rules[middle].addr, w->rules[middle].bits, addr, bits) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < w->rule_count && w->rules[low].bits == bits && glb_addr_equal(&w->rules[low].addr, addr))
		return low;
	return w->rule_count;
}

/* Fills w->around with the rules of `protocol` of all prefixes around a VIP, its own included. Returns how many. */
static uint32_t collect_around(struct work *w, const struct glb_vip_build *out, const struct glb_vip *vip,
			       uint8_t protocol)
{
	uint32_t n = 0;

	for (uint32_t p = out->prefix_count; p-- > 0;) { /* shortest first */
		uint8_t bits = out->prefixes[p].bits;
		struct glb_addr masked;
		uint32_t first, end;

		if (out->prefixes[p].family != vip->addr.family || bits > vip->bits)
			continue;
		glb_addr_mask(&vip->addr, bits, &masked);
		first = end = find_group(w, &masked, bits);
		while (end < w->rule_count && same_vip(&w->rules[first], &w->rules[end]))
			end++;
		while (end-- > first) /* least specific first */
			if (rule_takes(&w->rules[end], protocol))
				w->around[n++] = &w->rules[end];
	}
	return n;
}

static int append_bind(struct work *w, struct glb_vip_build *out, const struct rule *rule, uint8_t protocol,
		       uint32_t first, uint32_t last, uint32_t vip_first)
{
	struct glb_bind *previous = out->bind_count > vip_first ? &out->binds[out->bind_count - 1] : NULL;
	struct glb_bind *binds;
	size_t capacity;

	if (previous != NULL && previous->protocol == protocol && previous->service == rule->service &&
	    previous->port_last + 1u == first) {
		previous->port_last = (uint16_t)last;
		return 0;
	}
	if (out->bind_count == w->bind_capacity) {
		if (w->bind_capacity > BINDS_MAX)
			return -ENOMEM;
		capacity = w->bind_capacity * 2 + 64;
		binds = realloc(out->binds, capacity * sizeof(*binds));
		if (binds == NULL)
			return -ENOMEM;
		out->binds = binds;
		w->bind_capacity = (uint32_t)capacity;
	}
	out->binds[out->bind_count++] = (struct glb_bind){
		.port_first = (uint16_t)first,
		.port_last = (uint16_t)last,
		.protocol = protocol,
		.service = rule->service,
	};
	return 0;
}

static uint32_t edge_index(const struct work *w, uint32_t count, uint32_t port)
{
	const uint32_t *edge = bsearch(&port, w->edges, count, sizeof(port), by_port);

	return (uint32_t)(edge - w->edges);
}

/* Appends the binds of one VIP and protocol: paints the rules over the stretches between
 * port boundaries, the least specific first, and writes down what remains visible. */
static int flatten(struct work *w, struct glb_vip_build *out, const struct glb_vip *vip, uint8_t protocol)
{
	uint32_t n = collect_around(w, out, vip, protocol), edges = 0, unique = 0;

	for (uint32_t i = 0; i < n; i++) {
		w->edges[edges++] = w->around[i]->first;
		w->edges[edges++] = w->around[i]->last + 1u;
	}
	qsort(w->edges, edges, sizeof(w->edges[0]), by_port);
	for (uint32_t i = 0; i < edges; i++)
		if (unique == 0 || w->edges[i] != w->edges[unique - 1])
			w->edges[unique++] = w->edges[i];
	for (uint32_t i = 0; i < unique; i++)
		w->owner[i] = NULL;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t end = edge_index(w, unique, w->around[i]->last + 1u);

		for (uint32_t e = edge_index(w, unique, w->around[i]->first); e < end; e++)
			w->owner[e] = w->around[i];
	}
	for (uint32_t e = 0; e + 1 < unique; e++)
		if (w->owner[e] != NULL &&
		    append_bind(w, out, w->owner[e], protocol, w->edges[e], w->edges[e + 1] - 1, vip->bind_first) != 0)
			return -ENOMEM;
	return 0;
}

/* One VIP per distinct prefix, one entry in prefixes per distinct length. Echo goes to the service with the lowest id
 * among those bound to exactly this prefix; the snapshot's services ascend by id, so the lowest index. */
static void list_vips(const struct work *w, struct glb_vip_build *out)
{
	for (uint32_t i = 0; i < w->rule_count; i++) {
		const struct rule *rule = &w->rules[i];
		struct glb_vip *vip = out->vip_count > 0 ? &out->vips[out->vip_count - 1] : NULL;

		if (vip != NULL && same_vip(&w->rules[i - 1], rule)) {
			if (rule->service < vip->echo_service)
				vip->echo_service = rule->service;
			continue;
		}
		if (vip == NULL || vip->addr.family != rule->addr.family || vip->bits != rule->bits)
			out->prefixes[out->prefix_count++] =
				(struct glb_prefix_len){.family = rule->addr.family, .bits = rule->bits};
		out->vips[out->vip_count++] =
			(struct glb_vip){.addr = rule->addr, .bits = rule->bits, .echo_service = rule->service,
					 .unmatched = rule->unmatched};
	}
}

static void fill_slots(struct glb_vip_build *out)
{
	out->probe_max = 1;
	for (uint32_t i = 0; i < out->vip_count; i++) {
		uint32_t slot = glb_vip_home(&out->vips[i].addr, out->vips[i].bits) & (out->slot_count - 1);
		uint32_t probes = 1;

		for (; out->slots[slot] != 0; slot = (slot + 1) & (out->slot_count - 1))
			probes++;
		out->slots[slot] = i + 1;
		if (probes > out->probe_max)
			out->probe_max = probes;
	}
}

static int allocate(struct work *w, struct glb_vip_build *out)
{
	size_t n = w->rule_count + 1ul;

	out->slot_count = 16;
	while (out->slot_count < 2 * n)
		out->slot_count *= 2;
	w->rules = calloc(n, sizeof(*w->rules));
	w->around = calloc(n, sizeof(*w->around));
	w->edges = calloc(2 * n, sizeof(*w->edges));
	w->owner = calloc(2 * n, sizeof(*w->owner));
	out->prefixes = calloc(n, sizeof(*out->prefixes));
	out->vips = calloc(n, sizeof(*out->vips));
	out->slots = calloc(out->slot_count, sizeof(*out->slots));
	return w->rules && w->around && w->edges && w->owner && out->prefixes && out->vips && out->slots ? 0 : -ENOMEM;
}

int glb_vip_build(const struct glb_config *config, const uint32_t *order, struct glb_vip_build *out,
		  struct glb_error *error)
{
	static const uint8_t protocols[] = {GLB_PROTOCOL_OTHER, GLB_IPPROTO_TCP, GLB_IPPROTO_UDP};
	struct work w = {0};
	int status;

	memset(out, 0, sizeof(*out));
	for (uint32_t s = 0; s < config->service_count; s++)
		w.rule_count += config->services[s].bind_count;
	status = allocate(&w, out);
	if (status == 0) {
		collect_rules(config, order, &w);
		status = refuse_conflicts(config, &w, error);
	}
	if (status == 0)
		list_vips(&w, out);
	for (uint32_t i = 0; status == 0 && i < out->vip_count; i++) {
		out->vips[i].bind_first = out->bind_count;
		for (unsigned p = 0; status == 0 && p < sizeof(protocols); p++)
			status = flatten(&w, out, &out->vips[i], protocols[p]);
		out->vips[i].bind_count = out->bind_count - out->vips[i].bind_first;
	}
	if (status == 0)
		fill_slots(out);
	else if (status == -ENOMEM)
		glb_error_set(error, status, "out of memory for %u binds", w.rule_count);
	free(w.rules);
	free(w.around);
	free(w.edges);
	free(w.owner);
	return status;
}

void glb_vip_build_free(struct glb_vip_build *build)
{
	free(build->prefixes);
	free(build->vips);
	free(build->slots);
	free(build->binds);
	memset(build, 0, sizeof(*build));
}
