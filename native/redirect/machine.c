/* What `doctor` asks of the kernel, in this network namespace. Changes nothing, and judges nothing. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tool.h"

enum {
	FEATURES_MAX = 512,
	ROUTES_BUFFER = 65536,
};

long machine_sysctl(const char *format, const char *device)
{
	char path[PATH_LEN];
	long value = -1;
	FILE *file;

	snprintf(path, sizeof(path), format, device);
	file = fopen(path, "re");
	if (!file)
		return -1;
	if (fscanf(file, "%ld", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

long machine_conf(const char *name, const char *device)
{
	char format[PATH_LEN];
	long all, own;

	snprintf(format, sizeof(format), "/proc/sys/net/ipv4/conf/%%s/%s", name);
	all = machine_sysctl(format, "all");
	own = machine_sysctl(format, device);
	return all > own ? all : own;
}

/* Asks the device by an ioctl of `request`. 0 or -errno. */
static int ask(const char *device, unsigned long request, struct ifreq *ifreq)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	if (fd < 0)
		return -errno;
	snprintf(ifreq->ifr_name, sizeof(ifreq->ifr_name), "%s", device);
	if (ioctl(fd, request, ifreq))
		err = -errno;
	close(fd);
	return err;
}

int machine_link(const char *device, unsigned *mtu, bool *up)
{
	struct ifreq ifreq = {0};
	int err = ask(device, SIOCGIFMTU, &ifreq);

	*mtu = err ? 0 : (unsigned)ifreq.ifr_mtu;
	if (!err)
		err = ask(device, SIOCGIFFLAGS, &ifreq);
	*up = !err && (ifreq.ifr_flags & IFF_UP);
	return err;
}

static int ethtool(const char *device, void *command)
{
	struct ifreq ifreq = {.ifr_data = command};

	return ask(device, SIOCETHTOOL, &ifreq);
}

void machine_driver(const char *device, char name[32])
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};

	name[0] = '\0';
	if (!ethtool(device, &info))
		snprintf(name, 32, "%s", info.driver);
}

int machine_mac(const char *device, uint8_t mac[6])
{
	struct ifreq ifreq = {0};
	int err = ask(device, SIOCGIFHWADDR, &ifreq);

	if (!err)
		memcpy(mac, ifreq.ifr_hwaddr.sa_data, 6);
	return err;
}

/* The features' names, `count` of ETH_GSTRING_LEN bytes, for the caller to free; NULL when the kernel has none. */
static struct ethtool_gstrings *feature_names(const char *device)
{
	struct {
		struct ethtool_sset_info info;
		uint32_t count;
	} sets = {.info = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES}};
	struct ethtool_gstrings *names;

	if (ethtool(device, &sets) || !sets.info.sset_mask || !sets.count || sets.count > FEATURES_MAX)
		return NULL;
	names = calloc(1, sizeof(*names) + (size_t)sets.count * ETH_GSTRING_LEN);
	if (!names)
		return NULL;
	*names = (struct ethtool_gstrings){.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES, .len = sets.count};
	if (ethtool(device, names)) {
		free(names);
		return NULL;
	}
	return names;
}

bool machine_feature(const char *device, const char *name)
{
	struct {
		struct ethtool_gfeatures head;
		struct ethtool_get_features_block blocks[FEATURES_MAX / 32];
	} features = {.head = {.cmd = ETHTOOL_GFEATURES, .size = FEATURES_MAX / 32}};
	struct ethtool_gstrings *names = feature_names(device);
	bool on = false;

	if (names && !ethtool(device, &features))
		for (uint32_t i = 0; i < names->len; i++)
			if (!strncmp((const char *)names->data + (size_t)i * ETH_GSTRING_LEN, name, ETH_GSTRING_LEN))
				on = features.blocks[i / 32].active >> i % 32 & 1;
	free(names);
	return on;
}

bool machine_udp_bound(uint32_t port)
{
	static const char *const tables[] = {"/proc/net/udp", "/proc/net/udp6"};
	char line[512];
	bool bound = false;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		FILE *table = fopen(tables[i], "re");
		unsigned local;

		while (table && fgets(line, sizeof(line), table))
			bound |= sscanf(line, " %*u: %*[0-9A-Fa-f]:%x", &local) == 1 && local == port;
		if (table)
			fclose(table);
	}
	return bound;
}

/* Only what is local, by an address or by a route, can be bound. */
bool machine_has_address(uint8_t family, const uint8_t addr[16])
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	bool is_v6 = family == GLB_REDIRECT_V6, bound;
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	memcpy(&v4.sin_addr, addr, sizeof(v4.sin_addr));
	memcpy(&v6.sin6_addr, addr, sizeof(v6.sin6_addr));
	bound = is_v6 ? !bind(fd, (struct sockaddr *)&v6, sizeof(v6)) : !bind(fd, (struct sockaddr *)&v4, sizeof(v4));
	close(fd);
	return bound;
}

/* The address as a prefix of itself; false when it is not of a VIP's kind. */
static bool vip_of(const struct ifaddrs *entry, struct glb_redirect_prefix *prefix)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)entry->ifa_addr;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)entry->ifa_addr;

	*prefix = (struct glb_redirect_prefix){0};
	if (!v4 || strcmp(entry->ifa_name, "lo"))
		return false;
	if (v4->sin_family == AF_INET) {
		prefix->family = GLB_REDIRECT_V4;
		prefix->bits = GLB_REDIRECT_FAMILY_BITS + 32;
		memcpy(prefix->addr, &v4->sin_addr, 4);
		return prefix->addr[0] != IN_LOOPBACKNET;
	}
	if (v4->sin_family != AF_INET6)
		return false;
	prefix->family = GLB_REDIRECT_V6;
	prefix->bits = GLB_REDIRECT_FAMILY_BITS + 128;
	memcpy(prefix->addr, &v6->sin6_addr, 16);
	return !IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) && !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr);
}

int machine_lo_addresses(struct prefixes *found)
{
	struct ifaddrs *all = NULL;
	struct glb_redirect_prefix prefix;
	int err = 0;

	if (getifaddrs(&all))
		return -errno;
	for (const struct ifaddrs *entry = all; entry && !err; entry = entry->ifa_next)
		if (vip_of(entry, &prefix))
			err = prefixes_push(found, &prefix, 0);
	freeifaddrs(all);
	return err;
}

/* The advertised MSS of a route, 0 when it says nothing. */
static uint32_t route_advmss(struct rtattr *metrics)
{
	int left = (int)RTA_PAYLOAD(metrics);

	for (struct rtattr *each = RTA_DATA(metrics); RTA_OK(each, left); each = RTA_NEXT(each, left))
		if ((each->rta_type & NLA_TYPE_MASK) == RTAX_ADVMSS)
			return *(uint32_t *)RTA_DATA(each);
	return 0;
}

/* Takes one route into account, when it is a default route by the device. */
static void weigh_route(struct nlmsghdr *message, int ifindex, struct default_route *found)
{
	struct rtmsg *route = NLMSG_DATA(message);
	int left = (int)RTM_PAYLOAD(message), out = 0;
	uint32_t advmss = 0;

	if (route->rtm_dst_len || route->rtm_type != RTN_UNICAST)
		return;
	for (struct rtattr *each = RTM_RTA(route); RTA_OK(each, left); each = RTA_NEXT(each, left)) {
		if (each->rta_type == RTA_OIF)
			out = *(int *)RTA_DATA(each);
		if ((each->rta_type & NLA_TYPE_MASK) == RTA_METRICS)
			advmss = route_advmss(each);
	}
	if (out != ifindex)
		return;
	if (!found->there || !advmss || (found->advmss && advmss > found->advmss))
		found->advmss = advmss;
	found->there = true;
}

struct default_route machine_default_route(int family, int ifindex)
{
	struct {
		struct nlmsghdr header;
		struct rtmsg route;
	} request = {
		.header = {.nlmsg_len = sizeof(request), .nlmsg_type = RTM_GETROUTE,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.route = {.rtm_family = (unsigned char)family},
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct default_route found = {0};
	char *reply = malloc(ROUTES_BUFFER);
	bool more = fd >= 0 && reply && send(fd, &request, sizeof(request), 0) > 0;

	while (more) {
		ssize_t received = recv(fd, reply, ROUTES_BUFFER, 0);
		struct nlmsghdr *message = (struct nlmsghdr *)reply;
		size_t left = received > 0 ? (size_t)received : 0;

		more = received > 0;
		for (; more && NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
			more = message->nlmsg_type == RTM_NEWROUTE;
			if (more)
				weigh_route(message, ifindex, &found);
		}
	}
	free(reply);
	if (fd >= 0)
		close(fd);
	return found;
}
