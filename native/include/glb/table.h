/* Row tables: which backends serve a row, in which order.
 *
 * With rendezvous, a row's order is GLB's (docs/wire/hashing.md), and the policy turns the order and the backends' states into
 * the row's chain. With maglev, a row has the backend that the population gives it. Deterministic: equal input gives equal bytes.
 */
#ifndef GLB_TABLE_H
#define GLB_TABLE_H

#include "addr.h"

enum {
	GLB_TABLE_ROWS_MIN = 1 << 8,
	GLB_TABLE_ROWS_MAX = 1 << 20,
	GLB_TABLE_ROWS_DEFAULT = 1 << 16,
	GLB_MAGLEV_ROWS_MIN = 251,       /* maglev: a prime from here to GLB_TABLE_ROWS_MAX */
	GLB_MAGLEV_ROWS_DEFAULT = 65537,
	GLB_POOL_BACKENDS_MAX = 65534,
	GLB_HOP_NONE = 0xffff, /* no (further) hop in a row */
};

enum glb_state { /* wanted by the operator */
	GLB_STATE_ACTIVE = 0,
	GLB_STATE_FILLING = 1,
	GLB_STATE_DRAINING = 2,
	GLB_STATE_INACTIVE = 3,
};

enum glb_health { /* observed */
	GLB_HEALTH_UNKNOWN = 0, /* counts as healthy */
	GLB_HEALTH_HEALTHY = 1,
	GLB_HEALTH_UNHEALTHY = 2,
};

enum glb_algorithm {
	GLB_ALGORITHM_RENDEZVOUS = 0,
	GLB_ALGORITHM_MAGLEV = 1,
};

enum glb_policy {
	GLB_POLICY_ORDERED = 0, /* architecture: "Chains: what is promised, and how" */
	GLB_POLICY_GLB = 1,     /* GLB's swap rule, two hops exactly */
};

/* A backend as the table compiler sees it. */
struct glb_backend_config {
	const char *name;     /* NUL-terminated, at most 63 bytes; borrowed for the call */
	uint32_t id;          /* stable, never reused; unique in a snapshot */
	uint16_t weight;      /* 0..65535; its share of first hops; 0: never first while another is available, like a draining one */
	uint8_t state;        /* enum glb_state */
	uint8_t health;       /* enum glb_health */
	struct glb_addr addr; /* unique in its pool */
};

/* Tables kept from one compilation to the next, with the backends that they were made of, so that after a change only rows that can
 * differ are made anew, and none where nothing changed. Holds the tables of the last compilation: as much memory as their rows.
 * One thread at a time. */
struct glb_table_cache;

struct glb_table_cache *glb_table_cache_new(void); /* NULL: out of memory */
void glb_table_cache_free(struct glb_table_cache *cache); /* NULL is fine */

struct glb_table_config {
	const struct glb_backend_config *backends; /* borrowed; position = index in rows */
	uint32_t backend_count;                    /* 0..GLB_POOL_BACKENDS_MAX */
	uint32_t rows;                             /* power of two, GLB_TABLE_ROWS_MIN.._MAX; maglev: a prime */
	uint8_t hops;                              /* 1..GLB_HOPS_MAX; policy glb: 2; maglev: 1 or 2 */
	uint8_t policy;                            /* enum glb_policy */
	uint8_t algorithm;                         /* enum glb_algorithm */
	uint8_t threads;                           /* at most so many at once; 0: as many as there are CPUs for the process, up to 8 */
	uint8_t seed[16];
	struct glb_table_cache *cache;             /* NULL: none. The rows are the same with it */
};

/* Fills `rows_out[config->rows * config->hops]` with backend indices, GLB_HOP_NONE
 * where a chain is shorter. Returns 0, -EINVAL (error says which field) or -ENOMEM.
 * Allocates scratch memory of its own and frees it, and has threads of its own where that is worth it (rendezvous): they have ended when
 * it returns. The rows do not depend on the number of threads. Any thread; not for the packet path. */
int glb_table_build(const struct glb_table_config *config, uint16_t *rows_out, struct glb_error *error);

/* A backend in a Maglev population. */
struct glb_maglev_backend {
	uint32_t offset; /* row of its first choice, below the number of rows */
	uint32_t skip;   /* from one choice to the next, 1..rows - 1 */
	uint16_t weight; /* at least 1 */
};

/* Maglev's population (section 3.4 of the paper) with weights, as katran's second variant: in each turn a backend's account
 * grows by its weight, and at the largest weight it pays for the next free row of its own permutation. Fills `out[rows]` with
 * indices into `backends`, at most GLB_POOL_BACKENDS_MAX; GLB_HOP_NONE where there are none. `rows` is a prime. Returns 0 or -ENOMEM.
 * Any thread; about rows × log(rows) steps, and as many of a heap where weights differ. */
int glb_maglev_populate(const struct glb_maglev_backend *backends, uint32_t count, uint32_t rows, uint16_t *out);

#endif
