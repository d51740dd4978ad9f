/* Ways out (egress.h). */
#include "egress.h"
#include "log.h"
#include "punt.h"

#include <rte_ethdev.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
	NEW_WAIT_MS = 100, /* a load waits so long for backends that are new */
	MISSING_MAX = 16,  /* backends that status names */
};

/* The kernel's interface of the port's VLAN, by the name that it usually has: "eth0.7". */
static void to_vlan(char interface[IF_NAMESIZE], const struct port *port)
{
	const size_t len = strlen(interface);
	const int added = snprintf(interface + len, IF_NAMESIZE - len, ".%u", port->vlan);

	if ((size_t)added >= IF_NAMESIZE - len || if_nametoindex(interface) == 0)
		log_warning("port %s: the kernel's interface of its VLAN %u is not there as %s; make it, or name it in "
			    "port.kernel_interface", port->name, port->vlan, interface);
}

/* The kernel's interface on the same wire and VLAN: as configured, else by the one that the driver sits on. The kernel's end of a
 * net_tap is the far end of its wire. Of a port that punts the kernel knows the interface that it punts through. */
static void find_interface(char interface[IF_NAMESIZE], const struct config *config, const struct port *port)
{
	const struct config_port *said = port_configured(port, config);
	struct rte_eth_dev_info info;

	interface[0] = '\0';
	if (said != NULL && said->kernel_interface[0] != '\0') {
		snprintf(interface, IF_NAMESIZE, "%s", said->kernel_interface);
		if (if_nametoindex(interface) == 0)
			log_warning("port %s: its kernel_interface %s is not there yet", port->name, interface);
	} else if (port->punt != NULL) {
		snprintf(interface, IF_NAMESIZE, "%s", port->punt->interface);
	} else if (rte_eth_dev_info_get(port->id, &info) == 0 && info.if_index != 0 &&
		   strcmp(port->driver, "net_tap") != 0) {
		if (if_indextoname(info.if_index, interface) == NULL)
			interface[0] = '\0';
		else if (port->vlan != 0)
			to_vlan(interface, port);
	}
}

int egress_open(struct nexthop **nexthop, const struct config *config, const struct ports *ports,
		struct glb_error *error)
{
	char interfaces[CONFIG_PORTS_MAX][IF_NAMESIZE];
	bool some = false;

	*nexthop = NULL;
	if (config_has_gateway(config))
		return 0;
	for (unsigned i = 0; i < ports->count; i++) {
		find_interface(interfaces[i], config, &ports->port[i]);
		some = some || interfaces[i][0] != '\0';
		if (interfaces[i][0] != '\0')
			log_info("port %s: next hops are the kernel's on %s", ports->port[i].name, interfaces[i]);
		else
			log_warning("port %s: no kernel interface belongs to it, so nothing is sent there; give "
				    "port.kernel_interface", ports->port[i].name);
	}
	if (!some)
		return glb_error_set(error, -EINVAL, "forward.gateway_mac: missing, and no port has an interface of the "
				     "kernel whose routes could be followed; give forward.gateway_mac, or "
				     "kernel_interface of a [[port]]");
	*nexthop = nexthop_open((const char (*)[IF_NAMESIZE])interfaces, ports->count, error);
	return *nexthop != NULL ? 0 : error->code;
}

int egress_adopt(struct nexthop *nexthop, struct loaded *loaded, struct glb_error *error)
{
	const struct glb_snapshot *snapshot = &loaded->snapshot;

	if (nexthop == NULL)
		return 0;
	if (nexthop_adopt(nexthop, &snapshot->backends->addr, sizeof(*snapshot->backends), snapshot->backend_count,
			  loaded->next_hops, NEW_WAIT_MS) != 0)
		return glb_error_set(error, -ENOMEM, "out of memory");
	return 0;
}

static json_t *missing_backend(const struct glb_snapshot *snapshot, uint32_t i, enum nexthop_why why)
{
	const struct glb_backend *backend = &snapshot->backends[i];
	char address[INET6_ADDRSTRLEN] = "";

	inet_ntop(backend->addr.family == GLB_FAMILY_V4 ? AF_INET : AF_INET6, backend->addr.bytes, address,
		  sizeof(address));
	return json_pack("{s:I, s:s, s:s, s:s}", "id", (json_int_t)backend->id, "name",
			 snapshot->strings + backend->name, "address", address, "why", nexthop_why_name(why));
}

json_t *egress_status(const struct nexthop *nexthop, const struct loaded *loaded)
{
	const struct glb_snapshot *snapshot = &loaded->snapshot;
	json_t *missing = json_array();
	json_int_t backends = 0, unresolved = 0;

	for (uint32_t i = 0; i < snapshot->backend_count; i++) {
		enum nexthop_why why;

		if (snapshot->backends[i].state == GLB_STATE_INACTIVE)
			continue;
		backends++;
		why = nexthop != NULL ? nexthop_state(nexthop, i) : NEXTHOP_KNOWN;
		if (why != NEXTHOP_KNOWN && unresolved++ < MISSING_MAX)
			json_array_append_new(missing, missing_backend(snapshot, i, why));
	}
	return json_pack("{s:s, s:I, s:I, s:o}", "source", nexthop != NULL ? "kernel" : "gateway_mac", "backends",
			 backends, "unresolved", unresolved, "missing", missing);
}

int egress_wake(int fd, int other, const struct nexthop *nexthop)
{
	struct epoll_event event = {.events = EPOLLIN};
	int wake = epoll_create1(EPOLL_CLOEXEC);

	if (wake >= 0 && (epoll_ctl(wake, EPOLL_CTL_ADD, fd, &event) != 0 || epoll_ctl(wake, EPOLL_CTL_ADD, other, &event) != 0 ||
			  (nexthop != NULL && epoll_ctl(wake, EPOLL_CTL_ADD, nexthop_fd(nexthop), &event) != 0))) {
		close(wake);
		wake = -1;
	}
	return wake;
}

int egress_poll(struct nexthop *nexthop, int wait_ms)
{
	int due = nexthop != NULL ? nexthop_poll(nexthop) : -1;

	return due >= 0 && due < wait_ms ? due : wait_ms;
}
