/* Services' protections in a configuration and in a snapshot: whether they are as they must be. */
#ifndef GLB_CORE_PROTECTION_H
#define GLB_CORE_PROTECTION_H

#include <glb/snapshot.h>

/* Of service s of a configuration. Returns 0, or -EINVAL with *error. */
int protection_config_check(const struct glb_protection_config *protection, uint32_t s, struct glb_error *error);

/* Bytes that the names of its lists take among the strings. `config` may be NULL. */
uint64_t protection_string_bytes(const struct glb_protection_config *config);

/* What goes into the snapshot for the service that has index `service` there; `block` and `allow` are where the lists' names are among the
 * strings, 0 for none. */
struct glb_protection protection_make(const struct glb_protection_config *config, uint32_t service, uint32_t block, uint32_t allow);

/* The snapshot's: each belongs to a service that has the flag, ascending, and each of these has one. Returns 0, or -EINVAL. */
int protection_check(const struct glb_snapshot *snapshot, struct glb_error *error);

#endif
