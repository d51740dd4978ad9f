"""Packets to a VIP that no service takes, on a real forwarder: the kernel's sockets judge."""

import ipaddress
import socket
import time
from collections.abc import Callable

import pytest
from oracle.build import IPV4, ethernet, ipv4, udp

from dataplane.rig import VIP, Director, Segment, snapshot
from dataplane.test_echo import AF_PACKET, VIPS, become_client

Make = Callable[..., Director]
Name = Callable[[str], str]
ESP = 50


def connect(segment: Segment, family: int, kind: socket.SocketKind, port: int) -> None:
    """Connect, or send a datagram and wait for what comes back."""
    with segment.namespace.entered():
        client = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind)
    with client:
        client.settimeout(5)
        client.connect((VIPS[family], port))
        client.send(bytes(1200))
        client.recv(1)


@pytest.mark.parametrize("model", ["run-to-completion", "pipeline"])
@pytest.mark.parametrize("family", [4, 6])
def test_clients_are_refused_at_once(
    make: Make, name: Name, segment: Segment, family: int, model: str
) -> None:
    become_client(segment)
    director = make(name("reject"), AF_PACKET, prefix=segment.prefix, forward={"run_model": model})
    snapshot(director.snapshot, vip=VIPS[family], unmatched="reject")
    director.start()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        began = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            connect(segment, family, kind, 81)
        assert time.monotonic() - began < 4
    seen = director.counters()
    assert seen["unmatched_rejected"] == 2
    assert seen["forwarded"] == seen["no_service"] == seen["reject_limited"] == 0


def test_no_more_than_the_rate(make: Make, name: Name, segment: Segment) -> None:
    """A flood gets the burst and hardly more, and what is dropped gets nothing."""
    director = make(name("limit"), AF_PACKET, prefix=segment.prefix, forward={"reject_rate": 1})
    snapshot(director.snapshot, unmatched="reject")
    director.start()
    asked = ethernet(ipv4("192.0.2.7", VIP, 17, udp(4000, 53, bytes(1400))), IPV4, dst=segment.mac)
    segment.wire.send([asked] * 300)
    director.wait_for("reject_limited", 300 - 32 - 30)  # a burst, and 30 s at the most
    director.client.load(snapshot(director.snapshot, unmatched="drop", revision=2))
    segment.wire.send([asked] * 10)
    assert director.wait_for("unmatched_dropped", 10)["unmatched_dropped"] == 10


def test_every_protocol_of_a_vip(make: Make, name: Name, segment: Segment) -> None:
    """Protocol any with any port takes ESP as it is, by its addresses alone."""
    director = make(name("any"), AF_PACKET, prefix=segment.prefix)
    snapshot(director.snapshot, protocol="any", ports=(0, 65535))
    director.start()
    packet = ipv4("192.0.2.7", VIP, ESP, bytes(range(100)))
    segment.wire.send([ethernet(packet, IPV4, dst=segment.mac)] * 3)
    frames = segment.wire.receive(3)
    assert {frame[54:] for frame in frames} == {packet}
    assert len({ipaddress.ip_address(frame[30:34]) for frame in frames}) == 1
