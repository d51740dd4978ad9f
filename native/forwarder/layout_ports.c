/* The ports' part of `glb-forwarder --show-layout` (layout.h): which queues' packet buffers are on which NUMA node. */
#include "layout_text.h"
#include "pool_plan.h"

#include <errno.h>

enum { WORDS = 1024 };

/* "0000:3b:00.0" of "3b:00.0,arg=1"; false for a virtual device. */
static bool pci_address(const char *devargs, char *out, size_t len)
{
	const int name = (int)strcspn(devargs, ",");
	unsigned colons = 0;

	for (int i = 0; i < name; i++)
		colons += devargs[i] == ':';
	snprintf(out, len, "%s%.*s", colons == 1 ? "0000:" : "", name, devargs);
	return colons != 0;
}

int layout_node_of_device(const char *devargs)
{
	char address[64], path[128];
	int node = -1;
	FILE *file;

	if (!pci_address(devargs, address, sizeof(address)))
		return -1;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/numa_node", address);
	file = fopen(path, "re");
	if (file == NULL)
		return -1;
	if (fscanf(file, "%d", &node) != 1)
		node = -1;
	fclose(file);
	return node;
}

/* The nodes of the lcores, from their CPUs. */
static void find_receivers(const struct config *config, int (*node_of_cpu)(int cpu), struct pool_places *places)
{
	const enum layout_role receives = config->run_model == CONFIG_PIPELINE ? LAYOUT_RECEIVER : LAYOUT_WORKER;
	struct layout layout;

	layout_plan(config, &layout);
	for (unsigned i = 0; i < layout.count; i++) {
		const struct layout_lcore *lcore = &layout.lcores[i];
		const int node = lcore->cpu >= 0 ? node_of_cpu((int)lcore->cpu) : -1;

		if (lcore->role == LAYOUT_MAIN)
			places->main = node;
		else if (lcore->role == receives)
			places->receiver[lcore->index] = node;
	}
}

/* "node 0: rx queues 0-31; node 1: rx queue 32" */
static bool print_buffers(const struct pool_plan *plan, unsigned port, char *out, size_t len)
{
	const uint8_t *node = plan->node[port];
	bool fits = true;

	out[0] = '\0';
	for (unsigned first = 0, end; first < plan->queues && fits; first = end) {
		for (end = first + 1; end < plan->queues && node[end] == node[first]; end++)
			;
		fits = layout_append(out, len, "%snode %u: rx queue%s %u", first != 0 ? "; " : "", node[first],
				     end - first > 1 ? "s" : "", first);
		if (fits && end - first > 1)
			fits = layout_append(out, len, "-%u", end - 1);
	}
	return fits;
}

int layout_print_ports(const struct config *config, int (*node_of_cpu)(int cpu), int (*node_of_device)(const char *devargs),
		       char *out, size_t len, struct glb_error *error)
{
	struct pool_places places = {.main = -1, .ports = config->port_count};
	char buffers[WORDS * 2], node[16];
	struct pool_plan plan;
	bool fits;

	find_receivers(config, node_of_cpu, &places);
	for (unsigned i = 0; i < config->port_count; i++)
		places.port[i] = node_of_device(config->ports[i].devargs);
	pool_plan(&plan, config, &places);
	out[0] = '\0';
	fits = layout_append(out, len, "%5s  %-20s %-5s %s\n", "port", "device", "node", "buffers");
	for (unsigned i = 0; i < config->port_count && fits; i++) {
		const char *devargs = config->ports[i].devargs;

		fits = print_buffers(&plan, i, buffers, sizeof(buffers));
		snprintf(node, sizeof(node), "%d", places.port[i]);
		fits = fits && layout_append(out, len, "%5u  %-20.*s %-5s %s\n", i, (int)strcspn(devargs, ","), devargs,
					     places.port[i] >= 0 ? node : "-", buffers);
	}
	return fits ? 0 : glb_error_set(error, -ENOSPC, "too many ports to describe");
}
