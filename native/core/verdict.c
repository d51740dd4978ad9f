/* Names, verdicts and texts of reasons: the table behind glb/verdict.h. */
#include <glb/verdict.h>

struct reason {
	const char *name;
	enum glb_verdict verdict;
	const char *text;
};

static const struct reason reasons[GLB_REASON_COUNT] = {
	[GLB_REASON_FORWARDED] = {"forwarded", GLB_VERDICT_FORWARD, "sent to a backend"},
	[GLB_REASON_OTHER_MAC] = {"other_mac", GLB_VERDICT_PUNT,
		"the destination MAC is neither the port's nor multicast"},
	[GLB_REASON_OWN_MAC] = {"own_mac", GLB_VERDICT_PUNT, "the source MAC is the port's: our own frame, seen again"},
	[GLB_REASON_NOT_IP] = {"not_ip", GLB_VERDICT_PUNT, "neither IPv4 nor IPv6 (ARP, LLDP and so on)"},
	[GLB_REASON_NOT_VIP] = {"not_vip", GLB_VERDICT_PUNT, "the destination address is in no service's VIPs"},
	[GLB_REASON_NO_SERVICE] = {"no_service", GLB_VERDICT_PUNT,
		"a VIP, but no service there has this protocol and port"},
	[GLB_REASON_OTHER_PROTOCOL] = {"other_protocol", GLB_VERDICT_PUNT, "a VIP, but neither TCP, UDP nor ICMP"},
	[GLB_REASON_ICMP_NOT_TAKEN] = {"icmp_not_taken", GLB_VERDICT_PUNT,
		"ICMP to a VIP, of a type that is left to the kernel"},
	[GLB_REASON_ICMP_NOT_OURS] = {"icmp_not_ours", GLB_VERDICT_PUNT,
		"an ICMP error that quotes no packet of a service"},
	[GLB_REASON_LATER_FRAGMENT] = {"later_fragment", GLB_VERDICT_PUNT,
		"a later fragment, which has no ports, and its service does not follow fragments"},
	[GLB_REASON_IPV6_EXTENSION] = {"ipv6_extension", GLB_VERDICT_PUNT,
		"IPv6 extension headers, which policy glb (as GLB's director) and encapsulations that rewrite leave to the kernel"},
	[GLB_REASON_NO_SNAPSHOT] = {"no_snapshot", GLB_VERDICT_PUNT, "no snapshot is loaded yet"},
	[GLB_REASON_ETH_TRUNCATED] = {"eth_truncated", GLB_VERDICT_DROP,
		"malformed: shorter than its Ethernet or VLAN header"},
	[GLB_REASON_IPV4_TRUNCATED] = {"ipv4_truncated", GLB_VERDICT_DROP,
		"malformed: shorter than its IPv4 header, or a header length below 20"},
	[GLB_REASON_IPV4_BAD_VERSION] = {"ipv4_bad_version", GLB_VERDICT_DROP,
		"malformed: the type says IPv4, the header does not"},
	[GLB_REASON_IPV4_BAD_LENGTH] = {"ipv4_bad_length", GLB_VERDICT_DROP,
		"malformed: the IPv4 total length is beyond the frame, or smaller than the header"},
	[GLB_REASON_IPV6_TRUNCATED] = {"ipv6_truncated", GLB_VERDICT_DROP, "malformed: shorter than its IPv6 header"},
	[GLB_REASON_IPV6_BAD_VERSION] = {"ipv6_bad_version", GLB_VERDICT_DROP,
		"malformed: the type says IPv6, the header does not"},
	[GLB_REASON_IPV6_BAD_LENGTH] = {"ipv6_bad_length", GLB_VERDICT_DROP,
		"malformed: the IPv6 payload length is beyond the frame"},
	[GLB_REASON_IPV6_BAD_EXTENSION] = {"ipv6_bad_extension", GLB_VERDICT_DROP,
		"malformed: an IPv6 extension header is cut off, or there are more than 8"},
	[GLB_REASON_L4_TRUNCATED] = {"l4_truncated", GLB_VERDICT_DROP,
		"malformed: the TCP, UDP or ICMP header is cut off"},
	[GLB_REASON_ICMP_QUOTE_TRUNCATED] = {"icmp_quote_truncated", GLB_VERDICT_DROP,
		"malformed: the packet that an ICMP error quotes is cut before its ports"},
	[GLB_REASON_NO_BACKEND] = {"no_backend", GLB_VERDICT_DROP,
		"the service has no backend that may take packets, or its encapsulation does not reach it"},
	[GLB_REASON_TOO_LONG] = {"too_long", GLB_VERDICT_DROP, "encapsulated, it would exceed 65535 bytes or the MTU"},
	[GLB_REASON_NO_HEADROOM] = {"no_headroom", GLB_VERDICT_DROP, "the buffer has no room for the outer header, or is shared"},
	[GLB_REASON_TX_FULL] = {"tx_full", GLB_VERDICT_DROP, "the transmit queue did not take it"},
	[GLB_REASON_NO_NEXT_HOP] = {"no_next_hop", GLB_VERDICT_DROP,
		"the MAC address of the backend's next hop is not known"},
	[GLB_REASON_MUTED] = {"muted", GLB_VERDICT_PUNT,
		"this forwarder is muted: another process of the instance forwards it"},
	[GLB_REASON_ECHO_ANSWERED] = {"echo_answered", GLB_VERDICT_ANSWER,
		"an echo request to a VIP, answered by the director"},
	[GLB_REASON_ECHO_LIMITED] = {"echo_limited", GLB_VERDICT_DROP,
		"an echo request to a VIP, above the rate at which the director answers"},
	[GLB_REASON_STEER_RING_FULL] = {"steer_ring_full", GLB_VERDICT_DROP,
		"run_model pipeline: its worker does not keep up, and the ring to it is full"},
	[GLB_REASON_TX_RING_FULL] = {"tx_ring_full", GLB_VERDICT_DROP,
		"run_model pipeline: the sender does not keep up, and the ring to it is full"},
	[GLB_REASON_PUNT_LIMITED] = {"punt_limited", GLB_VERDICT_DROP,
		"to the kernel, but its class of punted packets is above its rate"},
	[GLB_REASON_NOT_ON_LINK] = {"not_on_link", GLB_VERDICT_DROP,
		"encapsulation l2dsr: the backend is not on the director's own link"},
	[GLB_REASON_PUNT_FULL] = {"punt_full", GLB_VERDICT_DROP, "to the kernel, but the queue of its class is full"},
	[GLB_REASON_UNMATCHED_DROPPED] = {"unmatched_dropped", GLB_VERDICT_DROP,
		"a VIP, but no service there takes it, and its policy unmatched is not punt"},
	[GLB_REASON_UNMATCHED_REJECTED] = {"unmatched_rejected", GLB_VERDICT_ANSWER,
		"a VIP, but no service there takes it: answered with a TCP reset or a port unreachable"},
	[GLB_REASON_REJECT_LIMITED] = {"reject_limited", GLB_VERDICT_DROP,
		"a VIP, but no service there takes it: above the rate at which the director rejects"},
	[GLB_REASON_TRACED] = {"traced", GLB_VERDICT_DROP, "a packet of glb trace --live, freed where it would have been sent"},
	[GLB_REASON_SOURCE_MARTIAN] = {"source_martian", GLB_VERDICT_DROP,
		"strict: from an address that no packet can come from (loopback, multicast, reserved)"},
	[GLB_REASON_SOURCE_IS_VIP] = {"source_is_vip", GLB_VERDICT_DROP, "strict: from the address that it is for"},
	[GLB_REASON_PORT_ZERO] = {"port_zero", GLB_VERDICT_DROP, "strict: TCP or UDP, from or to port 0"},
	[GLB_REASON_TCP_BAD_FLAGS] = {"tcp_bad_flags", GLB_VERDICT_DROP,
		"strict: TCP flags that contradict each other, or neither SYN, RST nor ACK"},
	[GLB_REASON_TCP_BAD_HEADER] = {"tcp_bad_header", GLB_VERDICT_DROP,
		"strict: the TCP header's length or an option does not fit"},
	[GLB_REASON_UDP_BAD_LENGTH] = {"udp_bad_length", GLB_VERDICT_DROP,
		"strict: the UDP length is beyond the packet, or below 8"},
	[GLB_REASON_OVERSIZE_ANSWERED] = {"oversize_answered", GLB_VERDICT_ANSWER,
		"encapsulated, it would exceed the MTU: its sender is told what fits"},
	[GLB_REASON_OVERSIZE_LIMITED] = {"oversize_limited", GLB_VERDICT_DROP,
		"encapsulated, it would exceed the MTU: above the rate at which the director tells senders so"},
	[GLB_REASON_OVERSIZE_FRAGMENTED] = {"oversize_fragmented", GLB_VERDICT_FORWARD,
		"encapsulated, it would exceed the MTU: sent to a backend in fragments"},
	[GLB_REASON_NO_BUFFER] = {"no_buffer", GLB_VERDICT_DROP, "no packet buffer was free for its fragments"},
	[GLB_REASON_PACKETS_LIMITED] = {"packets_limited", GLB_VERDICT_DROP, "above the service's packets_per_second"},
	[GLB_REASON_FLOWS_LIMITED] = {"flows_limited", GLB_VERDICT_DROP,
		"begins a flow, above the service's new_flows_per_second"},
	[GLB_REASON_FRAGMENT_TINY] = {"fragment_tiny", GLB_VERDICT_DROP,
		"a fragment of TCP that begins within the transport header"},
	[GLB_REASON_FRAGMENT_BAD_LENGTH] = {"fragment_bad_length", GLB_VERDICT_DROP,
		"malformed: a fragment that is empty, or not the last one and not a multiple of 8 bytes"},
	[GLB_REASON_FRAGMENT_ENDLESS] = {"fragment_endless", GLB_VERDICT_DROP,
		"malformed: a fragment with which its datagram would exceed 65535 bytes"},
	[GLB_REASON_FRAGMENT_OVERLAP] = {"fragment_overlap", GLB_VERDICT_DROP,
		"a fragment with bytes that have come before, or of a datagram in which fragments overlap"},
	[GLB_REASON_FRAGMENT_TIMEOUT] = {"fragment_timeout", GLB_VERDICT_DROP,
		"a later fragment that waited in vain for the first one of its datagram"},
	[GLB_REASON_FRAGMENT_NO_ROOM] = {"fragment_no_room", GLB_VERDICT_DROP,
		"a later fragment that came before the first one, and had no room to wait"},
	[GLB_REASON_FRAGMENT_REDIRECTED] = {"fragment_redirected", GLB_VERDICT_ANSWER,
		"a fragment, sent to the peer director where all of its datagram meet"},
	[GLB_REASON_FRAGMENT_FROM_PEER] = {"fragment_from_peer", GLB_VERDICT_FORWARD,
		"a fragment that a peer director had redirected to this one: sent to a backend"},
	[GLB_REASON_FRAGMENT_PEER_TOO_LONG] = {"fragment_peer_too_long", GLB_VERDICT_DROP,
		"a fragment for a peer director: encapsulated, it would exceed the MTU"},
	[GLB_REASON_FRAGMENT_PEER_UNKNOWN] = {"fragment_peer_unknown", GLB_VERDICT_DROP,
		"a fragment redirected to this director from an address that is not in fragments.peers"},
	[GLB_REASON_FRAGMENT_PEER_BAD] = {"fragment_peer_bad", GLB_VERDICT_DROP,
		"redirected to this director by a peer, and not a fragment in IPv4 or IPv6"},
	[GLB_REASON_OUTER_TOO_BIG] = {"outer_too_big", GLB_VERDICT_PUNT,
		"a router on the way to a backend says that an encapsulated packet is too big there; the kernel gets this, too"},
	[GLB_REASON_OUTER_TOO_BIG_IGNORED] = {"outer_too_big_ignored", GLB_VERDICT_PUNT,
		"says that an encapsulated packet is too big for an MTU that cannot be: below 576 (IPv6: 1280), or not exceeded"},
	[GLB_REASON_BLOCKED] = {"blocked", GLB_VERDICT_DROP, "the source address is in the service's block list"},
	[GLB_REASON_NOT_ALLOWED] = {"not_allowed", GLB_VERDICT_DROP, "the source address is not in the service's allow list"},
};

const char *glb_reason_name(unsigned reason)
{
	return reason < GLB_REASON_COUNT ? reasons[reason].name : "unknown";
}

unsigned glb_reason_verdict(unsigned reason)
{
	return reason < GLB_REASON_COUNT ? reasons[reason].verdict : GLB_VERDICT_DROP;
}

const char *glb_reason_text(unsigned reason)
{
	return reason < GLB_REASON_COUNT ? reasons[reason].text : "unknown";
}

const char *glb_verdict_name(unsigned verdict)
{
	static const char *const names[] = {
		[GLB_VERDICT_FORWARD] = "forward",
		[GLB_VERDICT_ANSWER] = "answer",
		[GLB_VERDICT_PUNT] = "punt",
		[GLB_VERDICT_DROP] = "drop",
		[GLB_VERDICT_WAIT] = "wait",
	};

	return verdict < sizeof(names) / sizeof(names[0]) ? names[verdict] : "unknown";
}
