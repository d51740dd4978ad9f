/* Lists files into memory, and into force (lists.h). */
#include "lists.h"
#include "clock.h"
#include "file.h"
#include "keep.h"
#include "log.h"
#include "slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define FILE_MAX ((off_t)4 << 30) /* bytes of a lists file */

enum {
	SWITCH_WAIT_US = 1000000, /* as long as a load of a snapshot waits (swap.c) */
	SWITCH_POLL_NS = 20000,
};

static void let_go(struct lists_file *file)
{
	if (file == NULL || --file->users != 0)
		return;
	if (file->bytes != NULL)
		munmap(file->bytes, file->map_len);
	free(file);
}

void filters_free(struct filters *filters)
{
	if (filters == NULL)
		return;
	let_go(filters->file);
	free(filters);
}

static struct lists_file *read_lists(const char *path, struct glb_error *error)
{
	struct lists_file *file = calloc(1, sizeof(*file));
	size_t len = 0;
	int ret;

	if (file == NULL) {
		glb_error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	file->users = 1;
	ret = file_read(path, FILE_MAX, "lists", &file->bytes, &len, &file->map_len, error);
	if (ret == 0)
		ret = glb_lists_open(file->bytes, len, &file->lists, error);
	if (ret != 0) {
		let_go(file);
		return NULL;
	}
	for (uint32_t i = 0; i < file->lists.count; i++)
		file->prefixes += file->lists.entries[i].prefixes;
	snprintf(file->path, sizeof(file->path), "%s", path);
	return file;
}

/* Filters of a snapshot by a lists file, either of which may be absent. */
static struct filters *make_filters(struct lists_file *file, const struct loaded *loaded, bool whole, struct glb_error *error)
{
	const struct glb_snapshot *snapshot = &loaded->snapshot;
	struct filters *made = calloc(1, sizeof(*made) + (snapshot->protection_count + 1ul) * sizeof(made->filter[0]));
	struct glb_list_missing missing;
	uint32_t count;

	if (made == NULL) {
		glb_error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	count = glb_filters_bind(snapshot, file != NULL ? &file->lists : NULL, made->filter, &missing, 1);
	if (count != 0) {
		glb_error_set(error, -ENOENT, "service %s wants the list %s, %s; load a lists file that has it first",
			      snapshot->strings + snapshot->services[missing.service].name, missing.name,
			      file != NULL ? "which the lists do not have" : "and no lists are loaded");
		if (whole) {
			free(made);
			return NULL;
		}
		log_warning("%s", error->text);
	}
	made->file = file;
	if (file != NULL)
		file->users++;
	return made;
}

int lists_bind(const struct lists *lists, struct loaded *loaded, bool whole, struct glb_error *error)
{
	struct filters *made = make_filters(lists->current, loaded, whole, error);

	if (made == NULL)
		return error->code;
	loaded->filters = made;
	loaded->filter = made->filter;
	return 0;
}

static bool wait_for_workers(struct rte_rcu_qsbr *workers, uint64_t token, uint64_t since_us)
{
	const struct timespec pause = {.tv_nsec = SWITCH_POLL_NS};

	while (rte_rcu_qsbr_check(workers, token, false) == 0) {
		if (clock_us() - since_us > SWITCH_WAIT_US)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

/* From the workers' next burst on. */
static void put_in_force(struct lists *lists, struct loaded *current, struct rte_rcu_qsbr *workers, struct filters *fresh)
{
	struct filters *old = current->filters;
	const uint64_t since_us = clock_us();

	current->filters = fresh;
	__atomic_store_n(&current->filter, fresh->filter, __ATOMIC_RELEASE);
	let_go(lists->current);
	lists->current = fresh->file;
	if (old != NULL) {
		old->token = rte_rcu_qsbr_start(workers);
		old->next = lists->waiting;
		lists->waiting = old;
		if (!wait_for_workers(workers, old->token, since_us))
			log_warning("a worker has not left the old lists after %d ms", SWITCH_WAIT_US / 1000);
		lists_reclaim(lists, workers);
	}
	lists->switch_us = clock_us() - since_us;
	lists->generation++;
}

int lists_load(struct lists *lists, struct loaded *current, struct rte_rcu_qsbr *workers, const char *path)
{
	const uint64_t start = clock_us();
	struct glb_error error = {0};
	struct lists_file *file = read_lists(path, &error);
	struct filters *fresh = file != NULL ? make_filters(file, current, current->snapshot.header != NULL, &error) : NULL;

	if (fresh == NULL) {
		let_go(file);
		lists->last_error = error;
		snprintf(lists->last_error_path, sizeof(lists->last_error_path), "%s", path);
		lists->refused++;
		log_error("lists refused: %s", error.text);
		return error.code;
	}
	lists->load_us = clock_us() - start;
	put_in_force(lists, current, workers, fresh);
	lists->last_error = (struct glb_error){0};
	log_info("lists from %s: %u with %llu prefixes", path, file->lists.count, (unsigned long long)file->prefixes);
	return 0;
}

int lists_keep(struct lists *lists, const char *place)
{
	struct lists_file *file = lists->current;
	int ret = 0;

	lists->keep_error = (struct glb_error){0};
	if (file == NULL)
		return 0;
	if (!keep_is_same(file->path, place))
		ret = keep_file(place, "director.lists", file->bytes, file->lists.header->file_bytes, &lists->keep_error);
	if (ret == 0)
		snprintf(file->path, sizeof(file->path), "%s", place);
	else
		log_error("%s", lists->keep_error.text);
	return ret;
}

bool lists_reclaim(struct lists *lists, struct rte_rcu_qsbr *workers)
{
	struct filters **link = &lists->waiting;

	while (*link != NULL) {
		struct filters *old = *link;

		if (rte_rcu_qsbr_check(workers, old->token, false) == 0) {
			link = &old->next;
			continue;
		}
		*link = old->next;
		filters_free(old);
	}
	return lists->waiting != NULL;
}

void lists_close(struct lists *lists)
{
	while (lists->waiting != NULL) {
		struct filters *old = lists->waiting;

		lists->waiting = old->next;
		filters_free(old);
	}
	let_go(lists->current);
	lists->current = NULL;
}
