/* Opens a snapshot: frame and digest first, then every structure inside (snapshot_check.c). */
#include <errno.h>

#include "snapshot_check.h"
#include "snapshot_layout.h"

static int check_frame(const struct glb_snapshot_header *header, size_t len, struct glb_error *error)
{
	if (len < offsetof(struct glb_snapshot_header, file_bytes))
		return glb_error_set(error, -EINVAL, "not a snapshot: %zu bytes are fewer than a header has", len);
	if (memcmp(header->magic, GLB_SNAPSHOT_MAGIC, sizeof(header->magic)) != 0)
		return glb_error_set(error, -EINVAL, "not a snapshot: the file does not begin with \"GLBSNAP\"");
	if (header->version != GLB_SNAPSHOT_VERSION)
		return glb_error_set(error, -EPROTONOSUPPORT,
				     "snapshot has format version %u, this program reads version %d", header->version,
				     GLB_SNAPSHOT_VERSION);
	if (len < sizeof(*header))
		return glb_error_set(error, -EINVAL, "snapshot is truncated: %zu bytes, the header alone has %zu", len,
				     sizeof(*header));
	if (header->header_bytes != sizeof(*header))
		return glb_error_set(error, -EINVAL, "snapshot header says it has %u bytes, not %zu",
				     header->header_bytes, sizeof(*header));
	if (header->file_bytes != len)
		return glb_error_set(error, -EINVAL, "snapshot %s: %zu bytes, the header says %llu",
				     header->file_bytes > len ? "is truncated" : "has bytes behind its end", len,
				     (unsigned long long)header->file_bytes);
	return 0;
}

/* The sections have no choice of place: each begins at the first aligned byte behind the one before. */
static int check_sections(const struct glb_snapshot_header *header, struct glb_error *error)
{
	uint64_t offset = glb_snapshot_align(sizeof(*header));

	for (unsigned kind = 0; kind < GLB_SECTION_COUNT; kind++) {
		const struct glb_section *section = &header->sections[kind];

		if (section->offset != offset)
			return glb_error_set(error, -EINVAL, "snapshot section %u begins at %llu instead of %llu", kind,
					     (unsigned long long)section->offset, (unsigned long long)offset);
		if (offset > header->file_bytes ||
		    section->count > (header->file_bytes - offset) / glb_section_element[kind])
			return glb_error_set(error, -EINVAL, "snapshot section %u of %llu elements ends behind the file",
					     kind, (unsigned long long)section->count);
		if (kind != GLB_SECTION_ROWS && section->count >= GLB_INDEX_NONE)
			return glb_error_set(error, -EINVAL, "snapshot section %u has too many elements, %llu", kind,
					     (unsigned long long)section->count);
		offset = glb_snapshot_align(offset + section->count * glb_section_element[kind]);
	}
	if (offset != header->file_bytes)
		return glb_error_set(error, -EINVAL, "snapshot sections end at %llu, the file at %llu",
				     (unsigned long long)offset, (unsigned long long)header->file_bytes);
	return 0;
}

static int check_gaps(const struct glb_snapshot_header *header, const uint8_t *data, struct glb_error *error)
{
	uint64_t at = sizeof(*header);

	for (unsigned kind = 0; kind <= GLB_SECTION_COUNT; kind++) {
		uint64_t next = kind < GLB_SECTION_COUNT ? header->sections[kind].offset : header->file_bytes;

		for (; at < next; at++)
			if (data[at] != 0)
				return glb_error_set(error, -EINVAL, "snapshot byte %llu, between sections, is not zero",
						     (unsigned long long)at);
		if (kind < GLB_SECTION_COUNT)
			at = next + header->sections[kind].count * glb_section_element[kind];
	}
	if (header->pad != 0)
		return glb_error_set(error, -EINVAL, "snapshot header's padding is not zero");
	return 0;
}

static void point(const uint8_t *data, struct glb_snapshot *s)
{
	const struct glb_section *sections = ((const struct glb_snapshot_header *)data)->sections;

	*s = (struct glb_snapshot){
		.header = (const void *)data,
		.services = (const void *)(data + sections[GLB_SECTION_SERVICES].offset),
		.backends = (const void *)(data + sections[GLB_SECTION_BACKENDS].offset),
		.tables = (const void *)(data + sections[GLB_SECTION_TABLES].offset),
		.rows = (const void *)(data + sections[GLB_SECTION_ROWS].offset),
		.prefixes = (const void *)(data + sections[GLB_SECTION_PREFIXES].offset),
		.vips = (const void *)(data + sections[GLB_SECTION_VIPS].offset),
		.vip_slots = (const void *)(data + sections[GLB_SECTION_VIP_SLOTS].offset),
		.binds = (const void *)(data + sections[GLB_SECTION_BINDS].offset),
		.strings = (const void *)(data + sections[GLB_SECTION_STRINGS].offset),
		.udp_timeouts = sections[GLB_SECTION_UDP_TIMEOUTS].count == 0 ? NULL :
				(const void *)(data + sections[GLB_SECTION_UDP_TIMEOUTS].offset),
		.quics = (const void *)(data + sections[GLB_SECTION_QUIC].offset),
		.quic_servers = (const void *)(data + sections[GLB_SECTION_QUIC_SERVERS].offset),
		.protections = (const void *)(data + sections[GLB_SECTION_PROTECTIONS].offset),
		.protection_count = (uint32_t)sections[GLB_SECTION_PROTECTIONS].count,
		.service_count = (uint32_t)sections[GLB_SECTION_SERVICES].count,
		.backend_count = (uint32_t)sections[GLB_SECTION_BACKENDS].count,
		.table_count = (uint32_t)sections[GLB_SECTION_TABLES].count,
		.prefix_count = (uint32_t)sections[GLB_SECTION_PREFIXES].count,
		.vip_count = (uint32_t)sections[GLB_SECTION_VIPS].count,
		.vip_slot_mask = (uint32_t)sections[GLB_SECTION_VIP_SLOTS].count - 1,
		.bind_count = (uint32_t)sections[GLB_SECTION_BINDS].count,
		.quic_count = (uint32_t)sections[GLB_SECTION_QUIC].count,
		.quic_server_count = (uint32_t)sections[GLB_SECTION_QUIC_SERVERS].count,
	};
	while (s->prefix_v4_count < s->prefix_count && s->prefixes[s->prefix_v4_count].family == GLB_FAMILY_V4)
		s->prefix_v4_count++;
}

int glb_snapshot_open(const void *data, size_t len, struct glb_snapshot *snapshot, struct glb_error *error)
{
	const struct glb_snapshot_header *header = data;
	uint8_t digest[sizeof(header->digest)];
	int status;

	memset(snapshot, 0, sizeof(*snapshot));
	if ((uintptr_t)data % 8 != 0)
		return glb_error_set(error, -EINVAL, "snapshot bytes are not 8-byte aligned in memory");
	status = check_frame(header, len, error);
	if (status != 0)
		return status;
	glb_snapshot_digest(data, len, digest);
	if (memcmp(digest, header->digest, sizeof(digest)) != 0)
		return glb_error_set(error, -EBADMSG, "snapshot is damaged: its digest does not match its content");
	status = check_sections(header, error);
	if (status == 0)
		status = check_gaps(header, data, error);
	if (status != 0)
		return status;
	point(data, snapshot);
	status = glb_snapshot_check(snapshot, error);
	if (status != 0)
		memset(snapshot, 0, sizeof(*snapshot));
	return status;
}
