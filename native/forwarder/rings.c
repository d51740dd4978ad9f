/* The rings of a pipeline (rings.h). */
#include "rings.h"
#include "idle.h"
#include "layout.h"

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_malloc.h>

#include <errno.h>
#include <stdio.h>

enum {
	ROOM_POLL_US = 20,
	RESERVE_SHARE = 16, /* of a ring's places */
};

unsigned rings_lcore(unsigned n)
{
	unsigned lcore = rte_get_next_lcore(-1, 1, 0);

	while (n-- != 0)
		lcore = rte_get_next_lcore(lcore, 1, 0);
	return lcore;
}

static struct rte_ring *make(const char *name, const struct config *config, unsigned consumer, struct glb_error *error)
{
	int socket = (int)rte_lcore_to_socket_id(rings_lcore(consumer));
	struct rte_ring *ring;

	ring = rte_ring_create(name, (unsigned)config->ring_size, socket, RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (ring == NULL) /* that node may have no memory, as with --no-huge */
		ring = rte_ring_create(name, (unsigned)config->ring_size, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (ring == NULL)
		glb_error_set(error, -ENOMEM, "no memory for a ring of %d packets (%s); raise -m in eal.args or lower "
			      "eal.ring_size", (int)config->ring_size, rte_strerror(rte_errno));
	return ring;
}

static int make_all(struct rings *rings, const struct config *config, struct glb_error *error)
{
	char name[RTE_RING_NAMESIZE];

	for (unsigned w = 0; w < rings->workers; w++) {
		unsigned sender = layout_sender_of(w, rings->workers, rings->senders);

		for (unsigned r = 0; r < rings->receivers; r++) {
			snprintf(name, sizeof(name), "glb_steer_%u_%u", r, w);
			rings->steer[r][w] = make(name, config, w, error);
			if (rings->steer[r][w] == NULL)
				return -ENOMEM;
		}
		if (rings->senders == 0)
			continue;
		snprintf(name, sizeof(name), "glb_tx_%u", w);
		rings->tx[w] = make(name, config, rings->workers + rings->receivers + sender, error);
		if (rings->tx[w] == NULL)
			return -ENOMEM;
	}
	return 0;
}

/* Whether the kernel is reached through this program (punt.h). */
static bool punts(const struct config *config)
{
	bool any = false;

	for (unsigned i = 0; i < config->port_count; i++)
		any |= config->ports[i].punt != CONFIG_PUNT_NONE;
	return any;
}

struct rings *rings_open(const struct config *config, bool lossless, struct glb_error *error)
{
	struct rings *rings = rte_zmalloc("glb_rings", sizeof(*rings), RTE_CACHE_LINE_SIZE);

	if (rings == NULL) {
		glb_error_set(error, -ENOMEM, "no memory for the rings; raise -m in eal.args");
		return NULL;
	}
	rings->receivers = (unsigned)config->receivers;
	rings->receiving = (int)config->receivers;
	rings->workers = (unsigned)config->workers;
	rings->working = (int)config->workers;
	rings->senders = (unsigned)config->senders;
	rings->adaptive = config->idle == CONFIG_IDLE_ADAPTIVE;
	rings->lossless = lossless;
	rings->punts = punts(config);
	rings->reserve = rings->punts && !lossless ? (unsigned)config->ring_size / RESERVE_SHARE : 0;
	if (make_all(rings, config, error) != 0) {
		rings_close(rings);
		return NULL;
	}
	return rings;
}

void rings_close(struct rings *rings)
{
	if (rings == NULL)
		return;
	for (unsigned w = 0; w < rings->workers; w++) {
		for (unsigned r = 0; r < rings->receivers; r++)
			rte_ring_free(rings->steer[r][w]);
		rte_ring_free(rings->tx[w]);
	}
	rte_free(rings);
}

void rings_pause(void)
{
	rte_delay_us_sleep(ROOM_POLL_US);
}

void rings_wait_for_room(const struct rte_ring *ring)
{
	while (rte_ring_free_count(ring) < RINGS_BURST)
		rings_pause();
}

static void wake_all(struct bell *bells, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		bell_ring(&bells[i]);
}

void rings_receiver_ends(struct rings *rings)
{
	if (__atomic_sub_fetch(&rings->receiving, 1, __ATOMIC_ACQ_REL) == 0)
		wake_all(rings->worker_bell, rings->workers);
}

void rings_worker_ends(struct rings *rings)
{
	if (__atomic_sub_fetch(&rings->working, 1, __ATOMIC_ACQ_REL) == 0)
		wake_all(rings->sender_bell, rings->senders);
}

void rings_abandon(struct rings *rings)
{
	__atomic_store_n(&rings->receiving, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&rings->working, 0, __ATOMIC_RELEASE);
	wake_all(rings->worker_bell, rings->workers);
	wake_all(rings->sender_bell, rings->senders);
}

void rings_worker_rests(struct rings *rings, unsigned worker)
{
	const bool relays = worker == 0 && rings->senders == 0 && rings->punts;
	const long ns = relays ? IDLE_SLEEP_MAX_NS : RINGS_SLEEP_NS; /* nobody rings for what the kernel sends */
	struct bell *bell = &rings->worker_bell[worker];
	bool empty = true;

	bell_prepare(bell);
	for (unsigned r = 0; r < rings->receivers; r++)
		empty &= rte_ring_empty(rings->steer[r][worker]) != 0;
	if (empty && !rings_no_receiver(rings))
		bell_sleep(bell, ns);
	bell_done(bell);
}

void rings_sender_rests(struct rings *rings, unsigned sender, long most_ns)
{
	const unsigned end = layout_first_worker(sender + 1, rings->workers, rings->senders);
	struct bell *bell = &rings->sender_bell[sender];
	const bool relays = sender == 0 && rings->punts;
	const long ns = relays && most_ns > IDLE_SLEEP_MAX_NS ? IDLE_SLEEP_MAX_NS : most_ns; /* nobody rings for what the kernel sends */
	bool empty = true;

	bell_prepare(bell);
	for (unsigned w = layout_first_worker(sender, rings->workers, rings->senders); w < end; w++)
		empty &= rte_ring_empty(rings->tx[w]) != 0;
	if (empty && !rings_no_worker(rings))
		bell_sleep(bell, ns);
	bell_done(bell);
}
