/* What a port needs of this machine (needs.h): rights, interface, queues, locked memory, device files. */
#include "needs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A client's 1500 bytes behind outer IPv4, UDP and GUE headers with two hops (docs/operations.md). */
enum {
	MTU_WANTED = 1540,
	XDP_MTU_USUAL = 3498,   /* a page less what XDP and the kernel keep of it, and an Ethernet header with two tags */
	UMEM_SURELY = 16 << 20, /* bytes of buffers that an af_xdp port locks; more as a rule */
};

#define RIGHTS_MEND "run it as root, or give the service the capability (CapabilityBoundingSet= of its unit)"
#define LOCK_MEND "LimitMEMLOCK=infinity in the unit (ulimit -l unlimited), or CAP_IPC_LOCK"

static bool has(const struct needs *needs, unsigned capability)
{
	return needs->capabilities >> capability & 1;
}

static bool is_driver(const char *devargs, const char *driver)
{
	return strncmp(devargs, driver, strlen(driver)) == 0;
}

/* Copies what stands behind ",key=" to `value`; "" when it is not there. */
static void argument(const char *devargs, const char *key, char *value, size_t len)
{
	const char *found = strstr(devargs, key);

	snprintf(value, len, "%.*s", found != NULL ? (int)strcspn(found + strlen(key), ",") : 0,
		 found != NULL ? found + strlen(key) : "");
}

static unsigned long number(const char *devargs, const char *key, unsigned long otherwise)
{
	char text[24];

	argument(devargs, key, text, sizeof(text));
	return text[0] != '\0' ? strtoul(text, NULL, 0) : otherwise;
}

/* `request` has its argument already. */
static bool ask(const char *interface, unsigned long what, struct ifreq *request)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool answered;

	snprintf(request->ifr_name, sizeof(request->ifr_name), "%.15s", interface);
	answered = fd >= 0 && ioctl(fd, what, request) == 0;
	if (fd >= 0)
		close(fd);
	return answered;
}

static void look_at_interface(struct needs *needs, const struct config *config, const char *check, const char *interface)
{
	struct ifreq request = {0};

	if (interface[0] == '\0' || if_nametoindex(interface) == 0) {
		needs_add(needs, check, true, "`ip link` lists them; correct iface= in devargs, or start in the right namespace",
			  interface[0] == '\0' ? "iface= is missing%s" : "there is no interface %s in this network namespace",
			  interface);
		return;
	}
	if (ask(interface, SIOCGIFFLAGS, &request) && !(request.ifr_flags & IFF_UP))
		needs_add(needs, check, false, "ip link set DEV up", "interface %s is down: nothing comes", interface);
	if (ask(interface, SIOCGIFMTU, &request) && request.ifr_mtu < MTU_WANTED && config->mtu < 0)
		needs_add(needs, "forward.mtu", false, "ip link set DEV mtu 1600 on the whole backend segment, or advmss on "
			  "backends' default routes", "interface %s has an MTU of %d: clients' packets of 1500 bytes do not fit "
			  "behind the outer headers", interface, request.ifr_mtu);
}

static void look_at_rights(struct needs *needs, const char *check, const char *driver)
{
	if (!has(needs, CAP_NET_RAW))
		needs_add(needs, check, true, RIGHTS_MEND, "%s needs CAP_NET_RAW, which this process lacks", driver);
	if (!has(needs, CAP_NET_ADMIN))
		needs_add(needs, check, true, RIGHTS_MEND, "%s needs CAP_NET_ADMIN, which this process lacks", driver);
}

static void look_at_queues(struct needs *needs, const struct config *config, unsigned index, const char *argument_name,
			   unsigned long queues)
{
	const unsigned wanted = config_rx_queues(config) > config_tx_queues(config) ? config_rx_queues(config)
										    : config_tx_queues(config);

	if (wanted > queues)
		needs_add(needs, config->run_model == CONFIG_PIPELINE ? "eal.receivers" : "eal.workers", true,
			  "use fewer, or give the port as many queues", "%u queues are needed, but port[%u] has %lu (%s)",
			  wanted, index, queues, argument_name);
}

/* The rings of af_packet are locked, and the buffers of af_xdp. */
static void look_at_lock(struct needs *needs, const char *check, const char *driver, uint64_t bytes)
{
	if (needs->lock_limit < bytes && !has(needs, CAP_IPC_LOCK))
		needs_add(needs, check, true, LOCK_MEND, "%s locks %llu MB of memory or more, but this process may lock %llu kB "
			  "(RLIMIT_MEMLOCK)", driver, (unsigned long long)((bytes + (1 << 20) - 1) >> 20),
			  (unsigned long long)(needs->lock_limit >> 10));
}

/* The driver counts combined queues only; a device that has none has one. */
static unsigned long combined_queues(const char *interface)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq request = {.ifr_data = (void *)&channels};

	return ask(interface, SIOCETHTOOL, &request) && channels.combined_count > 0 ? channels.combined_count : 1;
}

static void look_at_xdp(struct needs *needs, const char *check, const char *interface, unsigned long queues)
{
	const unsigned long there = combined_queues(interface);
	struct ifreq request = {0};
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	else if (errno == EAFNOSUPPORT)
		needs_add(needs, check, true, "use net_af_packet; or a kernel with CONFIG_XDP_SOCKETS, and AF_XDP among "
			  "RestrictAddressFamilies= of the unit", "this process gets no AF_XDP sockets: %s", strerror(errno));
	if (!has(needs, CAP_BPF) && !has(needs, CAP_SYS_ADMIN))
		needs_add(needs, check, true, RIGHTS_MEND, "net_af_xdp needs CAP_BPF, which this process lacks");
	if (ask(interface, SIOCGIFMTU, &request) && request.ifr_mtu > XDP_MTU_USUAL)
		needs_add(needs, check, false, "ip link set DEV mtu 3498, on a veth at its other end, too; or use net_af_packet",
			  "interface %s has an MTU of %d, and XDP usually takes up to about %d", interface, request.ifr_mtu,
			  XDP_MTU_USUAL);
	if (queues > there)
		needs_add(needs, check, true, "ethtool -L DEV combined N, or lower queue_count=", "queue_count=%lu, but interface "
			  "%s has %lu combined queues", queues, interface, there);
}

static void look_at_kernel_port(struct needs *needs, const struct config *config, const char *check, unsigned index)
{
	const char *devargs = config->ports[index].devargs;
	const bool xdp = is_driver(devargs, "net_af_xdp");
	const unsigned long queues = number(devargs, xdp ? ",queue_count=" : ",qpairs=", 1);
	const char *driver = xdp ? "net_af_xdp" : "net_af_packet";
	char interface[64];

	argument(devargs, ",iface=", interface, sizeof(interface));
	look_at_rights(needs, check, driver);
	look_at_interface(needs, config, check, interface);
	look_at_queues(needs, config, index, xdp ? "queue_count=" : "qpairs=", queues);
	if (!xdp) {
		look_at_lock(needs, check, driver, 2ULL * queues * number(devargs, ",framecnt=", 512) *
			     number(devargs, ",framesz=", 2048));
		return;
	}
	look_at_lock(needs, check, driver, UMEM_SURELY);
	look_at_xdp(needs, check, interface, queues);
}

static void look_at_file(struct needs *needs, const char *check, const char *path, const char *mend, const char *what)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	else
		needs_add(needs, check, true, mend, "%s needs %s: %s", what, path, strerror(errno));
}

static void look_at_pci(struct needs *needs, const struct config *config, const struct opts *opts, const char *check,
			const char *devargs)
{
	char address[24], path[80], target[256] = "";
	const char *driver;
	ssize_t n;

	snprintf(address, sizeof(address), "%s%.*s", strchr(devargs, ':') == strrchr(devargs, ':') ? "0000:" : "",
		 (int)strcspn(devargs, ",") > 12 ? 12 : (int)strcspn(devargs, ","), devargs);
	if (needs_option(config, opts, "--no-pci", NULL))
		needs_add(needs, "eal.args", true, "take --no-pci out of eal.args", "--no-pci, but %s is a PCI device", check);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", address);
	if (access(path, F_OK) != 0) {
		needs_add(needs, check, true, "dpdk-devbind.py --status lists them", "there is no PCI device %s", address);
		return;
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", address);
	n = readlink(path, target, sizeof(target) - 1);
	driver = n > 0 && strrchr(target, '/') != NULL ? strrchr(target, '/') + 1 : "no driver";
	if (strcmp(driver, "vfio-pci") == 0)
		look_at_file(needs, check, "/dev/vfio/vfio", "modprobe vfio-pci; give the service its user's rights to /dev/vfio",
			     "a device of vfio-pci");
	else if (strncmp(driver, "mlx", 3) != 0 && strncmp(driver, "uio", 3) != 0 && strncmp(driver, "igb_uio", 7) != 0)
		needs_add(needs, check, false, "dpdk-devbind.py --bind=vfio-pci ADDRESS", "%s belongs to %s: most of DPDK's drivers "
			  "need vfio-pci", address, driver);
}

void needs_of_port(struct needs *needs, const struct config *config, const struct opts *opts, unsigned index)
{
	const struct config_port *port = &config->ports[index];
	const char *devargs = port->devargs;
	char check[32], punt[32];

	snprintf(check, sizeof(check), "port[%u].devargs", index);
	snprintf(punt, sizeof(punt), "port[%u].punt", index);
	if (is_driver(devargs, "net_af_packet") || is_driver(devargs, "net_af_xdp"))
		look_at_kernel_port(needs, config, check, index);
	else if (strspn(devargs, "0123456789abcdefABCDEF:.") >= 7)
		look_at_pci(needs, config, opts, check, devargs);
	if (port->punt != CONFIG_PUNT_NONE && !has(needs, CAP_NET_ADMIN))
		needs_add(needs, punt, true, RIGHTS_MEND, "an interface of its own needs CAP_NET_ADMIN, which this process lacks");
	if (port->punt == CONFIG_PUNT_TAP)
		look_at_file(needs, punt, "/dev/net/tun", "modprobe tun; let the service use the device (DeviceAllow=)",
			     "\"tap\"");
	else if (port->punt != CONFIG_PUNT_NONE)
		look_at_file(needs, punt, "/dev/vhost-net", "modprobe vhost-net, or punt = \"tap\"", "\"virtio-user\"");
}
