/* The director's configuration: what a TOML file says, checked and in the program's own types.
 *
 * Every key is in one table (config.c) with its type and range. Whatever is not in it, or does not fit,
 * is refused with the key's path and what would be right. Nothing here touches DPDK, so that the
 * configuration can be checked anywhere (`glb-forwarder --check`).
 */
#ifndef FORWARDER_CONFIG_H
#define FORWARDER_CONFIG_H

#include <glb/path.h>
#include <glb/punt.h>

#include <jansson.h>
#include <net/if.h>

enum {
	CONFIG_PORTS_MAX = GLB_PORTS_MAX,
	CONFIG_WORKERS_MAX = 64,
	CONFIG_RECEIVERS_MAX = 16,
	CONFIG_SENDERS_MAX = 16,
	CONFIG_EAL_ARGS_MAX = 128,
	CONFIG_PATH_MAX = 4096,
	CONFIG_DEVARGS_MAX = 1024,
	CONFIG_NAME_MAX = 32,
	CONFIG_INTERFACE_MAX = 16, /* IFNAMSIZ */
	CONFIG_MTU_OF_PORT = -1,
};

enum config_run_model { CONFIG_RUN_TO_COMPLETION = 0, CONFIG_PIPELINE = 1 };
enum config_idle { CONFIG_IDLE_ADAPTIVE = 0, CONFIG_IDLE_BUSY = 1 };

enum config_offload { CONFIG_OFFLOAD_AUTO = 0, CONFIG_OFFLOAD_OFF = 1 };

enum config_punt { CONFIG_PUNT_NONE = 0, CONFIG_PUNT_TAP = 1, CONFIG_PUNT_VIRTIO_USER = 2 };

struct config_port {
	char devargs[CONFIG_DEVARGS_MAX]; /* a virtual device (--vdev) or a PCI address (-a) */
	char kernel_interface[IF_NAMESIZE]; /* whose routes lead to this port; "" = the one that the driver sits on */
	uint8_t punt;                     /* enum config_punt */
	char punt_interface[CONFIG_INTERFACE_MAX]; /* "" when punt is NONE */
	uint8_t checksum_offload;         /* enum config_offload */
	int64_t vlan;                     /* id of the tag that packets leave with; 0 = none */
};

struct config {
	/* [director] */
	char name[CONFIG_NAME_MAX + 1]; /* [a-z0-9-]+ */
	char snapshot[CONFIG_PATH_MAX];
	char lists[CONFIG_PATH_MAX];
	char run_dir[CONFIG_PATH_MAX];
	/* [forward]; local_mac all zero = the port's own, gateway_mac all zero = next hops from the kernel */
	struct glb_director director;
	int64_t mtu;  /* bytes of IP on the way out; 0 = no limit, CONFIG_MTU_OF_PORT */
	int64_t idle; /* enum config_idle */
	int64_t echo_rate; /* echo requests that a worker answers a second */
	int64_t reject_rate; /* packets that a worker rejects a second */
	int64_t path_mtu_seconds; /* that what a router says of the way to a backend is believed; 0: never */
	int64_t oversize_rate; /* senders of packets that exceed the MTU that a worker tells so, a second */
	int64_t run_model; /* enum config_run_model */
	/* [eal] */
	char *eal_args[CONFIG_EAL_ARGS_MAX]; /* owned */
	unsigned eal_arg_count;
	int64_t workers;       /* 1..CONFIG_WORKERS_MAX; 0 = not given */
	int64_t main_lcore;    /* CPU; -1 = any */
	int64_t worker_lcores[CONFIG_WORKERS_MAX]; /* CPU of each worker */
	unsigned worker_lcore_count; /* 0 = any CPU; else equal to workers */
	int64_t receivers;     /* pipeline: 1..CONFIG_RECEIVERS_MAX; else 0 */
	int64_t receiver_lcores[CONFIG_RECEIVERS_MAX];
	unsigned receiver_lcore_count;
	int64_t senders;       /* pipeline: 0..CONFIG_SENDERS_MAX, at most workers, 0: workers send; else 0 */
	int64_t sender_lcores[CONFIG_SENDERS_MAX];
	unsigned sender_lcore_count;
	uint8_t receivers_send; /* pipeline: 1: each receiver's lcore is a sender's, too, of which there are as many */
	int64_t ring_size;     /* packets in a ring, power of two */
	int64_t mbuf_bytes;    /* room for a frame in one buffer; 0 = by MTU */
	int64_t mbufs;         /* buffers in the pool; 0 = as many as are useful and fit */
	/* [[port]] */
	struct config_port ports[CONFIG_PORTS_MAX];
	unsigned port_count;   /* 0: the ports that the EAL options bring */
	/* [flow_cache]; of each worker */
	int64_t flow_entries;       /* flows, at most GLB_FLOW_ENTRIES_MAX; 0 = no cache */
	int64_t flow_opening_s;     /* how long flows are remembered: glb/flow_cache.h */
	int64_t flow_established_s;
	int64_t flow_closing_s;
	int64_t flow_udp_s;
	/* [fragments]; of each worker */
	int64_t fragment_datagrams; /* whose first fragment has come; glb/fragments.h */
	int64_t fragment_waiting;   /* fragments that came before the first one */
	int64_t fragment_timeout_ms;
	int64_t fragment_wait_ms;
	struct glb_addr fragment_peers[GLB_PEERS_MAX]; /* directors, this one included */
	unsigned fragment_peer_count; /* 0: none */
	struct glb_peers peers;       /* made of these; director.peers, where there are any */
	/* [punt]; packets a second of each class, for each worker and port */
	int64_t punt_rate[GLB_PUNT_CLASSES];
	/* [stats] */
	int64_t service_slots;
	int64_t backend_slots;
};

/* Reads the TOML file at `path` and applies the `set_count` overrides ("forward.mtu=1600"; the value is TOML, or a
 * bare word taken as a string). `path` may be NULL when all comes from overrides. On success
 * *config owns memory until config_free(). Returns 0, or -EINVAL, -ENOENT, -EACCES with *error filled. */
int config_read(struct config *config, const char *path, char *const *sets, unsigned set_count,
		struct glb_error *error);

/* The same from a parsed document (borrowed). `origin` is named in errors. */
int config_from_json(struct config *config, const json_t *root, const char *origin, struct glb_error *error);

/* Queues that every port needs: one for each lcore that receives, one for each that sends. `workers` must be settled. */
static inline unsigned config_rx_queues(const struct config *config)
{
	return (unsigned)(config->run_model == CONFIG_PIPELINE ? config->receivers : config->workers);
}

static inline unsigned config_tx_queues(const struct config *config)
{
	return (unsigned)(config->senders != 0 ? config->senders : config->workers);
}

/* Lcores that have counters: workers, then receivers, then senders. */
static inline unsigned config_counted_lcores(const struct config *config)
{
	return (unsigned)(config->workers + config->receivers + config->senders);
}

/* Whether forward.gateway_mac is given. */
bool config_has_gateway(const struct config *config);

/* Whether fragments.peers goes with the number of workers, once that is known: 0, or -EINVAL with *error. */
int config_check_peers(const struct config *config, struct glb_error *error);

void config_free(struct config *config);

/* The tables of keys (config_value.h): of all sections but [[port]], and of each [[port]]. */
struct config_key;
const struct config_key *config_keys(unsigned *count);
const struct config_key *config_port_keys(unsigned *count);

#endif
