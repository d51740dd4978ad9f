"""Services of every encapsulation, with fixed and with random options: the cases of vectors/wrap.json."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from oracle import frames
from oracle.decide import decide
from oracle.model import Bind, Config, Director, Service
from oracle.parse import Rejected, ipv4_header, ipv6_header, parse
from oracle.rows import Backend
from oracle.wrap import TUNNELS, checksum, checksum_field, covered

Json = dict[str, Any]

PLAIN = Director("172.16.0.1", "02:00:00:00:00:fe", "02:00:00:00:00:01", source_v6="2001:db8:d::1")
DIRECTORS = {
    "plain": PLAIN,
    "other_sums": replace(PLAIN, checksum="computed", checksum_v6="zero"),
    "prefixes": replace(PLAIN, prefix_v4="172.24.0.0/13", prefix_v6="100:0:0:8000::/49"),
}
VIPS = {  # IP versions that each encapsulation carries, and those of backends that it reaches
    "gue": ((4, 6), (4, 6)),
    "gre": ((4, 6), (4, 6)),
    "ipip": ((4,), (4,)),
    "ip6ip6": ((6,), (6,)),
    "4in6": ((4,), (6,)),
    "6in4": ((6,), (4,)),
    "l2dsr": ((4, 6), (4, 6)),
    "l3dsr": ((4, 6), ()),  # of the VIP's version, one VIP
    "nat": ((4, 6), ()),
}
KINDS = tuple(VIPS)
PORTS = (("tcp", 80, 80), ("tcp", 443, 443), ("tcp", 8000, 8099), ("udp", 53, 53))


def service(kind: str, vips: tuple[int, ...], backends: list[int], **options: Any) -> Service:
    """Return a service on the VIPs of these IP versions, with a backend for each version named."""
    addresses = {4: frames.VIP4, 6: frames.VIP6}
    bases = {4: "10.9.0.", 6: "2001:db8:b::"}
    return Service(
        name=kind,
        id=7,
        binds=tuple(Bind.of(addresses[vip], *port) for vip in vips for port in PORTS),
        backends=tuple(Backend(f"{bases[version]}{n}") for n, version in enumerate(backends, 1)),
        hash_key=bytes(range(16)),
        seed=bytes(range(16, 32)),
        **{"rows": 256, "encapsulation": kind, **options},
    )


# ---- random ones


def draw_service(draw: random.Random, kind: str, version: int | None = None) -> Service:
    """Return a service of this kind with random options; VIPs of ``version`` where it is given."""
    vips, reached = VIPS[kind]
    if version or not reached:
        vips = (version or draw.choice(vips),)
    versions = [draw.choice(reached or vips)] * draw.randrange(1, 12)
    if kind in ("gue", "gre", "l2dsr") and draw.randrange(3) == 0:
        versions = [draw.choice(reached) for _ in versions]  # as chains are, while a pool changes family
    options: Json = {"hops": draw.randrange(1, 9), "rows": 256}
    options["hash_fields"] = draw.choice((("src_addr",), ("src_addr", "src_port")))
    if kind == "gre":
        options["gre_key"] = draw.choice((None, 0, 0xFFFFFFFF, draw.randrange(1 << 32)))
    if kind == "l3dsr":
        options["dscp"] = draw.randrange(1, 64)
    if kind == "nat":
        options["backend_port"] = draw.choice((None, 1, 65535, draw.randrange(1, 65536)))
    if kind in TUNNELS:
        options["outer_dscp"] = draw.choice((0, 0, "copy", draw.randrange(64)))
        options["ecn"] = draw.choice(("zero", "copy"))
    return service(kind, vips, versions, **options)


def draw_director(draw: random.Random) -> Director:
    """Return a director with random outer sources, checksums and MTU."""
    return replace(
        PLAIN,
        checksum=draw.choice(("zero", "computed")),
        checksum_v6=draw.choice(("zero", "computed")),
        mtu=draw.choice((0, 0, 280, 1500)),
        prefix_v4=draw.choice((None, "172.16.0.0/12", "10.200.0.0/16", "192.168.4.128/25", "10.0.0.6/31")),
        prefix_v6=draw.choice((None, "100::/64", "fd00::/8", "2001:db8:ffff::/125", "fd00:1:2:3:4::/79")),
    )


def summed(frame: bytes) -> bytes:
    """Return a frame with the transport checksum that a client would have set; others as they are."""
    try:
        packet = parse(frame)
    except Rejected:
        return frame
    field = checksum_field(packet)
    if packet.kind not in ("tcp", "udp") or field is None:
        return frame
    end = frame.rindex(packet.inner) + len(packet.inner)
    header = ipv4_header(packet.inner) if packet.vip.version == 4 else ipv6_header(packet.inner)
    assert header is not None
    at = end - len(packet.inner) + header.payload + field
    zeroed = replace(packet, inner=frame[end - len(packet.inner) : at] + b"\0\0" + frame[at + 2 : end])
    value = checksum(covered(zeroed.inner, header.payload, zeroed)) or 0xFFFF
    return frame[:at] + struct.pack(">H", value) + frame[at + 2 :]


# ---- fixed ones, for the vectors


def configs() -> dict[str, Config]:
    both = {"outer_dscp": "copy", "ecn": "copy"}
    made = {
        "gue_v4_marks": service("gue", (4, 6), [4] * 4, **both),
        "gue_v4_dscp": service("gue", (4, 6), [4] * 4, hops=8, outer_dscp=46),
        "gue_v6": service("gue", (4, 6), [6] * 4),
        "gue_v6_8_hops": service("gue", (4, 6), [6] * 9, hops=8, **both),
        "gre_v4": service("gre", (4, 6), [4] * 4),
        "gre_v4_key": service("gre", (4, 6), [4] * 4, gre_key=0xC0FFEE01, **both),
        "gre_v6_key_0": service("gre", (4, 6), [6] * 4, gre_key=0),
        "ipip": service("ipip", (4,), [4] * 4, **both),
        "ip6ip6": service("ip6ip6", (6,), [6] * 4, **both),
        "4in6": service("4in6", (4,), [6] * 4, outer_dscp=10),
        "6in4": service("6in4", (6,), [4] * 4, ecn="copy"),
        "l2dsr": service("l2dsr", (4, 6), [4, 6, 4, 6]),
        "l3dsr_v4": service("l3dsr", (4,), [4] * 4, dscp=7),
        "l3dsr_v6": service("l3dsr", (6,), [6] * 4, dscp=63),
        "nat_v4": service("nat", (4,), [4] * 4, backend_port=8080),
        "nat_v6": service("nat", (6,), [6] * 4, backend_port=8080),
        "nat_v4_same_port": service("nat", (4,), [4] * 4),
    }
    return {name: Config((one,)) for name, one in made.items()}


FRAMES = (
    "v4_syn", "v4_other_port", "v4_udp_odd", "v4_udp_empty", "v4_tos", "v4_padded", "v4_echo", "v4_too_big",
    "v4_unreachable_port", "v4_unreachable_8_bytes", "v6_time_exceeded",
    "v4_too_big_udp", "v4_too_big_quoted_options", "v4_options_40", "v4_first_fragment", "v4_last_fragment",
    "vlan_v4", "v6_syn", "v6_other_port", "v6_udp_odd", "v6_class_label", "v6_echo", "v6_too_big",
    "v6_too_big_hop_by_hop", "v6_first_fragment", "v6_last_fragment", "v6_three", "vlan_v6",
)  # fmt: skip


def cases() -> Iterator[tuple[str, Config, Director, bytes]]:
    """Yield name, configuration, director and frame; frames of a family without a VIP are left out."""
    every = frames.every()
    for name, config in configs().items():
        families = {f"v{bind.prefix.version}" for bind in config.services[0].binds}
        for director, settings in DIRECTORS.items():
            if director == "other_sums" and not name.startswith("gue"):
                continue  # only GUE has outer UDP
            if director == "prefixes" and config.services[0].encapsulation not in TUNNELS[1:]:
                continue
            for frame in FRAMES:
                if any(family in frame for family in families):
                    bare = every[frame] if frame.endswith("empty") else summed(every[frame])
                    yield f"{name}/{director}/{frame}", config, settings, bare


def case(name: str, config: Config, director: Director, frame: bytes) -> Json:
    decision = asdict(decide(config, director, frame))
    kept = {key: value for key, value in decision.items() if value not in (None, [])}
    return {"name": name, "frame": frame.hex()} | kept
