/* The table behind encap_rules.h. */
#include "encap_rules.h"

enum {
	BOTH = GLB_FAMILIES_V4 | GLB_FAMILIES_V6,
	DSCP_MASK = 0xfc,
	ECN_MASK = 0x03,
	PORT_MAX = 65535,
};

const struct encap_rule encap_rules[GLB_ENCAP_COUNT] = {
	[GLB_ENCAP_GUE] = {"gue", BOTH, .outer = true},
	[GLB_ENCAP_GRE] = {"gre", BOTH, .outer = true},
	[GLB_ENCAP_IPIP] = {"ipip", GLB_FAMILIES_V4, .outer = true},
	[GLB_ENCAP_IP6IP6] = {"ip6ip6", GLB_FAMILIES_V6, .outer = true},
	[GLB_ENCAP_4IN6] = {"4in6", GLB_FAMILIES_V4, .outer = true},
	[GLB_ENCAP_6IN4] = {"6in4", GLB_FAMILIES_V6, .outer = true},
	[GLB_ENCAP_L2DSR] = {"l2dsr", BOTH, .outer = false},
	[GLB_ENCAP_L3DSR] = {"l3dsr", BOTH, .alike = true},
	[GLB_ENCAP_NAT] = {"nat", BOTH, .alike = true},
};

const char *glb_encap_name(unsigned encap)
{
	return encap < GLB_ENCAP_COUNT ? encap_rules[encap].name : "unknown";
}

const char *encap_fields_wrong(const struct encap_fields *f)
{
	const bool outer = encap_rules[f->encap].outer;

	if (f->gre_keyed > (f->encap == GLB_ENCAP_GRE ? 1 : 0))
		return "gre_keyed";
	if (f->value > (f->gre_keyed ? UINT32_MAX : f->encap == GLB_ENCAP_NAT ? PORT_MAX : 0))
		return "encap_value";
	if (f->encap == GLB_ENCAP_L3DSR)
		return f->tos == 0 || (f->tos & ECN_MASK) != 0 ? "tos" : f->tos_mask != ECN_MASK ? "tos_mask" : NULL;
	if ((f->tos_mask & DSCP_MASK) != 0 && (f->tos_mask & DSCP_MASK) != DSCP_MASK)
		return "tos_mask";
	if ((f->tos_mask & ECN_MASK) != 0 && (f->tos_mask & ECN_MASK) != ECN_MASK)
		return "tos_mask";
	if ((f->tos & ECN_MASK) != 0 || (f->tos & f->tos_mask) != 0)
		return "tos";
	return outer || (f->tos | f->tos_mask) == 0 ? NULL : "tos";
}

uint8_t encap_families(const struct glb_backend_config *backends, uint32_t count)
{
	unsigned families = 0;

	for (uint32_t b = 0; b < count; b++)
		families |= encap_family(backends[b].addr.family);
	return (uint8_t)families;
}
