/* Opening a port again (port_mend.h): the device is removed and added as at start. */
#include "port_mend.h"
#include "log.h"

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <string.h>
#include <time.h>

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int ports_look(struct ports *ports)
{
	for (unsigned i = 0; i < ports->count; i++) {
		struct port *port = &ports->port[i];
		enum port_state before = port->watch.state;
		enum port_event event = port_watch_look(&port->watch, now_ms());

		if (port->watch.state != before)
			log_warning("port %s: interface %s is %s", port->name, port->watch.interface,
				    port_state_name(port->watch.state));
		/* other drivers' devices cannot be had again without their set-up */
		if (event == PORT_REOPEN && strcmp(port->driver, "net_af_packet") == 0)
			return (int)i;
	}
	return -1;
}

static int reopen(struct port *port, const struct config *config, struct ports *ports, const char *devargs,
		  struct glb_error *error)
{
	const char *arguments = strchr(devargs, ',');
	int ret;

	rte_eth_dev_stop(port->id); /* of a device that is half gone: fails, or has been done */
	rte_eal_hotplug_remove("vdev", port->name);
	ret = rte_eal_hotplug_add("vdev", port->name, arguments != NULL ? arguments + 1 : "");
	if (ret == 0)
		ret = rte_eth_dev_get_port_by_name(port->name, &port->id);
	if (ret != 0)
		return glb_error_set(error, ret, "port %s: cannot be opened again: %s", port->name, rte_strerror(-ret));
	return port_start(port, config, ports->pool, error);
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
		opened = reopen(port, config, ports, devargs, &error) == 0 && loaded_ports_changed(swap->current,
				 &config->director, ports, &error) == 0;
	port_watch_tried(watch, opened, now_ms());
	if (opened)
		log_info("port %s: interface %s is back", port->name, watch->interface);
	else
		log_warning("%s", error.text);
}
