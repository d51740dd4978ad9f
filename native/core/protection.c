/* Services' protections: checks of a configuration's and of a snapshot's, and the look-up by service. */
#include "protection.h"
#include "snapshot_check.h"

#include <errno.h>
#include <string.h>

/* A rate has a burst, and no rate has none. */
static bool pair_ok(uint32_t rate, uint32_t burst)
{
	return (rate == 0) == (burst == 0) && rate <= GLB_LIMIT_MAX && burst <= GLB_LIMIT_MAX;
}

/* None, or one that is neither empty nor too long. */
static bool name_ok(const char *name)
{
	const size_t len = name == NULL ? 1 : strnlen(name, GLB_NAME_MAX + 1);

	return len > 0 && len <= GLB_NAME_MAX;
}

uint64_t protection_string_bytes(const struct glb_protection_config *config)
{
	if (config == NULL)
		return 0;
	return (config->block != NULL ? strlen(config->block) + 1 : 0) + (config->allow != NULL ? strlen(config->allow) + 1 : 0);
}

int protection_config_check(const struct glb_protection_config *protection, uint32_t s, struct glb_error *error)
{
	if (!pair_ok(protection->packets_per_second, protection->packets_burst))
		return glb_error_set(error, -EINVAL, "services[%u].protection.packets_per_second: rate and burst must be from 1 to %u, "
				     "or both 0", s, GLB_LIMIT_MAX);
	if (!pair_ok(protection->flows_per_second, protection->flows_burst))
		return glb_error_set(error, -EINVAL, "services[%u].protection.flows_per_second: rate and burst must be from 1 to %u, "
				     "or both 0", s, GLB_LIMIT_MAX);
	if (!name_ok(protection->block) || !name_ok(protection->allow))
		return glb_error_set(error, -EINVAL, "services[%u].protection.%s: the name of a list has 1 to %d bytes", s,
				     name_ok(protection->block) ? "allow" : "block", GLB_NAME_MAX);
	if (protection->packets_per_second == 0 && protection->flows_per_second == 0 && protection->block == NULL &&
	    protection->allow == NULL)
		return glb_error_set(error, -EINVAL, "services[%u].protection: has nothing in it", s);
	return 0;
}

struct glb_protection protection_make(const struct glb_protection_config *config, uint32_t service, uint32_t block, uint32_t allow)
{
	return (struct glb_protection){
		.service = service,
		.packets_per_second = config->packets_per_second,
		.packets_burst = config->packets_burst,
		.flows_per_second = config->flows_per_second,
		.flows_burst = config->flows_burst,
		.block = block,
		.allow = allow,
	};
}

static bool is_whole(const struct glb_snapshot *snapshot, const struct glb_protection *protection)
{
	static const uint32_t none[sizeof(protection->pad) / sizeof(protection->pad[0])];

	return pair_ok(protection->packets_per_second, protection->packets_burst) &&
	       pair_ok(protection->flows_per_second, protection->flows_burst) &&
	       (protection->block == 0 || snapshot_name_ok(snapshot, protection->block)) &&
	       (protection->allow == 0 || snapshot_name_ok(snapshot, protection->allow)) &&
	       (protection->packets_per_second != 0 || protection->flows_per_second != 0 || protection->block != 0 || protection->allow != 0) &&
	       memcmp(protection->pad, none, sizeof(none)) == 0;
}

int protection_check(const struct glb_snapshot *snapshot, struct glb_error *error)
{
	uint32_t next = 0;

	for (uint32_t i = 0; i < snapshot->service_count; i++) {
		const struct glb_protection *protection = &snapshot->protections[next];

		if ((snapshot->services[i].flags & GLB_SERVICE_PROTECTED) == 0)
			continue;
		if (next == snapshot->protection_count || protection->service != i)
			return glb_error_set(error, -EINVAL, "snapshot service %u: its protection is not the next one", i);
		if (!is_whole(snapshot, protection))
			return glb_error_set(error, -EINVAL, "snapshot protection %u: malformed, or with nothing in it", next);
		next++;
	}
	if (next != snapshot->protection_count)
		return glb_error_set(error, -EINVAL, "snapshot protection %u: of no service that has one", next);
	return 0;
}

const struct glb_protection *glb_snapshot_protection(const struct glb_snapshot *snapshot, uint32_t service)
{
	uint32_t low = 0, high = snapshot->protection_count;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;

		if (snapshot->protections[middle].service < service)
			low = middle + 1;
		else
			high = middle;
	}
	return low < snapshot->protection_count && snapshot->protections[low].service == service ? &snapshot->protections[low] : NULL;
}
