/* Looking after the interfaces behind ports (port_watch.h). */
#include "port_watch.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKOFF_MIN_MS = 1000, BACKOFF_MAX_MS = 30000 };

void port_watch_init(struct port_watch *watch, const char *devargs)
{
	const char *name = strstr(devargs, ",iface=");
	size_t len;

	memset(watch, 0, sizeof(*watch));
	if (name == NULL)
		return;
	name += strlen(",iface=");
	len = strcspn(name, ",");
	if (len == 0 || len >= sizeof(watch->interface))
		return;
	memcpy(watch->interface, name, len);
	watch->index = if_nametoindex(watch->interface);
	watch->own = strncmp(devargs, "net_tap", strlen("net_tap")) == 0;
	watch->state = PORT_UP;
}

static bool has_link(const char *name)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up;

	if (fd < 0)
		return false;
	memcpy(request.ifr_name, name, strnlen(name, sizeof(request.ifr_name) - 1));
	up = ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) && (request.ifr_flags & IFF_RUNNING);
	close(fd);
	return up;
}

enum port_event port_watch_look(struct port_watch *watch, int64_t now_ms)
{
	enum port_state before = watch->state;
	unsigned index;

	if (before == PORT_UNWATCHED)
		return PORT_SAME;
	index = if_nametoindex(watch->interface);
	if (index == watch->index && index != 0 && watch->failures == 0)
		watch->state = has_link(watch->interface) ? PORT_UP : PORT_DOWN;
	else
		watch->state = PORT_GONE;
	if (watch->state == PORT_GONE && before != PORT_GONE)
		watch->vanished++;
	if (watch->state == PORT_GONE && now_ms >= watch->next_try_ms &&
	    (watch->own ? index == 0 : index != 0 && has_link(watch->interface)))
		return PORT_REOPEN;
	return watch->state != before ? PORT_CHANGED : PORT_SAME;
}

enum port_event port_watch_peer(struct port_watch *watch, bool connected, bool retry, int64_t now_ms)
{
	const enum port_state before = watch->state;

	if (connected)
		watch->state = PORT_UP;
	else if (before == PORT_UP)
		watch->state = PORT_GONE; /* one that was never there is not missed */
	if (watch->state == PORT_GONE && before != PORT_GONE)
		watch->vanished++;
	if (watch->state == PORT_UP && before == PORT_GONE)
		watch->reopened++;
	if (watch->state == PORT_GONE && retry && now_ms >= watch->next_try_ms)
		return PORT_REOPEN;
	return watch->state != before ? PORT_CHANGED : PORT_SAME;
}

void port_watch_tried(struct port_watch *watch, bool opened, int64_t now_ms)
{
	int64_t pause = (int64_t)BACKOFF_MIN_MS << (watch->failures < 5 ? watch->failures : 5);

	if (opened) {
		watch->failures = 0;
		watch->next_try_ms = 0;
		if (watch->interface[0] == '\0') { /* a peer: when it is connected, it will be seen */
			watch->next_try_ms = now_ms + BACKOFF_MIN_MS;
			return;
		}
		watch->index = if_nametoindex(watch->interface);
		watch->state = PORT_UP;
		watch->reopened++;
		return;
	}
	watch->failures++;
	watch->next_try_ms = now_ms + (pause < BACKOFF_MAX_MS ? pause : BACKOFF_MAX_MS);
}

const char *port_state_name(enum port_state state)
{
	static const char *const names[] = {"unknown", "up", "down", "gone"};

	return names[state];
}
