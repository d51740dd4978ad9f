/* Bursts for the straight line, and the comparison of what it makes of them with its twin, the path. */
#ifndef GLB_TESTS_FAST_WORLD_H
#define GLB_TESTS_FAST_WORLD_H

#include "world.h"

#include <glb/fast.h>

enum {
	GUARD = 64,   /* in front of what may be written: not to be touched */
	ROOM = GUARD + GLB_FAST_HEADROOM, /* in front of a frame */
};

/* Frames of one burst, each in memory of exactly its size behind its headroom. */
struct fast_frames {
	uint8_t *bytes[GLB_BURST_MAX];
	uint32_t len[GLB_BURST_MAX];
	struct glb_fast_burst frames;
	unsigned n;
};

static inline void burst_add(struct fast_frames *burst, const struct frame *frame)
{
	uint8_t *bytes = malloc(ROOM + frame->len);

	if (bytes == NULL)
		abort();
	memset(bytes, 0xa5, ROOM);
	memcpy(bytes + ROOM, frame->bytes, frame->len);
	burst->bytes[burst->n] = bytes;
	burst->len[burst->n] = frame->len;
	burst->frames.data[burst->n] = bytes + ROOM;
	burst->frames.len[burst->n++] = frame->len;
}

static inline void burst_free(struct fast_frames *burst)
{
	for (unsigned i = 0; i < burst->n; i++)
		free(burst->bytes[i]);
	burst->n = 0;
}

static inline bool is_guarded(const uint8_t *bytes)
{
	for (unsigned i = 0; i < GUARD; i++)
		if (bytes[i] != 0xa5)
			return false;
	return true;
}

/* Whether the path, for frames as they were, says what the straight line has made of them; or it has left them alone. */
static inline bool same(const struct glb_path *path, const struct fast_frames *burst, const struct frame *frames, int port)
{
	for (unsigned i = 0; i < burst->n; i++) {
		const struct glb_packet p = run(path, &frames[i]);
		const struct glb_fast_burst *made = &burst->frames;
		uint8_t expected[GLB_HEADER_MAX];
		struct frame inner;

		if (!is_guarded(burst->bytes[i]))
			return false;
		if (port < 0) {
			if (made->data[i] != burst->bytes[i] + ROOM || memcmp(made->data[i], frames[i].bytes, frames[i].len) != 0)
				return false;
			continue;
		}
		if (p.verdict != GLB_VERDICT_FORWARD || p.service != made->service[i] || p.chain[0] != made->backend[i] ||
		    p.l3_len != made->l3_len[i] || made->len[i] != p.header_len + p.l3_len || (int)p.next_hop.port != port)
			return false;
		glb_path_encap(path, &p, expected);
		inner = frames[i];
		if (p.rewrite_len != 0)
			glb_path_rewrite(path, &p, inner.bytes + p.l3_offset);
		if (memcmp(made->data[i], expected, p.header_len) != 0 ||
		    memcmp(made->data[i] + p.header_len, inner.bytes + p.l3_offset, p.l3_len) != 0)
			return false;
	}
	return true;
}

#endif
