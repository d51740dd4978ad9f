/* Are the kernel's interfaces behind the ports still there? Looks, counts and says when one should be opened again; mends nothing.
 *
 * No DPDK. A port is watched when its devargs name an interface (iface=): one of the kernel's, or one that net_tap makes.
 */
#ifndef FORWARDER_PORT_WATCH_H
#define FORWARDER_PORT_WATCH_H

#include "config.h"

#include <net/if.h>

enum port_state {
	PORT_UNWATCHED = 0, /* no kernel interface behind it */
	PORT_UP,
	PORT_DOWN,          /* the interface is there, without a link */
	PORT_GONE,          /* no interface of that name, or another one that has not been opened yet; no peer any more */
};

struct port_watch {
	char interface[IF_NAMESIZE]; /* "" = not watched */
	unsigned index;              /* of the interface that is open */
	bool own;                    /* the interface is one that the driver makes: nobody else brings it back */
	enum port_state state;
	uint64_t vanished;           /* times that it went away */
	uint64_t reopened;           /* times that it was opened again */
	unsigned failures;           /* tries to do so since, for the back-off */
	int64_t next_try_ms;         /* monotonic */
};

/* What a look found. */
enum port_event {
	PORT_SAME = 0,
	PORT_CHANGED, /* state is another */
	PORT_REOPEN,  /* an interface of the name is there again and up, or the driver's own is missing, and it is time to try */
};

/* The port was opened just now. */
void port_watch_init(struct port_watch *watch, const char *devargs);

enum port_event port_watch_look(struct port_watch *watch, int64_t now_ms);

/* The same for a port whose far end is another process, which is connected or not: `retry` when it may be opened again. */
enum port_event port_watch_peer(struct port_watch *watch, bool connected, bool retry, int64_t now_ms);

/* What became of the try that PORT_REOPEN asked for. */
void port_watch_tried(struct port_watch *watch, bool opened, int64_t now_ms);

/* "up", "down" or "gone"; "unknown" for one that is not watched. */
const char *port_state_name(enum port_state state);

#endif
