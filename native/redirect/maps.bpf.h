/* The maps, which every program of an attachment shares by their pins, and what a way in asks of them. */
#ifndef GLB_MAPS_BPF_H
#define GLB_MAPS_BPF_H

#include "decide.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct glb_redirect_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GLB_REDIRECT_COUNTERS);
	__type(key, uint32_t);
	__type(value, uint64_t);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GLB_REDIRECT_PREFIXES);
	__type(key, struct glb_redirect_prefix);
	__type(value, uint32_t);
} allow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GLB_REDIRECT_REWRITES);
	__type(key, struct glb_redirect_match);
	__type(value, struct glb_redirect_target);
} rewrites SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GLB_REDIRECT_SERVICES);
	__type(key, struct glb_redirect_service_key);
	__type(value, struct glb_redirect_service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GLB_REDIRECT_HUNTED);
	__type(key, struct glb_redirect_hunted);
	__type(value, uint32_t);
} hunted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GLB_REDIRECT_QUICS);
	__type(key, struct glb_redirect_quic_key);
	__type(value, struct glb_redirect_quic);
} quic SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GLB_REDIRECT_DATAGRAMS);
	__type(key, struct glb_redirect_datagram);
	__type(value, struct glb_redirect_went);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, GLB_REDIRECT_EVENTS);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LIMITS);
	__type(key, uint32_t);
	__type(value, struct limit);
} limits SEC(".maps");

static __always_inline void count(enum glb_redirect_reason reason)
{
	uint32_t key = reason;
	uint64_t *counter = bpf_map_lookup_elem(&counters, &key);

	if (counter)
		++*counter;
}

static __always_inline uint32_t way_roles(const struct packet *packet, bool is_v6, const uint8_t addr[16])
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the key below is put together for little-endian CPUs"
#endif
	/* struct glb_redirect_prefix, written by the words that the trie reads it by: the CPU waits for bytes that come in others. */
	struct { uint32_t before, bits; uint64_t first, second; uint32_t last; } key __attribute__((aligned(8)));
	uint32_t words[4], *value;
	uint64_t low, high;

	(void)packet;
	__builtin_memcpy(words, addr, 16);
	low = words[0] | (uint64_t)words[1] << 32;
	high = words[2] | (uint64_t)words[3] << 32;
	key.bits = GLB_REDIRECT_FAMILY_BITS + (is_v6 ? 128 : 32);
	key.first = (is_v6 ? GLB_REDIRECT_V6 : GLB_REDIRECT_V4) | low << 8;
	key.second = low >> 56 | high << 8;
	key.last = (uint32_t)(high >> 56);
	value = bpf_map_lookup_elem(&allow, &key.bits);
	return value ? *value : 0;
}

static __always_inline struct glb_redirect_service *way_service(const struct packet *packet,
								const struct glb_redirect_service_key *key)
{
	(void)packet;
	return bpf_map_lookup_elem(&services, key);
}

static __always_inline uint32_t way_recall(const struct packet *packet, const struct glb_redirect_hunted *flow)
{
	const uint32_t *where = bpf_map_lookup_elem(&hunted, flow);

	(void)packet;
	return where ? *where : 0;
}

static __always_inline void way_remember(const struct packet *packet, const struct glb_redirect_hunted *flow, uint32_t where)
{
	(void)packet;
	bpf_map_update_elem(&hunted, flow, &where, BPF_ANY);
}

static __always_inline const struct glb_redirect_quic *way_quic(const struct packet *packet, const struct glb_redirect_quic_key *key)
{
	(void)packet;
	return bpf_map_lookup_elem(&quic, key);
}

/* In the clear only: a map has none that are encrypted. */
static __always_inline bool way_is_own_id(const struct packet *packet, const struct glb_redirect_quic *quic, uint32_t at)
{
	uint64_t id[2], own[2], mask[2];

	asm("" : "+r"(at)); /* or the compiler bounds another register than it reads by */
	if (!way_load(packet, at, id, sizeof(id)))
		return false;
	__builtin_memcpy(own, quic->server_id, sizeof(own));
	__builtin_memcpy(mask, quic->mask, sizeof(mask));
	return !(((id[0] ^ own[0]) & mask[0]) | ((id[1] ^ own[1]) & mask[1]));
}

static __always_inline const struct glb_redirect_went *way_recall_fragment(const struct packet *packet,
									    const struct glb_redirect_datagram *datagram)
{
	(void)packet;
	return bpf_map_lookup_elem(&fragments, datagram);
}

static __always_inline void way_remember_fragment(const struct packet *packet, const struct glb_redirect_datagram *datagram,
						  const struct glb_redirect_went *went)
{
	(void)packet;
	bpf_map_update_elem(&fragments, datagram, went, BPF_ANY);
}

static __always_inline void way_forget_fragment(const struct packet *packet, const struct glb_redirect_datagram *datagram)
{
	if (way_recall_fragment(packet, datagram)) /* the map is not written to where there is nothing to forget */
		bpf_map_delete_elem(&fragments, datagram);
}

static __always_inline uint64_t way_now(const struct packet *packet)
{
	(void)packet;
	return bpf_ktime_get_ns();
}

static __always_inline bool way_may_pass(const struct packet *packet, enum limit_kind kind, uint32_t rate)
{
	uint32_t key = kind;
	struct limit *limit = bpf_map_lookup_elem(&limits, &key);

	(void)packet;
	return !limit || !rate || limit_take(limit, bpf_ktime_get_coarse_ns(), rate); /* some ms behind, and half the price */
}

static __always_inline const struct glb_redirect_target *way_rewrite(const struct packet *packet,
								     const struct glb_redirect_match *match)
{
	(void)packet;
	return bpf_map_lookup_elem(&rewrites, match);
}

/* Tells whoever reads `events` of a packet that is dropped; not of all of them when there are many. Others cost nothing. */
static __always_inline void report(const struct packet *packet, enum glb_redirect_reason reason, uint32_t length)
{
	struct glb_redirect_event *event;

	if (!way_may_pass(packet, LIMIT_EVENTS, GLB_REDIRECT_EVENTS_RATE))
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return;
	event->time_ns = bpf_ktime_get_ns();
	event->reason = reason;
	event->length = length;
	for (uint32_t at = 0; at < sizeof(event->first); at += GLB_REDIRECT_EVENT_STEP)
		if (!way_load(packet, at, event->first + at, GLB_REDIRECT_EVENT_STEP))
			__builtin_memset(event->first + at, 0, GLB_REDIRECT_EVENT_STEP);
	bpf_ringbuf_submit(event, 0);
}

#endif
