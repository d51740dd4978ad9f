/* Element sizes and the digest: the parts of the format that are not structs. */
#include "snapshot_layout.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

const uint8_t glb_section_element[GLB_SECTION_COUNT] = {
	[GLB_SECTION_SERVICES] = sizeof(struct glb_service),
	[GLB_SECTION_BACKENDS] = sizeof(struct glb_backend),
	[GLB_SECTION_TABLES] = sizeof(struct glb_table),
	[GLB_SECTION_ROWS] = sizeof(uint16_t),
	[GLB_SECTION_PREFIXES] = sizeof(struct glb_prefix_len),
	[GLB_SECTION_VIPS] = sizeof(struct glb_vip),
	[GLB_SECTION_VIP_SLOTS] = sizeof(uint32_t),
	[GLB_SECTION_BINDS] = sizeof(struct glb_bind),
	[GLB_SECTION_STRINGS] = sizeof(char),
	[GLB_SECTION_UDP_TIMEOUTS] = sizeof(uint16_t),
	[GLB_SECTION_QUIC] = sizeof(struct glb_quic),
	[GLB_SECTION_QUIC_SERVERS] = sizeof(struct glb_quic_server),
	[GLB_SECTION_PROTECTIONS] = sizeof(struct glb_protection),
};

void glb_snapshot_digest(const void *data, size_t len, uint8_t digest[16])
{
	static const uint8_t zeros[16];
	const size_t at = offsetof(struct glb_snapshot_header, digest);
	const uint8_t *bytes = data;
	XXH128_canonical_t canonical;
	XXH3_state_t state;

	XXH3_INITSTATE(&state);
	XXH3_128bits_reset(&state);
	XXH3_128bits_update(&state, bytes, at);
	XXH3_128bits_update(&state, zeros, sizeof(zeros));
	XXH3_128bits_update(&state, bytes + at + sizeof(zeros), len - at - sizeof(zeros));
	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
	memcpy(digest, canonical.digest, sizeof(canonical.digest));
}
