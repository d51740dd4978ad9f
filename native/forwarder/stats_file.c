/* The counter file (stats_file.h). Written under another name and renamed, so that a reader sees a whole one. */
#include "stats_file.h"

#include <rte_cycles.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void fill_header(struct glb_stats_header *header, const struct glb_stats_header *layout)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*header = *layout;
	header->pid = (uint64_t)getpid();
	header->tsc_hz = rte_get_tsc_hz();
	header->start_time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy(header->magic, "GLBSTAT\n", sizeof(header->magic));
}

int stats_file_open(struct stats_file *file, const char *run_dir, uint32_t workers, uint32_t service_slots,
		    uint32_t backend_slots, struct glb_error *error)
{
	struct glb_stats_header layout;
	char fresh[sizeof(file->path) + 8];
	void *map = MAP_FAILED;
	int fd, ret = 0;

	glb_stats_layout(&layout, workers, service_slots, backend_slots);
	snprintf(file->path, sizeof(file->path), "%s/stats", run_dir);
	snprintf(fresh, sizeof(fresh), "%s.new", file->path);
	unlink(fresh);
	fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	/* posix_fallocate: a full tmpfs must fail here, not as SIGBUS in a worker */
	if (fd < 0 || fchmod(fd, 0644) != 0)
		ret = errno;
	else
		ret = posix_fallocate(fd, 0, (off_t)layout.file_bytes);
	if (ret == 0) {
		map = mmap(NULL, layout.file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
		if (map == MAP_FAILED)
			ret = errno;
	}
	if (ret == 0) {
		fill_header(map, &layout);
		if (rename(fresh, file->path) != 0) {
			ret = errno;
			munmap(map, layout.file_bytes);
		}
	}
	if (fd >= 0)
		close(fd);
	if (ret != 0) {
		unlink(fresh);
		return glb_error_set(error, -ret, "counter file %s: %s", file->path, strerror(ret));
	}
	file->header = map;
	return 0;
}

void stats_file_close(struct stats_file *file)
{
	if (file->header == NULL)
		return;
	if (file->path[0] != '\0')
		unlink(file->path);
	munmap(file->header, file->header->file_bytes);
	file->header = NULL;
}

int stats_file_move(struct stats_file *file, const char *run_dir, struct glb_error *error)
{
	char path[sizeof(file->path)];

	snprintf(path, sizeof(path), "%s/stats", run_dir);
	if (rename(file->path, path) != 0)
		return glb_error_set(error, -errno, "counter file %s: %s", path, strerror(errno));
	memcpy(file->path, path, sizeof(path));
	return 0;
}

void stats_file_forget(struct stats_file *file)
{
	file->path[0] = '\0';
}

static void *at(const struct stats_file *file, uint64_t offset)
{
	return (uint8_t *)file->header + offset;
}

struct glb_worker_stats *stats_file_worker(const struct stats_file *file, uint32_t index)
{
	return at(file, file->header->workers + index * file->header->worker_bytes);
}

struct glb_traffic *stats_file_services(const struct stats_file *file, uint32_t index)
{
	return (struct glb_traffic *)(void *)(stats_file_worker(file, index) + 1);
}

struct glb_traffic *stats_file_backends(const struct stats_file *file, uint32_t index)
{
	return stats_file_services(file, index) + file->header->service_slots;
}

struct glb_refused *stats_file_refused(const struct stats_file *file, uint32_t index)
{
	return (struct glb_refused *)(void *)(stats_file_backends(file, index) + file->header->backend_slots);
}

uint32_t *stats_file_service_ids(const struct stats_file *file)
{
	return at(file, file->header->service_ids);
}

uint32_t *stats_file_backend_ids(const struct stats_file *file)
{
	return at(file, file->header->backend_ids);
}
