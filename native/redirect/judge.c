/* The decision of decide.h in user space: bytes from memory, sockets by sock_diag, the allow-list as the options gave it.
 *
 * sock_diag tells the state of a socket, but neither a request's sequence number nor TIME_WAIT's window, and cannot check SYN
 * cookies. It sends nothing; who calls does.
 */
#include <glb/quic.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <time.h>
#include "judge.h"

struct packet {
	const uint8_t *data;
	uint32_t length;
	struct judge *judge;
};

#include "decide.h"

static __always_inline bool way_load(const struct packet *packet, uint32_t at, void *to, uint32_t len)
{
	if (at > packet->length || len > packet->length - at)
		return false;
	memcpy(to, packet->data + at, len);
	return true;
}

static __always_inline bool way_is_super(const struct packet *packet)
{
	(void)packet; /* the kernel takes them apart before they are queued */
	return false;
}

static bool contains(const struct glb_redirect_prefix *prefix, uint8_t family, const uint8_t addr[16])
{
	uint32_t bits = prefix->bits - GLB_REDIRECT_FAMILY_BITS, whole = bits / 8, mask = 0xff00u >> bits % 8;

	return prefix->family == family && !memcmp(prefix->addr, addr, whole) &&
	       (bits % 8 == 0 || !((prefix->addr[whole] ^ addr[whole]) & mask));
}

static __always_inline uint32_t way_roles(const struct packet *packet, bool is_v6, const uint8_t addr[16])
{
	const struct prefixes *allow = packet->judge->allow;
	uint32_t longest = 0, roles = 0;

	for (size_t i = 0; i < allow->count; i++) {
		const struct glb_redirect_prefix *prefix = &allow->items[i];

		if (prefix->bits < longest || !contains(prefix, is_v6 ? GLB_REDIRECT_V6 : GLB_REDIRECT_V4, addr))
			continue;
		roles = prefix->bits == longest ? roles | allow->roles[i] : allow->roles[i];
		longest = prefix->bits;
	}
	return roles;
}

/* A socket that could not be asked for is none: the next hop may know. */
static __always_inline void way_find(const struct packet *packet, const struct tuple *tuple, struct inner *segment,
				     struct known *known)
{
	const struct seen_socket seen = sockets_find(packet->judge->sockets_fd, IPPROTO_TCP, tuple->is_v6, tuple->vip, tuple->vip_port,
						     tuple->client, tuple->client_port);

	(void)segment;
	if (seen.state <= 0)
		return;
	switch (seen.state) {
	case TCP_LISTEN:
		known->as = KNOWN_LISTENER;
		known->queue = seen.queue;
		break;
	case TCP_SYN_RECV:
		known->as = KNOWN_REQUEST;
		break;
	case TCP_TIME_WAIT:
		known->as = KNOWN_TIMEWAIT;
		break;
	default:
		known->as = KNOWN_CONNECTION;
	}
}

static __always_inline enum known_as way_find_udp(const struct packet *packet, const struct tuple *tuple)
{
	const struct seen_socket seen = sockets_find(packet->judge->sockets_fd, IPPROTO_UDP, tuple->is_v6, tuple->vip, tuple->vip_port,
						     tuple->client, tuple->client_port);

	return seen.state <= 0 ? KNOWN_NOT : seen.state == TCP_ESTABLISHED ? KNOWN_CONNECTION : KNOWN_LISTENER;
}

static __always_inline struct glb_redirect_service *way_service(const struct packet *packet,
								const struct glb_redirect_service_key *key)
{
	struct services *services = packet->judge->services;

	for (size_t i = 0; i < services->count; i++)
		if (!memcmp(&services->items[i].key, key, sizeof(*key)))
			return &services->items[i].service;
	return NULL;
}

static __always_inline const struct glb_redirect_quic *way_quic(const struct packet *packet, const struct glb_redirect_quic_key *key)
{
	const struct quic *quic = quics_find(packet->judge->quics, key);

	return quic ? &quic->value : NULL;
}

static __always_inline bool way_is_own_id(const struct packet *packet, const struct glb_redirect_quic *value, uint32_t at)
{
	const struct quic *quic = (const struct quic *)((const char *)value - offsetof(struct quic, value));
	uint8_t server_id[16];

	glb_quic_decode(&quic->how, packet->data + at, server_id);
	return !memcmp(server_id, value->server_id, sizeof(server_id));
}

static __always_inline enum quic_owner way_owner(const struct packet *packet, struct glb_redirect_quic_key *key, uint32_t at, uint32_t end)
{
	return quic_owner_of(packet, key, at, end);
}

static __always_inline int way_pass_extensions(struct cursor *c, uint8_t protocol)
{
	return pass_extensions(c, protocol);
}

static __always_inline bool way_leaves_fragments(void)
{
	return false;
}

/* FNV-1a, for a place in a table that forgets what another key overwrites. */
static uint32_t hash_of(const void *key, size_t len)
{
	const uint8_t *bytes = key;
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

static struct hunt *place(const struct packet *packet, const struct glb_redirect_hunted *flow)
{
	return &packet->judge->hunts[hash_of(flow, sizeof(*flow)) % HUNTS];
}

static __always_inline uint32_t way_recall(const struct packet *packet, const struct glb_redirect_hunted *flow)
{
	const struct hunt *hunt = place(packet, flow);

	return memcmp(&hunt->flow, flow, sizeof(*flow)) ? 0 : hunt->where;
}

static __always_inline void way_remember(const struct packet *packet, const struct glb_redirect_hunted *flow, uint32_t where)
{
	*place(packet, flow) = (struct hunt){.flow = *flow, .where = where};
}

static struct moved *place_of_datagram(const struct packet *packet, const struct glb_redirect_datagram *datagram)
{
	return &packet->judge->moved[hash_of(datagram, sizeof(*datagram)) % MOVED];
}

static __always_inline const struct glb_redirect_went *way_recall_fragment(const struct packet *packet,
									    const struct glb_redirect_datagram *datagram)
{
	const struct moved *moved = place_of_datagram(packet, datagram);

	return memcmp(&moved->datagram, datagram, sizeof(*datagram)) ? NULL : &moved->went;
}

static __always_inline void way_remember_fragment(const struct packet *packet, const struct glb_redirect_datagram *datagram,
						  const struct glb_redirect_went *went)
{
	*place_of_datagram(packet, datagram) = (struct moved){.datagram = *datagram, .went = *went};
}

static __always_inline void way_forget_fragment(const struct packet *packet, const struct glb_redirect_datagram *datagram)
{
	if (way_recall_fragment(packet, datagram))
		*place_of_datagram(packet, datagram) = (struct moved){0};
}

static __always_inline uint64_t way_now(const struct packet *packet)
{
	struct timespec now;

	(void)packet;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static __always_inline bool way_may_pass(const struct packet *packet, enum limit_kind kind, uint32_t rate)
{
	struct limit limit = {packet->judge->full_at[kind]};
	bool passes;

	if (!rate)
		return true;
	passes = limit_take(&limit, way_now(packet), rate);
	packet->judge->full_at[kind] = limit.full_at;
	return passes;
}

static __always_inline const struct glb_redirect_target *way_rewrite(const struct packet *packet,
								     const struct glb_redirect_match *match)
{
	(void)packet, (void)match; /* L3DSR has no rule in iptables here */
	return NULL;
}

/* The checksum after `len` bytes that it covers, an even number of them, have changed from `was` to `now` (RFC 1624). */
static glb_be16 changed_sum(glb_be16 checksum, const uint8_t *was, const uint8_t *now, uint32_t len)
{
	uint32_t sum = (uint16_t)~glb_be16_get(checksum);

	for (uint32_t i = 0; i < len; i += 2) {
		sum += (uint16_t)~(was[i] << 8 | was[i + 1]);
		sum += (uint32_t)(now[i] << 8 | now[i + 1]);
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return glb_be16_put((uint16_t)~sum);
}

static void change_udp_sum(struct glb_udp *udp, const uint8_t *was, const uint8_t *now, uint32_t len)
{
	if (!glb_be16_get(udp->checksum))
		return;
	udp->checksum = changed_sum(udp->checksum, was, now, len);
	if (!glb_be16_get(udp->checksum))
		udp->checksum = glb_be16_put(0xffff);
}

/* The packet for the next hop, made from that which came. */
static uint32_t make_onward(uint8_t *to, const uint8_t *from, const struct decision *decision)
{
	const struct outer *outer = &decision->outer;
	struct glb_ipv4 *v4 = (struct glb_ipv4 *)(to + outer->ip_at);
	struct glb_ipv6 *v6 = (struct glb_ipv6 *)(to + outer->ip_at);
	struct glb_udp *udp = (struct glb_udp *)(to + outer->l4_at);
	struct glb_gue *gue = (struct glb_gue *)(to + outer->gue_at);
	const uint32_t len = outer->is_v6 ? 16 : 4;

	memcpy(to, from, outer->end);
	gue->next_hop = decision->next_hop;
	change_udp_sum(udp, (const uint8_t[2]){outer->gue.next_hop, outer->gue.hop_count},
		       (const uint8_t[2]){decision->next_hop, outer->gue.hop_count}, 2);
	/* Our address moves from destination to source, so for the sums only the source goes and the hop comes. */
	change_udp_sum(udp, outer->src, decision->hop, len);
	if (outer->is_v6) {
		memcpy(v6->src, outer->dst, 16);
		memcpy(v6->dst, decision->hop, 16);
	} else {
		memcpy(v4->src, outer->dst, 4);
		memcpy(v4->dst, decision->hop, 4);
		v4->checksum = changed_sum(v4->checksum, outer->src, decision->hop, len);
	}
	return outer->end;
}

/* The client's packet, with the congestion mark of its outer header. */
static uint32_t make_local(uint8_t *to, const uint8_t *from, uint32_t end, const struct decision *decision)
{
	const uint32_t at = decision->outer.inner_at, length = end - at;
	struct glb_ipv4 *v4 = (struct glb_ipv4 *)to;

	memcpy(to, from + at, length);
	if (takes_mark(decision)) {
		merge_mark(decision, to);
		if (decision->outer.inner_protocol == GLB_IPPROTO_IPIP)
			v4->checksum = changed_sum(v4->checksum, from + at, to, 2);
	}
	return length;
}

bool judged_local(enum glb_redirect_reason reason)
{
	return is_local(reason);
}

bool judged_as_it_is(const struct judge *judge, enum glb_redirect_reason reason)
{
	return reason == GLB_REDIRECT_NOT_GUE || (is_local(reason) && judge->settings.leaves_outer);
}

bool judged_onward(enum glb_redirect_reason reason)
{
	return is_onward(reason);
}

/* Where the client's packet ends, by its own header; the decision has found that it fits. */
static uint32_t inner_end(const uint8_t *data, const struct decision *decision)
{
	const uint32_t at = decision->outer.inner_at;

	if (decision->outer.inner_protocol == GLB_IPPROTO_IPIP)
		return at + glb_be16_get(((const struct glb_ipv4 *)(data + at))->total_length);
	return at + (uint32_t)sizeof(struct glb_ipv6) + glb_be16_get(((const struct glb_ipv6 *)(data + at))->payload_length);
}

void judge(struct judge *judge, const uint8_t *data, uint32_t length, struct judgement *judgement)
{
	struct cursor c = {.packet = {.data = data, .length = length, .judge = judge}, .end = length};
	struct decision decision = {.outer = {.is_v6 = length && data[0] >> 4 == 6}};

	judgement->reason = GLB_REDIRECT_NOT_GUE;
	judgement->length = 0;
	if (length > JUDGED_MAX)
		return;
	decide(&c, &judge->settings, &decision);
	judgement->reason = decision.reason;
	if (is_onward(decision.reason))
		judgement->length = make_onward(judgement->packet, data, &decision);
	else if (is_local(decision.reason) && judge->settings.leaves_outer)
		memcpy(judgement->packet, data, judgement->length = length);
	else if (is_local(decision.reason))
		judgement->length = make_local(judgement->packet, data, inner_end(data, &decision), &decision);
}
