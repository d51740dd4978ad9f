"""What a director does with one frame: verdict, reason, and the bytes that it sends."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from oracle import oversize, reject, strict
from oracle.model import FIELDS, Address, Config, Director, Service
from oracle.parse import TCP, UDP, Packet, Rejected, parse
from oracle.siphash import siphash24
from oracle.wrap import REWRITES, Exceeds, mac, rewrite, wrap

HOPS_MAX = 8
DROPS = {
    "eth_truncated", "ipv4_truncated", "ipv4_bad_version", "ipv4_bad_length", "ipv6_truncated",
    "ipv6_bad_version", "ipv6_bad_length", "ipv6_bad_extension", "l4_truncated", "icmp_quote_truncated",
    "no_backend", "too_long", "unmatched_dropped",
    "source_martian", "source_is_vip", "port_zero", "tcp_bad_flags", "tcp_bad_header", "udp_bad_length",
}  # fmt: skip


@dataclass
class Decision:
    """What `glb trace --json` prints."""

    verdict: str
    reason: str
    service: str | None = None
    hash: str | None = None  # 16 hex digits
    row: int | None = None
    chain: list[str] = field(default_factory=list)  # addresses
    output: str | None = None  # hex
    further: list[str] = field(default_factory=list)  # the other fragments of one that goes in several


def decide(config: Config, director: Director, frame: bytes) -> Decision:
    """Take one frame through filter, parse, classify, hash, select and encapsulate."""
    decision = Decision("forward", "forwarded")
    try:
        filter_mac(director, frame)
        packet = parse(frame)
        service = classify(config, director, packet)
        decision.service = service.name
        if director.strict:
            strict.check(packet)
        steer(decision, service, packet, director, frame)
    except Rejected as rejected:
        decision.reason = str(rejected)
        decision.verdict = "drop" if decision.reason in DROPS else "punt"
        if decision.reason == "unmatched_rejected":
            decision.verdict = "answer"
            decision.output = reject.reply(parse(frame), frame, mac(director.local_mac)).hex()
    return decision


def filter_mac(director: Director, frame: bytes) -> None:
    if not director.filter_mac or len(frame) < 14:
        return
    if frame[6:12] == mac(director.local_mac):
        raise Rejected("own_mac")
    if not frame[0] & 1 and frame[:6] != mac(director.local_mac):
        raise Rejected("other_mac")


def classify(config: Config, director: Director, packet: Packet) -> Service:
    if not config.is_vip(packet.vip):
        raise Rejected("not_vip")
    match packet.kind:
        case "tcp" | "udp":
            service = config.service(packet.dst, packet.protocol, packet.dport)
            if service is None:
                raise Rejected(unmatched(config, packet, "no_service"))
        case "echo":
            service = config.echo_service(packet.vip)
            if director.punt_echo or service is None or service.encapsulation == "nat":
                raise Rejected("icmp_not_taken")
        case "too_big" | "error":
            service = quoted_service(config, packet)
            if service is None or packet.vip != packet.dst:
                raise Rejected("icmp_not_ours")
            if packet.kind == "error" and service.policy == "glb":
                raise Rejected("icmp_not_taken")  # as GLB, beside whose directors this policy runs
        case "error_not_ours":
            raise Rejected("icmp_not_ours")
        case "icmp":
            raise Rejected("icmp_not_taken")
        case "fragment":
            raise Rejected("later_fragment")
        case _:
            service = config.service(packet.dst, packet.protocol, 0)
            if service is None:
                raise Rejected(unmatched(config, packet, "other_protocol"))
    if packet.extended and (service.policy == "glb" or service.encapsulation in REWRITES):
        raise Rejected("ipv6_extension")  # as GLB, beside whose directors this policy runs
    return service


def unmatched(config: Config, packet: Packet, punt: str) -> str:
    """Return the reason for a packet to a VIP that no service takes."""
    policy = config.unmatched(packet.vip)
    if policy == "punt":
        return punt
    return "unmatched_rejected" if policy == "reject" and reject.possible(packet) else "unmatched_dropped"


def quoted_service(config: Config, packet: Packet) -> Service | None:
    """Return the service of a quoted packet. GLB does not compare the quoted protocol, so where it has no
    service itself, the other protocol's with that port takes the packet."""
    other = UDP if packet.protocol == TCP else TCP
    return config.service(packet.dst, packet.protocol, packet.dport) or config.service(
        packet.dst, other, packet.dport
    )


def leading(address: Address, bits: int) -> bytes:
    """Return an address with all but its first bits zero."""
    return ip_network(f"{address}/{bits}", strict=False).network_address.packed


def flow_hash(service: Service, fields: tuple[str, ...], packet: Packet) -> int:
    echo = packet.kind == "echo"
    values = {
        "src_addr": leading(packet.src, service.source_bits[packet.src.version == 6]),
        "dst_addr": packet.dst.packed,
        "src_port": struct.pack(">H", 0 if echo else packet.sport),
        "dst_port": struct.pack(">H", 0 if echo else packet.dport),
    }
    return siphash24(service.hash_key, b"".join(values[name] for name in FIELDS if name in fields))


def steer(decision: Decision, service: Service, packet: Packet, director: Director, frame: bytes) -> None:
    value = flow_hash(service, service.hash_fields, packet)
    decision.hash = f"{value:016x}"
    decision.row = service.row(value)
    chain = list(service.chain(decision.row))
    if service.alt_hash_fields:
        old = service.chain(service.row(flow_hash(service, service.alt_hash_fields, packet)))
        if service.policy == "glb":
            chain += old
        else:
            whole = (chain + [hop for hop in old if hop not in chain])[:HOPS_MAX]
            chain = sorted(whole, key=lambda hop: service.backends[hop].unhealthy)
    addresses = [service.backends[hop].address for hop in chain[:HOPS_MAX]]
    if not addresses:
        raise Rejected("no_backend")
    if service.encapsulation == "gue":  # whose header has room for hops of one family
        addresses = [hop for hop in addresses if (":" in hop) == (":" in addresses[0])]
    decision.chain = addresses
    try:
        decision.output = wrap(service, director, addresses, value, packet).hex()
    except Exceeds:
        exceed(decision, service, packet, director, frame)


def exceed(decision: Decision, service: Service, packet: Packet, director: Director, frame: bytes) -> None:
    """A packet that is longer than may be sent."""
    value = int(decision.hash or "", 16)
    plain = replace(service, encapsulation="l2dsr")  # a piece of what is rewritten is not rewritten again

    def send(piece: Packet) -> bytes:
        by = plain if service.encapsulation in REWRITES else service
        return wrap(by, director, decision.chain, value, piece)

    whole = packet
    if service.encapsulation in REWRITES and service.oversize == "fragment":
        whole = replace(packet, inner=rewrite(service, decision.chain[0], packet))
    decision.reason, frames = oversize.resolve(service, director, packet, whole, frame, send)
    decision.verdict = "answer" if decision.reason == "oversize_answered" else "forward"
    decision.output, *decision.further = [one.hex() for one in frames]
