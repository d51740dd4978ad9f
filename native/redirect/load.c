/* glb-redirect load: how busy this host is with a service, for hunting: a number that is given, or this host's connections.
 *
 * Connections are counted in the kernel's list again and again, by this process: it is an agent like any other, and the eBPF
 * program knows none. When it is ended it says 0, and new connections stay here.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tool.h"

enum { EVERY_MS = 200 };

static volatile sig_atomic_t stopped;

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

static int write_load(const struct options *options, const struct glb_redirect_service_key *key, uint32_t load)
{
	struct glb_redirect_service value;
	struct instance instance;
	int status = instance_find(&instance, options);

	if (status)
		return status;
	if (bpf_map_lookup_elem(instance.services_fd, key, &value) || !(value.flags & GLB_REDIRECT_SERVICE_LOAD)) {
		status = fail("%s: no service that goes by a load (`attach --service …=load<N`)", options->action);
	} else if (value.load != load) {
		value.load = load;
		if (bpf_map_update_elem(instance.services_fd, key, &value, BPF_EXIST))
			status = fail_errno(-errno, "cannot write the load of %s", options->action);
	}
	instance_close(&instance);
	return status;
}

/* Connections of the service's clients that are open here. 0 or -errno. */
static int count(const struct glb_redirect_service_key *key, uint32_t *open)
{
	struct glb_redirect_prefix vip = {.bits = GLB_REDIRECT_FAMILY_BITS + (key->family == GLB_REDIRECT_V6 ? 128 : 32),
					  .family = key->family};
	struct prefixes vips = {.items = &vip, .count = 1};
	struct tallies found = {.vips = &vips};
	int err;

	memcpy(vip.addr, key->addr, sizeof(vip.addr));
	err = connections_count(&found, key->protocol);
	*open = 0;
	for (size_t i = 0; i < found.count; i++)
		if (found.items[i].port == glb_be16_get(key->port))
			*open = found.items[i].open < INT32_MAX ? (uint32_t)found.items[i].open : INT32_MAX;
	free(found.items);
	return err;
}

/* Until a signal. EXIT_FAILED also when the service has gone, or sockets cannot be listed; a number that nobody keeps up is worse than 0. */
static int follow(const struct options *options, const struct glb_redirect_service_key *key)
{
	const struct timespec pause = {.tv_nsec = EVERY_MS * 1000000L};
	struct sigaction stopping = {.sa_handler = stop};
	int status = EXIT_DONE, err = 0;
	uint32_t open;

	sigaction(SIGTERM, &stopping, NULL);
	sigaction(SIGINT, &stopping, NULL);
	while (!stopped && status == EXIT_DONE) {
		err = count(key, &open);
		status = err ? fail_errno(err, "cannot list sockets") : write_load(options, key, open);
		if (status == EXIT_DONE)
			nanosleep(&pause, NULL);
	}
	if (!status || err) /* else the service has gone */
		status |= write_load(options, key, 0);
	return status;
}

int command_load(const struct options *options)
{
	struct glb_redirect_service_key key;
	char *copy = strdup(options->action);

	if (!copy || service_parse_key(&key, copy)) {
		free(copy);
		fail("not a service such as tcp:203.0.113.10:80 or tcp:[2001:db8::10]:80: %s", options->action);
		return EXIT_USAGE;
	}
	free(copy);
	return options->connections ? follow(options, &key) : write_load(options, &key, options->load);
}
