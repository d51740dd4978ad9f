/* The exception path's two ends: what workers call, and the thread between them and the kernel (punt.h).
 * Making and removing the interfaces is in punt_port.c. */
#include "punt.h"
#include "clock.h"
#include "count.h"
#include "punt_port.h"

#include <rte_ethdev.h>
#include <rte_lcore.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	BURST = 32,
	KERNEL_BURST = 1024,   /* all that an interface queues: net_tap tells of new packets only once */
	SLEEP_MIN_NS = 20000,
	SLEEP_MAX_NS = 500000,
};

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* ---- workers ---- */

enum glb_reason punt_offer(struct punt_port *punt, unsigned worker, const struct glb_packet *packet,
			   struct rte_mbuf *mbuf)
{
	struct punt_lane *lane = &punt->lanes[worker];
	enum glb_punt_class class;

	if (!punt_wanted(packet->reason)) {
		rte_pktmbuf_free(mbuf);
		return packet->reason;
	}
	class = glb_punt_classify(packet);
	if (!glb_bucket_take(&lane->bucket[class], clock_ns())) {
		count_add(&lane->limited[class], 1);
		return GLB_REASON_PUNT_LIMITED;
	}
	if (rte_ring_mp_enqueue(punt->to_kernel[class], mbuf) != 0) {
		count_add(&lane->full[class], 1);
		return GLB_REASON_PUNT_FULL;
	}
	return packet->reason;
}

static unsigned relay(struct punt_port *punt)
{
	struct rte_mbuf *mbufs[BURST];
	unsigned sent, n = rte_ring_sc_dequeue_burst(punt->from_kernel, (void **)mbufs, BURST, NULL);

	if (n == 0)
		return 0;
	sent = rte_eth_tx_burst(punt->port->id, 0, mbufs, (uint16_t)n);
	rte_pktmbuf_free_bulk(mbufs + sent, n - sent);
	count_add(&punt->unsent, n - sent);
	return n;
}

unsigned punt_relay(const struct ports *ports)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ports->count; i++)
		if (ports->port[i].punt != NULL)
			n += relay(ports->port[i].punt);
	return n;
}

/* ---- the thread ---- */

static unsigned to_kernel(struct punt_port *punt, unsigned class)
{
	struct rte_mbuf *mbufs[BURST];
	unsigned sent, n = rte_ring_sc_dequeue_burst(punt->to_kernel[class], (void **)mbufs, BURST, NULL);

	if (n == 0)
		return 0;
	sent = rte_eth_tx_burst(punt->id, 0, mbufs, (uint16_t)n);
	rte_pktmbuf_free_bulk(mbufs + sent, n - sent);
	count_add(&punt->delivered[class], sent);
	count_add(&punt->refused[class], n - sent);
	return n;
}

static unsigned from_kernel(struct punt_port *punt)
{
	struct rte_mbuf *mbufs[KERNEL_BURST];
	unsigned taken, n = rte_eth_rx_burst(punt->id, 0, mbufs, KERNEL_BURST);

	if (n == 0)
		return 0;
	taken = rte_ring_sp_enqueue_burst(punt->from_kernel, (void **)mbufs, n, NULL);
	rte_pktmbuf_free_bulk(mbufs + taken, n - taken);
	count_add(&punt->taken, n);
	count_add(&punt->taken_full, n - taken);
	return n;
}

/* Classes in their order: neighbours before routing before the rest, a burst each. */
static unsigned turn(struct punt_port *punt)
{
	unsigned n = 0;

	for (unsigned class = 0; class < GLB_PUNT_CLASSES; class++)
		n += to_kernel(punt, class);
	return n + from_kernel(punt);
}

static void *run(void *context)
{
	struct punt *punt = context;
	uint32_t sleep_ns = SLEEP_MIN_NS;

	while (__atomic_load_n(&punt->stop, __ATOMIC_RELAXED) == 0) {
		struct timespec pause = {.tv_nsec = sleep_ns};
		unsigned n = 0;

		for (unsigned i = 0; i < punt->count; i++)
			n += turn(&punt->ports[i]);
		if (n != 0) {
			sleep_ns = SLEEP_MIN_NS;
			continue;
		}
		nanosleep(&pause, NULL);
		sleep_ns = RTE_MIN(sleep_ns + sleep_ns / 16, (uint32_t)SLEEP_MAX_NS);
	}
	return NULL;
}

/* ---- start and end ---- */

static unsigned wanted(const struct config *config)
{
	unsigned n = 0;

	for (unsigned i = 0; i < config->port_count; i++)
		n += config->ports[i].punt != CONFIG_PUNT_NONE;
	return n;
}

int punt_open(struct punt *punt, const struct config *config, struct ports *ports, struct glb_error *error)
{
	unsigned count = wanted(config);
	int ret = 0;

	memset(punt, 0, sizeof(*punt));
	if (count == 0)
		return 0;
	punt->owner = ports;
	punt->ports = calloc(count, sizeof(*punt->ports));
	if (punt->ports == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < config->port_count && ret == 0; i++)
		if (config->ports[i].punt != CONFIG_PUNT_NONE)
			ret = punt_port_open(&punt->ports[punt->count++], config, i, ports, error);
	if (ret == 0) {
		ret = -rte_ctrl_thread_create(&punt->thread, "glb-punt", NULL, run, punt);
		if (ret != 0)
			glb_error_set(error, ret, "the thread for punted packets does not start: %s", strerror(-ret));
	}
	if (ret != 0) {
		punt_close(punt);
		return error->code;
	}
	punt->running = true;
	return 0;
}

void punt_close(struct punt *punt)
{
	if (punt->running) {
		__atomic_store_n(&punt->stop, 1, __ATOMIC_RELAXED);
		pthread_join(punt->thread, NULL);
	}
	for (unsigned i = 0; i < punt->count; i++)
		punt_port_close(&punt->ports[i]);
	free(punt->ports);
	memset(punt, 0, sizeof(*punt));
}

/* ---- status ---- */

static void set(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *class_status(const struct punt_port *punt, unsigned class)
{
	uint64_t limited = 0, full = 0;
	json_t *counters = json_object();

	for (unsigned i = 0; i < punt->workers; i++) {
		limited += load(&punt->lanes[i].limited[class]);
		full += load(&punt->lanes[i].full[class]);
	}
	set(counters, "to_kernel", load(&punt->delivered[class]));
	set(counters, "limited", limited);
	set(counters, "queue_full", full);
	set(counters, "refused", load(&punt->refused[class]));
	return counters;
}

json_t *punt_status(const struct ports *ports)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < ports->count; i++) {
		const struct punt_port *punt = ports->port[i].punt;
		json_t *item, *classes;

		if (punt == NULL)
			continue;
		item = json_pack("{s:i, s:s}", "port", (int)punt->port->id, "interface", punt->interface);
		classes = json_object();
		for (unsigned class = 0; class < GLB_PUNT_CLASSES; class++)
			json_object_set_new(classes, glb_punt_class_name(class), class_status(punt, class));
		json_object_set_new(item, "classes", classes);
		set(item, "from_kernel", load(&punt->taken));
		set(item, "from_kernel_dropped", load(&punt->taken_full) + load(&punt->unsent));
		json_array_append_new(list, item);
	}
	return list;
}
