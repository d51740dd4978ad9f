/* What a capture copies: the match, the bounds of a record, and a ring that is full or whose reader lies. */
#include "check.h"

#include "capture.h"

#include <glb/verdict.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];

struct view {
	uint8_t *map;
	size_t len;
	struct glb_capture_header *header;
	struct glb_capture_ring *ring; /* of worker 1 */
};

static struct glb_capture_record *record_at(const struct view *view, unsigned n)
{
	return (void *)((uint8_t *)(view->ring + 1) + n * view->header->record_bytes);
}

static struct view open_view(void)
{
	int fd = open(path, O_RDWR);
	struct view view = {0};
	struct stat stat;

	fstat(fd, &stat);
	view.len = (size_t)stat.st_size;
	view.map = mmap(NULL, view.len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	view.header = (void *)view.map;
	view.ring = (void *)(view.map + view.header->first_ring + view.header->ring_bytes);
	return view;
}

static const struct glb_service services[] = {{.id = 7}, {.id = 9}};
static const struct glb_backend backends[] = {{.id = 101}};
static const struct glb_snapshot snapshot = {
	.services = services, .service_count = 2, .backends = backends, .backend_count = 1,
};
static uint8_t frame[4096];

static void show(struct capture *capture, enum glb_capture_at at, const struct glb_packet *packet, uint32_t len)
{
	struct glb_capture_record *record = capture_begin(capture, 1, at, &snapshot, packet, 0, len);

	if (record == NULL)
		return;
	capture_add(capture, 1, record, frame, len / 3); /* in two pieces */
	capture_add(capture, 1, record, frame + len / 3, len - len / 3);
	capture_end(capture, 1);
}

static struct glb_packet packet_of(uint32_t service, uint8_t last_byte)
{
	return (struct glb_packet){
		.service = service, .verdict = GLB_VERDICT_FORWARD, .reason = GLB_REASON_FORWARDED, .chain_len = 2,
		.src = {.bytes = {192, 0, 2, last_byte}, .family = GLB_FAMILY_V4},
	};
}

static void the_filter_decides(void)
{
	const struct capture_filter filter = {
		.at = GLB_CAPTURE_INGRESS, .service = 9, .reason = GLB_REASON_FORWARDED, .client_bits = 25,
		.snaplen = 96,
		.client = {.bytes = {192, 0, 2, 0}, .family = GLB_FAMILY_V4},
	};
	struct capture *capture = capture_create(path, 2, &filter, NULL);
	struct glb_packet good = packet_of(1, 127), bad;
	struct view view = open_view();

	CHECK(memcmp(view.header->magic, "GLBCAPT\n", 8) == 0 && view.header->rings == 2);
	CHECK(view.header->file_bytes == view.len);
	show(capture, GLB_CAPTURE_INGRESS, &good, 60);
	CHECK(view.ring->head == 1 && record_at(&view, 0)->service == 9 && record_at(&view, 0)->backend == 101);
	CHECK(record_at(&view, 0)->hops == 2 && record_at(&view, 0)->at == GLB_CAPTURE_INGRESS && record_at(&view, 0)->time_ns != 0);
	show(capture, GLB_CAPTURE_EGRESS, &good, 60);
	bad = packet_of(0, 127);
	show(capture, GLB_CAPTURE_INGRESS, &bad, 60);
	bad = packet_of(1, 128);
	show(capture, GLB_CAPTURE_INGRESS, &bad, 60);
	bad = packet_of(1, 127);
	bad.reason = GLB_REASON_NOT_VIP;
	show(capture, GLB_CAPTURE_INGRESS, &bad, 60);
	bad = packet_of(1, 127);
	capture_prepare(&bad, 1);
	show(capture, GLB_CAPTURE_INGRESS, &bad, 60);
	CHECK(view.ring->head == 1 && view.ring->missed == 0);
	munmap(view.map, view.len);
	capture_free(capture);
	CHECK(access(path, F_OK) != 0);
}

static void a_record_holds_what_fits(void)
{
	const struct capture_filter filter = {.at = GLB_CAPTURE_DROP, .reason = CAPTURE_ANY, .snaplen = GLB_CAPTURE_SNAPLEN};
	struct capture *capture = capture_create(path, 2, &filter, NULL);
	struct glb_packet packet = packet_of(GLB_INDEX_NONE, 1);
	struct view view = open_view();

	packet.chain_len = 0;
	frame[GLB_CAPTURE_SNAPLEN - 1] = 0xab;
	show(capture, GLB_CAPTURE_DROP, &packet, sizeof(frame));
	CHECK(record_at(&view, 0)->frame_len == sizeof(frame) && record_at(&view, 0)->data_len == GLB_CAPTURE_SNAPLEN);
	CHECK(record_at(&view, 0)->data[GLB_CAPTURE_SNAPLEN - 1] == 0xab);
	CHECK(record_at(&view, 0)->service == GLB_ID_NONE && record_at(&view, 0)->backend == GLB_ID_NONE);
	munmap(view.map, view.len);
	capture_free(capture);
}

static void a_record_is_as_long_as_asked_for(void)
{
	static const uint32_t lengths[] = {1, 60, GLB_CAPTURE_SNAPLEN_MAX};
	struct glb_packet packet = packet_of(0, 1);

	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < 3; i++) {
		const struct capture_filter filter = {.at = GLB_CAPTURE_INGRESS, .reason = CAPTURE_ANY, .snaplen = lengths[i]};
		const uint32_t kept = lengths[i] < sizeof(frame) ? lengths[i] : (uint32_t)sizeof(frame);
		struct capture *capture = capture_create(path, 2, &filter, NULL);
		struct view view = open_view();

		CHECK(view.header->record_bytes >= sizeof(struct glb_capture_record) + lengths[i]);
		CHECK(view.header->record_bytes % 8 == 0 && view.header->file_bytes == view.len);
		for (unsigned n = 0; n < GLB_CAPTURE_SLOTS; n++)
			show(capture, GLB_CAPTURE_INGRESS, &packet, sizeof(frame));
		for (unsigned n = 0; n < GLB_CAPTURE_SLOTS; n += GLB_CAPTURE_SLOTS - 1) {
			CHECK(record_at(&view, n)->data_len == kept && record_at(&view, n)->frame_len == sizeof(frame));
			CHECK(memcmp(record_at(&view, n)->data, frame, kept) == 0);
		}
		munmap(view.map, view.len);
		capture_free(capture);
	}
}

static void a_full_ring_counts_what_it_misses(void)
{
	const struct capture_filter filter = {.at = GLB_CAPTURE_INGRESS, .reason = CAPTURE_ANY, .snaplen = GLB_CAPTURE_SNAPLEN};
	struct capture *capture = capture_create(path, 2, &filter, NULL);
	struct glb_packet packet = packet_of(0, 1);
	struct view view = open_view();

	for (unsigned i = 0; i < GLB_CAPTURE_SLOTS + 3; i++)
		show(capture, GLB_CAPTURE_INGRESS, &packet, 60);
	CHECK(view.ring->head == GLB_CAPTURE_SLOTS && view.ring->missed == 3);
	view.ring->tail = 2;
	for (unsigned i = 0; i < 3; i++)
		show(capture, GLB_CAPTURE_INGRESS, &packet, 60 + i);
	CHECK(view.ring->head == GLB_CAPTURE_SLOTS + 2 && view.ring->missed == 4);
	CHECK(record_at(&view, 0)->data_len == 60 && record_at(&view, 1)->data_len == 61);
	view.ring->head = 1ULL << 60; /* a reader may write what it likes: the worker goes by its own count */
	view.ring->tail = GLB_CAPTURE_SLOTS + 2;
	for (unsigned i = 0; i < 2 * GLB_CAPTURE_SLOTS; i++)
		show(capture, GLB_CAPTURE_INGRESS, &packet, 60);
	CHECK(view.ring->head == 2 * GLB_CAPTURE_SLOTS + 2);
	munmap(view.map, view.len);
	capture_free(capture);
}

static void a_path_that_cannot_be_is_refused(void)
{
	const struct capture_filter filter = {.at = GLB_CAPTURE_INGRESS, .reason = CAPTURE_ANY, .snaplen = GLB_CAPTURE_SNAPLEN};
	struct glb_error error = {0};

	CHECK(capture_create("/nonexistent/capture", 1, &filter, &error) == NULL && error.code == -2);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"the filter decides", the_filter_decides},
		{"a record holds what fits", a_record_holds_what_fits},
		{"a record is as long as asked for", a_record_is_as_long_as_asked_for},
		{"a full ring counts what it misses", a_full_ring_counts_what_it_misses},
		{"a path that cannot be is refused", a_path_that_cannot_be_is_refused},
	};

	snprintf(path, sizeof(path), "/tmp/glb-test-capture-%d", (int)getpid());
	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
