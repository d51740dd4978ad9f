/* Names and verdicts of reasons: the table behind glb/verdict.h. */
#include <glb/verdict.h>

struct reason {
	const char *name;
	enum glb_verdict verdict;
};

static const struct reason reasons[GLB_REASON_COUNT] = {
	[GLB_REASON_FORWARDED] = {"forwarded", GLB_VERDICT_FORWARD},
	[GLB_REASON_OTHER_MAC] = {"other_mac", GLB_VERDICT_PUNT},
	[GLB_REASON_OWN_MAC] = {"own_mac", GLB_VERDICT_PUNT},
	[GLB_REASON_NOT_IP] = {"not_ip", GLB_VERDICT_PUNT},
	[GLB_REASON_NOT_VIP] = {"not_vip", GLB_VERDICT_PUNT},
	[GLB_REASON_NO_SERVICE] = {"no_service", GLB_VERDICT_PUNT},
	[GLB_REASON_OTHER_PROTOCOL] = {"other_protocol", GLB_VERDICT_PUNT},
	[GLB_REASON_ICMP_NOT_TAKEN] = {"icmp_not_taken", GLB_VERDICT_PUNT},
	[GLB_REASON_ICMP_NOT_OURS] = {"icmp_not_ours", GLB_VERDICT_PUNT},
	[GLB_REASON_LATER_FRAGMENT] = {"later_fragment", GLB_VERDICT_PUNT},
	[GLB_REASON_NO_SNAPSHOT] = {"no_snapshot", GLB_VERDICT_PUNT},
	[GLB_REASON_ETH_TRUNCATED] = {"eth_truncated", GLB_VERDICT_DROP},
	[GLB_REASON_IPV4_TRUNCATED] = {"ipv4_truncated", GLB_VERDICT_DROP},
	[GLB_REASON_IPV4_BAD_VERSION] = {"ipv4_bad_version", GLB_VERDICT_DROP},
	[GLB_REASON_IPV4_BAD_LENGTH] = {"ipv4_bad_length", GLB_VERDICT_DROP},
	[GLB_REASON_IPV6_TRUNCATED] = {"ipv6_truncated", GLB_VERDICT_DROP},
	[GLB_REASON_IPV6_BAD_VERSION] = {"ipv6_bad_version", GLB_VERDICT_DROP},
	[GLB_REASON_IPV6_BAD_LENGTH] = {"ipv6_bad_length", GLB_VERDICT_DROP},
	[GLB_REASON_IPV6_BAD_EXTENSION] = {"ipv6_bad_extension", GLB_VERDICT_DROP},
	[GLB_REASON_L4_TRUNCATED] = {"l4_truncated", GLB_VERDICT_DROP},
	[GLB_REASON_ICMP_QUOTE_TRUNCATED] = {"icmp_quote_truncated", GLB_VERDICT_DROP},
	[GLB_REASON_NO_BACKEND] = {"no_backend", GLB_VERDICT_DROP},
	[GLB_REASON_TOO_LONG] = {"too_long", GLB_VERDICT_DROP},
	[GLB_REASON_NO_HEADROOM] = {"no_headroom", GLB_VERDICT_DROP},
	[GLB_REASON_TX_FULL] = {"tx_full", GLB_VERDICT_DROP},
};

const char *glb_reason_name(unsigned reason)
{
	return reason < GLB_REASON_COUNT ? reasons[reason].name : "unknown";
}

unsigned glb_reason_verdict(unsigned reason)
{
	return reason < GLB_REASON_COUNT ? reasons[reason].verdict : GLB_VERDICT_DROP;
}

const char *glb_verdict_name(unsigned verdict)
{
	static const char *const names[] = {
		[GLB_VERDICT_FORWARD] = "forward",
		[GLB_VERDICT_ANSWER] = "answer",
		[GLB_VERDICT_PUNT] = "punt",
		[GLB_VERDICT_DROP] = "drop",
	};

	return verdict < sizeof(names) / sizeof(names[0]) ? names[verdict] : "unknown";
}
