/* Token buckets of services' limits, and how a limit is shared out among workers (glb/guard.h). */
#include <glb/guard.h>

static const double by_demand = 16.0 / 17; /* of a limit; the rest is equal parts in any case */

static double load(const double *word)
{
	double value;

	__atomic_load(word, &value, __ATOMIC_RELAXED);
	return value;
}

bool glb_limiter_take(struct glb_limiter *limiter, const struct glb_share *share, uint64_t now_ns)
{
	const double burst = load(&share->burst);

	if (limiter->then_ns == 0)
		limiter->tokens = burst;
	else if (now_ns > limiter->then_ns)
		limiter->tokens += (double)(now_ns - limiter->then_ns) * 1e-9 * load(&share->rate);
	if (limiter->tokens > burst)
		limiter->tokens = burst;
	limiter->then_ns = now_ns;
	__atomic_store_n(&limiter->asked, limiter->asked + 1, __ATOMIC_RELAXED);
	if (limiter->tokens < 1)
		return false;
	limiter->tokens -= 1;
	return true;
}

void glb_limit_share(double rate, double burst, const uint64_t *asked, double seconds, unsigned n, struct glb_share *out)
{
	double whole = 0;

	for (unsigned i = 0; i < n; i++)
		whole += (double)asked[i] / seconds;
	for (unsigned i = 0; i < n; i++) {
		const double own = (double)asked[i] / seconds;
		struct glb_share share;

		if (whole <= rate * by_demand)
			share.rate = own + (rate - whole) / n;
		else
			share.rate = rate * (by_demand * own / whole + (1 - by_demand) / n);
		share.burst = burst * share.rate / rate;
		if (share.burst < 1)
			share.burst = 1;
		__atomic_store(&out[i].rate, &share.rate, __ATOMIC_RELAXED);
		__atomic_store(&out[i].burst, &share.burst, __ATOMIC_RELAXED);
	}
}
