"""`glb trace` on what a router says of an outer packet."""

from ipaddress import ip_address, ip_network

import pytest
from oracle.build import IPV4, ethernet, icmp, ipv4, tcp

from glbpy import _native as native
from glbpy import trace

SOURCE, BACKEND, VIP = "10.0.0.254", "10.1.0.11", "203.0.113.10"


@pytest.fixture
def path() -> native.PacketPath:
    pool = native.PoolInput("web", (native.BackendInput("web1", 1, ip_address(BACKEND)),))
    service = native.ServiceInput(
        name="www", id=1, pool=0, hash_key=bytes(16), seed=bytes(16), rows=256,
        binds=(native.BindInput(ip_network(VIP), "tcp", 80, 80),), hash_fields=("src_addr",),
    )  # fmt: skip
    snapshot = native.Snapshot(native.compile_snapshot(native.ConfigInput((pool,), (service,), 1)))
    return native.PacketPath(
        snapshot, native.DirectorInput(ip_address(SOURCE), b"\2" + bytes(5), bytes(6), mtu=1500)
    )


def message(path: native.PacketPath, mtu: int) -> bytes:
    """What a router says of a packet that this very path sends."""
    body = tcp(40000, 80, bytes(1400), flags=0x10)
    sent = path.decide(ethernet(ipv4("192.0.2.7", VIP, 6, body, fragment=0x4000), IPV4)).output
    assert sent
    return ethernet(ipv4("10.7.7.7", SOURCE, 1, icmp(3, 4, mtu, sent[14:42])), IPV4)


@pytest.mark.parametrize(("mtu", "reason"), [(1400, "outer_too_big"), (575, "outer_too_big_ignored")])
def test_it_says_whom_it_is_about(path: native.PacketPath, mtu: int, reason: str) -> None:
    decision = path.decide(message(path, mtu))
    assert (decision.verdict, decision.reason) == ("punt", reason)
    assert decision.told_mtu == (ip_address(BACKEND), mtu)
    steps = dict(trace.explain(path, decision))
    assert steps["about"] == f"an outer packet to {BACKEND}, web1; MTU {mtu}"
    assert steps["verdict"].startswith(f"punt ({reason}): ")
