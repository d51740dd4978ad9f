/* Telling the XDP programs which VIPs there are, in step with a swap (xdp.h). */
#include "log.h"
#include "port.h"
#include "xdp_own.h"

#include <bpf/bpf.h>

#include <errno.h>
#include <string.h>

static int map_of(const struct xdp *xdp, const struct vip *vip)
{
	return vip->family == GLB_FAMILY_V4 ? xdp->vips_v4 : xdp->vips_v6;
}

static int add(void *context, const struct vip *vip)
{
	const uint8_t here = XDP_VIP;

	return bpf_map_update_elem(map_of(context, vip), &vip->key, &here, BPF_ANY);
}

int xdp_add_own(const struct xdp *xdp, const struct glb_addr *addr, struct glb_error *error)
{
	struct vip own = {.family = addr->family, .key.bits = glb_addr_len(addr->family) * 8};
	const uint8_t here = XDP_PEER;
	int ret;

	memcpy(own.key.addr, addr->bytes, glb_addr_len(addr->family));
	ret = bpf_map_update_elem(map_of(xdp, &own), &own.key, &here, BPF_ANY);
	if (ret == 0)
		return 0;
	return glb_error_set(error, ret, "fragments.peers: this director's own address cannot be told to the XDP program on %s: %s",
			     xdp->interface, strerror(-ret));
}

static int drop(void *context, const struct vip *vip)
{
	int ret = bpf_map_delete_elem(map_of(context, vip), &vip->key);

	if (ret != 0 && ret != -ENOENT) /* taken in vain: the forwarder counts what comes as not_vip */
		log_warning("a VIP that is gone cannot be taken out of the XDP program: %s", strerror(-ret));
	return 0;
}

/* Back to what was: also VIPs that were not added yet are dropped, which does nothing. */
static void take_back(struct xdp *xdp)
{
	vip_set_difference(&xdp->next, &xdp->told, drop, xdp);
	vip_set_free(&xdp->next);
}

static int add_to_one(struct xdp *xdp, const struct glb_snapshot *snapshot, struct glb_error *error)
{
	int ret = vip_set_make(&xdp->next, snapshot);

	if (ret == 0)
		ret = vip_set_difference(&xdp->next, &xdp->told, add, xdp);
	if (ret == 0)
		return 0;
	take_back(xdp);
	if (ret == -ENOSPC)
		return glb_error_set(error, ret, "services: more VIP prefixes than the %d of each family that an af_xdp port "
				     "can take; join neighbouring ones", XDP_VIPS_MAX);
	return glb_error_set(error, ret, "the VIPs cannot be told to the XDP program on %s: %s", xdp->interface,
			     strerror(-ret));
}

int xdp_add_vips(const struct ports *ports, const struct glb_snapshot *snapshot, struct glb_error *error)
{
	for (unsigned i = 0; i < ports->count; i++) {
		int ret = ports->port[i].xdp != NULL ? add_to_one(ports->port[i].xdp, snapshot, error) : 0;

		if (ret == 0)
			continue;
		while (i-- > 0)
			if (ports->port[i].xdp != NULL)
				take_back(ports->port[i].xdp);
		return ret;
	}
	return 0;
}

void xdp_drop_vips(const struct ports *ports)
{
	for (unsigned i = 0; i < ports->count; i++) {
		struct xdp *xdp = ports->port[i].xdp;

		if (xdp == NULL)
			continue;
		vip_set_difference(&xdp->told, &xdp->next, drop, xdp);
		vip_set_free(&xdp->told);
		xdp->told = xdp->next;
		xdp->next = (struct vip_set){0};
	}
}
