/* What each encapsulation asks of a service: families of its VIPs, and which fields it has.
 *
 * Backends of a family that it cannot reach are refused where people write them (glbpy/models.py); the packet path drops what would go
 * there (encap.c), so that a chain which still has a member from before a change does no harm. */
#ifndef GLB_CORE_ENCAP_RULES_H
#define GLB_CORE_ENCAP_RULES_H

#include <glb/snapshot.h>

struct encap_rule {
	const char *name;
	uint8_t vips;     /* enum glb_families that VIPs may have */
	bool outer;       /* it has an outer IP header */
	bool alike;       /* VIPs and backends are of the same family, and there is one VIP, an address */
};

extern const struct encap_rule encap_rules[GLB_ENCAP_COUNT]; /* by enum glb_encap_kind */

/* The fields that go with an encapsulation, of a service of either kind. */
struct encap_fields {
	uint8_t encap;
	uint8_t gre_keyed; /* bool */
	uint8_t tos;
	uint8_t tos_mask;
	uint32_t value;
};

/* Returns NULL when they are right, or the name of the field that is not. */
const char *encap_fields_wrong(const struct encap_fields *fields);

/* Of an address family. */
static inline unsigned encap_family(uint8_t family)
{
	return family == GLB_FAMILY_V4 ? GLB_FAMILIES_V4 : GLB_FAMILIES_V6;
}

/* Of a pool's backends. */
uint8_t encap_families(const struct glb_backend_config *backends, uint32_t count);

#endif
