/* The token bucket (glb/bucket.h). */
#include <glb/bucket.h>

static const uint64_t one = 1000000000; /* a whole one, in credit */

void glb_bucket_init(struct glb_bucket *bucket, uint32_t rate, uint32_t burst)
{
	bucket->rate = rate != 0 ? rate : 1;
	bucket->burst = burst != 0 ? burst : 1;
	bucket->credit = bucket->burst * one;
	bucket->now_ns = 0;
}

/* What has come in since the last call. The product cannot overflow: a longer time than fills the bucket is not multiplied. */
static void refill(struct glb_bucket *bucket, uint64_t now_ns)
{
	const uint64_t full = bucket->burst * one, missing = full - bucket->credit;
	const uint64_t passed = now_ns > bucket->now_ns ? now_ns - bucket->now_ns : 0;

	bucket->now_ns = now_ns;
	if (passed > missing / bucket->rate)
		bucket->credit = full;
	else
		bucket->credit += passed * bucket->rate;
}

bool glb_bucket_take(struct glb_bucket *bucket, uint64_t now_ns)
{
	refill(bucket, now_ns);
	if (bucket->credit < one)
		return false;
	bucket->credit -= one;
	return true;
}
