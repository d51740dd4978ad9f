/* Next hops of backends (nexthop.h). Backends with equal addresses share a target, targets with equal next hops a neighbour. */
#include "nexthop.h"
#include "clock.h"
#include "kernel.h"

#include <linux/neighbour.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum {
	RETRY_MS = 1000,      /* first repetition for a neighbour that does not answer; doubles */
	RETRY_MAX_MS = 4000,
	RESYNC_GAP_MS = 50,   /* at least between two look-ups of all routes, and */
	RESYNC_SHARE = 10,    /* at least this many times what the last one took */
	NONE = -1,
	VALID = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY,
};

struct target {
	struct glb_addr addr;
	struct kernel_route route;
	int64_t neighbour; /* index, or NONE */
	enum nexthop_why why; /* of there being no neighbour */
};

struct neighbour {
	unsigned if_index;
	struct glb_addr addr;
	uint8_t port;
	bool has_mac;
	bool fresh;       /* asked for the first time, and not known yet */
	bool seen;        /* in the list that is just being read */
	uint8_t mac[6];
	uint16_t state;   /* NUD_… */
	int64_t retry_at; /* ms, monotonic: when it may be asked for again */
	uint32_t wait_ms; /* the time after that */
};

/* Sorted arrays: targets by address, neighbours by interface and address. */
struct view {
	struct target *targets;
	uint32_t target_count;
	struct neighbour *neighbours;
	uint32_t neighbour_count;
};

struct nexthop {
	struct kernel *kernel;
	char interfaces[GLB_PORTS_MAX][IF_NAMESIZE];
	unsigned ports;
	struct view view;
	uint32_t *target_of; /* by index of the backend */
	uint64_t *words;     /* borrowed */
	uint32_t count;      /* backends */
	bool dirty;          /* routes must be looked up again */
	int64_t resync_at;   /* ms, monotonic: not before */
};

const char *nexthop_why_name(enum nexthop_why why)
{
	static const char *const names[NEXTHOP_WHY_COUNT] = {
		[NEXTHOP_KNOWN] = "known", [NEXTHOP_NO_ROUTE] = "no_route", [NEXTHOP_OWN_ADDRESS] = "own_address",
		[NEXTHOP_OTHER_INTERFACE] = "other_interface", [NEXTHOP_NO_NEIGHBOUR] = "no_neighbour",
	};

	return names[why];
}

static int by_addr(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct glb_addr)); /* addr comes first in struct target */
}

static int by_link(const void *a, const void *b)
{
	const struct neighbour *x = a, *y = b;

	if (x->if_index != y->if_index)
		return x->if_index < y->if_index ? -1 : 1;
	return memcmp(&x->addr, &y->addr, sizeof(x->addr));
}

static struct neighbour *find_neighbour(const struct view *view, unsigned if_index, const struct glb_addr *addr)
{
	const struct neighbour key = {.if_index = if_index, .addr = *addr};

	if (view->neighbour_count == 0)
		return NULL;
	return bsearch(&key, view->neighbours, view->neighbour_count, sizeof(key), by_link);
}

static bool known(const struct neighbour *neighbour)
{
	return neighbour->has_mac && (neighbour->state & VALID) != 0;
}

static void learn(void *context, const struct kernel_neighbour *heard)
{
	struct neighbour *neighbour = find_neighbour(context, heard->if_index, &heard->addr);

	if (neighbour == NULL)
		return;
	neighbour->seen = true;
	neighbour->state = heard->state;
	neighbour->has_mac = heard->has_mac;
	memcpy(neighbour->mac, heard->mac, sizeof(neighbour->mac));
	if (known(neighbour)) {
		neighbour->fresh = false;
		neighbour->retry_at = 0;
		neighbour->wait_ms = 0;
	}
}

/* Has the kernel resolve what is missing, and confirm what is stale: it sees nothing of our traffic, and would forget it. */
static void solicit(struct nexthop *nexthop, int64_t now)
{
	struct view *view = &nexthop->view;

	for (uint32_t i = 0; i < view->neighbour_count; i++) {
		struct neighbour *neighbour = &view->neighbours[i];

		if (known(neighbour) ? (neighbour->state & NUD_STALE) == 0 : neighbour->retry_at > now)
			continue;
		kernel_solicit(nexthop->kernel, neighbour->if_index, &neighbour->addr);
		if (known(neighbour)) {
			neighbour->state = NUD_DELAY; /* as it is now; asked again when it is reported stale */
			continue;
		}
		neighbour->wait_ms = neighbour->wait_ms == 0 ? RETRY_MS : 2 * neighbour->wait_ms;
		if (neighbour->wait_ms > RETRY_MAX_MS)
			neighbour->wait_ms = RETRY_MAX_MS;
		neighbour->retry_at = now + neighbour->wait_ms;
	}
}

/* Writes the words that differ. */
static void publish(struct nexthop *nexthop)
{
	for (uint32_t i = 0; i < nexthop->count; i++) {
		const struct target *target = &nexthop->view.targets[nexthop->target_of[i]];
		struct glb_next_hop old = glb_next_hop_load(&nexthop->words[i]), hop = {.kind = GLB_NEXT_HOP_UNKNOWN};

		if (target->neighbour != NONE && known(&nexthop->view.neighbours[target->neighbour])) {
			const struct neighbour *neighbour = &nexthop->view.neighbours[target->neighbour];

			hop.kind = memcmp(&neighbour->addr, &target->addr, sizeof(target->addr)) == 0
					   ? GLB_NEXT_HOP_BACKEND : GLB_NEXT_HOP_ROUTER;
			hop.port = neighbour->port;
			memcpy(hop.mac, neighbour->mac, sizeof(hop.mac));
		}
		if (memcmp(&old, &hop, sizeof(hop)) != 0)
			glb_next_hop_store(&nexthop->words[i], hop);
	}
}

static int port_of(const struct nexthop *nexthop, const unsigned *if_indices, unsigned if_index)
{
	for (unsigned i = 0; i < nexthop->ports; i++)
		if (if_indices[i] == if_index && if_index != 0)
			return (int)i;
	return NONE;
}

/* Asks the kernel for the way to every target of `view`, and makes its neighbours, unknown as yet. */
static int find_ways(struct nexthop *nexthop, struct view *view)
{
	unsigned if_indices[GLB_PORTS_MAX];
	uint32_t n = 0, kept = 0;

	view->neighbours = calloc(view->target_count + 1, sizeof(*view->neighbours));
	if (view->neighbours == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < nexthop->ports; i++)
		if_indices[i] = nexthop->interfaces[i][0] != '\0' ? if_nametoindex(nexthop->interfaces[i]) : 0;
	for (uint32_t i = 0; i < view->target_count; i++) {
		struct target *target = &view->targets[i];
		int ret = kernel_find_route(nexthop->kernel, &target->addr, &target->route);
		int port = ret == 0 ? port_of(nexthop, if_indices, target->route.if_index) : NONE;

		target->why = NEXTHOP_NO_NEIGHBOUR;
		if (ret != 0)
			target->why = ret == -EADDRINUSE ? NEXTHOP_OWN_ADDRESS : NEXTHOP_NO_ROUTE;
		else if (port == NONE)
			target->why = NEXTHOP_OTHER_INTERFACE;
		else
			view->neighbours[n++] = (struct neighbour){.if_index = target->route.if_index,
				.addr = target->route.neighbour, .port = (uint8_t)port, .fresh = true};
	}
	qsort(view->neighbours, n, sizeof(*view->neighbours), by_link);
	for (uint32_t i = 0; i < n; i++)
		if (kept == 0 || by_link(&view->neighbours[kept - 1], &view->neighbours[i]) != 0)
			view->neighbours[kept++] = view->neighbours[i];
	view->neighbour_count = kept;
	for (uint32_t i = 0; i < view->target_count; i++) {
		struct target *target = &view->targets[i];
		const struct neighbour *found = target->why != NEXTHOP_NO_NEIGHBOUR ? NULL
			: find_neighbour(view, target->route.if_index, &target->route.neighbour);

		target->neighbour = found != NULL ? found - view->neighbours : NONE;
	}
	return 0;
}

static void free_view(struct view *view)
{
	free(view->targets);
	free(view->neighbours);
	*view = (struct view){.targets = NULL};
}

/* Fills in what is known of the neighbours, from before and from the kernel. */
static void know_neighbours(struct nexthop *nexthop, struct view *view)
{
	for (uint32_t i = 0; i < view->neighbour_count; i++) {
		struct neighbour *neighbour = &view->neighbours[i];
		const struct neighbour *old = find_neighbour(&nexthop->view, neighbour->if_index, &neighbour->addr);

		if (old != NULL) {
			const uint8_t port = neighbour->port;

			*neighbour = *old;
			neighbour->port = port;
			neighbour->seen = false;
		}
	}
	if (kernel_list_neighbours(nexthop->kernel, learn, view) != 0) {
		nexthop->dirty = true; /* interrupted: what was known stands until the next time, which is soon */
		return;
	}
	for (uint32_t i = 0; i < view->neighbour_count; i++)
		if (!view->neighbours[i].seen)
			view->neighbours[i].state = NUD_NONE;
}

/* Looks everything up again. When memory is short, what was known stays, and it is tried again. */
static void resync(struct nexthop *nexthop)
{
	struct view fresh = {.target_count = nexthop->view.target_count};
	const int64_t start = clock_ms();
	int64_t took;

	nexthop->dirty = true;
	fresh.targets = calloc(fresh.target_count + 1, sizeof(*fresh.targets));
	if (fresh.targets != NULL) {
		memcpy(fresh.targets, nexthop->view.targets, fresh.target_count * sizeof(*fresh.targets));
		if (find_ways(nexthop, &fresh) == 0) {
			nexthop->dirty = false;
			know_neighbours(nexthop, &fresh);
			free_view(&nexthop->view);
			nexthop->view = fresh;
			fresh = (struct view){.targets = NULL};
		}
	}
	free_view(&fresh);
	took = clock_ms() - start;
	nexthop->resync_at = clock_ms() + (took * RESYNC_SHARE > RESYNC_GAP_MS ? took * RESYNC_SHARE : RESYNC_GAP_MS);
}

static void ask_again_at_once(struct nexthop *nexthop)
{
	for (uint32_t i = 0; i < nexthop->view.neighbour_count; i++) {
		nexthop->view.neighbours[i].retry_at = 0;
		nexthop->view.neighbours[i].wait_ms = 0;
	}
}

/* When the next thing is due, in ms from now; -1 = never. */
static int next_due(const struct nexthop *nexthop, int64_t now)
{
	int64_t due = nexthop->dirty ? nexthop->resync_at : INT64_MAX;

	for (uint32_t i = 0; i < nexthop->view.neighbour_count; i++) {
		const struct neighbour *neighbour = &nexthop->view.neighbours[i];

		if (!known(neighbour) && neighbour->retry_at < due)
			due = neighbour->retry_at;
	}
	if (due == INT64_MAX)
		return -1;
	return due > now ? (int)(due - now) : 0;
}

int nexthop_poll(struct nexthop *nexthop)
{
	unsigned changes = kernel_read_changes(nexthop->kernel, learn, &nexthop->view);
	bool changed = changes != 0;

	if (changes & (KERNEL_ROUTES | KERNEL_LINKS | KERNEL_LOST))
		nexthop->dirty = true;
	if (changes & (KERNEL_LINKS | KERNEL_LOST))
		ask_again_at_once(nexthop);
	/* not between changes that are older than what the kernel says now: the last word might be among the lost ones */
	if (nexthop->dirty && !(changes & KERNEL_MORE) && (int64_t)clock_ms() >= nexthop->resync_at) {
		resync(nexthop);
		changed = true;
	}
	solicit(nexthop, clock_ms());
	if (changed)
		publish(nexthop);
	return next_due(nexthop, clock_ms());
}

/* Polls until all neighbours that were asked for the first time are known. */
static void wait_for_fresh(struct nexthop *nexthop, unsigned wait_ms)
{
	const int64_t until = clock_ms() + wait_ms;

	for (;;) {
		struct pollfd fd = {.fd = kernel_fd(nexthop->kernel), .events = POLLIN};
		bool missing = false;
		int64_t left;

		for (uint32_t i = 0; i < nexthop->view.neighbour_count && !missing; i++)
			missing = nexthop->view.neighbours[i].fresh;
		left = until - clock_ms();
		if (!missing || left <= 0)
			break;
		poll(&fd, 1, (int)left);
		nexthop_poll(nexthop);
	}
	for (uint32_t i = 0; i < nexthop->view.neighbour_count; i++)
		nexthop->view.neighbours[i].fresh = false;
}

static const struct glb_addr *addr_at(const struct glb_addr *addrs, size_t stride, uint32_t i)
{
	return (const struct glb_addr *)((const uint8_t *)addrs + i * stride);
}

/* The distinct addresses as targets, and which of them each backend has. */
static int make_targets(struct view *view, uint32_t *target_of, const struct glb_addr *addrs, size_t stride,
			uint32_t count)
{
	uint32_t kept = 0;

	view->targets = calloc((size_t)count + 1, sizeof(*view->targets));
	if (view->targets == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		view->targets[i].addr = *addr_at(addrs, stride, i);
	qsort(view->targets, count, sizeof(*view->targets), by_addr);
	for (uint32_t i = 0; i < count; i++)
		if (kept == 0 || by_addr(&view->targets[kept - 1], &view->targets[i]) != 0)
			view->targets[kept++] = view->targets[i];
	view->target_count = kept;
	for (uint32_t i = 0; i < count; i++) {
		const struct target key = {.addr = *addr_at(addrs, stride, i)};
		const struct target *found = bsearch(&key, view->targets, kept, sizeof(key), by_addr);

		target_of[i] = (uint32_t)(found - view->targets);
	}
	return 0;
}

int nexthop_adopt(struct nexthop *nexthop, const struct glb_addr *addrs, size_t stride, uint32_t count,
		  uint64_t *words, unsigned wait_ms)
{
	uint32_t *target_of = calloc((size_t)count + 1, sizeof(*target_of));
	struct view fresh = {.targets = NULL};

	if (target_of == NULL || make_targets(&fresh, target_of, addrs, stride, count) != 0 ||
	    find_ways(nexthop, &fresh) != 0) {
		free_view(&fresh);
		free(target_of);
		return -ENOMEM;
	}
	know_neighbours(nexthop, &fresh);
	free_view(&nexthop->view);
	free(nexthop->target_of);
	nexthop->view = fresh;
	nexthop->target_of = target_of;
	nexthop->words = words;
	nexthop->count = count;
	solicit(nexthop, clock_ms());
	wait_for_fresh(nexthop, wait_ms);
	publish(nexthop);
	return 0;
}

enum nexthop_why nexthop_state(const struct nexthop *nexthop, uint32_t backend)
{
	const struct target *target = &nexthop->view.targets[nexthop->target_of[backend]];

	if (target->neighbour != NONE && known(&nexthop->view.neighbours[target->neighbour]))
		return NEXTHOP_KNOWN;
	return target->why;
}

struct nexthop *nexthop_open(const char (*interfaces)[IF_NAMESIZE], unsigned ports, struct glb_error *error)
{
	struct nexthop *nexthop = calloc(1, sizeof(*nexthop));

	if (nexthop == NULL) {
		glb_error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	nexthop->ports = ports;
	memcpy(nexthop->interfaces, interfaces, ports * sizeof(*interfaces));
	nexthop->kernel = kernel_open(error);
	if (nexthop->kernel != NULL)
		return nexthop;
	free(nexthop);
	return NULL;
}

void nexthop_close(struct nexthop *nexthop)
{
	if (nexthop == NULL)
		return;
	kernel_close(nexthop->kernel);
	free_view(&nexthop->view);
	free(nexthop->target_of);
	free(nexthop);
}

int nexthop_fd(const struct nexthop *nexthop)
{
	return kernel_fd(nexthop->kernel);
}
