/* MTUs of the ways to backends (path_mtus.h). */
#include "path_mtus.h"
#include "clock.h"
#include "log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	MESSAGES_A_SECOND = 100, /* that a worker passes on: each costs the main lcore a look at all backends */
	MESSAGES_AT_ONCE = 32,
};

int path_mtus_open(struct path_mtus *mtus, const struct config *config, struct glb_error *error)
{
	memset(mtus, 0, sizeof(*mtus));
	mtus->workers = (unsigned)config->workers;
	mtus->keep_ms = (uint64_t)config->path_mtu_seconds * 1000;
	mtus->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mtus->fd < 0)
		return glb_error_set(error, -errno, "eventfd: %s", strerror(errno));
	for (unsigned i = 0; i < mtus->workers; i++) {
		mtus->box[i].fd = mtus->fd;
		glb_bucket_init(&mtus->box[i].rate, MESSAGES_A_SECOND, MESSAGES_AT_ONCE);
	}
	return 0;
}

void path_mtus_close(struct path_mtus *mtus)
{
	close(mtus->fd);
}

void path_mtus_tell(struct path_mtu_box *box, const struct glb_path *path, const struct glb_packet *packet, uint64_t now_ns)
{
	const uint32_t put = box->put, taken = __atomic_load_n(&box->taken, __ATOMIC_ACQUIRE);
	const uint64_t one = 1;

	if (!glb_bucket_take(&box->rate, now_ns) || put - taken == PATH_MTU_BOX)
		return;
	if (glb_outer_too_big(path, packet, &box->said[put % PATH_MTU_BOX]) != GLB_REASON_OUTER_TOO_BIG)
		return;
	__atomic_store_n(&box->put, put + 1, __ATOMIC_RELEASE);
	if (write(box->fd, &one, sizeof(one)) < 0)
		return; /* its counter is full: then it is readable */
}

static const char *text_of(const struct glb_addr *addr, char out[INET6_ADDRSTRLEN])
{
	inet_ntop(addr->family == GLB_FAMILY_V4 ? AF_INET : AF_INET6, addr->bytes, out, INET6_ADDRSTRLEN);
	return out;
}

static struct path_mtu *find(struct path_mtus *mtus, const struct glb_addr *backend)
{
	for (unsigned i = 0; i < mtus->count; i++)
		if (memcmp(&mtus->known[i].backend, backend, sizeof(*backend)) == 0)
			return &mtus->known[i];
	return NULL;
}

/* A router that says more than another one did is right about its own link only: the lesser stays until it is old. */
static void learn(struct path_mtus *mtus, struct loaded *current, const struct glb_outer_too_big *said, uint64_t now)
{
	struct path_mtu *known = find(mtus, &said->backend);
	char address[INET6_ADDRSTRLEN];

	if (known != NULL && said->mtu > known->mtu)
		return;
	if ((known == NULL && mtus->count == PATH_MTUS_MAX) ||
	    glb_path_mtus_lower(&current->mtus, &current->snapshot, &said->backend, said->mtu) == 0) {
		mtus->refused++;
		return;
	}
	if (known == NULL) {
		known = &mtus->known[mtus->count++];
		known->backend = said->backend;
		known->mtu = 0;
	}
	if (known->mtu != said->mtu)
		log_info("backend %s: a router on the way says that its MTU is %u", text_of(&said->backend, address), said->mtu);
	known->mtu = said->mtu;
	known->said_ms = now;
}

static void take(struct path_mtus *mtus, struct path_mtu_box *box, struct loaded *current, uint64_t now)
{
	const uint32_t put = __atomic_load_n(&box->put, __ATOMIC_ACQUIRE);
	uint32_t taken = box->taken;

	for (; taken != put; taken++)
		if (current->snapshot.header != NULL && mtus->keep_ms != 0)
			learn(mtus, current, &box->said[taken % PATH_MTU_BOX], now);
	__atomic_store_n(&box->taken, taken, __ATOMIC_RELEASE);
}

/* Returns whether there was anything to forget. */
static bool forget(struct path_mtus *mtus, uint64_t now)
{
	unsigned kept = 0, before = mtus->count;

	for (unsigned i = 0; i < before; i++)
		if (now - mtus->known[i].said_ms < mtus->keep_ms)
			mtus->known[kept++] = mtus->known[i];
	mtus->count = kept;
	return kept != before;
}

static void say_all(const struct path_mtus *mtus, struct loaded *loaded)
{
	if (loaded->snapshot.header == NULL)
		return;
	glb_path_mtus_clear(&loaded->mtus, &loaded->snapshot);
	for (unsigned i = 0; i < mtus->count; i++)
		glb_path_mtus_lower(&loaded->mtus, &loaded->snapshot, &mtus->known[i].backend, mtus->known[i].mtu);
}

void path_mtus_poll(struct path_mtus *mtus, struct loaded *current)
{
	const uint64_t now = clock_ms();
	uint64_t rung;

	if (read(mtus->fd, &rung, sizeof(rung)) == sizeof(rung))
		for (unsigned i = 0; i < mtus->workers; i++)
			take(mtus, &mtus->box[i], current, now);
	if (mtus->count != 0 && forget(mtus, now))
		say_all(mtus, current);
}

void path_mtus_adopt(const struct path_mtus *mtus, struct loaded *fresh)
{
	say_all(mtus, fresh);
}

static json_t *one(const struct glb_snapshot *snapshot, const struct glb_backend *backend, const struct path_mtu *known, uint64_t now)
{
	char address[INET6_ADDRSTRLEN];

	return json_pack("{s:I, s:s, s:s, s:I, s:f}", "id", (json_int_t)backend->id, "name", snapshot->strings + backend->name,
			 "address", text_of(&known->backend, address), "mtu", (json_int_t)known->mtu, "said_s",
			 (double)(now - known->said_ms) / 1000);
}

json_t *path_mtus_status(const struct path_mtus *mtus, const struct loaded *current)
{
	const struct glb_snapshot *snapshot = &current->snapshot;
	const uint64_t now = clock_ms();
	json_t *list = json_array();

	for (uint32_t i = 0; mtus->count != 0 && i < snapshot->backend_count && json_array_size(list) < PATH_MTUS_LISTED; i++) {
		const struct path_mtu *known;

		if (current->mtus.backends[i] == UINT32_MAX)
			continue;
		known = find((struct path_mtus *)mtus, &snapshot->backends[i].addr);
		if (known != NULL)
			json_array_append_new(list, one(snapshot, &snapshot->backends[i], known, now));
	}
	return json_pack("{s:I, s:I, s:o}", "known", (json_int_t)mtus->count, "refused", (json_int_t)mtus->refused, "backends", list);
}
