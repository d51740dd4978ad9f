/* Packet buffers by NUMA node, on machines that are made up: two and four sockets, up to 64 workers. */
#include "check.h"

#include "layout.h"
#include "pool_plan.h"

#include <errno.h>
#include <string.h>

static unsigned pools(const struct pool_plan *plan)
{
	unsigned count = 0;

	for (unsigned node = 0; node < POOL_NODES_MAX; node++)
		count += plan->queues_on[node] != 0;
	return count;
}

/* Queues of all ports on all nodes are all queues, and so are the shares, give or take rounding. */
static void check_whole(const struct pool_plan *plan)
{
	unsigned queues = 0;
	uint32_t buffers = 0;

	for (unsigned node = 0; node < POOL_NODES_MAX; node++) {
		queues += plan->queues_on[node];
		buffers += pool_plan_share(plan, node, 100003);
		CHECK((pool_plan_share(plan, node, 100003) != 0) == (plan->queues_on[node] != 0));
	}
	CHECK(queues == plan->ports * plan->queues);
	CHECK(buffers >= 100003 && buffers < 100003 + POOL_NODES_MAX);
}

/* A machine with one socket, or one that says nothing about them. */
static void one_socket_has_one_pool(void)
{
	const struct config config = {.workers = 64};

	for (int node = -1; node <= 0; node++) {
		struct pool_places places = {.main = node, .ports = 2, .port = {node, -1}};
		struct pool_plan plan;

		for (unsigned i = 0; i < 64; i++)
			places.receiver[i] = node;
		pool_plan(&plan, &config, &places);
		CHECK(pools(&plan) == 1 && plan.queues_on[0] == 128);
		CHECK(pool_plan_share(&plan, 0, 4242) == 4242 && pool_plan_share(&plan, 1, 4242) == 0);
		check_whole(&plan);
	}
}

/* A device's buffers are where it is, whoever polls it. */
static void devices_have_theirs_on_their_node(void)
{
	for (int sockets = 2; sockets <= 4; sockets += 2) {
		const struct config config = {.workers = 64};
		struct pool_places places = {.main = 0, .ports = (unsigned)sockets};
		struct pool_plan plan;

		for (int i = 0; i < sockets; i++)
			places.port[i] = i;
		for (int i = 0; i < 64; i++)
			places.receiver[i] = i % sockets;
		pool_plan(&plan, &config, &places);
		CHECK(pools(&plan) == (unsigned)sockets);
		for (unsigned port = 0; port < (unsigned)sockets; port++) {
			CHECK(plan.queues_on[port] == 64);
			for (unsigned queue = 0; queue < 64; queue++)
				CHECK(plan.node[port][queue] == port);
		}
		check_whole(&plan);
	}
}

/* A virtual device's are where the lcore is that polls the queue. */
static void virtual_devices_follow_the_lcore(void)
{
	for (int sockets = 2; sockets <= 4; sockets += 2) {
		const struct config config = {.workers = 64};
		struct pool_places places = {.main = sockets - 1, .ports = 1, .port = {-1}};
		struct pool_plan plan;

		for (int i = 0; i < 64; i++)
			places.receiver[i] = i * sockets / 64;
		places.receiver[0] = -1; /* floats: as main */
		pool_plan(&plan, &config, &places);
		CHECK(pools(&plan) == (unsigned)sockets);
		CHECK(plan.node[0][0] == sockets - 1 && plan.node[0][1] == 0 && plan.node[0][63] == sockets - 1);
		CHECK(plan.queues_on[0] == 64U / (unsigned)sockets - 1);
		check_whole(&plan);
	}
}

/* In a pipeline receivers poll: where workers and senders are is of no matter. */
static void pipelines_count_receivers(void)
{
	const struct config config = {.run_model = CONFIG_PIPELINE, .workers = 64, .receivers = 4, .senders = 16};
	struct pool_places places = {.main = 0, .ports = 2, .port = {1, -1}, .receiver = {0, 0, 1, 1}};
	struct pool_plan plan;

	pool_plan(&plan, &config, &places);
	CHECK(plan.queues == 4 && plan.queues_on[0] == 2 && plan.queues_on[1] == 6);
	CHECK(pool_plan_share(&plan, 0, 8000) == 2000 && pool_plan_share(&plan, 1, 8000) == 6000);
	places.port[0] = POOL_NODES_MAX; /* beyond what is known of: as if virtual */
	pool_plan(&plan, &config, &places);
	CHECK(plan.queues_on[0] == 4 && plan.queues_on[1] == 4);
	check_whole(&plan);
}

static int node_of_cpu(int cpu)
{
	return cpu / 32;
}

static int node_of_device(const char *devargs)
{
	return strncmp(devargs, "3b:00.0", 7) == 0 ? 1 : -1;
}

static void the_layout_shows_them(void)
{
	struct config config = {.main_lcore = 0, .workers = 64, .worker_lcore_count = 64, .port_count = 2};
	struct glb_error error;
	char text[1024];

	strcpy(config.ports[0].devargs, "3b:00.0,arg=1");
	strcpy(config.ports[1].devargs, "net_af_packet0,iface=eth0,qpairs=64");
	for (unsigned i = 0; i < 64; i++)
		config.worker_lcores[i] = i; /* two sockets of 32 CPUs */
	CHECK(layout_print_ports(&config, node_of_cpu, node_of_device, text, sizeof(text), &error) == 0);
	CHECK(strcmp(text, " port  device               node  buffers\n"
			   "    0  3b:00.0              1     node 1: rx queues 0-63\n"
			   "    1  net_af_packet0       -     node 0: rx queues 0-31; node 1: rx queues 32-63\n") == 0);
	for (unsigned i = 0; i < 64; i++)
		config.worker_lcores[i] = 32 * (i % 4); /* four sockets, in turn */
	CHECK(layout_print_ports(&config, node_of_cpu, node_of_device, text, sizeof(text), &error) == -ENOSPC);
	config.workers = config.worker_lcore_count = 5;
	CHECK(layout_print_ports(&config, node_of_cpu, node_of_device, text, sizeof(text), &error) == 0);
	CHECK(strstr(text, "- node 0") == NULL);
	CHECK(strstr(text, "-     node 0: rx queue 0; node 1: rx queue 1; node 2: rx queue 2; node 3: rx queue 3; node 0: rx "
			   "queue 4\n") != NULL);
	CHECK(layout_node_of_device("net_null0,iface=eth0") == -1);
	CHECK(layout_node_of_device("0000:ff:1f.7") == -1); /* is not there */
}

int main(void)
{
	static const struct check_case cases[] = {
		{"one socket has one pool", one_socket_has_one_pool},
		{"devices have theirs on their node", devices_have_theirs_on_their_node},
		{"virtual devices follow the lcore", virtual_devices_follow_the_lcore},
		{"pipelines count receivers", pipelines_count_receivers},
		{"the layout shows them", the_layout_shows_them},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
