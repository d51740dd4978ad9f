/* Interfaces to the kernel (punt_port.h): an ethdev of net_tap or virtio-user with the port's MAC and MTU, and the queues to it. */
#include "punt_port.h"
#include "log.h"

#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_errno.h>
#include <rte_malloc.h>

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	DESCRIPTORS = 128,
	QUEUE = 1024,        /* packets of a class that wait for the thread, and at most at once */
	FROM_QUEUE = 2048,
	BURST_MIN = 32,      /* packets at once, however low the rate */
};

/* The port that a [[port]] became: by the name of its device. */
static struct port *find_port(struct ports *ports, const char *devargs)
{
	char name[PORT_NAME_MAX], pci[PORT_NAME_MAX + 8];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(devargs, ","), devargs);
	snprintf(pci, sizeof(pci), "0000:%s", name);
	for (unsigned i = 0; i < ports->count; i++)
		if (strcmp(ports->port[i].name, name) == 0 || strcmp(ports->port[i].name, pci) == 0)
			return &ports->port[i];
	return NULL;
}

/* The kernel must answer with the MAC by which the port is known. */
static const uint8_t *own_mac(const struct config *config, const struct port *port)
{
	static const uint8_t none[6];
	const uint8_t *configured = config->director.local_mac;

	return memcmp(configured, none, sizeof(none)) != 0 ? configured : port->mac;
}

static int make_device(struct punt_port *punt, const struct config *config, unsigned index, struct glb_error *error)
{
	const uint8_t *mac = own_mac(config, punt->port);
	const bool tap = config->ports[index].punt == CONFIG_PUNT_TAP;
	char devargs[256];
	int ret;

	if (if_nametoindex(punt->interface) != 0)
		return glb_error_set(error, -EEXIST, "port[%u].punt_interface: there is an interface %s already; choose "
				     "another name, or remove it", index, punt->interface);
	snprintf(punt->device, sizeof(punt->device), "%s_punt%u", tap ? "net_tap" : "net_virtio_user", index);
	snprintf(devargs, sizeof(devargs), "%siface=%s,mac=%02x:%02x:%02x:%02x:%02x:%02x%s",
		 tap ? "" : "path=/dev/vhost-net,", punt->interface, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
		 tap ? "" : ",queue_size=1024");
	ret = rte_eal_hotplug_add("vdev", punt->device, devargs);
	if (ret == 0)
		ret = rte_eth_dev_get_port_by_name(punt->device, &punt->id);
	if (ret != 0) {
		punt->device[0] = '\0';
		return glb_error_set(error, ret < 0 ? ret : -EIO, "port[%u].punt: the interface %s does not come up (%s); "
				     "it needs /dev/%s and CAP_NET_ADMIN", index, punt->interface, rte_strerror(-ret),
				     tap ? "net/tun" : "vhost-net");
	}
	return 0;
}

/* net_tap refuses an MTU above 1500 from DPDK's side, the kernel does not. */
static void set_mtu(const struct punt_port *punt)
{
	struct ifreq request = {.ifr_mtu = (int)punt->port->mtu};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", punt->interface);
	if (punt->port->mtu != 0 && (fd < 0 || ioctl(fd, SIOCSIFMTU, &request) != 0))
		log_warning("interface %s: its MTU cannot be set to the port's, %u: %s", punt->interface, punt->port->mtu,
			    strerror(errno));
	if (fd >= 0)
		close(fd);
}

static int start_device(struct punt_port *punt, struct rte_mempool *pool, struct glb_error *error)
{
	const struct rte_eth_conf conf = {0};
	unsigned socket = rte_socket_id();
	int ret = rte_eth_dev_configure(punt->id, 1, 1, &conf);

	if (ret == 0)
		ret = rte_eth_rx_queue_setup(punt->id, 0, DESCRIPTORS, socket, NULL, pool);
	if (ret == 0)
		ret = rte_eth_tx_queue_setup(punt->id, 0, DESCRIPTORS, socket, NULL);
	if (ret == 0)
		ret = rte_eth_dev_start(punt->id);
	if (ret != 0)
		return glb_error_set(error, ret, "interface %s cannot be started: %s", punt->interface, rte_strerror(-ret));
	punt->started = true;
	set_mtu(punt);
	return 0;
}

static struct rte_ring *make_ring(const struct punt_port *punt, const char *what, unsigned size, unsigned flags)
{
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "punt%u_%s", punt->port->id, what);
	return rte_ring_create(name, size, (int)rte_socket_id(), flags);
}

static int make_queues(struct punt_port *punt, const struct config *config, struct glb_error *error)
{
	bool made;

	punt->workers = (unsigned)config->workers;
	punt->lanes = rte_zmalloc("glb_punt", punt->workers * sizeof(*punt->lanes), RTE_CACHE_LINE_SIZE);
	punt->from_kernel = make_ring(punt, "from", FROM_QUEUE, RING_F_SP_ENQ | RING_F_SC_DEQ);
	made = punt->lanes != NULL && punt->from_kernel != NULL;
	for (unsigned class = 0; class < GLB_PUNT_CLASSES && made; class++) {
		const uint32_t rate = (uint32_t)config->punt_rate[class];

		punt->to_kernel[class] = make_ring(punt, glb_punt_class_name(class), QUEUE, RING_F_SC_DEQ);
		made = punt->to_kernel[class] != NULL;
		for (unsigned i = 0; i < punt->workers; i++)
			glb_bucket_init(&punt->lanes[i].bucket[class], rate,
					RTE_MIN(RTE_MAX(rate / 10, (uint32_t)BURST_MIN), (uint32_t)QUEUE / 2));
	}
	return made ? 0 : glb_error_set(error, -ENOMEM, "no memory for the queues to the kernel; raise -m in eal.args");
}

/* What a host's interface would take besides its own MAC: ARP is broadcast, neighbour discovery multicast. */
static void take_multicast(const struct port *port)
{
	int ret = rte_eth_allmulticast_enable(port->id);

	if (ret != 0 && ret != -ENOTSUP)
		log_warning("port %s: multicast is not taken (%s): IPv6 neighbour discovery may not reach the kernel", port->name,
			    rte_strerror(-ret));
}

int punt_port_open(struct punt_port *punt, const struct config *config, unsigned index, struct ports *ports,
		   struct glb_error *error)
{
	int ret;

	punt->interface = config->ports[index].punt_interface;
	punt->port = find_port(ports, config->ports[index].devargs);
	if (punt->port == NULL)
		return glb_error_set(error, -ENODEV, "port[%u].punt: cannot tell which port %.80s became", index,
				     config->ports[index].devargs);
	if (strcmp(punt->port->driver, "net_af_packet") == 0 || strcmp(punt->port->driver, "net_af_xdp") == 0)
		log_warning("port %s: its interface shows the kernel all packets, too; with punt it needs to be without "
			    "addresses", punt->port->name);
	ret = make_queues(punt, config, error);
	if (ret == 0)
		ret = make_device(punt, config, index, error);
	if (ret == 0)
		ret = start_device(punt, pools_of(&ports->pools, (unsigned)(punt->port - ports->port), 0), error);
	if (ret != 0)
		return ret;
	take_multicast(punt->port);
	punt->port->punt = punt;
	log_info("port %s: punts through the interface %s", punt->port->name, punt->interface);
	return 0;
}

static void drain(struct rte_ring *ring)
{
	void *mbuf;

	while (ring != NULL && rte_ring_dequeue(ring, &mbuf) == 0)
		rte_pktmbuf_free(mbuf);
	rte_ring_free(ring);
}

void punt_port_close(struct punt_port *punt)
{
	int ret = 0;

	if (punt->port != NULL)
		punt->port->punt = NULL;
	if (punt->started)
		ret = rte_eth_dev_stop(punt->id);
	if (punt->device[0] != '\0' && ret == 0)
		ret = rte_eal_hotplug_remove("vdev", punt->device);
	if (ret != 0)
		log_warning("interface %s did not go: %s", punt->interface, rte_strerror(-ret));
	for (unsigned class = 0; class < GLB_PUNT_CLASSES; class++)
		drain(punt->to_kernel[class]);
	drain(punt->from_kernel);
	rte_free(punt->lanes);
}
