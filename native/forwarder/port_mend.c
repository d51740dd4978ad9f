/* Opening a port again (port_mend.h): the device is removed and added as at start. */
#include "port_mend.h"
#include "clock.h"
#include "log.h"
#include "memif.h"
#include "pool.h"

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <string.h>

/* Other drivers' devices cannot be had again without their set-up; one that punts is bound to the old MAC. */
static bool reopenable(const struct port *port)
{
	static const char *const drivers[] = {"net_af_packet", "net_af_xdp", "net_tap", "net_memif"};

	for (unsigned i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
		if (strcmp(port->driver, drivers[i]) == 0)
			return port->punt == NULL;
	return false;
}

/* A memif client does not connect again by itself; a server takes the next one that comes. */
static enum port_event look(struct port *port, const struct config *config)
{
	const struct config_port *said;
	struct rte_eth_link link;

	if (strcmp(port->driver, "net_memif") != 0)
		return port_watch_look(&port->watch, clock_ms());
	if (rte_eth_link_get_nowait(port->id, &link) != 0)
		link.link_status = RTE_ETH_LINK_DOWN;
	said = port_configured(port, config);
	return port_watch_peer(&port->watch, link.link_status == RTE_ETH_LINK_UP,
			       link.link_status != RTE_ETH_LINK_UP && said != NULL && memif_server_listens(said->devargs), clock_ms());
}

int ports_look(struct ports *ports, const struct config *config)
{
	for (unsigned i = 0; i < ports->count; i++) {
		struct port *port = &ports->port[i];
		enum port_state before = port->watch.state;
		enum port_event event = look(port, config);

		if (port->watch.state != before && port->watch.interface[0] != '\0')
			log_warning("port %s: interface %s is %s", port->name, port->watch.interface,
				    port_state_name(port->watch.state));
		else if (port->watch.state != before)
			log_info("port %s: its peer is %s", port->name, port->watch.state == PORT_UP ? "connected" : "gone");
		if (event == PORT_REOPEN && reopenable(port))
			return (int)i;
	}
	return -1;
}

/* net_af_xdp forgets the buffers that it had given to the kernel. Where no other port keeps any, those missing from the pool are they. */
static void take_back_buffers(struct ports *ports, const struct port *gone)
{
	static const char *const keep_none[] = {"net_af_packet", "net_null", "net_pcap"};

	for (unsigned i = 0; i < ports->count; i++) {
		const struct port *port = &ports->port[i];
		bool keeps = port != gone;

		for (unsigned j = 0; j < sizeof(keep_none) / sizeof(keep_none[0]); j++)
			keeps = keeps && strcmp(port->driver, keep_none[j]) != 0;
		if (keeps || port->punt != NULL) {
			log_warning("port %s: the buffers that it had are lost, for port %s may have some, too; restart when "
				    "it cannot be opened any more", gone->name, port->name);
			return;
		}
	}
	log_info("port %s: %u buffers of the interface that is gone are taken back", gone->name, pools_take_back(&ports->pools));
}

static int reopen(struct ports *ports, unsigned index, const struct config *config, const char *devargs,
		  struct glb_error *error)
{
	struct port *port = &ports->port[index];
	const char *arguments = strchr(devargs, ',');
	int ret;

	xdp_close(port->xdp);
	port->xdp = NULL;
	rte_eth_dev_stop(port->id); /* of a device that is half gone: fails, or has been done */
	ret = rte_eal_hotplug_remove("vdev", port->name);
	if (ret == 0 && strcmp(port->driver, "net_af_xdp") == 0)
		take_back_buffers(ports, port);
	ret = rte_eal_hotplug_add("vdev", port->name, arguments != NULL ? arguments + 1 : "");
	if (ret == 0)
		ret = rte_eth_dev_get_port_by_name(port->name, &port->id);
	if (ret != 0)
		return glb_error_set(error, ret, "port %s: cannot be opened again: %s", port->name, rte_strerror(-ret));
	return port_start(ports, index, config, error);
}

/* The new device's MAC and MTU to the snapshot in force, and its VIPs to a new XDP program. */
static int tell(struct ports *ports, const struct config *config, struct swap *swap, struct glb_error *error)
{
	const struct glb_snapshot *snapshot = &swap->current->snapshot;
	int ret = loaded_ports_changed(swap->current, &config->director, ports, error);

	if (ret == 0 && snapshot->header != NULL)
		ret = xdp_add_vips(ports, snapshot, error);
	if (ret == 0 && snapshot->header != NULL)
		xdp_drop_vips(ports);
	return ret;
}

void port_mend(struct ports *ports, unsigned index, const struct config *config, struct swap *swap)
{
	struct port *port = &ports->port[index];
	struct port_watch *watch = &port->watch;
	struct glb_error error;
	const char *devargs = NULL;
	bool opened = false;

	for (unsigned i = 0; i < config->port_count; i++)
		if (strncmp(config->ports[i].devargs, port->name, strlen(port->name)) == 0 &&
		    config->ports[i].devargs[strlen(port->name)] == ',')
			devargs = config->ports[i].devargs;
	if (devargs == NULL)
		glb_error_set(&error, -ENODEV, "port %s: is not in the configuration; restart", port->name);
	else
		opened = reopen(ports, index, config, devargs, &error) == 0 && tell(ports, config, swap, &error) == 0;
	port_watch_tried(watch, opened, clock_ms());
	if (opened && watch->interface[0] != '\0')
		log_info("port %s: interface %s is back", port->name, watch->interface);
	else if (!opened)
		log_warning("%s", error.text);
}
