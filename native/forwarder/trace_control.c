/* Reading what is to be traced, and the main lcore's side of the mailbox (trace_control.h). */
#include "trace_control.h"
#include "trace_reply.h"

#include <glb/wire.h>

#include <rte_cycles.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_US = 50 };

/* Where our own packets come from, when they have no Ethernet header of their own: "GLBTR", locally administered. */
static const uint8_t own_source[6] = {0x02, 'G', 'L', 'B', 'T', 'R'};

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_hex(const char *field, const char *text, struct trace_order *order, struct glb_error *error)
{
	const size_t len = text != NULL ? strlen(text) : 1;

	if (order->len != 0)
		return glb_error_set(error, -EINVAL, "%s: give either ip or frame", field);
	if (len % 2 != 0 || len == 0 || len / 2 > TRACE_PACKET_MAX)
		return glb_error_set(error, -EINVAL, "%s: must be 1 to %d bytes in hex", field, TRACE_PACKET_MAX);
	for (size_t i = 0; i < len / 2; i++) {
		const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return glb_error_set(error, -EINVAL, "%s: must be bytes in hex", field);
		order->bytes[i] = (uint8_t)(high << 4 | low);
	}
	order->len = len / 2;
	order->whole = strcmp(field, "frame") == 0;
	return 0;
}

static int read_number(const char *field, const json_t *value, unsigned count, unsigned *number, struct glb_error *error)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= count)
		return glb_error_set(error, -EINVAL, "%s: must be 0 to %u", field, count - 1);
	*number = (unsigned)json_integer_value(value);
	return 0;
}

/* The port has the number that status gives it. */
static int read_port(const json_t *value, const struct ports *ports, unsigned *index, struct glb_error *error)
{
	for (unsigned i = 0; i < ports->count; i++) {
		if (json_is_integer(value) && json_integer_value(value) == ports->port[i].id) {
			*index = i;
			return 0;
		}
	}
	return glb_error_set(error, -EINVAL, "port: must be the number of a port in status");
}

int trace_read_order(const json_t *request, const struct ports *ports, const struct config *config,
		     struct trace_order *order, struct glb_error *error)
{
	const char *field;
	json_t *value;
	int ret = 0;

	memset(order, 0, sizeof(*order));
	if (!json_is_object(request))
		return glb_error_set(error, -EINVAL, "packet: must be an object");
	json_object_foreach((json_t *)(uintptr_t)request, field, value) {
		if (strcmp(field, "ip") == 0 || strcmp(field, "frame") == 0)
			ret = read_hex(field, json_string_value(value), order, error);
		else if (strcmp(field, "port") == 0)
			ret = read_port(value, ports, &order->port, error);
		else if (strcmp(field, "queue") == 0)
			ret = read_number(field, value, config_rx_queues(config), &order->queue, error);
		else if (strcmp(field, "send") == 0 && json_is_boolean(value))
			order->send = json_is_true(value);
		else
			ret = glb_error_set(error, -EINVAL, "%.40s: not a field of a packet, or not a valid value", field);
		if (ret != 0)
			return ret;
	}
	return order->len != 0 ? 0 : glb_error_set(error, -EINVAL, "packet: ip or frame is missing");
}

/* A buffer with the frame. NULL with *error. */
static struct rte_mbuf *make_frame(const struct ports *ports, const struct swap *swap, const struct trace_order *order,
				   struct glb_error *error)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(pools_of(&ports->pools, order->port, order->queue));
	struct glb_eth eth;
	char *at = NULL;

	if (mbuf == NULL) {
		glb_error_set(error, -ENOMEM, "there is no free packet buffer");
		return NULL;
	}
	if (!order->whole) {
		memcpy(eth.dst, swap->current->paths[order->port].director.local_mac, sizeof(eth.dst));
		memcpy(eth.src, own_source, sizeof(eth.src));
		eth.type = glb_be16_put(order->bytes[0] >> 4 == 6 ? GLB_ETHERTYPE_IPV6 : GLB_ETHERTYPE_IPV4);
		at = rte_pktmbuf_append(mbuf, sizeof(eth));
		if (at != NULL)
			memcpy(at, &eth, sizeof(eth));
	}
	if (order->whole || at != NULL)
		at = order->len <= UINT16_MAX ? rte_pktmbuf_append(mbuf, (uint16_t)order->len) : NULL;
	if (at == NULL) {
		glb_error_set(error, -EINVAL, "the packet does not fit a buffer of %u bytes", (unsigned)mbuf->buf_len);
		rte_pktmbuf_free(mbuf);
		return NULL;
	}
	memcpy(at, order->bytes, order->len);
	return mbuf;
}

static int state_of(const struct trace *trace)
{
	return __atomic_load_n(&trace->state, __ATOMIC_ACQUIRE);
}

/* Waits until the report is complete. False when the packet is somewhere else after the time. */
static bool wait_done(struct trace *trace)
{
	for (unsigned waited = 0; waited < TRACE_WAIT_MS * 1000; waited += LOOK_US) {
		if (state_of(trace) == TRACE_DONE)
			return true;
		usleep(LOOK_US);
	}
	return state_of(trace) == TRACE_DONE;
}

/* Nobody has come for it: takes it out again. False when somebody has, just now. */
static bool take_back(struct trace *trace)
{
	int waiting = TRACE_WAITING;

	if (!__atomic_compare_exchange_n(&trace->state, &waiting, TRACE_FREE, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	rte_pktmbuf_free(trace->mbuf);
	return true;
}

json_t *trace_run(struct workers *workers, const struct swap *swap, const struct ports *ports,
		  const struct trace_order *order, struct glb_error *error)
{
	struct trace *trace = workers->trace;
	const char *who = workers->rings != NULL ? "receiver" : "worker";
	json_t *reply;

	if (state_of(trace) != TRACE_FREE && state_of(trace) != TRACE_DONE) {
		glb_error_set(error, -EBUSY, "an earlier packet is still on its way");
		return NULL;
	}
	trace->mbuf = make_frame(ports, swap, order, error);
	if (trace->mbuf == NULL)
		return NULL;
	memset(&trace->report, 0, sizeof(trace->report));
	trace->queue = order->queue;
	trace->port = (uint16_t)order->port;
	trace->send = order->send;
	trace->began = rte_rdtsc();
	__atomic_store_n(&trace->state, TRACE_WAITING, __ATOMIC_RELEASE);
	if (!wait_done(trace)) {
		const bool nobody = take_back(trace);

		glb_error_set(error, -ETIMEDOUT, "%s %u %s in %d ms; status says whether an lcore is stuck", who, order->queue,
			      nobody ? "did not take the packet" : "took the packet, and it has not come to an end", TRACE_WAIT_MS);
		return NULL;
	}
	reply = trace_reply(trace, workers, swap, ports);
	__atomic_store_n(&trace->state, TRACE_FREE, __ATOMIC_RELEASE);
	return reply;
}
