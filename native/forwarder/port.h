/* The ports: every ethdev that EAL brought, with one rx queue for each lcore that receives, and one tx queue for each that sends. */
#ifndef FORWARDER_PORT_H
#define FORWARDER_PORT_H

#include "config.h"
#include "pool.h"
#include "port_watch.h"
#include "xdp.h"

enum { PORT_NAME_MAX = 64 };

struct port {
	uint16_t id;              /* of the ethdev */
	char name[PORT_NAME_MAX]; /* of the device */
	char driver[PORT_NAME_MAX];
	uint8_t mac[6];
	uint32_t mtu;             /* bytes of IP that may be sent; 0 = no limit */
	uint16_t vlan;            /* id of the tag that frames leave with; 0 = none */
	uint8_t offloads;         /* enum glb_offload: what its device computes */
	struct port_watch watch;  /* of the interface behind it */
	struct xdp *xdp;          /* af_xdp with our program, else NULL; owned */
	struct punt_port *punt;   /* its way to the kernel (punt.h), or NULL: the driver leaves the kernel a copy, or nothing does */
};

struct ports {
	struct port port[CONFIG_PORTS_MAX];
	unsigned count;
	struct pools pools; /* all received packets are in them */
};

/* Makes the buffers and starts all ports. Returns 0 or a negative errno with *error; nothing is left running then. */
int ports_start(struct ports *ports, const struct config *config, struct glb_error *error);

/* What [[port]] says of it, or NULL when EAL options brought it. */
const struct config_port *port_configured(const struct port *port, const struct config *config);

/* Configures and starts the port at `index`, whose id is set. Returns 0 or a negative errno with *error. */
int port_start(struct ports *ports, unsigned index, const struct config *config, struct glb_error *error);

/* Stops and closes the ports and frees the buffers. No worker may run any more. */
void ports_stop(struct ports *ports);

#endif
