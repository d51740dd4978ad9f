/* Sets of VIP prefixes (vip_set.h). */
#include "vip_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *left, const void *right)
{
	const struct vip *a = left, *b = right;

	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	if (a->key.bits != b->key.bits)
		return a->key.bits < b->key.bits ? -1 : 1;
	return memcmp(a->key.addr, b->key.addr, sizeof(a->key.addr));
}

int vip_set_make(struct vip_set *set, const struct glb_snapshot *snapshot)
{
	uint32_t n = snapshot->vip_count, kept = 0;
	struct vip *vips = calloc((size_t)n + 1, sizeof(*vips));

	*set = (struct vip_set){0};
	if (vips == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		vips[i].family = snapshot->vips[i].addr.family;
		vips[i].key.bits = snapshot->vips[i].bits;
		memcpy(vips[i].key.addr, snapshot->vips[i].addr.bytes, sizeof(vips[i].key.addr));
	}
	qsort(vips, n, sizeof(*vips), compare);
	for (uint32_t i = 0; i < n; i++)
		if (kept == 0 || compare(&vips[kept - 1], &vips[i]) != 0)
			vips[kept++] = vips[i];
	*set = (struct vip_set){vips, kept};
	return 0;
}

int vip_set_difference(const struct vip_set *set, const struct vip_set *other,
		       int (*take)(void *context, const struct vip *vip), void *context)
{
	uint32_t j = 0;

	for (uint32_t i = 0; i < set->count; i++) {
		int ret;

		while (j < other->count && compare(&other->vips[j], &set->vips[i]) < 0)
			j++;
		if (j < other->count && compare(&other->vips[j], &set->vips[i]) == 0)
			continue;
		ret = take(context, &set->vips[i]);
		if (ret != 0)
			return ret;
	}
	return 0;
}

void vip_set_free(struct vip_set *set)
{
	free(set->vips);
	*set = (struct vip_set){0};
}
