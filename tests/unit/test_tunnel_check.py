"""Checks through the tunnel: what is asked, and that it looks like what a director sends."""

import asyncio
import struct
from ipaddress import ip_address

import pytest

from glbpy import offline
from glbpy._native import compile_snapshot
from glbpy.compiler import configuration, offline_health
from glbpy.compiler import offline as standalone
from glbpy.models import Document, parse
from glbpy.tunnel_check import (
    ACK,
    MSS,
    RST,
    SYN,
    Endpoint,
    Segment,
    UnansweredError,
    checksum,
    endpoints,
    handshake,
    wrap,
)

BACKEND = {4: "10.0.0.11", 6: "2001:db8::11"}
VIP = {4: "203.0.113.10", 6: "2001:db8:f::10"}
SOURCE = {4: "10.0.0.2", 6: "2001:db8::2"}


def document(outer: int = 4, **check: object) -> Document:
    pool = {
        "name": "web",
        "backends": [{"name": "b", "address": BACKEND[outer]}],
        "health_check": {"type": "tcp", "port": 80} | check,
    }
    vips = list(VIP.values())
    service = {"name": "www", "vips": vips, "protocol": "tcp", "ports": [443, 80], "pool": "web"}
    return parse(Document, {"pools": [pool], "services": [service]})


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize(("flags", "options"), [(SYN, MSS), (RST | ACK, b"")])
def test_it_is_wrapped_as_a_director_wraps(outer: int, inner: int, flags: int, options: bytes) -> None:
    segment = Segment(SOURCE[inner], 40000, VIP[inner], 80)
    packet = segment.packet(flags, 0xFFFFFFFF + 1, 12345, options)
    state, secret = standalone(document(outer))
    snapshot = compile_snapshot(configuration(state, secret, offline_health(state, [])))
    path = offline.Case(snapshot, offline.EXAMPLE).path()
    frame = bytes(12) + (b"\x08\x00" if inner == 4 else b"\x86\xdd") + packet
    sent = path.decide(frame).output
    assert sent is not None
    assert sent[14 + (20 if outer == 4 else 40) + 8 :] == wrap(packet, BACKEND[outer])


@pytest.mark.parametrize("inner", [4, 6])
def test_checksums_are_right(inner: int) -> None:
    packet = Segment(SOURCE[inner], 40000, VIP[inner], 80).packet(SYN, 7, 0, MSS)
    head, tcp = (packet[:20], packet[20:]) if inner == 4 else (packet[:40], packet[40:])
    if inner == 4:
        assert checksum(head) == b"\0\0"
    ends = ip_address(SOURCE[inner]).packed + ip_address(VIP[inner]).packed
    assert checksum(ends + struct.pack(">II", 6, len(tcp)) + tcp) == b"\0\0"


def test_each_vip_is_asked_on_the_checks_port_where_its_service_has_it() -> None:
    def asked(**check: object) -> list[str]:
        whole = document(**check)
        return [str(each) for each in endpoints(whole.pools[0], whole.services)]

    assert asked() == []
    assert asked(via="tunnel") == ["[2001:db8:f::10]:80", "203.0.113.10:80"]
    assert asked(via="tunnel", port=8080) == ["[2001:db8:f::10]:443", "203.0.113.10:443"]


def test_only_tcp_in_gue_is_asked_and_one_address_of_a_prefix() -> None:
    base = document(via="tunnel")
    (service,) = base.services
    more = [
        service.model_copy(update={"name": "udp", "protocol": "udp"}),
        service.model_copy(update={"name": "gre", "encapsulation": "gre"}),
        service.model_copy(update={"name": "other", "pool": "other"}),
        service.model_copy(update={"name": "net", "vips": ("198.51.100.0/24",), "ports": ("8000-8099",)}),
    ]
    found = endpoints(base.pools[0], more)
    assert found == (Endpoint("198.51.100.1", 8000),)


def test_a_host_that_takes_no_gue_says_so() -> None:
    """The kernel of a backend without glb-redirect answers the datagram."""
    with pytest.raises(UnansweredError, match="nothing takes GUE there"):
        asyncio.run(asyncio.wait_for(handshake("127.0.0.1", Endpoint("127.0.0.9", 80)), 5))
