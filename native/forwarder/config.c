/* The configuration's keys, in one table, and how a document is held against it (config.h).
 *
 * How one value is read is in config_value.c; files and overrides are in config_file.c.
 */
#include "config.h"
#include "config_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define KEY(section_, name_, kind_, member, ...)                                             \
	{.section = section_, .name = name_, .kind = kind_, .offset = offsetof(struct config, member), \
	 .size = sizeof(((struct config *)0)->member), __VA_ARGS__}
#define RANGE(min_, max_) .min = min_, .max = max_
#define COUNT(member) .count_offset = offsetof(struct config, member)

static const char *const checksum_names[] = {"zero", "computed", NULL};
static const char *const idle_names[] = {"adaptive", "busy", NULL};
static const char *const run_model_names[] = {"run-to-completion", "pipeline", NULL};
static const char *const echo_names[] = {"forward", "punt", "answer", NULL};

static const char *const offload_names[] = {"auto", "off", NULL};
static const char *const punt_names[] = {"none", "tap", "virtio-user", NULL};

static const struct config_key keys[] = {
	KEY("director", "name", CONFIG_NAME, name, .required = true),
	KEY("director", "snapshot", CONFIG_PATH, snapshot),
	KEY("director", "lists", CONFIG_PATH, lists),
	KEY("director", "run_dir", CONFIG_PATH, run_dir),
	KEY("forward", "outer_source_v4", CONFIG_IPV4, director.outer_source_v4),
	KEY("forward", "outer_source_v6", CONFIG_IPV6, director.outer_source_v6),
	KEY("forward", "outer_source_prefix_v4", CONFIG_PREFIX_V4, director.outer_prefix_v4),
	KEY("forward", "outer_source_prefix_v6", CONFIG_PREFIX_V6, director.outer_prefix_v6),
	KEY("forward", "gateway_mac", CONFIG_MAC, director.gateway_mac),
	KEY("forward", "local_mac", CONFIG_MAC, director.local_mac),
	KEY("forward", "filter_mac", CONFIG_BOOL, director.filter_mac),
	KEY("forward", "outer_udp_checksum", CONFIG_CHOICE, director.outer_checksum, .words = checksum_names),
	KEY("forward", "outer_udp_checksum_v6", CONFIG_CHOICE, director.outer_checksum_v6, .words = checksum_names),
	KEY("forward", "icmp_echo", CONFIG_CHOICE, director.echo, .words = echo_names),
	KEY("forward", "icmp_echo_rate", CONFIG_INTEGER, echo_rate, RANGE(1, 10000000)),
	KEY("forward", "reject_rate", CONFIG_INTEGER, reject_rate, RANGE(1, 10000000)),
	KEY("forward", "strict", CONFIG_BOOL, director.strict),
	KEY("forward", "oversize_rate", CONFIG_INTEGER, oversize_rate, RANGE(1, 10000000)),
	KEY("forward", "path_mtu_seconds", CONFIG_INTEGER, path_mtu_seconds, RANGE(0, 86400)),
	KEY("forward", "mtu", CONFIG_INTEGER, mtu, RANGE(0, 65535)),
	KEY("forward", "idle", CONFIG_CHOICE, idle, .words = idle_names),
	KEY("forward", "run_model", CONFIG_CHOICE, run_model, .words = run_model_names),
	KEY("eal", "args", CONFIG_WORDS, eal_args, RANGE(0, CONFIG_EAL_ARGS_MAX), COUNT(eal_arg_count)),
	KEY("eal", "workers", CONFIG_INTEGER, workers, RANGE(1, CONFIG_WORKERS_MAX)),
	KEY("eal", "main_lcore", CONFIG_INTEGER, main_lcore, RANGE(0, 1023)),
	KEY("eal", "worker_lcores", CONFIG_INTEGERS, worker_lcores, RANGE(0, 1023), COUNT(worker_lcore_count)),
	KEY("eal", "receivers", CONFIG_INTEGER, receivers, RANGE(1, CONFIG_RECEIVERS_MAX)),
	KEY("eal", "receiver_lcores", CONFIG_INTEGERS, receiver_lcores, RANGE(0, 1023), COUNT(receiver_lcore_count)),
	KEY("eal", "senders", CONFIG_INTEGER, senders, RANGE(0, CONFIG_SENDERS_MAX)),
	KEY("eal", "sender_lcores", CONFIG_INTEGERS, sender_lcores, RANGE(0, 1023), COUNT(sender_lcore_count)),
	KEY("eal", "receivers_send", CONFIG_BOOL, receivers_send),
	KEY("eal", "ring_size", CONFIG_INTEGER, ring_size, RANGE(64, 65536)),
	KEY("eal", "mbuf_bytes", CONFIG_INTEGER, mbuf_bytes, RANGE(128, 65407)),
	KEY("eal", "mbufs", CONFIG_INTEGER, mbufs, RANGE(1024, 1 << 22)),
	KEY("punt", "neighbour_rate", CONFIG_INTEGER, punt_rate[GLB_PUNT_NEIGHBOUR], RANGE(1, 10000000)),
	KEY("punt", "routing_rate", CONFIG_INTEGER, punt_rate[GLB_PUNT_ROUTING], RANGE(1, 10000000)),
	KEY("punt", "other_rate", CONFIG_INTEGER, punt_rate[GLB_PUNT_OTHER], RANGE(1, 10000000)),
	KEY("flow_cache", "entries", CONFIG_INTEGER, flow_entries, RANGE(0, GLB_FLOW_ENTRIES_MAX)),
	KEY("flow_cache", "opening_seconds", CONFIG_INTEGER, flow_opening_s, RANGE(1, GLB_FLOW_TIMEOUT_MAX)),
	KEY("flow_cache", "established_seconds", CONFIG_INTEGER, flow_established_s, RANGE(1, GLB_FLOW_TIMEOUT_MAX)),
	KEY("flow_cache", "closing_seconds", CONFIG_INTEGER, flow_closing_s, RANGE(1, GLB_FLOW_TIMEOUT_MAX)),
	KEY("flow_cache", "udp_seconds", CONFIG_INTEGER, flow_udp_s, RANGE(1, GLB_FLOW_TIMEOUT_MAX)),
	KEY("fragments", "datagrams", CONFIG_INTEGER, fragment_datagrams, RANGE(GLB_FRAGMENTS_MIN, 1 << 16)),
	KEY("fragments", "waiting", CONFIG_INTEGER, fragment_waiting, RANGE(GLB_FRAGMENTS_MIN, 1 << 16)),
	KEY("fragments", "timeout_ms", CONFIG_INTEGER, fragment_timeout_ms, RANGE(1, 60000)),
	KEY("fragments", "wait_ms", CONFIG_INTEGER, fragment_wait_ms, RANGE(1, 60000)),
	KEY("fragments", "peers", CONFIG_ADDRESSES, fragment_peers, COUNT(fragment_peer_count)),
	KEY("stats", "service_slots", CONFIG_INTEGER, service_slots, RANGE(1, 1 << 20)),
	KEY("stats", "backend_slots", CONFIG_INTEGER, backend_slots, RANGE(1, 1 << 20)),
};

enum { KEYS = sizeof(keys) / sizeof(keys[0]) };

/* Those of each [[port]]; offsets are in struct config_port. */
static const struct config_key port_keys[] = {
	{.section = "port", .name = "devargs", .kind = CONFIG_STRING, .offset = offsetof(struct config_port, devargs),
	 .size = CONFIG_DEVARGS_MAX, .required = true},
	{.section = "port", .name = "kernel_interface", .kind = CONFIG_STRING,
	 .offset = offsetof(struct config_port, kernel_interface), .size = IF_NAMESIZE},
	{.section = "port", .name = "punt", .kind = CONFIG_CHOICE, .offset = offsetof(struct config_port, punt),
	 .size = 1, .words = punt_names},
	{.section = "port", .name = "punt_interface", .kind = CONFIG_STRING,
	 .offset = offsetof(struct config_port, punt_interface), .size = CONFIG_INTERFACE_MAX},
	{.section = "port", .name = "checksum_offload", .kind = CONFIG_CHOICE,
	 .offset = offsetof(struct config_port, checksum_offload), .size = 1, .words = offload_names},
	{.section = "port", .name = "vlan", .kind = CONFIG_INTEGER, .offset = offsetof(struct config_port, vlan),
	 .size = sizeof(int64_t), RANGE(1, 4094)},
};

enum { PORT_KEYS = sizeof(port_keys) / sizeof(port_keys[0]) };

const struct config_key *config_keys(unsigned *count)
{
	*count = KEYS;
	return keys;
}

const struct config_key *config_port_keys(unsigned *count)
{
	*count = PORT_KEYS;
	return port_keys;
}

static void set_defaults(struct config *config)
{
	const struct glb_flow_timeouts timeouts = glb_flow_timeouts_default();

	memset(config, 0, sizeof(*config));
	config->director.filter_mac = 1;
	config->director.outer_checksum_v6 = GLB_OUTER_CHECKSUM_COMPUTED; /* receivers drop 0 unless told: RFC 6935 */
	config->mtu = CONFIG_MTU_OF_PORT;
	config->echo_rate = 1000;
	config->reject_rate = 1000;
	config->oversize_rate = 1000;
	config->path_mtu_seconds = 600; /* RFC 1191, 6.3; RFC 8201, 4 */
	config->main_lcore = -1;
	config->senders = -1;
	config->ring_size = 1024;
	config->punt_rate[GLB_PUNT_NEIGHBOUR] = 1000;
	config->punt_rate[GLB_PUNT_ROUTING] = 10000;
	config->punt_rate[GLB_PUNT_OTHER] = 5000;
	config->flow_entries = 1 << 20;
	config->flow_opening_s = timeouts.opening;
	config->flow_established_s = timeouts.established;
	config->flow_closing_s = timeouts.closing;
	config->flow_udp_s = timeouts.udp;
	config->fragment_datagrams = 4096;
	config->fragment_waiting = 512;
	config->fragment_timeout_ms = 2000;
	config->fragment_wait_ms = 200;
	config->service_slots = 1024;
	config->backend_slots = 4096;
}

static bool is_section(const char *name)
{
	for (unsigned i = 0; i < KEYS; i++)
		if (strcmp(keys[i].section, name) == 0)
			return true;
	return false;
}

static const struct config_key *find_key(const char *section, const char *name)
{
	for (unsigned i = 0; i < KEYS; i++)
		if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

/* "a, b, c": the names of a section's keys, for errors. */
static void list_keys(const char *section, char *out, size_t len)
{
	out[0] = '\0';
	for (unsigned i = 0; i < KEYS; i++) {
		if (strcmp(keys[i].section, section) != 0)
			continue;
		if (out[0] != '\0')
			strncat(out, ", ", len - strlen(out) - 1);
		strncat(out, keys[i].name, len - strlen(out) - 1);
	}
}

static int read_section(struct config *config, const char *section, json_t *table, const char *origin,
			struct glb_error *error)
{
	const char *name;
	json_t *value;

	if (!json_is_object(table))
		return glb_error_set(error, -EINVAL, "%s: %s: must be a table, [%s]", origin, section, section);
	json_object_foreach(table, name, value) {
		const struct config_key *key = find_key(section, name);
		char known[400];
		int ret;

		if (key == NULL) {
			list_keys(section, known, sizeof(known));
			return glb_error_set(error, -EINVAL, "%s: %s.%.40s: unknown key; [%s] has %s", origin, section,
					     name, section, known);
		}
		ret = config_value_read(config, key, value, origin, error);
		if (ret != 0)
			return ret;
	}
	return 0;
}

static const struct config_key *find_port_key(const char *name)
{
	for (unsigned i = 0; i < PORT_KEYS; i++)
		if (strcmp(port_keys[i].name, name) == 0)
			return &port_keys[i];
	return NULL;
}

static int read_port(struct config_port *port, size_t index, json_t *table, const char *origin,
		     struct glb_error *error)
{
	json_t *value;
	const char *name;

	if (!json_is_object(table))
		return glb_error_set(error, -EINVAL, "%s: port[%zu]: must be a table, [[port]]", origin, index);
	json_object_foreach(table, name, value) {
		const struct config_key *key = find_port_key(name);
		int ret;

		if (key == NULL)
			return glb_error_set(error, -EINVAL, "%s: port[%zu].%.40s: unknown key; [[port]] has devargs, "
					     "kernel_interface, punt, punt_interface, checksum_offload, vlan",
					     origin, index, name);
		ret = config_value_read(port, key, value, origin, error);
		if (ret != 0)
			return ret;
	}
	if (json_object_get(table, "devargs") == NULL)
		return glb_error_set(error, -EINVAL, "%s: port[%zu].devargs: missing; give a device, for example "
				     "\"net_af_packet0,iface=eth0\" or a PCI address", origin, index);
	return 0;
}

static int read_ports(struct config *config, json_t *list, const char *origin, struct glb_error *error)
{
	json_t *port;
	size_t i;
	int ret = 0;

	if (!json_is_array(list))
		return glb_error_set(error, -EINVAL, "%s: port: must be a list of tables, [[port]]", origin);
	if (json_array_size(list) > CONFIG_PORTS_MAX)
		return glb_error_set(error, -EINVAL, "%s: port: %zu given, at most %d are supported", origin,
				     json_array_size(list), CONFIG_PORTS_MAX);
	for (i = 0; i < json_array_size(list) && ret == 0; i++) {
		port = json_array_get(list, i);
		ret = read_port(&config->ports[i], i, port, origin, error);
	}
	config->port_count = (unsigned)json_array_size(list);
	return ret;
}

static int check_required(const json_t *root, const char *origin, struct glb_error *error)
{
	for (unsigned i = 0; i < KEYS; i++)
		if (keys[i].required &&
		    json_object_get(json_object_get(root, keys[i].section), keys[i].name) == NULL)
			return glb_error_set(error, -EINVAL, "%s: %s.%s: missing, and there is no default", origin,
					     keys[i].section, keys[i].name);
	return 0;
}

/* EAL options that have a key of their own, which must not be bypassed. */
static int check_eal_args(const struct config *config, const char *origin, struct glb_error *error)
{
	static const struct { const char *option, *instead; } own[] = {
		{"--file-prefix", "it is made from director.name"}, {"--lcores", "use eal.workers and eal.worker_lcores"},
		{"-l", "use eal.workers and eal.worker_lcores"}, {"-c", "use eal.workers and eal.worker_lcores"},
		{"--main-lcore", "use eal.main_lcore"}, {"--", "only EAL options belong here"},
	};

	for (unsigned i = 0; i < config->eal_arg_count; i++) {
		size_t len = strcspn(config->eal_args[i], "=");

		for (unsigned j = 0; j < sizeof(own) / sizeof(own[0]); j++)
			if (strlen(own[j].option) == len && strncmp(config->eal_args[i], own[j].option, len) == 0)
				return glb_error_set(error, -EINVAL, "%s: eal.args[%u]: %s is not allowed: %s", origin, i,
						     own[j].option, own[j].instead);
	}
	return 0;
}

/* A number of lcores and the list of their CPUs: one follows from the other, or both agree. */
static int settle_lcores(int64_t *count, unsigned listed, const char *count_key, const char *list_key, const char *origin,
			 struct glb_error *error)
{
	if (*count != 0 && listed != 0 && *count != listed)
		return glb_error_set(error, -EINVAL, "%s: eal.%s: %u given for %d in eal.%s; make them equal", origin, list_key,
				     listed, (int)*count, count_key);
	if (*count == 0)
		*count = listed;
	return 0;
}

static int check_run_model(struct config *config, const char *origin, struct glb_error *error)
{
	const bool no_senders = config->senders == 0;
	int ret;

	if (no_senders && config->sender_lcore_count != 0)
		return glb_error_set(error, -EINVAL, "%s: eal.sender_lcores: given for no senders in eal.senders; leave them out",
				     origin);
	if (config->receivers_send && (config->senders >= 0 || config->sender_lcore_count != 0))
		return glb_error_set(error, -EINVAL, "%s: eal.receivers_send: receivers are the senders; leave eal.senders and "
				     "eal.sender_lcores out", origin);
	if (config->senders < 0)
		config->senders = 0;
	ret = settle_lcores(&config->receivers, config->receiver_lcore_count, "receivers", "receiver_lcores", origin, error);

	if (ret == 0)
		ret = settle_lcores(&config->senders, config->sender_lcore_count, "senders", "sender_lcores", origin, error);
	if (ret != 0)
		return ret;
	if ((config->ring_size & (config->ring_size - 1)) != 0)
		return glb_error_set(error, -EINVAL, "%s: eal.ring_size: must be a power of two, not %d", origin,
				     (int)config->ring_size);
	if (config->run_model != CONFIG_PIPELINE) {
		if (config->receivers != 0 || config->senders != 0 || config->receivers_send)
			return glb_error_set(error, -EINVAL, "%s: eal.%s: only with forward.run_model = \"pipeline\"; else "
					     "workers receive and send themselves", origin,
					     config->receivers != 0 ? "receivers" : config->senders != 0 ? "senders" : "receivers_send");
		return 0;
	}
	config->receivers = config->receivers != 0 ? config->receivers : 1;
	if (config->receivers_send)
		config->senders = config->receivers;
	config->senders = config->senders != 0 || no_senders ? config->senders : 1;
	if (config->workers != 0 && config->senders > config->workers)
		return glb_error_set(error, -EINVAL, "%s: eal.%s: %d for %d workers; at most one for each", origin,
				     config->receivers_send ? "receivers" : "senders", (int)config->senders, (int)config->workers);
	return 0;
}

/* An interface for each port that punts through one. */
static int check_punt(const struct config *config, const char *origin, struct glb_error *error)
{
	for (unsigned i = 0; i < config->port_count; i++) {
		const struct config_port *port = &config->ports[i];

		if (port->punt == CONFIG_PUNT_NONE && port->punt_interface[0] != '\0')
			return glb_error_set(error, -EINVAL, "%s: port[%u].punt_interface: of no use without punt; add "
					     "punt = \"tap\"", origin, i);
		if (port->punt == CONFIG_PUNT_NONE)
			continue;
		if (port->punt_interface[0] == '\0')
			return glb_error_set(error, -EINVAL, "%s: port[%u].punt_interface: missing; name the interface that "
					     "punt makes, for example \"glb%u\"", origin, i, i);
		if (strpbrk(port->punt_interface, "/:, \t\n%") != NULL || port->punt_interface[0] == '.')
			return glb_error_set(error, -EINVAL, "%s: port[%u].punt_interface: \"%s\" is no name for an "
					     "interface; use letters and digits", origin, i, port->punt_interface);
		for (unsigned j = 0; j < i; j++)
			if (strcmp(port->punt_interface, config->ports[j].punt_interface) == 0)
				return glb_error_set(error, -EINVAL, "%s: port[%u].punt_interface: \"%s\" is port[%u]'s "
						     "already", origin, i, port->punt_interface, j);
	}
	return 0;
}

/* A datagram's fragments come by themselves and from a peer: only a receiver knows that they belong together, no NIC does. */
int config_check_peers(const struct config *config, struct glb_error *error)
{
	if (config->fragment_peer_count != 0 && config->run_model != CONFIG_PIPELINE && config->workers > 1)
		return glb_error_set(error, -EINVAL, "fragments.peers: with %d workers only with forward.run_model = \"pipeline\"",
				     (int)config->workers);
	return 0;
}

static int settle_peers(struct config *config, const char *origin, struct glb_error *error)
{
	const struct glb_director *director = &config->director;
	struct glb_error wrong;

	if (config->fragment_peer_count == 0)
		return 0;
	if (config_check_peers(config, &wrong) != 0)
		return glb_error_set(error, -EINVAL, "%s: %.200s", origin, wrong.text);
	if (glb_peers_set(&config->peers, config->fragment_peers, config->fragment_peer_count, &director->outer_source_v4,
			  &director->outer_source_v6, &wrong) != 0)
		return glb_error_set(error, -EINVAL, "%s: fragments.peers: %.200s", origin, wrong.text);
	config->director.peers = &config->peers;
	return 0;
}

/* What no key can say alone, and the defaults that follow from others. */
static int complete(struct config *config, const char *origin, struct glb_error *error)
{
	const struct glb_director *director = &config->director;
	int ret;

	if (director->outer_source_v4.family == GLB_FAMILY_NONE && director->outer_source_v6.family == GLB_FAMILY_NONE)
		return glb_error_set(error, -EINVAL, "%s: forward.outer_source_v4: missing; give it, or "
				     "forward.outer_source_v6 where all backends are IPv6", origin);
	ret = settle_lcores(&config->workers, config->worker_lcore_count, "workers", "worker_lcores", origin, error);
	if (ret == 0)
		ret = check_run_model(config, origin, error);
	if (ret != 0)
		return ret;
	if (config->snapshot[0] == '\0')
		snprintf(config->snapshot, sizeof(config->snapshot), "/var/lib/glb/%s/snapshot.glb", config->name);
	if (config->lists[0] == '\0' && snprintf(config->lists, sizeof(config->lists), "%.*s/lists.glbl",
						 (int)(strrchr(config->snapshot, '/') - config->snapshot), config->snapshot) >= CONFIG_PATH_MAX)
		return glb_error_set(error, -EINVAL, "%s: director.snapshot: too long; or give director.lists", origin);
	if (config->run_dir[0] == '\0')
		snprintf(config->run_dir, sizeof(config->run_dir), "/run/glb/%s", config->name);
	if (strlen(config->run_dir) + sizeof("/next/control.sock") > sizeof(((struct sockaddr_un *)0)->sun_path))
		return glb_error_set(error, -EINVAL, "%s: director.run_dir: too long for a socket inside it; "
				     "at most %zu bytes", origin,
				     sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("/next/control.sock"));
	if (check_punt(config, origin, error) != 0 || settle_peers(config, origin, error) != 0)
		return -EINVAL;
	return check_eal_args(config, origin, error);
}

int config_from_json(struct config *config, const json_t *root, const char *origin, struct glb_error *error)
{
	json_t *value, *document = (json_t *)(uintptr_t)root; /* jansson's iteration takes no const */
	const char *name;
	int ret = 0;

	set_defaults(config);
	json_object_foreach(document, name, value) {
		if (strcmp(name, "port") == 0)
			ret = read_ports(config, value, origin, error);
		else if (is_section(name))
			ret = read_section(config, name, value, origin, error);
		else
			ret = glb_error_set(error, -EINVAL, "%s: %.40s: unknown key; there are director, forward, eal, "
					    "port, punt, flow_cache, fragments, stats", origin, name);
		if (ret != 0)
			break;
	}
	if (ret == 0)
		ret = check_required(document, origin, error);
	if (ret == 0)
		ret = complete(config, origin, error);
	if (ret != 0)
		config_free(config);
	return ret;
}

bool config_has_gateway(const struct config *config)
{
	static const uint8_t none[sizeof(config->director.gateway_mac)];

	return memcmp(config->director.gateway_mac, none, sizeof(none)) != 0;
}

void config_free(struct config *config)
{
	for (unsigned i = 0; i < config->eal_arg_count; i++)
		free(config->eal_args[i]);
	config->eal_arg_count = 0;
}
