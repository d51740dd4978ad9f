/* Status and counters as JSON (status.h). */
#include "status.h"
#include "egress.h"
#include "layout.h"
#include "offload.h"
#include "punt.h"
#include "watch.h"

#include <rte_ethdev.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void set_integer(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

void status_add_snapshot(json_t *reply, const struct swap *swap)
{
	const struct glb_snapshot_header *header = swap->current->snapshot.header;
	char digest[2 * sizeof(header->digest) + 1];

	if (header == NULL) {
		json_object_set_new(reply, "revision", json_null());
		json_object_set_new(reply, "digest", json_null());
		return;
	}
	for (unsigned i = 0; i < sizeof(header->digest); i++)
		snprintf(digest + 2 * i, 3, "%02x", header->digest[i]);
	set_integer(reply, "revision", header->revision);
	json_object_set_new(reply, "digest", json_string(digest));
}

static json_t *last_error(const struct swap *swap)
{
	json_t *text;

	if (swap->last_error.code == 0)
		return json_null();
	text = json_string(swap->last_error.text);
	return json_pack("{s:s, s:o, s:s}", "code", "snapshot_refused", "message",
			 text != NULL ? text : json_string("(a message that is not UTF-8)"), "path",
			 swap->last_error_path);
}

static json_t *keep_error(const struct swap *swap)
{
	json_t *text = swap->keep_error.code != 0 ? json_string(swap->keep_error.text) : NULL;

	if (swap->keep_error.code == 0)
		return json_null();
	return text != NULL ? text : json_string("(a message that is not UTF-8)");
}

static json_t *last_load(const struct swap *swap)
{
	if (swap->generation == 0)
		return json_null();
	return json_pack("{s:I, s:I}", "load_us", (json_int_t)swap->last.load_us, "switch_us",
			 (json_int_t)swap->last.switch_us);
}

/* Most packets ever seen waiting in each ring that an lcore takes from, by who puts in. Blocks are in the order of layout.h. */
static json_t *rings_status(const struct workers *workers, uint32_t block)
{
	const struct rings *rings = workers->rings;
	json_t *result = json_object();
	char from[24];

	if (rings == NULL)
		return result;
	for (unsigned r = 0; block < rings->workers && r < rings->receivers; r++) {
		snprintf(from, sizeof(from), "receiver %u", r);
		set_integer(result, from, rings->steer_most[block].from[r]);
	}
	if (block < rings->workers + rings->receivers)
		return result;
	for (unsigned w = 0; w < rings->workers; w++) {
		if (layout_sender_of(w, rings->workers, rings->senders) != block - rings->workers - rings->receivers)
			continue;
		snprintf(from, sizeof(from), "worker %u", w);
		set_integer(result, from, rings->tx_most[w].waiting);
	}
	return result;
}

/* Counters of a flow cache; null where there is none. */
static json_t *flows_status(const struct glb_flow_stats *flows)
{
	json_t *result = json_object();

	if (flows->capacity == 0) {
		json_decref(result);
		return json_null();
	}
	for (unsigned n = 0; n < GLB_FLOW_STATS; n++)
		set_integer(result, glb_flow_stat_name(n), glb_flow_stat(flows, n));
	return result;
}

/* What [flow_cache] means in memory; `bytes_taken` = 0 until a snapshot with flow_cache has come. */
static json_t *flow_cache_status(const struct commands *commands)
{
	const struct config *config = commands->config;
	const struct flows *flows = commands->swap->flows;

	return json_pack("{s:I, s:I, s:I}", "entries", (json_int_t)config->flow_entries, "bytes",
			 (json_int_t)flows_bytes(config), "bytes_taken",
			 (json_int_t)(flows->map_len * (size_t)config->workers));
}

static json_t *workers_status(const struct commands *commands)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < commands->stats->header->worker_count; i++) {
		const struct glb_worker_stats *stats = stats_file_worker(commands->stats, i);
		json_t *worker = json_object();

		set_integer(worker, "worker", i);
		set_integer(worker, "lcore", stats->lcore);
		json_object_set_new(worker, "role", json_string(glb_role_name((unsigned)stats->role)));
		set_integer(worker, "rx_packets", stats->rx_packets);
		set_integer(worker, "rx_bytes", stats->rx_bytes);
		set_integer(worker, "tx_packets", stats->tx_packets);
		set_integer(worker, "tx_bytes", stats->tx_bytes);
		set_integer(worker, "bursts", stats->bursts);
		set_integer(worker, "idle_polls", stats->idle_polls);
		set_integer(worker, "sleeps", stats->sleeps);
		set_integer(worker, "busy_cycles", stats->busy_cycles);
		set_integer(worker, "stalls", stats->stalls);
		json_object_set_new(worker, "stuck", stats->stuck != WATCH_WELL ?
			json_string(watch_verdict_name((enum watch_verdict)stats->stuck)) : json_null());
		set_integer(worker, "ring_high_water", stats->ring_high_water);
		json_object_set_new(worker, "rings", rings_status(commands->workers, i));
		json_object_set_new(worker, "flows", flows_status(&stats->flows));
		json_array_append_new(list, worker);
	}
	return list;
}

/* Samples by upper bound in ns; buckets with none are left out. */
static json_t *latency_status(const struct glb_worker_stats *total)
{
	json_t *buckets = json_object();
	char bound[24];

	for (unsigned bucket = 0; bucket < GLB_STATS_LATENCY_MAX; bucket++) {
		snprintf(bound, sizeof(bound), "%llu", 2ULL << bucket);
		if (total->latency[bucket] != 0)
			set_integer(buckets, bucket == GLB_STATS_LATENCY_MAX - 1 ? "inf" : bound, total->latency[bucket]);
	}
	return buckets;
}

/* The driver's own counters that are not 0. */
static json_t *xstats_status(uint16_t port)
{
	int count = rte_eth_xstats_get(port, NULL, 0);
	struct rte_eth_xstat *values = calloc(count > 0 ? (size_t)count : 1, sizeof(*values));
	struct rte_eth_xstat_name *names = calloc(count > 0 ? (size_t)count : 1, sizeof(*names));
	json_t *result = json_object();

	if (values != NULL && names != NULL && count > 0 &&
	    rte_eth_xstats_get(port, values, (unsigned)count) == count &&
	    rte_eth_xstats_get_names(port, names, (unsigned)count) == count)
		for (int i = 0; i < count; i++)
			if (values[i].value != 0)
				set_integer(result, names[values[i].id].name, values[i].value);
	free(values);
	free(names);
	return result;
}

/* What the XDP program of an af_xdp port says; null for other ports. */
static json_t *xdp_status(const struct port *port)
{
	struct xdp_status status;

	if (port->xdp == NULL)
		return json_null();
	xdp_read(port->xdp, &status);
	return json_pack("{s:s, s:I, s:I}", "mode", status.native ? "native" : "generic", "taken",
			 (json_int_t)status.taken, "unserved", (json_int_t)status.unserved);
}

/* The names of what the device computes. */
static json_t *offloads_status(const struct port *port)
{
	json_t *list = json_array();

	for (unsigned bit = 1; bit <= port->offloads; bit <<= 1)
		if ((port->offloads & bit) != 0)
			json_array_append_new(list, json_string(offload_name((enum glb_offload)bit)));
	return list;
}

static json_t *ports_status(const struct ports *ports)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < ports->count; i++) {
		const struct port *port = &ports->port[i];
		struct rte_eth_stats stats = {0};
		struct rte_eth_link link = {0};
		char mac[18];

		rte_eth_stats_get(port->id, &stats);
		rte_eth_link_get_nowait(port->id, &link);
		snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", port->mac[0], port->mac[1], port->mac[2],
			 port->mac[3], port->mac[4], port->mac[5]);
		json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:I, s:s, s:b, s:I, s:I, s:I, s:o, s:o, s:s, s:I, s:I, s:o, s:i}", "port",
			port->id, "name", port->name, "mac", mac, "mtu", (json_int_t)port->mtu, "driver", port->driver,
			"link_up", link.link_status == RTE_ETH_LINK_UP, "rx_missed",
			(json_int_t)(stats.imissed + stats.rx_nombuf), "rx_errors", (json_int_t)stats.ierrors,
			"tx_errors", (json_int_t)stats.oerrors, "xstats", xstats_status(port->id), "xdp",
			xdp_status(port), "interface", port_state_name(port->watch.state), "vanished",
			(json_int_t)port->watch.vanished, "reopened", (json_int_t)port->watch.reopened, "offloads",
			offloads_status(port), "vlan", port->vlan));
	}
	return list;
}

/* {reason: packets} over all workers; every reason but the forwarded, zeros included. */
static json_t *reason_counters(const struct glb_worker_stats *total)
{
	json_t *counters = json_object();

	for (unsigned reason = 0; reason < GLB_REASON_COUNT; reason++)
		set_integer(counters, glb_reason_name(reason), total->reasons[reason]);
	return counters;
}

static double uptime_s(const struct stats_file *stats)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return ((double)now.tv_sec * 1e9 + (double)now.tv_nsec - (double)stats->header->start_time_ns) / 1e9;
}

void status_add(json_t *reply, const struct commands *commands)
{
	const struct swap *swap = commands->swap;
	struct glb_worker_stats total;

	glb_stats_sum(commands->stats->header, &total);
	json_object_set_new(reply, "instance", json_string(commands->config->name));
	set_integer(reply, "pid", (uint64_t)getpid());
	json_object_set_new(reply, "program_version", json_string(GLB_PROGRAM_VERSION));
	json_object_set_new(reply, "uptime_s", json_real(uptime_s(commands->stats)));
	set_integer(reply, "generation", swap->generation);
	status_add_snapshot(reply, swap);
	json_object_set_new(reply, "snapshot_path",
			    swap->current->path[0] != '\0' ? json_string(swap->current->path) : json_null());
	json_object_set_new(reply, "lists", status_lists(swap));
	json_object_set_new(reply, "last_error", last_error(swap));
	json_object_set_new(reply, "keep_error", keep_error(swap));
	json_object_set_new(reply, "last_load", last_load(swap));
	json_object_set_new(reply, "muted", json_boolean(commands->workers->mute != MUTE_OFF));
	json_object_set_new(reply, "workers", workers_status(commands));
	json_object_set_new(reply, "flow_cache", flow_cache_status(commands));
	set_integer(reply, "tsc_hz", commands->stats->header->tsc_hz);
	json_object_set_new(reply, "latency_ns", latency_status(&total));
	json_object_set_new(reply, "ports", ports_status(commands->ports));
	json_object_set_new(reply, "next_hops", egress_status(swap->nexthop, swap->current));
	json_object_set_new(reply, "path_mtus", path_mtus_status(swap->path_mtus, swap->current));
	json_object_set_new(reply, "punt", punt_status(commands->ports));
	json_object_set_new(reply, "counters", reason_counters(&total));
	json_object_set_new(reply, "stats_path", json_string(commands->stats->path));
}

json_t *status_replay(const struct stats_file *stats)
{
	json_t *result = json_object(), *by_reason[4];
	uint64_t by_verdict[4] = {0};
	struct glb_worker_stats total;

	glb_stats_sum(stats->header, &total);
	for (unsigned i = 0; i < 4; i++)
		by_reason[i] = json_object();
	for (unsigned reason = 0; reason < GLB_REASON_COUNT; reason++) {
		unsigned verdict = glb_reason_verdict(reason);

		by_verdict[verdict] += total.reasons[reason];
		if (total.reasons[reason] != 0)
			set_integer(by_reason[verdict], glb_reason_name(reason), total.reasons[reason]);
	}
	set_integer(result, "in", total.rx_packets);
	set_integer(result, "forwarded", by_verdict[GLB_VERDICT_FORWARD]);
	set_integer(result, "answered", by_verdict[GLB_VERDICT_ANSWER]);
	set_integer(result, "punted", by_verdict[GLB_VERDICT_PUNT]);
	set_integer(result, "dropped", by_verdict[GLB_VERDICT_DROP]);
	set_integer(result, "out", total.tx_packets);
	json_object_set_new(result, "punted_by_reason", by_reason[GLB_VERDICT_PUNT]);
	json_object_set_new(result, "dropped_by_reason", by_reason[GLB_VERDICT_DROP]);
	if (total.flows.capacity != 0)
		json_object_set_new(result, "flow_cache", flows_status(&total.flows));
	json_decref(by_reason[GLB_VERDICT_FORWARD]);
	json_decref(by_reason[GLB_VERDICT_ANSWER]);
	return result;
}
