/* The report of a traced packet in words (trace_reply.h). What it did not come to is null. */
#include "trace_reply.h"
#include "punt.h"

#include <glb/punt.h>

#include <rte_cycles.h>

#include <arpa/inet.h>

static const char *const kinds[] = {
	[GLB_PACKET_OTHER] = "other", [GLB_PACKET_TCP] = "tcp", [GLB_PACKET_UDP] = "udp", [GLB_PACKET_ECHO] = "echo",
	[GLB_PACKET_TOO_BIG] = "too_big", [GLB_PACKET_ICMP] = "icmp", [GLB_PACKET_FRAGMENT] = "fragment",
	[GLB_PACKET_ERROR] = "error",
};
static const char *const states[] = {
	[GLB_STATE_ACTIVE] = "active", [GLB_STATE_FILLING] = "filling", [GLB_STATE_DRAINING] = "draining",
	[GLB_STATE_INACTIVE] = "inactive",
};
static const char *const healths[] = {
	[GLB_HEALTH_UNKNOWN] = "unknown", [GLB_HEALTH_HEALTHY] = "healthy", [GLB_HEALTH_UNHEALTHY] = "unhealthy",
};
static const char *const next_hops[] = {[GLB_NEXT_HOP_ROUTER] = "router", [GLB_NEXT_HOP_BACKEND] = "backend"};
static const char *const algorithms[] = {
	[GLB_ALGORITHM_RENDEZVOUS] = "rendezvous", [GLB_ALGORITHM_MAGLEV] = "maglev",
};
static const char *const policies[] = {[GLB_POLICY_ORDERED] = "ordered", [GLB_POLICY_GLB] = "glb"};
static const char *const hash_fields[] = {"src_addr", "dst_addr", "src_port", "dst_port"}; /* by bit */

#define WORD(words, value) ((value) < sizeof(words) / sizeof((words)[0]) ? (words)[value] : "unknown")

static json_t *address(const struct glb_addr *addr)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (addr->family == GLB_FAMILY_NONE)
		return json_null();
	inet_ntop(addr->family == GLB_FAMILY_V4 ? AF_INET : AF_INET6, addr->bytes, text, sizeof(text));
	return json_string(text);
}

static json_t *mac_of(const uint8_t mac[6])
{
	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static json_t *fields(unsigned bits)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < sizeof(hash_fields) / sizeof(hash_fields[0]); i++)
		if ((bits >> i & 1) != 0)
			json_array_append_new(list, json_string(hash_fields[i]));
	return list;
}

/* The client's packet; null where it was not parsed up to its addresses. */
static json_t *parsed(const struct glb_packet *packet)
{
	const bool flow = packet->src.family != GLB_FAMILY_NONE;

	if (packet->vip.family == GLB_FAMILY_NONE)
		return json_null();
	return json_pack("{s:s, s:I, s:i, s:i, s:o, s:o, s:i, s:o, s:i}", "kind", WORD(kinds, packet->kind), "bytes",
			 (json_int_t)packet->l3_len, "protocol", packet->protocol, "tags", (packet->l3_offset - 14) / 4, "to",
			 address(&packet->vip), "source", address(&packet->src), "source_port", packet->sport, "destination",
			 flow ? address(&packet->dst) : json_null(), "destination_port", packet->dport);
}

static json_t *service_of(const struct glb_snapshot *snapshot, const struct glb_packet *packet)
{
	const struct glb_service *service;

	if (packet->service >= snapshot->service_count)
		return json_null();
	service = &snapshot->services[packet->service];
	return json_pack("{s:I, s:s, s:s}", "id", (json_int_t)service->id, "name", snapshot->strings + service->name,
			 "encapsulation", glb_encap_name(service->encap));
}

static json_t *row_of(const struct glb_snapshot *snapshot, const struct glb_packet *packet)
{
	const struct glb_service *service;
	const struct glb_table *table;
	unsigned bits;
	json_t *row;

	if (packet->row == GLB_INDEX_NONE || packet->service >= snapshot->service_count)
		return json_null();
	service = &snapshot->services[packet->service];
	table = &snapshot->tables[service->table];
	bits = packet->family == GLB_FAMILY_V4 ? service->source_bits_v4 : service->source_bits_v6;
	row = json_pack("{s:o, s:o, s:i, s:I, s:I, s:s, s:s, s:s}", "hash",
			json_sprintf("%016llx", (unsigned long long)packet->hash), "fields", fields(service->hash_fields),
			"source_bits", (int)bits, "row", (json_int_t)packet->row, "rows", (json_int_t)table->rows, "pool",
			snapshot->strings + table->pool_name, "algorithm", WORD(algorithms, table->algorithm), "policy",
			WORD(policies, table->policy));
	json_object_set_new(row, "alt_row", packet->alt_row != GLB_INDEX_NONE ? json_integer(packet->alt_row) : json_null());
	json_object_set_new(row, "alt_fields", fields(service->alt_hash_fields));
	return row;
}

static json_t *chain_of(const struct glb_snapshot *snapshot, const struct glb_packet *packet)
{
	json_t *chain = json_array();

	for (unsigned i = 0; i < packet->chain_len; i++) {
		const struct glb_backend *backend = &snapshot->backends[packet->chain[i]];

		json_array_append_new(chain, json_pack("{s:I, s:s, s:o, s:s, s:s}", "id", (json_int_t)backend->id, "name",
						       snapshot->strings + backend->name, "address", address(&backend->addr),
						       "state", WORD(states, backend->state), "health",
						       WORD(healths, backend->health)));
	}
	return chain;
}

/* Null where the packet did not come so far as to ask for one. */
static json_t *next_hop_of(const struct glb_packet *packet, const struct ports *ports, const struct loaded *loaded)
{
	const struct glb_next_hop *hop = &packet->next_hop;
	const bool known = hop->kind != GLB_NEXT_HOP_UNKNOWN;

	if (packet->chain_len == 0)
		return json_null();
	return json_pack("{s:s, s:s?, s:o, s:s?}", "source", loaded->next_hops != NULL ? "kernel" : "gateway_mac", "kind",
			 known ? WORD(next_hops, hop->kind) : NULL, "mac", known ? mac_of(hop->mac) : json_null(), "port",
			 known ? ports->port[hop->port].name : NULL);
}

static json_t *output_of(const struct trace_report *report, const struct ports *ports)
{
	static const char digits[] = "0123456789abcdef";
	char hex[2 * TRACE_FRAME_MAX + 1];

	if (!report->encapsulated)
		return json_null();
	for (uint32_t i = 0; i < report->frame_kept; i++) {
		hex[2 * i] = digits[report->frame[i] >> 4];
		hex[2 * i + 1] = digits[report->frame[i] & 15];
	}
	hex[2 * report->frame_kept] = '\0';
	return json_pack("{s:s, s:i, s:I, s:s}", "port", ports->port[report->out_port].name, "queue",
			 (int)report->out_queue, "bytes", (json_int_t)report->frame_len, "frame", hex);
}

static json_t *punt_of(const struct trace *trace, const struct ports *ports)
{
	const struct punt_port *punt = ports->port[trace->port].punt;

	if (trace->report.punt_class < 0 || punt == NULL)
		return json_null();
	return json_pack("{s:s, s:s}", "class", glb_punt_class_name((unsigned)trace->report.punt_class), "interface",
			 punt->interface);
}

/* What the stages of the worker found. */
static void add_decision(json_t *reply, const struct trace *trace, const struct workers *workers, const struct ports *ports)
{
	static const char *const flows[] = {
		[TRACE_FLOW_NOT_ASKED] = NULL, [TRACE_FLOW_HIT] = "hit", [TRACE_FLOW_MISS] = "miss",
	};
	const struct trace_report *report = &trace->report;
	const struct glb_snapshot *snapshot = &report->loaded->snapshot;
	const struct glb_packet *packet = &report->packet;

	json_object_set_new(reply, "worker", json_pack("{s:i, s:i}", "worker", (int)report->worker, "lcore",
						       (int)workers->worker[report->worker].lcore));
	json_object_set_new(reply, "packet", parsed(packet));
	json_object_set_new(reply, "service", service_of(snapshot, packet));
	json_object_set_new(reply, "row", row_of(snapshot, packet));
	json_object_set_new(reply, "flow_cache", flows[report->flow] != NULL ? json_string(flows[report->flow]) : json_null());
	json_object_set_new(reply, "chain", chain_of(snapshot, packet));
	json_object_set_new(reply, "next_hop", next_hop_of(packet, ports, report->loaded));
	json_object_set_new(reply, "output", output_of(report, ports));
	json_object_set_new(reply, "punt", punt_of(trace, ports));
}

/* It did not come to a worker. */
static void add_nothing(json_t *reply)
{
	static const char *const names[] = {"worker", "packet", "service", "row", "flow_cache", "next_hop", "output", "punt"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		json_object_set_new(reply, names[i], json_null());
	json_object_set_new(reply, "chain", json_array());
}

json_t *trace_reply(const struct trace *trace, const struct workers *workers, const struct swap *swap,
		    const struct ports *ports)
{
	const struct trace_report *report = &trace->report;
	const struct glb_snapshot_header *header = report->decided ? report->loaded->snapshot.header : NULL;
	json_t *reply = json_pack("{s:I}", "generation", (json_int_t)swap->generation);

	json_object_set_new(reply, "revision", header != NULL ? json_integer((json_int_t)header->revision) : json_null());
	json_object_set_new(reply, "port", json_string(ports->port[trace->port].name));
	json_object_set_new(reply, "queue", json_integer(trace->queue));
	json_object_set_new(reply, "steering", !report->steered ? json_null() :
			    json_pack("{s:i, s:i, s:o, s:i}", "receiver", (int)trace->queue, "lcore",
				      (int)workers->receivers[trace->queue].lcore, "hash",
				      json_sprintf("%08x", report->steer_hash), "worker", (int)report->steer_worker));
	if (report->decided)
		add_decision(reply, trace, workers, ports);
	else
		add_nothing(reply);
	json_object_set_new(reply, "verdict", json_string(glb_verdict_name(report->verdict)));
	json_object_set_new(reply, "reason", json_string(glb_reason_name(report->reason)));
	json_object_set_new(reply, "text", json_string(glb_reason_text(report->reason)));
	json_object_set_new(reply, "sent", json_boolean(report->sent));
	json_object_set_new(reply, "took_us", json_real((double)(report->cycles * 10000000 / rte_get_tsc_hz()) / 10));
	return reply;
}
