/* The VIP classifier of a snapshot, made from the services' binds; internal to libglb. */
#ifndef GLB_CORE_VIP_BUILD_H
#define GLB_CORE_VIP_BUILD_H

#include <glb/snapshot.h>

/* What compiling puts into the sections PREFIXES, VIPS, VIP_SLOTS and BINDS. */
struct glb_vip_build {
	struct glb_prefix_len *prefixes;
	struct glb_vip *vips;
	uint32_t *slots;
	struct glb_bind *binds;
	uint32_t prefix_count;
	uint32_t vip_count;
	uint32_t slot_count;
	uint32_t bind_count;
	uint32_t probe_max;
};

/* Builds the classifier of a configuration whose fields are already checked; order[i] is the index of configuration
 * service i in the snapshot. Returns 0, -EEXIST or -ENOMEM. Free with glb_vip_build_free(), also after an error. */
int glb_vip_build(const struct glb_config *config, const uint32_t *order, struct glb_vip_build *out,
		  struct glb_error *error);
void glb_vip_build_free(struct glb_vip_build *build);

#endif
