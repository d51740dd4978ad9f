/* The capture's file, its match, and writing records (capture.h). No DPDK. */
#include "capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct capture {
	struct capture_filter filter;
	struct glb_capture_header *header; /* the mapping; the reader may write to it, so that nothing in it is trusted */
	size_t record_bytes;
	size_t ring_bytes;
	size_t bytes;
	char path[4096];
	struct {
		uint64_t head; /* the worker's own count */
		uint64_t missed;
		uint32_t filled; /* bytes of the record in hand: the reader may write to that itself */
		uint32_t pad[11];
	} own[]; /* by ring */
};

static struct glb_capture_ring *ring_at(const struct capture *capture, unsigned index)
{
	return (void *)((uint8_t *)capture->header + sizeof(struct glb_capture_header) + index * capture->ring_bytes);
}

static int map_file(struct capture *capture)
{
	int ret, fd;
	void *map;

	unlink(capture->path);
	fd = open(capture->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = -posix_fallocate(fd, 0, (off_t)capture->bytes); /* a full tmpfs must fail here, not as SIGBUS in a worker */
	if (ret == 0) {
		map = mmap(NULL, capture->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
		if (map == MAP_FAILED)
			ret = -errno;
		else
			capture->header = map;
	}
	close(fd);
	if (ret != 0)
		unlink(capture->path);
	return ret;
}

struct capture *capture_create(const char *path, unsigned workers, const struct capture_filter *filter,
			       struct glb_error *error)
{
	struct capture *capture = calloc(1, sizeof(*capture) + workers * sizeof(capture->own[0]));
	int ret;

	if (capture == NULL) {
		glb_error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	capture->filter = *filter;
	capture->record_bytes = (sizeof(struct glb_capture_record) + filter->snaplen + 7) / 8 * 8;
	capture->ring_bytes = sizeof(struct glb_capture_ring) + GLB_CAPTURE_SLOTS * capture->record_bytes;
	capture->bytes = sizeof(struct glb_capture_header) + workers * capture->ring_bytes;
	snprintf(capture->path, sizeof(capture->path), "%s", path);
	ret = map_file(capture);
	if (ret != 0) {
		glb_error_set(error, ret, "%.100s: %s", path, strerror(-ret));
		free(capture);
		return NULL;
	}
	*capture->header = (struct glb_capture_header){
		.magic = "GLBCAPT", .version = GLB_CAPTURE_VERSION, .rings = workers, .slots = GLB_CAPTURE_SLOTS,
		.record_bytes = (uint32_t)capture->record_bytes, .first_ring = sizeof(struct glb_capture_header),
		.ring_bytes = capture->ring_bytes, .file_bytes = capture->bytes,
	};
	capture->header->magic[7] = '\n';
	return capture;
}

void capture_free(struct capture *capture)
{
	if (capture == NULL)
		return;
	munmap(capture->header, capture->bytes);
	unlink(capture->path);
	free(capture);
}

void capture_prepare(struct glb_packet *packets, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		packets[i].service = GLB_INDEX_NONE;
		packets[i].src.family = GLB_FAMILY_NONE;
		packets[i].chain_len = 0;
	}
}

static bool in_prefix(const struct glb_addr *addr, const struct glb_addr *prefix, unsigned bits)
{
	if (addr->family != prefix->family)
		return false;
	for (unsigned i = 0; i < bits; i++)
		if ((addr->bytes[i / 8] ^ prefix->bytes[i / 8]) & (0x80 >> i % 8))
			return false;
	return true;
}

static uint32_t service_id(const struct glb_snapshot *snapshot, const struct glb_packet *packet)
{
	return packet->service < snapshot->service_count ? snapshot->services[packet->service].id : GLB_ID_NONE;
}

static bool matches(const struct capture_filter *filter, enum glb_capture_at at, uint32_t service,
		    const struct glb_packet *packet)
{
	return (filter->at & at) != 0 && (filter->service == 0 || filter->service == service) &&
	       (filter->reason == CAPTURE_ANY || filter->reason == packet->reason) &&
	       (filter->client.family == GLB_FAMILY_NONE ||
		in_prefix(&packet->src, &filter->client, filter->client_bits));
}

struct glb_capture_record *capture_begin(struct capture *capture, unsigned index, enum glb_capture_at at,
					 const struct glb_snapshot *snapshot, const struct glb_packet *packet, uint16_t port,
					 uint32_t frame_len)
{
	struct glb_capture_ring *ring = ring_at(capture, index);
	const uint64_t head = capture->own[index].head;
	uint32_t service = service_id(snapshot, packet);
	struct glb_capture_record *record;
	struct timespec now;

	if (!matches(&capture->filter, at, service, packet))
		return NULL;
	if (head - __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) >= GLB_CAPTURE_SLOTS) {
		__atomic_store_n(&ring->missed, ++capture->own[index].missed, __ATOMIC_RELAXED);
		return NULL;
	}
	record = (void *)((uint8_t *)(ring + 1) + head % GLB_CAPTURE_SLOTS * capture->record_bytes);
	clock_gettime(CLOCK_REALTIME, &now);
	record->time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	record->frame_len = frame_len;
	record->data_len = 0;
	record->service = service;
	record->backend = packet->chain_len != 0 && packet->chain[0] < snapshot->backend_count
				  ? snapshot->backends[packet->chain[0]].id : GLB_ID_NONE;
	record->port = port;
	record->at = (uint8_t)at;
	record->verdict = packet->verdict;
	record->reason = packet->reason;
	record->hops = packet->chain_len;
	capture->own[index].filled = 0;
	return record;
}

void capture_add(struct capture *capture, unsigned index, struct glb_capture_record *record, const uint8_t *data, uint32_t len)
{
	const uint32_t filled = capture->own[index].filled, room = capture->filter.snaplen - filled;

	len = len < room ? len : room;
	memcpy(record->data + filled, data, len);
	record->data_len = capture->own[index].filled = filled + len;
}

void capture_end(struct capture *capture, unsigned index)
{
	capture->own[index].head++;
	__atomic_store_n(&ring_at(capture, index)->head, capture->own[index].head, __ATOMIC_RELEASE);
}
