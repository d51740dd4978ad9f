/* Ports (port.h). The buffers are in pool.c. */
#include "port.h"
#include "log.h"
#include "offload.h"

#include <rte_ethdev.h>
#include <rte_errno.h>

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	RX_DESCRIPTORS = 1024,
	TX_DESCRIPTORS = 1024,
};

const struct config_port *port_configured(const struct port *port, const struct config *config)
{
	static const char domain[] = "0000:"; /* of PCI: may be left out */
	const char *brief = strncmp(port->name, domain, sizeof(domain) - 1) == 0 ? port->name + sizeof(domain) - 1 : port->name;

	for (unsigned i = 0; i < config->port_count; i++) {
		const char *devargs = config->ports[i].devargs;
		const size_t len = strcspn(devargs, ",");

		if ((strlen(port->name) == len && strncmp(devargs, port->name, len) == 0) ||
		    (strlen(brief) == len && strncmp(devargs, brief, len) == 0))
			return &config->ports[i];
	}
	return NULL;
}

/* The MTU of a kernel interface, or 0. */
static uint32_t kernel_mtu(unsigned if_index)
{
	struct ifreq request = {0};
	int fd, mtu = 0;

	if (if_index == 0 || if_indextoname(if_index, request.ifr_name) == NULL)
		return 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	if (ioctl(fd, SIOCGIFMTU, &request) == 0)
		mtu = request.ifr_mtu;
	close(fd);
	return (uint32_t)mtu;
}

static void settle_vlan(struct port *port, const struct config *config)
{
	const struct config_port *said = port_configured(port, config);

	port->vlan = said != NULL ? (uint16_t)said->vlan : 0;
	if (port->vlan != 0)
		log_info("port %s: what is forwarded leaves with the tag of VLAN %u", port->name, port->vlan);
}

/* What may be sent: as configured, else what the interface behind the port takes, else what the driver says. */
static void settle_mtu(struct port *port, const struct config *config, const struct rte_eth_dev_info *info)
{
	uint32_t interface = kernel_mtu(info->if_index);
	uint16_t mtu = 0;

	if (config->mtu != CONFIG_MTU_OF_PORT) {
		port->mtu = (uint32_t)config->mtu;
		if (interface != 0 && port->mtu > interface)
			log_warning("port %s: forward.mtu is %u, but its interface takes %u: longer packets will be lost; "
				    "raise the interface's MTU", port->name, port->mtu, interface);
		return;
	}
	rte_eth_dev_get_mtu(port->id, &mtu);
	port->mtu = interface != 0 ? interface : mtu;
}

static int check_queues(const struct port *port, const struct config *config, const struct rte_eth_dev_info *info,
			struct glb_error *error)
{
	const bool pipeline = config->run_model == CONFIG_PIPELINE, rx = config_rx_queues(config) > info->max_rx_queues;

	if (!rx && config_tx_queues(config) <= info->max_tx_queues)
		return 0;
	return glb_error_set(error, -EINVAL, "eal.%s: %u, but port %s has %u receive and %u transmit queues; "
			     "use fewer, or give the device more queues (net_af_packet: qpairs=, "
			     "net_af_xdp: queue_count=)", pipeline && (rx || config->receivers_send) ? "receivers" : config->senders != 0 ? "senders" : "workers",
			     rx ? config_rx_queues(config) : config_tx_queues(config), port->name, info->max_rx_queues,
			     info->max_tx_queues);
}

static int describe(struct port *port, const struct config *config, struct rte_eth_dev_info *info,
		    struct glb_error *error)
{
	struct rte_ether_addr mac;
	int ret = rte_eth_dev_info_get(port->id, info);

	if (ret == 0)
		ret = rte_eth_macaddr_get(port->id, &mac);
	if (ret != 0)
		return glb_error_set(error, ret, "port %u: cannot be asked about itself: %s", port->id,
				     rte_strerror(-ret));
	memcpy(port->mac, mac.addr_bytes, sizeof(port->mac));
	if (rte_eth_dev_get_name_by_port(port->id, port->name) != 0)
		snprintf(port->name, sizeof(port->name), "port%u", port->id);
	snprintf(port->driver, sizeof(port->driver), "%s", info->driver_name);
	return check_queues(port, config, info, error);
}

static int configure(struct port *port, const struct config *config, const struct rte_eth_dev_info *info)
{
	struct rte_eth_conf conf = {0};
	const uint16_t rx = (uint16_t)config_rx_queues(config), tx = (uint16_t)config_tx_queues(config);
	const bool pipeline = config->run_model == CONFIG_PIPELINE;

	if ((rx > 1 || pipeline) && info->flow_type_rss_offloads != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf =
			info->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
	}
	/* net_af_packet names the longest frame that it receives as 1514 bytes, and refuses an MTU beyond that,
	 * but sends what its ring's frames hold. */
	if (config->mtu > RTE_ETHER_MTU && config->mtu <= info->max_mtu &&
	    (uint64_t)config->mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN <= info->max_rx_pktlen)
		conf.rxmode.mtu = (uint32_t)config->mtu;
	if (config->mtu + POOL_AROUND > pool_room(config)) /* a frame may take several buffers */
		conf.rxmode.offloads |= info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
	conf.txmode.offloads = (info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) | offload_choose(port, config, info);
	if (pipeline) /* receivers steer by it */
		conf.rxmode.offloads |= info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH;
	return rte_eth_dev_configure(port->id, rx, tx, &conf);
}

static int set_up_queues(const struct ports *ports, unsigned index, const struct config *config)
{
	const struct port *port = &ports->port[index];
	uint16_t rx = RX_DESCRIPTORS, tx = TX_DESCRIPTORS;
	unsigned socket = rte_socket_id();
	int ret = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rx, &tx);

	if (rte_eth_dev_socket_id(port->id) >= 0)
		socket = (unsigned)rte_eth_dev_socket_id(port->id);
	for (uint16_t queue = 0; queue < config_rx_queues(config) && ret == 0; queue++)
		ret = rte_eth_rx_queue_setup(port->id, queue, rx, socket, NULL,
					     pools_of(&ports->pools, index, queue));
	for (uint16_t queue = 0; queue < config_tx_queues(config) && ret == 0; queue++)
		ret = rte_eth_tx_queue_setup(port->id, queue, tx, socket, NULL);
	return ret;
}

/* An af_xdp port takes VIP traffic only. One with a program of the operator's stays as it is. */
static int open_xdp(struct port *port, const struct config *config, const struct rte_eth_dev_info *info,
		    struct glb_error *error)
{
	if (strcmp(port->driver, "net_af_xdp") != 0)
		return 0;
	port->xdp = xdp_open(info->if_index, config_rx_queues(config), error);
	if (port->xdp == NULL)
		return error->code;
	if (config->director.peers == NULL)
		return 0;
	return xdp_add_own(port->xdp, &config->peers.of[config->peers.own].addr, error);
}

int port_start(struct ports *ports, unsigned index, const struct config *config, struct glb_error *error)
{
	struct port *port = &ports->port[index];
	struct rte_eth_dev_info info;
	const char *what = "configured";
	char advice[160] = "", offloads[64];
	int ret = describe(port, config, &info, error);

	if (ret != 0)
		return ret;
	ret = configure(port, config, &info);
	if (ret == 0) {
		what = "given its queues";
		ret = set_up_queues(ports, index, config);
	}
	if (ret == 0) {
		ret = open_xdp(port, config, &info, error);
		if (ret != 0)
			return ret;
		what = "started";
		ret = rte_eth_dev_start(port->id);
	}
	if (ret != 0) {
		if (strcmp(port->driver, "net_af_xdp") == 0)
			xdp_advise(info.if_index, advice, sizeof(advice));
		return glb_error_set(error, ret, "port %s (%s) cannot be %s: %s%s", port->name, port->driver, what,
				     rte_strerror(-ret), advice);
	}
	settle_mtu(port, config, &info);
	settle_vlan(port, config);
	offload_print(port->offloads, offloads, sizeof(offloads));
	log_info("port %s: %s, MAC %02x:%02x:%02x:%02x:%02x:%02x, sends up to %u bytes of IP, its device computes: %s",
		 port->name, port->driver, port->mac[0], port->mac[1], port->mac[2], port->mac[3], port->mac[4],
		 port->mac[5], port->mtu, offloads);
	return 0;
}

/* EAL goes on without a virtual device that could not be made; we do not. */
static int check_devices(const struct config *config, struct glb_error *error)
{
	for (unsigned i = 0; i < config->port_count; i++) {
		const char *devargs = config->ports[i].devargs;
		char name[PORT_NAME_MAX];
		uint16_t id;

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(devargs, ","), devargs);
		if (strchr(name, ':') == NULL && rte_eth_dev_get_port_by_name(name, &id) != 0)
			return glb_error_set(error, -ENODEV, "port[%u].devargs: the device %.80s did not come up; its "
					     "driver's reason is above", i, devargs);
	}
	return 0;
}

static void watch_ports(struct ports *ports, const struct config *config)
{
	for (unsigned i = 0; i < config->port_count; i++) {
		const char *devargs = config->ports[i].devargs;
		const size_t len = strcspn(devargs, ",");

		for (unsigned j = 0; j < ports->count; j++)
			if (strncmp(ports->port[j].name, devargs, len) == 0 && ports->port[j].name[len] == '\0')
				port_watch_init(&ports->port[j].watch, devargs);
	}
}

int ports_start(struct ports *ports, const struct config *config, struct glb_error *error)
{
	int ret = check_devices(config, error);
	uint16_t id, ids[CONFIG_PORTS_MAX];

	memset(ports, 0, sizeof(*ports));
	if (ret != 0)
		return ret;
	RTE_ETH_FOREACH_DEV(id) {
		if (ports->count == CONFIG_PORTS_MAX)
			return glb_error_set(error, -EINVAL, "more than %d ports", CONFIG_PORTS_MAX);
		ports->port[ports->count++].id = id;
	}
	if (ports->count < config->port_count)
		return glb_error_set(error, -ENODEV, "port: %u of %u devices came up; look above for those that are "
				     "missing", ports->count, config->port_count);
	if (ports->count == 0)
		return glb_error_set(error, -EINVAL, "port: none; add a [[port]] with devargs, for example "
				     "\"net_af_packet0,iface=eth0\"");
	for (unsigned i = 0; i < ports->count; i++)
		ids[i] = ports->port[i].id;
	ret = pools_open(&ports->pools, config, ids, ports->count, error);
	if (ret != 0)
		return ret;
	for (unsigned i = 0; i < ports->count && ret == 0; i++)
		ret = port_start(ports, i, config, error);
	watch_ports(ports, config);
	if (ret != 0)
		ports_stop(ports);
	return ret;
}

void ports_stop(struct ports *ports)
{
	for (unsigned i = 0; i < ports->count; i++) {
		int ret;

		xdp_close(ports->port[i].xdp);
		ports->port[i].xdp = NULL;
		ret = rte_eth_dev_stop(ports->port[i].id);
		if (ret == 0)
			ret = rte_eth_dev_close(ports->port[i].id);
		if (ret != 0)
			log_warning("port %s did not close: %s", ports->port[i].name, rte_strerror(-ret));
	}
	pools_close(&ports->pools);
	ports->count = 0;
}
