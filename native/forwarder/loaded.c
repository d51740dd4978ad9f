/* Snapshot files into memory (loaded.h). */
#include "loaded.h"
#include "file.h"
#include "lists.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FILE_MAX ((off_t)16 << 30) /* bytes of a snapshot */

static void set_local_mac(uint8_t mac[6], const struct glb_director *director, const struct port *port)
{
	static const uint8_t none[6];

	memcpy(mac, memcmp(director->local_mac, none, sizeof(none)) != 0 ? director->local_mac : port->mac, 6);
}

/* One path for each port that packets come in on. */
static int join(struct loaded *loaded, const struct glb_director *director, const struct ports *ports,
		const struct glb_snapshot *snapshot, struct glb_error *error)
{
	struct glb_egress egress[CONFIG_PORTS_MAX] = {0};
	int ret = 0;

	for (unsigned i = 0; i < ports->count; i++) {
		egress[i].mtu = ports->port[i].mtu;
		egress[i].offloads = ports->port[i].offloads;
		egress[i].vlan = ports->port[i].vlan;
		set_local_mac(egress[i].mac, director, &ports->port[i]);
	}
	for (unsigned i = 0; i < ports->count && ret == 0; i++) {
		struct glb_director own = *director;

		own.port = (uint8_t)i;
		own.mtu = egress[i].mtu;
		memcpy(own.local_mac, egress[i].mac, sizeof(own.local_mac));
		ret = glb_path_init(&loaded->paths[i], snapshot, &own, error);
		if (ret == 0)
			glb_path_route(&loaded->paths[i], loaded->next_hops, egress, ports->count);
		loaded->paths[i].service_slots = loaded->service_slot;
		loaded->paths[i].mtus = snapshot != NULL ? &loaded->mtus : NULL;
		loaded->paths[i].filters = &loaded->filter;
		if (loaded->id_slots != NULL)
			loaded->paths[i].backend_ids = &loaded->backend_ids;
	}
	if (ret != 0)
		return ret;
	glb_fast_free(&loaded->fast);
	return glb_fast_make(&loaded->fast, &loaded->paths[0], ports->count, error);
}

int loaded_ports_changed(struct loaded *loaded, const struct glb_director *director, const struct ports *ports,
			 struct glb_error *error)
{
	return join(loaded, director, ports, loaded->snapshot.header != NULL ? &loaded->snapshot : NULL, error);
}

static int make_arrays(struct loaded *loaded, bool gateway, struct glb_error *error)
{
	loaded->service_slot = calloc(loaded->snapshot.service_count + 1, sizeof(uint32_t));
	loaded->backend_slot = calloc(loaded->snapshot.backend_count + 1, sizeof(uint32_t));
	loaded->mtus.backends = calloc(loaded->snapshot.backend_count + 1, sizeof(uint32_t));
	loaded->mtus.tables = calloc(loaded->snapshot.table_count + 1, sizeof(uint32_t));
	if (!gateway)
		loaded->next_hops = calloc(loaded->snapshot.backend_count + 1, sizeof(uint64_t));
	if (loaded->service_slot == NULL || loaded->backend_slot == NULL || (!gateway && loaded->next_hops == NULL) ||
	    loaded->mtus.backends == NULL || loaded->mtus.tables == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory");
	glb_path_mtus_clear(&loaded->mtus, &loaded->snapshot);
	return 0;
}

/* For services with flow_cache, or that follow fragments: where a backend that was remembered is in this snapshot. */
static int make_backend_ids(struct loaded *loaded, struct glb_error *error)
{
	uint8_t flags = 0;

	for (uint32_t i = 0; i < loaded->snapshot.service_count; i++)
		flags |= loaded->snapshot.services[i].flags;
	loaded->remembers = (flags & GLB_SERVICE_FLOW_CACHE) != 0;
	if ((flags & (GLB_SERVICE_FLOW_CACHE | GLB_SERVICE_FRAGMENTS)) == 0)
		return 0;
	loaded->id_slots = calloc(glb_backend_ids_slots(&loaded->snapshot), sizeof(uint32_t));
	if (loaded->id_slots == NULL)
		return glb_error_set(error, -ENOMEM, "out of memory");
	glb_backend_ids_init(&loaded->backend_ids, &loaded->snapshot, loaded->id_slots);
	return 0;
}

struct loaded *loaded_read(const char *path, const struct config *config, const struct ports *ports,
			   struct glb_error *error)
{
	struct loaded *loaded = calloc(1, sizeof(*loaded));
	size_t len = 0;
	int ret = 0;

	if (loaded == NULL) {
		glb_error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	if (path != NULL) {
		ret = file_read(path, FILE_MAX, "a snapshot", &loaded->bytes, &len, &loaded->map_len, error);
		if (ret == 0)
			ret = glb_snapshot_open(loaded->bytes, len, &loaded->snapshot, error);
		if (ret == 0) {
			snprintf(loaded->path, sizeof(loaded->path), "%s", path);
			ret = make_arrays(loaded, config_has_gateway(config), error);
		}
		if (ret == 0)
			ret = make_backend_ids(loaded, error);
	}
	if (ret == 0)
		ret = join(loaded, &config->director, ports, path != NULL ? &loaded->snapshot : NULL, error);
	if (ret == 0)
		return loaded;
	loaded_free(loaded);
	return NULL;
}

void loaded_free(struct loaded *loaded)
{
	if (loaded == NULL)
		return;
	if (loaded->bytes != NULL)
		munmap(loaded->bytes, loaded->map_len);
	filters_free(loaded->filters);
	glb_fast_free(&loaded->fast);
	free(loaded->service_slot);
	free(loaded->backend_slot);
	free(loaded->next_hops);
	free(loaded->mtus.backends);
	free(loaded->mtus.tables);
	free(loaded->id_slots);
	free(loaded);
}
