/* Which checksums are left to a device (offload.h). Its word is taken for it: whether a driver keeps it is not seen from here, so that a
 * port can be told to do without. */
#include "offload.h"

#include <stdio.h>

static const struct {
	uint64_t tx; /* RTE_ETH_TX_OFFLOAD_* */
	enum glb_offload offload;
	const char *name;
} known[] = {
	{RTE_ETH_TX_OFFLOAD_IPV4_CKSUM, GLB_OFFLOAD_IPV4_CHECKSUM, "ipv4_checksum"},
	{RTE_ETH_TX_OFFLOAD_UDP_CKSUM, GLB_OFFLOAD_UDP_CHECKSUM, "udp_checksum"},
};

enum { KNOWN = sizeof(known) / sizeof(known[0]) };

static bool computes_udp(const struct glb_director *director)
{
	return (director->outer_source_v4.family != GLB_FAMILY_NONE &&
		director->outer_checksum == GLB_OUTER_CHECKSUM_COMPUTED) ||
	       (director->outer_source_v6.family != GLB_FAMILY_NONE &&
		director->outer_checksum_v6 == GLB_OUTER_CHECKSUM_COMPUTED);
}

uint64_t offload_choose(struct port *port, const struct config *config, const struct rte_eth_dev_info *info)
{
	const struct config_port *said = port_configured(port, config);
	uint64_t tx = 0;

	port->offloads = 0;
	if (said != NULL && said->checksum_offload == CONFIG_OFFLOAD_OFF)
		return 0;
	for (unsigned i = 0; i < KNOWN; i++) {
		if ((info->tx_offload_capa & known[i].tx) == 0)
			continue;
		if (known[i].offload == GLB_OFFLOAD_UDP_CHECKSUM &&
		    !computes_udp(&config->director))
			continue;
		port->offloads |= (uint8_t)known[i].offload;
		tx |= known[i].tx;
	}
	return tx;
}

const char *offload_name(enum glb_offload offload)
{
	for (unsigned i = 0; i < KNOWN; i++)
		if (known[i].offload == offload)
			return known[i].name;
	return "unknown";
}

void offload_print(uint8_t offloads, char *out, size_t len)
{
	size_t used = 0;

	snprintf(out, len, "none");
	for (unsigned i = 0; i < KNOWN; i++)
		if ((offloads & known[i].offload) != 0 && used < len)
			used += (size_t)snprintf(out + used, len - used, "%s%s", used != 0 ? ", " : "", known[i].name);
}
