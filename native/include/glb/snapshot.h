/* A snapshot: one immutable file from which a director forwards.
 *
 * Compile turns a configuration (services, pools, backends with state and health)
 * into bytes; open validates every offset and index of such bytes, once, so that the packet
 * path may follow them unchecked. Equal configurations give equal bytes. The
 * format is little-endian, versioned, and specified in docs/wire/snapshot.md.
 *
 * Layout: header, then the sections in the order of enum glb_section_kind, each
 * starting at a multiple of 64 bytes, gaps zero.
 */
#ifndef GLB_SNAPSHOT_H
#define GLB_SNAPSHOT_H

#include "addr.h"
#include "table.h"

enum {
	GLB_SNAPSHOT_VERSION = 1,
	GLB_SNAPSHOT_ALIGN = 64,
	GLB_NAME_MAX = 63,          /* bytes of a name without the NUL */
	GLB_ID_NONE = 0,            /* ids of services and backends start at 1 */
};

enum glb_section_kind {
	GLB_SECTION_SERVICES = 0, /* struct glb_service, ascending by id */
	GLB_SECTION_BACKENDS,     /* struct glb_backend, the pools one after the other */
	GLB_SECTION_TABLES,       /* struct glb_table */
	GLB_SECTION_ROWS,         /* uint16_t, index of a backend in its pool */
	GLB_SECTION_PREFIXES,     /* struct glb_prefix_len: distinct (family, length), longest first in each family, v4 first */
	GLB_SECTION_VIPS,         /* struct glb_vip */
	GLB_SECTION_VIP_SLOTS,    /* uint32_t, power of two: VIP index + 1, 0 = empty; linear probing */
	GLB_SECTION_BINDS,        /* struct glb_bind */
	GLB_SECTION_STRINGS,      /* char: NUL-terminated names; offset 0 is "" */
	GLB_SECTION_UDP_TIMEOUTS, /* uint16_t, s: of each service, 0 = the director's own; none at all when no service has one */
	GLB_SECTION_QUIC,         /* struct glb_quic, ascending by (service, config_id) */
	GLB_SECTION_QUIC_SERVERS, /* struct glb_quic_server, of one configuration after the other, ascending by id */
	GLB_SECTION_PROTECTIONS,  /* struct glb_protection, ascending by service */
	GLB_SECTION_COUNT
};

struct glb_section {
	uint64_t offset; /* bytes from the start of the file, multiple of GLB_SNAPSHOT_ALIGN */
	uint64_t count;  /* elements */
};

struct glb_snapshot_header {
	uint8_t magic[8];      /* "GLBSNAP\n" */
	uint32_t version;      /* GLB_SNAPSHOT_VERSION */
	uint32_t header_bytes; /* sizeof(struct glb_snapshot_header) */
	uint64_t file_bytes;
	uint8_t digest[16];    /* XXH3-128, canonical form, of the whole file with this field zero */
	uint64_t revision;     /* of the desired state; 0 from offline tools */
	uint32_t vip_probe_max; /* longest probe sequence in GLB_SECTION_VIP_SLOTS, ≥ 1 */
	uint32_t pad;
	struct glb_section sections[13]; /* by enum glb_section_kind */
};
GLB_STATIC_ASSERT(sizeof(struct glb_snapshot_header) == 56 + 16 * GLB_SECTION_COUNT, "snapshot header")

enum glb_hash_field { /* bits; hashed in this order */
	GLB_HASH_SRC_ADDR = 1,
	GLB_HASH_DST_ADDR = 2,
	GLB_HASH_SRC_PORT = 4,
	GLB_HASH_DST_PORT = 8,
};

enum glb_encap_kind { /* docs/wire/encapsulations.md */
	GLB_ENCAP_GUE = 0,
	GLB_ENCAP_GRE,
	GLB_ENCAP_IPIP,
	GLB_ENCAP_IP6IP6,
	GLB_ENCAP_4IN6,
	GLB_ENCAP_6IN4,
	GLB_ENCAP_L2DSR,
	GLB_ENCAP_L3DSR,
	GLB_ENCAP_NAT,
	GLB_ENCAP_COUNT
};

enum glb_families { /* bits */
	GLB_FAMILIES_V4 = 1,
	GLB_FAMILIES_V6 = 2,
};

/* "gue", "gre" and so on, as in a service's `encapsulation`; "unknown" when out of range. Never freed. */
const char *glb_encap_name(unsigned encap);

enum glb_service_flag {
	GLB_SERVICE_KEEP_DUPLICATES = 1, /* policy glb: the alt row's hops are appended even when already in the chain */
	GLB_SERVICE_FLOW_CACHE = 2,      /* directors remember its flows (flow_cache.h) */
	GLB_SERVICE_GRE_KEY = 4,         /* encap gre: with a key, encap_value */
	GLB_SERVICE_FRAGMENTS = 8,       /* later fragments follow the first one (fragments.h) */
	GLB_SERVICE_QUIC = 16,           /* UDP packets go by connection id where a server chose it (quic.h); has entries in GLB_SECTION_QUIC */
	GLB_SERVICE_PROTECTED = 32,      /* has a struct glb_protection */
};

enum glb_oversize { /* what becomes of a packet that would exceed the egress MTU as sent: docs/mtu.md */
	GLB_OVERSIZE_ICMP = 0,     /* its sender is told the MTU */
	GLB_OVERSIZE_FRAGMENT = 1, /* it is sent in fragments where it is IPv4 and allows that, else as ICMP */
	GLB_OVERSIZE_DROP = 2,
};

struct glb_service {
	uint32_t id;              /* stable, ≥ 1 */
	uint32_t name;            /* offset into strings */
	uint8_t hash_key[16];
	uint8_t alt_hash_key[16];
	uint32_t table;           /* index into tables */
	uint32_t alt_table;       /* the same, for the alt look-up; equal to table where there is none */
	uint8_t hash_fields;      /* enum glb_hash_field bits, not 0 */
	uint8_t alt_hash_fields;  /* 0 = no second look-up; else the alt row's hops go behind the row's own */
	uint8_t encap;            /* enum glb_encap_kind */
	uint8_t flags;            /* enum glb_service_flag bits */
	uint8_t source_bits_v4;   /* leading bits of the source address that are hashed, 1..32; the rest count as zero */
	uint8_t source_bits_v6;   /* 1..128 */
	uint8_t alt_source_bits_v4; /* the same, for alt_hash_fields */
	uint8_t alt_source_bits_v6;
	uint32_t encap_value;     /* gre: the key; nat: the backend's port, 0 = the packet's own; else 0 */
	uint8_t tos;              /* of the outer header, or, with l3dsr, of the packet itself: DSCP << 2 */
	uint8_t tos_mask;         /* bits of the client's TOS that are kept in it: 0xfc DSCP, 0x03 ECN */
	uint8_t oversize;         /* enum glb_oversize */
	uint8_t pad[1];
};
GLB_STATIC_ASSERT(sizeof(struct glb_service) == 64, "one cache line")

struct glb_backend {
	uint32_t id;          /* stable, ≥ 1 */
	uint32_t name;        /* offset into strings */
	struct glb_addr addr;
	uint16_t weight;
	uint8_t state;        /* enum glb_state */
	uint8_t health;       /* enum glb_health */
};
GLB_STATIC_ASSERT(sizeof(struct glb_backend) == 32, "half a cache line")

struct glb_table {
	uint64_t row_base;      /* first uint16_t of row 0 in the rows section; a multiple of 32 */
	uint32_t rows;          /* power of two; maglev: a prime */
	uint32_t backend_base;  /* index of the pool's first backend in the backends section */
	uint32_t backend_count; /* of the pool; every hop is below it, or GLB_HOP_NONE */
	uint32_t pool_name;     /* offset into strings */
	uint16_t hops;          /* uint16_t per row, those of former states included; unused ones at the end are GLB_HOP_NONE */
	uint8_t policy;         /* enum glb_policy */
	uint8_t algorithm;      /* enum glb_algorithm */
	uint8_t families;       /* enum glb_families: that the pool's backends have */
	uint8_t pad[3];
};
GLB_STATIC_ASSERT(sizeof(struct glb_table) == 32, "half a cache line")

struct glb_prefix_len {
	uint8_t family; /* enum glb_family */
	uint8_t bits;   /* 0..32 or 0..128 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_prefix_len) == 2, "packed pair")

enum {
	GLB_PROTOCOL_OTHER = 0, /* of a bind in a snapshot */
	GLB_PROTOCOL_ANY = 0,   /* of a bind in a configuration */
};

enum glb_unmatched { /* what becomes of a packet to a VIP that no service takes */
	GLB_UNMATCHED_PUNT = 0,
	GLB_UNMATCHED_DROP = 1,
	GLB_UNMATCHED_REJECT = 2, /* TCP: reset; UDP: port unreachable; others: dropped */
};

/* A VIP prefix. Its binds already include those of every shorter prefix around
 * it, cut so that the most specific wins; so the longest matching VIP decides alone. */
struct glb_vip {
	struct glb_addr addr;  /* host bits zero */
	uint32_t bind_first;   /* index into binds */
	uint32_t bind_count;
	uint32_t echo_service; /* index of the service with the lowest id among those bound to exactly this prefix */
	uint8_t bits;          /* prefix length */
	uint8_t unmatched;     /* enum glb_unmatched */
	uint8_t follows;       /* 1: some service among its binds has GLB_SERVICE_FRAGMENTS */
	uint8_t pad[1];
};
GLB_STATIC_ASSERT(sizeof(struct glb_vip) == 36, "VIP entry")

/* Ports of a VIP that go to a service; of one VIP disjoint and ascending by (protocol, port_first). */
struct glb_bind {
	uint16_t port_first;
	uint16_t port_last; /* inclusive */
	uint8_t protocol;   /* GLB_IPPROTO_TCP or _UDP; GLB_PROTOCOL_OTHER: all others, of any port */
	uint8_t pad[3];
	uint32_t service;   /* index into services */
};
GLB_STATIC_ASSERT(sizeof(struct glb_bind) == 12, "bind entry")

enum {
	GLB_QUIC_CONFIGS_MAX = 7,    /* of a service: ids 0..6 */
	GLB_QUIC_SERVER_ID_MAX = 15, /* bytes; 1 at least */
	GLB_QUIC_NONCE_MIN = 4,      /* bytes; server id and nonce have at most 19 */
};

/* A configuration of QUIC-LB: how connection ids that begin with its id are read. */
struct glb_quic {
	uint8_t keys[176];     /* round keys of AES-128, the key itself first; plain: zero */
	uint32_t service;      /* index into services */
	uint32_t server_first; /* index into the servers; configurations' servers follow each other without gaps */
	uint32_t server_count;
	uint8_t config_id;     /* 0..6, the first three bits of a connection id */
	uint8_t server_id_len; /* bytes */
	uint8_t nonce_len;     /* bytes */
	uint8_t encrypted;     /* 0 or 1 */
};
GLB_STATIC_ASSERT(sizeof(struct glb_quic) == 192, "three cache lines")

struct glb_quic_server {
	uint8_t id[16];   /* server_id_len bytes, then zeros; unique in its configuration */
	uint32_t backend; /* index into backends, of the service's pool */
};
GLB_STATIC_ASSERT(sizeof(struct glb_quic_server) == 20, "QUIC server")

/* What each director lets through to a service; 0 for no limit and no list. docs/protection.md. */
struct glb_protection {
	uint32_t service;            /* index into services */
	uint32_t packets_per_second; /* up to GLB_LIMIT_MAX */
	uint32_t packets_burst;      /* at once; 0 where there is no limit */
	uint32_t flows_per_second;   /* new ones */
	uint32_t flows_burst;
	uint32_t block;              /* offset into strings: the source list whose addresses may not reach it */
	uint32_t allow;              /* the same: the list whose addresses alone may */
	uint32_t pad[1];
};
GLB_STATIC_ASSERT(sizeof(struct glb_protection) == 32, "half a cache line")

enum { GLB_LIMIT_MAX = 1000000000 };

/* ---- compile ---- */

/* A backend of the pool, as a former state of a service's rows had it. */
struct glb_member_config {
	uint32_t backend; /* position in the pool */
	uint16_t weight;
	uint8_t state;    /* enum glb_state */
	uint8_t pad;
};

/* A former state of a service's rows. Whom it puts into a row's chain stays appended to that chain, behind the own hops; backends
 * that are not listed have no part in it. Their health is that of the pool's entries. */
struct glb_prior_config {
	const struct glb_member_config *members;
	uint32_t member_count;
	uint8_t hops;      /* 1..GLB_HOPS_MAX, as in struct glb_table_config, which the rest must be fit for, too */
	uint8_t policy;
	uint8_t algorithm;
	uint8_t seed[16];
};

/* A former look-up of a service, while flows that began by it live on: the chain of their row by it is appended, too. */
struct glb_alt_config {
	uint32_t pool;          /* index into pools */
	uint32_t rows;
	uint8_t hash_fields;    /* enum glb_hash_field bits, not 0 */
	uint8_t source_bits_v4; /* as in struct glb_service_config */
	uint8_t source_bits_v6;
	uint8_t hash_key[16];
	const struct glb_prior_config *priors; /* its states, newest first */
	uint32_t prior_count;                  /* at least 1 */
};

struct glb_pool_config {
	const char *name;
	const struct glb_backend_config *backends;
	uint32_t backend_count;
};

/* One VIP prefix × protocol × port range of a service. */
struct glb_bind_config {
	struct glb_addr addr;
	uint8_t bits;       /* prefix length; host bits of addr are cleared */
	uint8_t protocol;   /* GLB_IPPROTO_TCP, _UDP, or GLB_PROTOCOL_ANY: both, and with all ports every other one, too */
	uint16_t port_first;
	uint16_t port_last; /* inclusive, ≥ port_first */
};

struct glb_quic_server_config {
	uint32_t backend; /* position in the service's pool */
	uint8_t id[15];   /* GLB_QUIC_SERVER_ID_MAX; server_id_len bytes */
};

/* A configuration of QUIC-LB (docs/quic.md). */
struct glb_quic_config {
	uint8_t config_id; /* 0..6 */
	uint8_t server_id_len;
	uint8_t nonce_len;
	uint8_t encrypted; /* 1: with `key` */
	uint8_t key[16];
	const struct glb_quic_server_config *servers;
	uint32_t server_count;
};

/* As struct glb_protection has it; not all of it 0. */
struct glb_protection_config {
	uint32_t packets_per_second;
	uint32_t packets_burst;
	uint32_t flows_per_second;
	uint32_t flows_burst;
	const char *block; /* name of a source list; NULL = none */
	const char *allow;
};

struct glb_service_config {
	const char *name;
	uint32_t id;              /* ≥ 1, unique */
	uint32_t pool;            /* index into the configuration's pools */
	uint32_t rows;            /* table size */
	uint8_t hops;
	uint8_t policy;           /* enum glb_policy */
	uint8_t algorithm;        /* enum glb_algorithm */
	uint8_t encap;            /* enum glb_encap_kind */
	uint8_t hash_fields;
	uint8_t alt_hash_fields;  /* 0 = none; uses the same key and table */
	uint8_t unmatched;        /* enum glb_unmatched; services of one VIP must agree */
	uint8_t source_bits_v4;   /* leading bits of the source address that are hashed, 1..32; 0 = all */
	uint8_t source_bits_v6;   /* 1..128; 0 = all */
	uint8_t flow_cache;       /* 1: directors remember its flows */
	uint16_t udp_timeout;     /* s that they remember those of UDP for, 1..GLB_FLOW_TIMEOUT_MAX; 0 = as the director has it */
	uint8_t fragments;        /* 1: later fragments follow the first one */
	uint8_t gre_keyed;        /* encap gre: 1 = with a key, encap_value */
	uint8_t tos;              /* as in struct glb_service */
	uint8_t tos_mask;
	uint8_t oversize;         /* enum glb_oversize */
	uint32_t encap_value;
	uint8_t hash_key[16];
	uint8_t seed[16];         /* of the row table; tables with equal pool, rows, hops, policy, algorithm and seed are stored once */
	const struct glb_bind_config *binds;
	uint32_t bind_count;
	const struct glb_prior_config *priors; /* former states of its rows, newest first; policy glb has none */
	uint32_t prior_count;
	const struct glb_alt_config *alt;      /* NULL = none; not together with alt_hash_fields */
	const struct glb_quic_config *quic;    /* ascending by config_id */
	uint32_t quic_count;                   /* 0: packets go by their flow's hash alone */
	const struct glb_protection_config *protection; /* NULL = none */
};

struct glb_config {
	uint64_t revision;
	const struct glb_pool_config *pools;
	uint32_t pool_count;
	const struct glb_service_config *services;
	uint32_t service_count;
	uint8_t threads; /* at most so many at once; 0: as many as there are CPUs for the process, up to 8. The bytes are the same */
	struct glb_table_cache *cache; /* tables of the last compilation, and then those of this one; NULL: none. The bytes are the same */
};

/* Bytes owned by libglb until glb_buffer_free(). */
struct glb_buffer {
	uint8_t *data;
	size_t len;
};

/* Compiles `config` into a snapshot. On success *out owns the bytes; on failure it is
 * empty and *error begins with the field's path, as in "services[2].binds[0].port_last: …". Returns 0, -EINVAL, -EEXIST
 * (two binds are exact duplicates, or a name, id or address occurs twice) or -ENOMEM.
 *
 * Where binds overlap, the longest prefix wins, then the narrowest port range, then the lower first port, then a named
 * protocol before any.
 * Inactive backends are in the backends section, since rows count positions in the pool, but in no chain unless a former
 * state put them there. Rows are as wide as the longest chain of their table, own hops at least. Any thread; a table of 65536
 * rows and 100 backends takes about 25 ms of CPU time, shared among its threads, and each former state as much again. */
int glb_snapshot_compile(const struct glb_config *config, struct glb_buffer *out, struct glb_error *error);

void glb_buffer_free(struct glb_buffer *buffer);

/* ---- open ---- */

/* A validated snapshot: pointers into bytes that the caller keeps alive and unchanged. */
struct glb_snapshot {
	const struct glb_snapshot_header *header;
	const struct glb_service *services;
	const struct glb_backend *backends;
	const struct glb_table *tables;
	const uint16_t *rows;
	const struct glb_prefix_len *prefixes;
	const struct glb_vip *vips;
	const uint32_t *vip_slots;
	const struct glb_bind *binds;
	const char *strings;
	const uint16_t *udp_timeouts; /* by index of the service; NULL: no service has one */
	const struct glb_quic *quics;
	const struct glb_quic_server *quic_servers;
	const struct glb_protection *protections;
	uint32_t protection_count;
	uint32_t service_count;
	uint32_t backend_count;
	uint32_t table_count;
	uint32_t prefix_count;
	uint32_t vip_count;
	uint32_t vip_slot_mask;
	uint32_t bind_count;
	uint32_t quic_count;
	uint32_t quic_server_count;
	uint32_t prefix_v4_count; /* the first so many prefixes are IPv4 */
};

/* Validates `len` bytes at `data` (8-byte aligned) and fills *snapshot. Returns 0, or, with *error saying what and
 * where: -EINVAL (truncated, wrong magic, an offset or index out of range, not canonical), -EPROTONOSUPPORT (another format
 * version), -EBADMSG (digest differs). Never reads outside [data, data + len). Any thread. */
int glb_snapshot_open(const void *data, size_t len, struct glb_snapshot *snapshot, struct glb_error *error);

/* ---- look up ---- */

enum { GLB_INDEX_NONE = 0xffffffff };

/* The longest VIP prefix around `addr`, as an index into vips, or GLB_INDEX_NONE. Any thread, no locks. */
uint32_t glb_snapshot_find_vip(const struct glb_snapshot *snapshot, const struct glb_addr *addr);

/* The service of `vip` for this protocol and destination port (host order; 0 for GLB_PROTOCOL_OTHER), or GLB_INDEX_NONE. */
uint32_t glb_snapshot_find_service(const struct glb_snapshot *snapshot, uint32_t vip, uint8_t protocol,
				   uint16_t port);

/* The protection of a service, by its index, or NULL. */
const struct glb_protection *glb_snapshot_protection(const struct glb_snapshot *snapshot, uint32_t service);

/* The hops of a row: an array of snapshot->tables[table].hops pool indices. `row` < tables[table].rows. */
const uint16_t *glb_snapshot_row(const struct glb_snapshot *snapshot, uint32_t table, uint32_t row);

/* ---- compare ---- */

/* A backend that is in some chains of a service in `before`, and not in the same rows' chains in `after`. */
struct glb_leaver {
	uint32_t service; /* id */
	uint32_t backend; /* id */
	uint32_t rows;    /* rows of the service that it leaves, those of the alt look-up included */
	uint32_t first;   /* of these, own rows in which it was the first hop */
};

/* Writes up to `capacity` leavers, ascending by (service, backend), and returns how many there are in all
 * (which may exceed capacity), or -ENOMEM. Services are matched by id, backends by address. When a
 * service's row index changed (hash fields, key or table size) without an alt look-up that covers the old one, all of its backends leave all of their
 * rows; a service that is gone counts the same. A backend leaves a row, too, when packets do not get to it any more: behind a hop
 * that is unhealthy, behind the first one without second chance (an
 * encapsulation other than GUE, or a service that takes no TCP), behind as many own hops as leave no room for the alt
 * row's. Any thread. */
int64_t glb_snapshot_leavers(const struct glb_snapshot *before, const struct glb_snapshot *after,
			     struct glb_leaver *out, size_t capacity);

#endif
