/* glb-redirect events: packets that are dropped, as they are, with their first bytes. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tool.h"

enum { WAIT_MS = 200 };

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int show(void *context, void *data, size_t size)
{
	const struct glb_redirect_event *event = data;
	const char *name;
	size_t length;

	(void)context;
	if (size < sizeof(*event))
		return 0;
	name = event->reason < GLB_REDIRECT_REASON_COUNT ? reasons[event->reason].name : "unknown";
	length = event->length < sizeof(event->first) ? event->length / GLB_REDIRECT_EVENT_STEP * GLB_REDIRECT_EVENT_STEP : sizeof(event->first);
	printf("{\"time_s\": %.6f, \"reason\": \"%s\", \"length\": %u, \"first\": \"", (double)event->time_ns / 1e9, name, event->length);
	for (size_t i = 0; i < length; i++)
		printf("%02x", event->first[i]);
	puts("\"}");
	fflush(stdout);
	return 0;
}

int command_events(const struct options *options)
{
	struct instance instance;
	struct ring_buffer *ring;
	int status = instance_find(&instance, options), fd, err = 0;
	uint64_t until;

	if (status)
		return status;
	fd = instance_events(&instance);
	ring = fd < 0 ? NULL : ring_buffer__new(fd, show, NULL, NULL);
	if (!ring) {
		status = fail_errno(fd < 0 ? fd : -errno, "cannot read the events of instance %s", instance.name);
	} else {
		until = now_ms() + options->seconds * 1000ull;
		while (err >= 0 && (!options->seconds || now_ms() < until))
			err = ring_buffer__poll(ring, WAIT_MS);
		ring_buffer__free(ring);
	}
	if (fd >= 0)
		close(fd);
	instance_close(&instance);
	return err < 0 && err != -EINTR ? fail_errno(err, "cannot read events") : status;
}
