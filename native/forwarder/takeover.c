/* Taking over from a running forwarder (takeover.h). */
#include "takeover.h"
#include "clock.h"
#include "eal.h"
#include "log.h"
#include "notify.h"
#include "peer.h"
#include "run_dir.h"
#include "status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	UNMUTE_WAIT_US = 1000000,
	SETTLE_WARN_US = 10000000,
};

/* Drivers whose devices two processes may open at once, each of which then receives every packet. */
static bool can_be_shared(const char *devargs)
{
	static const char *const drivers[] = {"net_af_packet", "net_null"};

	for (unsigned i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
		if (strncmp(devargs, drivers[i], strlen(drivers[i])) == 0)
			return true;
	return false;
}

static int join(char *out, size_t len, const char *dir, const char *name, struct glb_error *error)
{
	if ((size_t)snprintf(out, len, "%s/%s", dir, name) >= len)
		return glb_error_set(error, -ENAMETOOLONG, "director.run_dir: too long");
	return 0;
}

int takeover_prepare(struct takeover *takeover, struct config *config, struct glb_error *error)
{
	char path[CONFIG_PATH_MAX];
	int fd, ret;

	for (unsigned i = 0; i < config->port_count; i++)
		if (!can_be_shared(config->ports[i].devargs))
			return glb_error_set(error, -EINVAL, "--takeover: port[%u].devargs: %.80s belongs to one process at "
					     "a time; stop the running forwarder and start it again instead", i,
					     config->ports[i].devargs);
	memcpy(takeover->run_dir, config->run_dir, sizeof(takeover->run_dir));
	ret = join(path, sizeof(path), takeover->run_dir, "control.sock", error);
	if (ret != 0)
		return ret;
	fd = peer_open(path, error);
	if (fd < 0) {
		char why[sizeof(error->text)];

		memcpy(why, error->text, sizeof(why));
		return glb_error_set(error, fd, "--takeover: there is nobody to take over from (%.120s); start without "
				     "--takeover", why);
	}
	close(fd);
	takeover->state = TAKEOVER_WAITING;
	return join(config->run_dir, sizeof(config->run_dir), takeover->run_dir, "next", error);
}

/* Whether the reply names the snapshot that we have in force. */
static bool same_snapshot(const struct swap *swap, const json_t *theirs)
{
	json_t *ours = json_object();
	bool same;

	status_add_snapshot(ours, swap);
	same = json_equal(json_object_get(ours, "digest"), json_object_get(theirs, "digest")) == 1;
	json_decref(ours);
	return same;
}

/* The old one may have loaded others since we started, and kept them where we look. */
static void follow_lists(struct swap *swap, const struct config *config, const json_t *theirs)
{
	json_t *ours = status_lists(swap);

	if (!json_equal(json_object_get(ours, "digest"), json_object_get(json_object_get(theirs, "lists"), "digest")))
		swap_load_lists(swap, config->lists);
	json_decref(ours);
}

/* The old one may have loaded another since we started. */
static int follow_snapshot(struct swap *swap, const struct config *config, const json_t *theirs, struct glb_error *error)
{
	const char *path = json_string_value(json_object_get(theirs, "snapshot_path"));
	struct swap_result result;

	follow_lists(swap, config, theirs);
	if (!same_snapshot(swap, theirs))
		swap_load(swap, config->snapshot, &result);
	if (!same_snapshot(swap, theirs) && path != NULL)
		swap_load(swap, path, &result);
	if (!same_snapshot(swap, theirs))
		return glb_error_set(error, -ESTALE, "the running forwarder has a snapshot that is neither at %.200s nor at "
				     "%.200s any more; load one that is there into both", config->snapshot,
				     path != NULL ? path : "any path");
	return 0;
}

static int take_names(const struct takeover *takeover, const struct takeover_parts *parts, struct glb_error *error)
{
	int ret = control_move(parts->control, takeover->run_dir, error);

	return ret != 0 ? ret : stats_file_move(parts->stats, takeover->run_dir, error);
}

/* From here on nothing is undone: rather twice than not at all. */
static int flip(struct takeover *takeover, const struct takeover_parts *parts, int fd, struct takeover_result *result,
		struct glb_error *error)
{
	int64_t begin;
	json_t *reply;
	int ret;

	if (!workers_mute(parts->workers, MUTE_OFF, UNMUTE_WAIT_US)) {
		workers_mute(parts->workers, MUTE_NOW, 0);
		return glb_error_set(error, -EBUSY, "the workers of the new forwarder do not run; it stays muted");
	}
	begin = clock_us();
	reply = peer_ask(fd, "yield", error);
	if (reply == NULL && error->code != -ECONNRESET && error->code != -EPIPE) {
		char why[sizeof(error->text)];

		memcpy(why, error->text, sizeof(why));
		return glb_error_set(error, -ETIMEDOUT, "%.150s; both may be forwarding now: end process %d", why,
				     (int)result->old_pid);
	}
	json_decref(reply); /* one that has hung up has ended */
	result->overlap_us = (uint64_t)(clock_us() - begin);
	ret = take_names(takeover, parts, error);
	takeover->state = TAKEOVER_SETTLING;
	takeover->since_us = clock_us();
	notify_ready();
	log_info("took over from process %d after %d us together", (int)result->old_pid, (int)result->overlap_us);
	return ret;
}

int takeover_flip(struct takeover *takeover, const struct takeover_parts *parts, struct takeover_result *result,
		  struct glb_error *error)
{
	char path[CONFIG_PATH_MAX];
	const char *instance;
	json_t *theirs;
	int fd, ret = join(path, sizeof(path), takeover->run_dir, "control.sock", error);

	if (ret != 0)
		return ret;
	fd = peer_open(path, error);
	if (fd < 0)
		return fd;
	theirs = peer_ask(fd, "status", error);
	if (theirs == NULL) {
		close(fd);
		return error->code;
	}
	result->old_pid = json_integer_value(json_object_get(theirs, "pid"));
	instance = json_string_value(json_object_get(theirs, "instance"));
	if (instance == NULL || strcmp(instance, parts->config->name) != 0)
		ret = glb_error_set(error, -EINVAL, "the forwarder at %.100s is another instance", path);
	if (ret == 0)
		ret = follow_snapshot(parts->swap, parts->config, theirs, error);
	if (ret == 0)
		ret = flip(takeover, parts, fd, result, error);
	json_decref(theirs);
	close(fd);
	return ret;
}

bool takeover_settle(struct takeover *takeover, struct config *config)
{
	struct glb_error error;
	int lock;

	if (takeover->state != TAKEOVER_SETTLING)
		return false;
	lock = run_dir_take(takeover->run_dir, &error);
	if (lock < 0) {
		if (takeover->since_us != 0 && clock_us() - takeover->since_us > SETTLE_WARN_US) {
			log_warning("the old process has not ended yet: %s", error.text);
			takeover->since_us = 0;
		}
		return true;
	}
	eal_take_name(config->name);
	run_dir_close(takeover->lock, config->run_dir);
	takeover->lock = lock;
	memcpy(config->run_dir, takeover->run_dir, sizeof(config->run_dir));
	takeover->state = TAKEOVER_NONE;
	return false;
}
