/* The choice among directors that share fragments (glb/peers.h). */
#include "snapshot_layout.h"

#include <glb/peers.h>
#include <glb/siphash.h>

#include <arpa/inet.h>
#include <errno.h>

uint32_t glb_peers_find(const struct glb_peers *peers, const struct glb_addr *addr)
{
	for (uint32_t i = 0; i < peers->count; i++)
		if (glb_addr_equal(&peers->of[i].addr, addr))
			return i;
	return GLB_PEERS_MAX;
}

static const char *text_of(const struct glb_addr *addr, char out[INET6_ADDRSTRLEN])
{
	return inet_ntop(addr->family == GLB_FAMILY_V4 ? AF_INET : AF_INET6, addr->bytes, out, INET6_ADDRSTRLEN);
}

/* The same on every director: only the address goes in. */
static struct glb_peer peer_of(const struct glb_addr *addr)
{
	static const uint8_t key[16] = "glb peers";

	return (struct glb_peer){.addr = *addr, .seed = glb_siphash24(key, addr->bytes, glb_addr_len(addr->family))};
}

int glb_peers_set(struct glb_peers *peers, const struct glb_addr *addrs, uint32_t count, const struct glb_addr *own_v4,
		  const struct glb_addr *own_v6, struct glb_error *error)
{
	char text[INET6_ADDRSTRLEN];

	*peers = (struct glb_peers){.own = GLB_PEERS_MAX};
	if (count < 2 || count > GLB_PEERS_MAX)
		return glb_error_set(error, -EINVAL, "list 2 to %d directors, this one included; leave it out for one alone",
				     GLB_PEERS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		if (addrs[i].family != addrs[0].family)
			return glb_error_set(error, -EINVAL, "IPv4 and IPv6 addresses; list each director by its address of one of them");
		if (glb_peers_find(peers, &addrs[i]) != GLB_PEERS_MAX)
			return glb_error_set(error, -EINVAL, "%s is there twice", text_of(&addrs[i], text));
		if (glb_addr_equal(&addrs[i], addrs[i].family == GLB_FAMILY_V4 ? own_v4 : own_v6))
			peers->own = i;
		peers->of[peers->count++] = peer_of(&addrs[i]);
	}
	if (peers->own == GLB_PEERS_MAX)
		return glb_error_set(error, -EINVAL, "this director is not among them; add its forward.outer_source_v%d",
				     addrs[0].family);
	return 0;
}

/* Mixes all bits into all (the finalizer of splitmix64). */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Equal scores are as good as impossible; then the greater seed wins, wherever in the list it is. */
uint32_t glb_peers_choose(const struct glb_peers *peers, uint64_t hash)
{
	uint64_t best = 0;
	uint32_t chosen = 0;

	for (uint32_t i = 0; i < peers->count; i++) {
		const uint64_t score = mix(hash ^ peers->of[i].seed);

		if (score > best || (score == best && peers->of[i].seed > peers->of[chosen].seed)) {
			best = score;
			chosen = i;
		}
	}
	return chosen;
}
