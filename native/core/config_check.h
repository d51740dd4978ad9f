/* Checks of a configuration before it is compiled; internal to libglb. */
#ifndef GLB_CORE_CONFIG_CHECK_H
#define GLB_CORE_CONFIG_CHECK_H

#include <glb/snapshot.h>

/* Checks every field and that names, ids and addresses occur once. Tables and binds that clash are found where
 * they are built. Returns 0, -EINVAL, -EEXIST or -ENOMEM; *error begins with the field's path, for example
 * "services[2].binds[0].port_last: …". */
int glb_config_check(const struct glb_config *config, struct glb_error *error);

/* Checks what a row table is built from; `where` goes in front of the field's name. 0 or -EINVAL. */
int glb_table_check_shape(const char *where, uint32_t rows, unsigned hops, unsigned policy, unsigned algorithm,
			  struct glb_error *error);
int glb_table_check_backends(const char *where, const struct glb_backend_config *backends, uint32_t count,
			     struct glb_error *error);

#endif
