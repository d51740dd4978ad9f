/* A list of tables; each compilation uses few with the same seed. */
#include "table_cache.h"

#include <stdlib.h>
#include <string.h>

struct kept {
	struct kept *next;
	uint64_t used; /* the last compilation that had it */
	struct glb_table_config shape; /* without backends */
	struct glb_former former;
};

struct glb_table_cache {
	struct kept *first;
	uint64_t compilation;
};

static void free_kept(struct kept *kept)
{
	free((void *)kept->former.backends);
	free((void *)kept->former.rank);
	free((void *)kept->former.rows);
	free(kept);
}

struct glb_table_cache *glb_table_cache_new(void)
{
	return calloc(1, sizeof(struct glb_table_cache));
}

void glb_table_cache_begin(struct glb_table_cache *cache)
{
	if (cache != NULL)
		cache->compilation++;
}

void glb_table_cache_end(struct glb_table_cache *cache)
{
	struct kept **at = cache != NULL ? &cache->first : NULL;

	while (at != NULL && *at != NULL) {
		struct kept *kept = *at;

		if (kept->used == cache->compilation) {
			at = &kept->next;
		} else {
			*at = kept->next;
			free_kept(kept);
		}
	}
}

void glb_table_cache_free(struct glb_table_cache *cache)
{
	glb_table_cache_begin(cache);
	glb_table_cache_end(cache);
	free(cache);
}

static bool same_shape(const struct glb_table_config *a, const struct glb_table_config *b)
{
	return a->rows == b->rows && a->hops == b->hops && a->policy == b->policy && a->algorithm == b->algorithm &&
	       memcmp(a->seed, b->seed, sizeof(a->seed)) == 0;
}

const struct glb_former *glb_table_cache_find(struct glb_table_cache *cache, const struct glb_table_config *config,
					      uint32_t *distance)
{
	struct kept *nearest = NULL;

	for (struct kept *kept = cache->first; kept != NULL; kept = kept->next) {
		uint32_t this;

		if (!same_shape(&kept->shape, config))
			continue;
		this = glb_former_distance(&kept->former, config);
		if (nearest == NULL || this < *distance) {
			nearest = kept;
			*distance = this;
		}
	}
	if (nearest != NULL && *distance == 0)
		nearest->used = cache->compilation;
	return nearest != NULL ? &nearest->former : NULL;
}

static void *copy(const void *bytes, size_t len)
{
	void *to = malloc(len + 1);

	return to != NULL ? memcpy(to, bytes, len) : NULL;
}

void glb_table_cache_keep(struct glb_table_cache *cache, const struct glb_table_config *config, const uint8_t *rank,
			  const uint16_t *rows)
{
	struct kept *kept = calloc(1, sizeof(*kept));

	if (kept == NULL)
		return;
	*kept = (struct kept){
		.next = cache->first,
		.used = cache->compilation,
		.shape = *config,
		.former = {
			.backends = copy(config->backends, config->backend_count * sizeof(*config->backends)),
			.backend_count = config->backend_count,
			.rank = copy(rank, config->backend_count),
			.rows = copy(rows, (size_t)config->rows * config->hops * sizeof(*rows)),
		},
	};
	if (!kept->former.backends || !kept->former.rank || !kept->former.rows)
		free_kept(kept);
	else
		cache->first = kept;
}
