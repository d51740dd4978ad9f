/* Judges GUE packets (glb/gue.h). Sends nothing and looks up nothing. */
#include <glb/gue.h>

#include "parse.h"

#include <string.h>

enum {
	VERSION_SHIFT = 6,
	CONTROL_BIT = 0x20,
	HLEN_MASK = 0x1f,
	WORD = 4, /* what hlen counts */
};

/* Hops are addresses of `hop_bytes`, and `type` says so. */
static enum glb_gue_verdict check_header(const struct glb_gue *gue, enum glb_gue_private type, uint32_t hop_bytes)
{
	if (gue->version_control_hlen >> VERSION_SHIFT != 0)
		return GLB_GUE_BAD_VERSION;
	if (gue->version_control_hlen & CONTROL_BIT)
		return GLB_GUE_BAD_CONTROL;
	if (gue->protocol != GLB_IPPROTO_IPIP && gue->protocol != GLB_IPPROTO_IPV6)
		return GLB_GUE_BAD_PROTOCOL;
	if (glb_be16_get(gue->flags) != 0 || glb_be16_get(gue->private_type) != type)
		return GLB_GUE_BAD_FLAGS;
	if ((gue->version_control_hlen & HLEN_MASK) != 1 + gue->hop_count * (hop_bytes / WORD))
		return GLB_GUE_BAD_HLEN;
	if (gue->hop_count > GLB_HOPS_MAX - 1)
		return GLB_GUE_BAD_HOP_COUNT;
	if (gue->next_hop > gue->hop_count)
		return GLB_GUE_BAD_INDEX;
	return GLB_GUE_OK;
}

enum glb_gue_verdict glb_gue_parse(uint8_t outer_family, const uint8_t *data, uint32_t len, struct glb_gue_packet *packet)
{
	const bool v6 = outer_family == GLB_FAMILY_V6;
	const uint32_t hop_bytes = v6 ? 16 : 4;
	struct span bytes = {data, len};
	const struct glb_gue *gue = span_take(&bytes, sizeof(*gue));
	enum glb_gue_verdict verdict;
	const uint8_t *hops;
	struct ip inner;

	if (gue == NULL)
		return GLB_GUE_TRUNCATED;
	verdict = check_header(gue, v6 ? GLB_GUE_PRIVATE_V6 : GLB_GUE_PRIVATE_V4, hop_bytes);
	if (verdict != GLB_GUE_OK)
		return verdict;
	hops = span_take(&bytes, gue->hop_count * hop_bytes);
	if (hops == NULL)
		return GLB_GUE_TRUNCATED;
	*packet = (struct glb_gue_packet){
		.inner_offset = len - bytes.len,
		.inner_family = gue->protocol == GLB_IPPROTO_IPIP ? GLB_FAMILY_V4 : GLB_FAMILY_V6,
		.next_hop = gue->next_hop,
		.hop_count = gue->hop_count,
		.hop_family = outer_family,
	};
	for (unsigned i = 0; i < gue->hop_count; i++)
		memcpy(packet->hops[i], hops + i * hop_bytes, hop_bytes);
	if (ip_parse(packet->inner_family, bytes, bytes.len, &inner) != GLB_REASON_FORWARDED)
		return GLB_GUE_BAD_INNER;
	packet->inner_len = inner.length;
	return GLB_GUE_OK;
}

const char *glb_gue_verdict_name(unsigned verdict)
{
	static const char *const names[GLB_GUE_VERDICT_COUNT] = {
		[GLB_GUE_OK] = "ok",
		[GLB_GUE_TRUNCATED] = "truncated",
		[GLB_GUE_BAD_VERSION] = "bad_version",
		[GLB_GUE_BAD_CONTROL] = "bad_control",
		[GLB_GUE_BAD_PROTOCOL] = "bad_protocol",
		[GLB_GUE_BAD_FLAGS] = "bad_flags",
		[GLB_GUE_BAD_HLEN] = "bad_hlen",
		[GLB_GUE_BAD_HOP_COUNT] = "bad_hop_count",
		[GLB_GUE_BAD_INDEX] = "bad_index",
		[GLB_GUE_BAD_INNER] = "bad_inner",
	};

	return verdict < GLB_GUE_VERDICT_COUNT ? names[verdict] : "unknown";
}
