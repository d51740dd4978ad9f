/* QUIC-LB configurations of services, on their way into a snapshot, and checked in one; internal to libglb. */
#ifndef GLB_CORE_QUIC_CONFIG_H
#define GLB_CORE_QUIC_CONFIG_H

#include <glb/snapshot.h>

/* Checks those of services[s], whose pool exists. Returns 0, or -EINVAL with the field's path. */
int quic_config_check(const struct glb_config *config, uint32_t s, struct glb_error *error);

/* Adds up the elements that the two sections get for a service. */
void quic_config_count(const struct glb_service_config *service, uint64_t *configs, uint64_t *servers);

/* Where the two sections are written to, and how much has been. */
struct quic_writer {
	struct glb_quic *quics;
	struct glb_quic_server *servers;
	uint32_t quic_count, server_count;
};

/* Writes those of a service, which has this index in the snapshot; its pool's backends begin at `backend_base`. Services come in ascending order. */
void quic_config_put(const struct glb_service_config *service, uint32_t index, uint32_t backend_base, struct quic_writer *writer);

/* Validates both sections of a snapshot, whose services, backends and tables have been. Returns 0 or -EINVAL. */
int quic_snapshot_check(const struct glb_snapshot *snapshot, struct glb_error *error);

#endif
