/* The counter file of this instance: made, mapped, removed. Its layout is glb/stats.h. */
#ifndef FORWARDER_STATS_FILE_H
#define FORWARDER_STATS_FILE_H

#include <glb/stats.h>

struct stats_file {
	struct glb_stats_header *header; /* the mapping; NULL when not open */
	char path[4096];
};

/* Makes <run_dir>/stats, in place of one that a crashed forwarder left. Returns 0 or -errno with *error. */
int stats_file_open(struct stats_file *file, const char *run_dir, uint32_t workers, uint32_t service_slots,
		    uint32_t backend_slots, struct glb_error *error);

/* Gives the file the name that it has in `run_dir`, in place of one that is there. Returns 0 or -errno with *error. */
int stats_file_move(struct stats_file *file, const char *run_dir, struct glb_error *error);

/* The file's name belongs to somebody else now: stats_file_close() leaves it. */
void stats_file_forget(struct stats_file *file);

/* Removes the file and the mapping; nobody may write any more. */
void stats_file_close(struct stats_file *file);

/* Worker `index`'s block, and the traffic words behind it. Only that worker writes them. */
struct glb_worker_stats *stats_file_worker(const struct stats_file *file, uint32_t index);
struct glb_traffic *stats_file_services(const struct stats_file *file, uint32_t index);
struct glb_traffic *stats_file_backends(const struct stats_file *file, uint32_t index);
struct glb_refused *stats_file_refused(const struct stats_file *file, uint32_t index);

/* The ids of the slots, which the main lcore writes. */
uint32_t *stats_file_service_ids(const struct stats_file *file);
uint32_t *stats_file_backend_ids(const struct stats_file *file);

#endif
