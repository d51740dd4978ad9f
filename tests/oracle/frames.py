"""The frames of the repository's vectors, by name: well-formed, odd, and malformed in every way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oracle.build import (
    ARP,
    IPV4,
    IPV6,
    authentication,
    ethernet,
    extension,
    fragment,
    icmp,
    ipv4,
    ipv6,
    tcp,
    udp,
)

CLIENT4, VIP4, OTHER4 = "192.0.2.77", "203.0.113.10", "203.0.113.99"
CLIENT6, VIP6, OTHER6 = "2001:db8:c::77", "2001:db8:100::10", "2001:db8:999::1"
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
HBH, ROUTING, FRAGMENT, ESP, AH, NONE, DST = 0, 43, 44, 50, 51, 59, 60
MF, DF = 0x2000, 0x4000

Frames = dict[str, bytes]


def v4(payload: bytes, protocol: int = TCP, src: str = CLIENT4, dst: str = VIP4, **fields: Any) -> bytes:
    return ethernet(ipv4(src, dst, protocol, payload, **fields), IPV4)


def v6(payload: bytes, protocol: int = TCP, src: str = CLIENT6, dst: str = VIP6, **fields: Any) -> bytes:
    return ethernet(ipv6(src, dst, protocol, payload, **fields), IPV6)


def quote4(payload: bytes, protocol: int = TCP, src: str = VIP4, dst: str = CLIENT4, **fields: Any) -> bytes:
    """Return a fragmentation-needed message to the VIP that quotes a packet from it."""
    quoted = ipv4(src, dst, protocol, payload, **fields)
    return v4(icmp(3, 4, 1400, quoted), ICMP, src="198.18.0.1")


def quote6(payload: bytes, protocol: int = TCP, src: str = VIP6, dst: str = CLIENT6, **fields: Any) -> bytes:
    quoted = ipv6(src, dst, protocol, payload, **fields)
    return v6(icmp(2, 0, 1280, quoted), ICMPV6, src="2001:db8:f::1")


def cut(frame: bytes, size: int) -> bytes:
    return frame[:size]


def plain() -> Frames:
    """TCP and UDP that a service takes, or does not."""
    frames: Frames = {}
    both: list[tuple[str, Callable[..., bytes]]] = [("v4", v4), ("v6", v6)]
    for family, make in both:
        frames |= {
            f"{family}_syn": make(tcp(40000, 80)),
            f"{family}_other_port": make(tcp(40001, 80)),
            f"{family}_second_bind": make(tcp(40000, 443, b"hello", flags=0x18)),
            f"{family}_tcp_options": make(tcp(40000, 80, b"x", options=bytes([2, 4, 5, 180]))),
            f"{family}_udp": make(udp(5353, 53, b"query"), UDP),
            f"{family}_udp_odd": make(udp(5353, 53, b"odd"), UDP),
            f"{family}_udp_empty": make(udp(5353, 53), UDP),
            f"{family}_port_0": make(tcp(0, 80)),
            f"{family}_port_65535": make(tcp(65535, 80)),
            f"{family}_range_first": make(tcp(40000, 8000)),
            f"{family}_range_last": make(tcp(40000, 8099)),
            f"{family}_range_above": make(tcp(40000, 8100)),
            f"{family}_no_service": make(tcp(40000, 81)),
            f"{family}_wrong_protocol": make(udp(40000, 80), UDP),
            f"{family}_sctp": make(bytes(12), 132),
            f"{family}_gre": make(bytes(8), 47),
            f"{family}_protocol_none": make(b"", NONE),
        }
    return frames | {
        "v4_not_vip": v4(tcp(40000, 80), dst=OTHER4),
        "v6_not_vip": v6(tcp(40000, 80), dst=OTHER6),
        "v4_tos": v4(tcp(40000, 80), tos=0xB8),
        "v6_class_label": v6(tcp(40000, 80), traffic_class=0xB8, label=0xABCDE),
        "v4_icmpv6": v4(icmp(128, 0), ICMPV6),
        "v6_icmpv4": v6(icmp(8, 0), ICMP),
        "v4_padded": v4(tcp(40000, 80)).ljust(60, b"\0"),
        "v4_trailer": v4(tcp(40000, 80)) + b"trailer",
        "v6_trailer": v6(tcp(40000, 80)) + b"trailer",
        "v4_full_mtu": v4(tcp(40000, 80, bytes(range(256)) * 5 + bytes(180), flags=0x10)),
        "v4_prefix_inside": v4(tcp(40000, 80), dst="198.51.100.37"),
        "v4_prefix_outside": v4(tcp(40000, 80), dst="198.51.100.64"),
        "v6_prefix_inside": v6(tcp(40000, 80), dst="2001:db8:200:f::1"),
        "v6_prefix_outside": v6(tcp(40000, 80), dst="2001:db8:210::1"),
    }


def link() -> Frames:
    """Ethernet: tags, other types, cut."""
    packet4, packet6 = ipv4(CLIENT4, VIP4, TCP, tcp(40000, 80)), ipv6(CLIENT6, VIP6, TCP, tcp(40000, 80))
    double = ((0x88A8, 7), (0x8100, 8))
    return {
        "vlan_v4": ethernet(packet4, IPV4, ((0x8100, 12),)),
        "vlan_v6": ethernet(packet6, IPV6, ((0x8100, 12),)),
        "vlan_priority": ethernet(packet4, IPV4, ((0x8100, 0xE00C),)),
        "vlan_double": ethernet(packet4, IPV4, double),
        "vlan_triple": ethernet(packet4, IPV4, (*double, (0x8100, 9))),
        "vlan_padded": ethernet(packet4, IPV4, ((0x8100, 12),), minimum=64),
        "vlan_arp": ethernet(bytes(28), ARP, ((0x8100, 12),)),
        "vlan_cut": cut(ethernet(packet4, IPV4, ((0x8100, 12),)), 16),
        "vlan_inner_cut": cut(ethernet(packet4, IPV4, double), 21),
        "arp": ethernet(bytes(28), ARP, dst="ff:ff:ff:ff:ff:ff"),
        "lldp": ethernet(bytes(46), 0x88CC),
        "length_field": ethernet(bytes(46), 46),
        "empty": b"",
        "eth_cut": cut(ethernet(b"", IPV4), 13),
        "eth_only_v4": ethernet(b"", IPV4),
        "eth_only_v6": ethernet(b"", IPV6),
        "eth_only_arp": ethernet(b"", ARP),
        "type_v4_packet_v6": ethernet(packet6, IPV4),
        "type_v6_packet_v4": ethernet(packet4 + bytes(20), IPV6),
    }


def malformed() -> Frames:
    """IP and transport headers that are cut or lie."""
    syn4, syn6 = v4(tcp(40000, 80)), v6(tcp(40000, 80))
    return {
        "v4_cut_19": cut(syn4, 14 + 19),
        "v4_cut_1": cut(syn4, 15),
        "v4_version_5": v4(tcp(40000, 80), version=5),
        "v4_ihl_0": v4(tcp(40000, 80), ihl=0),
        "v4_ihl_4": v4(tcp(40000, 80), ihl=4),
        "v4_options_beyond": v4(b"", ihl=15),
        "v4_total_0": v4(tcp(40000, 80), total=0),
        "v4_total_19": v4(tcp(40000, 80), total=19),
        "v4_total_below_ihl": v4(tcp(40000, 80), options=bytes(8), total=24),
        "v4_total_beyond": v4(tcp(40000, 80), total=41),
        "v4_total_65535": v4(tcp(40000, 80), total=65535),
        "v4_no_payload": v4(b""),
        "v4_tcp_19": v4(tcp(40000, 80)[:19]),
        "v4_tcp_4": v4(tcp(40000, 80)[:4]),
        "v4_tcp_short_by_total": v4(tcp(40000, 80), total=39),
        "v4_udp_7": v4(udp(5353, 53)[:7], UDP),
        "v4_icmp_7": v4(icmp(8, 0)[:7], ICMP),
        "v4_cut_not_vip": v4(tcp(40000, 80)[:19], dst=OTHER4),
        "v6_cut_39": cut(syn6, 14 + 39),
        "v6_cut_1": cut(syn6, 15),
        "v6_version_4": v6(tcp(40000, 80), version=4),
        "v6_length_beyond": v6(tcp(40000, 80), length=21),
        "v6_length_0": v6(tcp(40000, 80), length=0),
        "v6_tcp_19": v6(tcp(40000, 80)[:19]),
        "v6_tcp_short_by_length": v6(tcp(40000, 80), length=19),
        "v6_udp_7": v6(udp(5353, 53)[:7], UDP),
        "v6_icmp_7": v6(icmp(128, 0)[:7], ICMPV6),
    }


def options() -> Frames:
    """IPv4 options and IPv6 extension headers."""
    syn = tcp(40000, 80)
    frames = {
        "v4_options_4": v4(syn, options=b"\1\1\1\1"),
        "v4_options_40": v4(syn, options=bytes([148, 4, 0, 0]) + bytes(36)),
        "v4_options_udp": v4(udp(5353, 53), UDP, options=bytes(8)),
        "v6_hop_by_hop": v6(extension(TCP) + syn, HBH),
        "v6_routing": v6(extension(TCP, 24) + syn, ROUTING),
        "v6_destination": v6(extension(UDP, 16) + udp(5353, 53), DST),
        "v6_authentication": v6(authentication(TCP) + syn, AH),
        "v6_authentication_12": v6(authentication(TCP, 12) + syn, AH),
        "v6_three": v6(extension(DST) + extension(AH, 16) + authentication(TCP) + syn, HBH),
        "v6_esp": v6(bytes(24), ESP),
        "v6_hop_by_hop_none": v6(extension(NONE), HBH),
        "v6_extension_cut_header": v6(extension(TCP)[:7], HBH),
        "v6_extension_missing": v6(b"", HBH),
        "v6_extension_cut": v6(extension(TCP, 8, units=4) + syn, HBH),
        "v6_extension_then_nothing": v6(extension(TCP), HBH),
        "v6_authentication_cut": v6(authentication(TCP)[:12], AH),
        "v6_extension_sctp": v6(extension(132) + bytes(12), HBH),
    }
    for count in (8, 9):
        chain = b"".join(extension(DST) for _ in range(count - 1)) + extension(TCP)
        frames[f"v6_extensions_{count}"] = v6(chain + syn, DST)
    return frames


def fragments() -> Frames:
    syn = tcp(40000, 80, bytes(12))
    return {
        "v4_first_fragment": v4(syn, fragment=MF),
        "v4_first_fragment_udp": v4(udp(5353, 53, bytes(16)), UDP, fragment=MF),
        "v4_dont_fragment": v4(syn, fragment=DF),
        "v4_middle_fragment": v4(syn, fragment=MF | 10),
        "v4_last_fragment": v4(syn, fragment=185),
        "v4_later_fragment_tiny": v4(b"\0\0", fragment=1),
        "v4_later_fragment_not_vip": v4(syn, dst=OTHER4, fragment=1),
        "v4_first_fragment_short": v4(syn[:8], fragment=MF),
        "v4_first_fragment_options": v4(syn, fragment=MF, options=bytes(4)),
        "v4_echo_first_fragment": v4(icmp(8, 0, 7, bytes(16)), ICMP, fragment=MF),
        "v6_first_fragment": v6(fragment(TCP, 0, True) + syn, FRAGMENT),
        "v6_atomic_fragment": v6(fragment(TCP, 0, False) + syn, FRAGMENT),
        "v6_later_fragment": v6(fragment(TCP, 10, True) + bytes(24), FRAGMENT),
        "v6_last_fragment": v6(fragment(UDP, 3, False) + bytes(3), FRAGMENT),
        "v6_later_fragment_not_vip": v6(fragment(TCP, 1, False) + syn, FRAGMENT, dst=OTHER6),
        "v6_fragment_after_hop_by_hop": v6(extension(FRAGMENT) + fragment(TCP, 0, True) + syn, HBH),
        "v6_fragment_before_destination": v6(fragment(DST, 0, True) + extension(TCP) + syn, FRAGMENT),
        "v6_fragment_cut": v6(fragment(TCP, 0, True)[:7], FRAGMENT),
        "v6_first_fragment_short": v6(fragment(TCP, 0, True) + syn[:8], FRAGMENT),
    }


def echoes() -> Frames:
    return {
        "v4_echo": v4(icmp(8, 0, 0x00070001, b"ping"), ICMP, identification=0x1234),
        "v4_echo_identification_0": v4(icmp(8, 0), ICMP, identification=0),
        "v4_echo_options": v4(icmp(8, 0, 1), ICMP, options=bytes(4)),
        "v4_echo_not_vip": v4(icmp(8, 0), ICMP, dst=OTHER4),
        "v4_echo_code_1": v4(icmp(8, 1), ICMP),
        "v4_echo_reply": v4(icmp(0, 0), ICMP),
        "v4_timestamp": v4(icmp(13, 0, 0, bytes(12)), ICMP),
        "v6_echo": v6(icmp(128, 0, 0x00070001, b"ping"), ICMPV6, label=0x5BEEF),
        "v6_echo_label_0": v6(icmp(128, 0), ICMPV6),
        "v6_echo_hop_by_hop": v6(extension(ICMPV6) + icmp(128, 0), HBH),
        "v6_echo_not_vip": v6(icmp(128, 0), ICMPV6, dst=OTHER6),
        "v6_echo_code_1": v6(icmp(128, 1), ICMPV6),
        "v6_echo_reply": v6(icmp(129, 0), ICMPV6),
        "v6_neighbour_solicitation": v6(icmp(135, 0, 0, bytes(16)), ICMPV6),
        "v6_router_advertisement": v6(icmp(134, 0, 0, bytes(8)), ICMPV6),
    }


def too_big() -> Frames:
    """Packet-too-big messages: what they quote decides."""
    answer, answer8 = tcp(80, 40000, bytes(12), flags=0x10), tcp(80, 40000)[:8]
    quoted4 = ipv4(VIP4, CLIENT4, TCP, answer)
    quoted6 = ipv6(VIP6, CLIENT6, TCP, answer)
    options4 = ipv4(VIP4, CLIENT4, TCP, answer, options=bytes(8))
    error4, error6 = icmp(3, 4, 1400, quoted4), icmp(2, 0, 1280, quoted6)

    def short4(size: int) -> bytes:
        return v4(icmp(3, 4, 1400, quoted4[:size]), ICMP)

    def short6(size: int) -> bytes:
        return v6(icmp(2, 0, 1280, quoted6[:size]), ICMPV6)

    return {
        "v4_too_big": quote4(answer),
        "v4_too_big_8_bytes": quote4(answer8, total=1500),
        "v4_too_big_4_bytes": short4(24),
        "v4_too_big_udp": quote4(udp(53, 5353, b"answer"), UDP),
        "v4_too_big_quoted_options": quote4(answer, options=bytes(8)),
        "v4_too_big_first_fragment": quote4(answer, fragment=MF),
        "v4_too_big_later_fragment": quote4(answer, fragment=MF | 2),
        "v4_too_big_protocol_of_other_service": quote4(udp(80, 40000), UDP),
        "v4_too_big_no_service": quote4(tcp(81, 40000)),
        "v4_too_big_from_elsewhere": quote4(answer, src=OTHER4),
        "v4_too_big_quotes_icmp": quote4(icmp(8, 0), ICMP),
        "v4_too_big_quotes_gre": quote4(bytes(16), 47),
        "v4_too_big_quotes_icmp_to_elsewhere": v4(
            icmp(3, 4, 0, ipv4(OTHER4, CLIENT4, ICMP, icmp(8, 0))), ICMP, dst=OTHER4
        ),
        "v4_too_big_to_elsewhere": v4(error4, ICMP, dst=OTHER4),
        "v4_too_big_outer_options": v4(error4, ICMP, options=bytes(4)),
        "v4_too_big_quote_0": short4(0),
        "v4_too_big_quote_19": short4(19),
        "v4_too_big_quote_20": short4(20),
        "v4_too_big_quote_23": short4(23),
        "v4_too_big_quoted_options_cut": v4(icmp(3, 4, 0, options4[:24]), ICMP),
        "v4_unreachable_port": v4(icmp(3, 3, 0, quoted4), ICMP),
        "v4_unreachable_8_bytes": v4(icmp(3, 13, 0, quoted4[:28]), ICMP),
        "v4_unreachable_4_bytes": v4(icmp(3, 13, 0, quoted4[:24]), ICMP),
        "v4_unreachable_2_bytes": v4(icmp(3, 13, 0, quoted4[:22]), ICMP),
        "v4_time_exceeded": v4(icmp(11, 0, 0, quoted4), ICMP),
        "v6_too_big": quote6(answer),
        "v6_too_big_8_bytes": quote6(answer8, length=1400),
        "v6_too_big_udp": quote6(udp(53, 5353, b"answer"), UDP),
        "v6_too_big_hop_by_hop": quote6(extension(TCP) + answer, HBH),
        "v6_too_big_first_fragment": quote6(fragment(TCP, 0, True) + answer, FRAGMENT),
        "v6_too_big_later_fragment": quote6(fragment(TCP, 2, True) + answer, FRAGMENT),
        "v6_too_big_no_service": quote6(tcp(81, 40000)),
        "v6_too_big_from_elsewhere": quote6(answer, src=OTHER6),
        "v6_too_big_quotes_icmp": quote6(icmp(128, 0), ICMPV6),
        "v6_too_big_to_elsewhere": v6(error6, ICMPV6, dst=OTHER6),
        "v6_too_big_code_1": v6(icmp(2, 1, 1280, quoted6), ICMPV6),
        "v6_too_big_quote_0": short6(0),
        "v6_too_big_quote_39": short6(39),
        "v6_too_big_quote_40": short6(40),
        "v6_too_big_quote_43": short6(43),
        "v6_unreachable_port": v6(icmp(1, 4, 0, quoted6), ICMPV6),
        "v6_unreachable_8_bytes": v6(icmp(1, 1, 0, quoted6[:48]), ICMPV6),
        "v6_unreachable_2_bytes": v6(icmp(1, 1, 0, quoted6[:42]), ICMPV6),
        "v6_parameter_problem": v6(icmp(4, 0, 0, quoted6), ICMPV6),
        "v6_time_exceeded": v6(icmp(3, 0, 0, quoted6), ICMPV6),
        "v6_packet_of_too_big": v6(tcp(40000, 80, flags=0x10)),
        "v4_packet_of_too_big": v4(tcp(40000, 80, flags=0x10)),
    }


def every() -> Frames:
    groups = (plain(), link(), malformed(), options(), fragments(), echoes(), too_big())
    frames: Frames = {}
    for group in groups:
        assert not frames.keys() & group.keys(), "a name is used twice"
        frames |= group
    return frames
