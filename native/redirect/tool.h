/* glb-redirect's user space: what its source files offer each other.
 *
 * Functions return an exit status (enum exit_status) when they speak to the user themselves, and 0 or -errno when
 * their caller does.
 */
#ifndef GLB_REDIRECT_TOOL_H
#define GLB_REDIRECT_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glb/snapshot.h>
#include "redirect.h"

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

enum {
	PATH_LEN = 512,
	NAME_LEN = 64,
	REWRITE_TEXT = 80,   /* "udp:65535=[", the longest address, "]:65535" and its NUL */
	SERVICE_TEXT = 128,
	PREFIX_TEXT = 52,    /* the longest IPv6 prefix and its NUL */
};

struct prefixes {
	struct glb_redirect_prefix *items; /* owned */
	uint32_t *roles;                   /* owned; GLB_REDIRECT_SOURCE and _PEER */
	size_t count;
};

/* What stands for a VIP on this host: an entry of the map `rewrites`. */
struct rewrite {
	struct glb_redirect_match match;
	struct glb_redirect_target target;
};

struct rewrites {
	struct rewrite *items; /* owned */
	size_t count;
};

/* How packets come in. */
enum mode {
	MODE_TC = 0,
	MODE_XDP,         /* in front of tc: native, or generic where the driver has none */
	MODE_XDP_GENERIC,
};

/* Where tc's programs are put. */
enum hook {
	HOOK_CLSACT = 0,
	HOOK_TCX,
	HOOK_AUTO, /* tcx where the kernel has it */
};

enum {
	XDP_FORWARD_AUTO = 255, /* options.xdp_forward: by the driver; else GLB_REDIRECT_XDP_* */
};

/* What holds for a service besides the default: an entry of the map `services`. */
struct service {
	struct glb_redirect_service_key key;
	struct glb_redirect_service service;
};

struct services {
	struct service *items; /* owned */
	size_t count;
};

/* A QUIC-LB configuration of a service: an entry of the map `quic`. */
struct quic {
	struct glb_redirect_quic_key key;
	struct glb_redirect_quic value;
	struct glb_quic how; /* user space reads encrypted ones, too */
};

struct quics {
	struct quic *items; /* owned */
	size_t count;
};

struct options {
	const char *device;     /* NULL: not given */
	const char *pin_dir;
	const char *name;       /* NULL: the device's */
	const char *action;     /* of `allow`: add, remove, list, watch; `nfqueue`: run, judge; `iptables`: print, install, remove */
	uint32_t queue;         /* of NFQUEUE */
	bool nft;               /* `iptables print`: in the words of nftables */
	uint32_t port;
	uint32_t last_hop_rate;
	uint32_t forward_rate;
	uint32_t gre_key;
	bool gre_has_key;
	uint8_t decap;          /* GLB_REDIRECT_DECAP_* */
	bool leaves_outer;      /* --deliver kernel */
	enum mode mode;
	enum hook hook;
	uint8_t xdp_forward;    /* GLB_REDIRECT_XDP_*, or XDP_FORWARD_AUTO */
	bool peer;              /* `allow add`: these are peers */
	const char *output;     /* `metrics`: a file; NULL: standard output. `nfqueue run`, `allow watch`: the status file; NULL: none */
	const char *file;       /* `allow watch`: the list; `nfqueue run`: the same, NULL: none */
	const char *quic;       /* `attach`, `nfqueue`: the file with QUIC-LB configurations; NULL: none */
	const char *secret;     /* `report`: the file with the key */
	bool json;
	bool connections;       /* `status`: those, and nothing else; `load`: their number */
	uint32_t seconds;       /* `events`: how long; 0: until a signal */
	bool force;             /* `detach`: although packets come in */
	bool help;
	struct prefixes prefixes;
	struct rewrites rewrites;
	struct services services;
	struct quics quics;
	bool given;             /* `load`: the number is there */
	uint32_t load;          /* of `load`: the number; its service is `action` */
};

/* main.c: tells the user what is wrong, after "glb-redirect: ". Returns EXIT_FAILED. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, followed by what `err` (-errno) means, and by what to do when it is a missing permission. */
int fail_errno(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* options.c: reads the arguments behind the command. Returns EXIT_DONE, or having said why EXIT_USAGE, or
 * EXIT_FAILED when a file that they name cannot be read. */
int options_read(struct options *options, const char *command, int argc, char **argv);

/* prefix.c: "10.0.0.0/8", "10.0.0.1" or "2001:db8::/32", host bits must be 0. parse returns 0 or -EINVAL. */
int address_parse(const char *text, uint8_t *family, uint8_t addr[16]);
void address_format(uint8_t family, const uint8_t addr[16], char text[PREFIX_TEXT]);
int prefix_parse(struct glb_redirect_prefix *prefix, const char *text);
void prefix_format(const struct glb_redirect_prefix *prefix, char text[PREFIX_TEXT]);
bool prefix_contains(const struct glb_redirect_prefix *prefix, uint8_t family, const uint8_t addr[16]);

/* connections.c: connections of one protocol, address and port of this host. */
struct tally {
	uint8_t protocol; /* IPPROTO_TCP, or _UDP: sockets that are connected */
	uint8_t family, addr[16];
	uint16_t port;
	uint64_t open;    /* the client may ask more, and be answered */
	uint64_t closing; /* this host is through, but the client has not heard all of it */
};

struct tallies {
	const struct prefixes *vips; /* only addresses in these */
	struct tally *items;         /* owned */
	size_t count;
};

/* Asks the kernel, at this moment, and adds what there is. 0, or -errno: -ENOENT where it lists no such sockets. The caller
 * frees `items`. */
int connections_count(struct tallies *found, uint8_t protocol);

/* instance.c: one attachment's pinned maps, in PIN_DIR/NAME. */
struct instance {
	char dir[PATH_LEN];
	char name[NAME_LEN];
	int config_fd; /* -1: no such pin */
	int counters_fd;
	int allow_fd;
	int rewrites_fd;
	int services_fd;
	struct glb_redirect_config config;
};

/* Opens the pins. 0, -ENOENT when there are none, or -errno. On 0 the caller closes. */
int instance_open(struct instance *instance, const char *pin_dir, const char *name);
void instance_close(struct instance *instance);
/* The id of a loaded program that uses the instance's maps; 0 when there is none. `preferred` wins. */
uint32_t instance_program(const struct instance *instance, uint32_t preferred);
/* The id of the program that runs on the instance's interface, which may be in another namespace; 0: none. */
uint32_t instance_running(const struct instance *instance);
/* Does a loaded program use the instance's maps? */
bool instance_uses(const struct instance *instance, uint32_t program_id);
/* The ring buffer of its events, for the caller to close, or -errno. */
int instance_events(const struct instance *instance);
/* Tells libbpf to take the maps of `object` from the instance's pins, or to pin them there. 0 or -errno. */
struct bpf_object;
int instance_set_pins(struct bpf_object *object, const char *pin_dir, const char *name);
/* Removes the pins and their directory. 0, also when there are none, or -errno. */
int instance_remove(const char *pin_dir, const char *name);
/* Makes the instance's directory. EXIT_DONE, or EXIT_FAILED having said why (bpffs is not mounted, and how to). */
int instance_prepare(const char *pin_dir, const char *name);
/* Finds the instance that options name: by --name, by device, or the only one in the pin directory. Opens it;
 * EXIT_DONE, or EXIT_FAILED having said why. */
int instance_find(struct instance *instance, const struct options *options);
/* Calls `visit` for each instance in the pin directory, until it returns other than EXIT_DONE. */
int instance_each(const char *pin_dir, int (*visit)(struct instance *instance, void *context), void *context);

/* filter.c: our filters on a device in this network namespace. 0 or -errno. */
int filter_query(int ifindex, uint32_t *program_id); /* of the ingress, by tcx or clsact; -ENOENT: none */
uint32_t filter_egress(int ifindex);                 /* of clsact; 0: none */
int filter_attach(int ifindex, int program_fd);      /* on the ingress; replaces ours atomically */
int filter_attach_egress(int ifindex, int program_fd);
int filter_detach_egress(int ifindex);               /* 0, too, when there is none */
int filter_detach(int ifindex);                      /* both, and the clsact qdisc, once nothing is left on it; 0, too, without */

/* tcx.c: our links on a device, pinned in the instance's directory `dir`. 0 or -errno. */
int tcx_attach(const char *dir, int ifindex, bool egress, int program_fd); /* replaces ours atomically; -EINVAL: this kernel has no tcx */
int tcx_detach(const char *dir, bool egress);       /* 0, too, when there is none */
uint32_t tcx_program(const char *dir, bool egress); /* 0: none */
void tcx_forget_dead(const char *dir);              /* links whose device is gone hold nothing but their program: lets go of them */
int tcx_query(int ifindex, uint32_t *program_id);   /* of the ingress; -ENOENT: none */

/* xdp.c: our XDP program on the instance's interface, in this network namespace. */
struct xdp_state {
	uint32_t program_id; /* 0: none of ours */
	bool native;
};
struct xdp_state xdp_query(const struct instance *instance);
/* Replaces ours; -EBUSY when there is another's. `wanted` is not MODE_TC. 0 or -errno. */
int xdp_attach(const struct instance *instance, const char *pin_dir, enum mode wanted);
int xdp_detach(const struct instance *instance); /* 0, too, when there is none */

/* probe.c: what the programs of a way in need of the kernel. */
enum way_in {
	WAY_TC = 1,
	WAY_XDP = 2,
};
enum { PROBE_TEXT = 128 };
/* 0: all of it is there. -ENOTSUP: `missing` says what is not ("no bpf_… for tc programs (…)"). -EPERM: one may not ask. */
int probe(enum way_in way, char missing[PROBE_TEXT]);

/* counters.c: what `counters` of redirect.h are called, and what becomes of such packets. */
struct reason {
	const char *name, *text;
};
extern const struct reason reasons[GLB_REDIRECT_REASON_COUNT];
/* Reads the map, summed over the CPUs. 0 or -errno. */
int counters_read(int fd, uint64_t counters[GLB_REDIRECT_REASON_COUNT]);
/* Packets that were not dropped: delivered, sent on, or replies of NAT. */
uint64_t counters_good(const uint64_t counters[GLB_REDIRECT_REASON_COUNT]);

/* machine.c: what `doctor` asks of the kernel, in this network namespace. */
/* A number from a file whose path has one %s; -1 when there is none. */
long machine_sysctl(const char *format, const char *device) __attribute__((format(printf, 1, 0)));
/* net.ipv4.conf: the larger of `all` and the device's, which counts; -1 when there is none. */
long machine_conf(const char *name, const char *device);
/* 0 or -errno. */
int machine_link(const char *device, unsigned *mtu, bool *up);
/* Copies the name of the device's driver; "" when it has none. */
void machine_driver(const char *device, char name[32]);
/* The MAC of an Ethernet device. 0 or -errno. */
int machine_mac(const char *device, uint8_t mac[6]);
/* By ethtool's name; false, too, when the device does not know it. */
bool machine_feature(const char *device, const char *name);
bool machine_udp_bound(uint32_t port);
/* `family` is GLB_REDIRECT_V4 or _V6. */
bool machine_has_address(uint8_t family, const uint8_t addr[16]);
/* Appends the addresses that lo has besides its own, where VIPs are. 0 or -errno. */
int machine_lo_addresses(struct prefixes *found);
struct default_route {
	bool there;
	uint32_t advmss; /* the largest of several; 0: one has none */
};
/* Of AF_INET or AF_INET6, by the interface. */
struct default_route machine_default_route(int family, int ifindex);

/* connections.c: prints the connections of VIPs. An exit status. */
int show_connections(const struct options *options);

/* loader.c, status.c, metrics.c, doctor.c, allow.c, load.c, nfqueue.c, rule.c, probe.c: the commands. */
int command_attach(const struct options *options);
int command_detach(const struct options *options);
int command_report(const struct options *options);
int command_doctor(const struct options *options);
int command_features(const struct options *options);
int command_metrics(const struct options *options);
int command_status(const struct options *options);
int command_allow(const struct options *options);
int command_load(const struct options *options);
int command_events(const struct options *options);
int command_nfqueue(const struct options *options);
int command_iptables(const struct options *options);

/* allow.c: adds prefixes to an allow map, keeping roles that they have. 0 or -errno. */
int allow_add(int fd, const struct prefixes *prefixes);
/* Reads an allow map, sorted by address. 0 or -errno; prefixes_free when done. */
int allow_read(int fd, struct prefixes *prefixes);
void prefixes_free(struct prefixes *prefixes);
/* Appends one. 0 or -ENOMEM. */
int prefixes_push(struct prefixes *prefixes, const struct glb_redirect_prefix *prefix, uint32_t roles);

/* Of a sorted list: put one where it belongs, adding roles when it is there, and is it there? */
int prefixes_insert(struct prefixes *prefixes, const struct glb_redirect_prefix *prefix, uint32_t roles); /* 0 or -ENOMEM */
bool prefixes_have(const struct prefixes *prefixes, const struct glb_redirect_prefix *prefix);

/* services.c: "tcp:203.0.113.10:80=queue<32", "udp:[2001:db8::10]:53=connected". parse returns 0 or -EINVAL. */
int service_parse(struct service *service, const char *text);
int service_parse_key(struct glb_redirect_service_key *key, char *text); /* what is before "="; changes the text */
void service_format(const struct service *service, char text[SERVICE_TEXT]);
struct service *services_find(const struct services *services, const struct glb_redirect_service_key *key);
int services_push(struct services *services, const struct service *service); /* 0 or -ENOMEM */
void services_free(struct services *services);
/* Reads a map, sorted; makes a map hold these and no others. 0 or -errno. */
int services_read(int fd, struct services *services);
int services_become(int fd, const struct services *wanted);

/* quic.c: reads a file as `glb get quic POOL/BACKEND -o json` prints it, and makes the services that it names QUIC's. EXIT_DONE, or EXIT_FAILED
 * having said why. */
int quics_load(struct quics *quics, struct services *services, const char *path);
const struct quic *quics_find(const struct quics *quics, const struct glb_redirect_quic_key *key);
void quics_free(struct quics *quics);
/* Has one that is encrypted, which eBPF cannot read? */
bool quics_encrypted(const struct quics *quics);
/* Makes a map hold these and no others. 0 or -errno. */
int quics_become(int fd, const struct quics *wanted);

/* rewrite.c: "7=203.0.113.10" and "tcp:8080=203.0.113.10:80", IPv6 in brackets where a port follows; without one it is the
 * same. parse returns 0 or -EINVAL. */
int rewrite_parse_l3dsr(struct rewrite *rewrite, const char *text);
int rewrite_parse_nat(struct rewrite *rewrite, const char *text);
void rewrite_format(const struct rewrite *rewrite, char text[REWRITE_TEXT]);
bool rewrites_contain(const struct rewrites *rewrites, const struct glb_redirect_match *match);
/* Appends one. 0 or -ENOMEM. */
int rewrites_push(struct rewrites *rewrites, const struct rewrite *rewrite);
void rewrites_free(struct rewrites *rewrites);
/* Reads a map, sorted; makes a map hold these and no others, new ones first. 0 or -errno. */
int rewrites_read(int fd, struct rewrites *rewrites);
int rewrites_become(int fd, const struct rewrites *wanted);

#endif
