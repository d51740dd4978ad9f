"""Directors that share fragments: what a real forwarder sends to a peer, and what it takes from one.

    the test (far0) ──veth── director (director0), on af_xdp

The test is router, clients and peer.
"""

from collections.abc import Callable, Iterator

import pytest
from oracle.build import IPV4, IPV6, ethernet, fragment, ipv4, ipv6, udp

from dataplane.rig import SOURCE, VIP, Director, snapshot
from dataplane.test_af_xdp import AF_XDP, Cable

PEER, STRANGER = "172.16.0.2", "172.16.0.9"
VIP6 = "2001:db8::10"
PORT, GUE_PORT = 5300, 19523
PIECE = 1200
CLIENTS = range(1, 41)

Make = Callable[..., Director]
Name = Callable[[str], str]


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.close()


def pieces(client: int) -> list[bytes]:
    """A client's datagram, as two packets; the first has the ports."""
    whole = udp(4000 + client, PORT, bytes([client]) * (2 * PIECE - 8))
    parts = [(at, whole[at : at + PIECE], at == 0) for at in (0, PIECE)]
    if client % 2:
        source = f"192.0.2.{client}"
        return [
            ipv4(source, VIP, 17, part, identification=client, fragment=at // 8 | (0x2000 if more else 0))
            for at, part, more in parts
        ]
    source = f"2001:db8:c::{client}"
    return [ipv6(source, VIP6, 44, fragment(17, at // 8, more, client) + part) for at, part, more in parts]


def wrap(packet: bytes, source: str, destination: str) -> bytes:
    """What a peer sends: docs/wire/gue.md."""
    mark = bytes([1, 4 if packet[0] >> 4 == 4 else 41, 0, 0, 0, 2, 0, 0])
    return ipv4(source, destination, 17, udp(0x8000, GUE_PORT, mark + packet))


def is_redirected(frame: bytes) -> bool:
    return frame[14 + 28 :][4:6] == b"\0\2"


def inner(frame: bytes) -> bytes:
    """The client's packet in a GUE frame."""
    return frame[42 + 4 + 4 * (frame[42] & 0x1F) :]


def way(frame: bytes) -> bytes:
    """What says where a GUE frame goes: first hop, source port, further hops."""
    return frame[30:36] + frame[46 : 46 + 4 * (frame[42] & 0x1F)]


@pytest.mark.parametrize("model", ["run-to-completion", "pipeline"])
def test_fragments_go_to_a_peer_and_come_from_one(make: Make, name: Name, cable: Cable, model: str) -> None:
    lcores = {"workers": 2, "senders": 1} if model == "pipeline" else {}
    director = make(
        name(model[:4]), AF_XDP, prefix=cable.prefix, forward={"run_model": model}, eal=lcores,
        fragments={"peers": [PEER, SOURCE]},
    )  # fmt: skip
    snapshot(director.snapshot, protocol="udp", ports=(PORT, PORT), also=[VIP6], fragments=True)
    director.start()

    def send(packet: bytes) -> None:
        cable.wire.send([ethernet(packet, IPV4 if packet[0] >> 4 == 4 else IPV6, dst=cable.mac)])

    def came() -> bytes:
        (frame,) = cable.wire.receive(1)
        return frame

    redirected = 0
    for client in CLIENTS:
        first, second = pieces(client)
        send(first)
        frame = came()
        assert inner(frame) == first
        if not is_redirected(frame):
            send(wrap(second, PEER, SOURCE))  # a peer got the other one
            other = came()
            assert inner(other) == second
            assert way(other) == way(frame)
            continue
        redirected += 1
        assert frame[:12] == bytes.fromhex("0200000000aa" + cable.mac.replace(":", ""))
        assert frame[14 + 12 :][:8] == bytes([172, 16, 0, 1, 172, 16, 0, 2])
        assert frame[14 + 20 :] == wrap(first, SOURCE, PEER)[20:26] + b"\0\0" + wrap(first, SOURCE, PEER)[28:]
        send(second)
        assert is_redirected(came())
        send(wrap(first, PEER, SOURCE))  # somebody's list is another one: it stays here
        assert not is_redirected(came())
    assert 5 < redirected < len(CLIENTS) - 5
    here = len(CLIENTS) - redirected
    assert director.counters() | {
        "fragment_redirected": 2 * redirected, "fragment_from_peer": here + redirected, "forwarded": here,
        "fragment_peer_unknown": 0, "fragment_peer_bad": 0,
    } == director.counters()  # fmt: skip

    send(wrap(pieces(1)[0], STRANGER, SOURCE))
    assert director.wait_for("fragment_peer_unknown", 1)["fragment_peer_unknown"] == 1
    send(wrap(ipv4("192.0.2.1", VIP, 17, udp(1, PORT, b"whole")), PEER, SOURCE))
    assert director.wait_for("fragment_peer_bad", 1)["fragment_peer_bad"] == 1


def test_the_rest_of_the_directors_address_is_its_kernels(make: Make, name: Name, cable: Cable) -> None:
    """The XDP program takes GUE to it, and nothing else."""
    own = "10.9.0.1"
    director = make(
        name("own"), AF_XDP, prefix=cable.prefix, forward={"outer_source_v4": own},
        fragments={"peers": [own, PEER]},
    )  # fmt: skip
    snapshot(director.snapshot, protocol="udp", ports=(PORT, PORT), fragments=True)
    director.start()
    cable.far.run("ping", "-c", "1", "-W", "5", own)
    assert director.client.status().counters["not_vip"] == 0
    frame = ethernet(wrap(pieces(1)[0], STRANGER, own), IPV4, dst=cable.mac)
    cable.wire.send([frame])
    assert director.wait_for("fragment_peer_unknown", 1)["fragment_peer_unknown"] == 1


def test_what_does_not_fit_on_the_way_to_a_peer_is_counted(make: Make, name: Name, cable: Cable) -> None:
    director = make(
        name("mtu"), AF_XDP, prefix=cable.prefix, forward={"mtu": 1240}, fragments={"peers": [SOURCE, PEER]}
    )
    snapshot(director.snapshot, protocol="udp", ports=(PORT, PORT), also=[VIP6], fragments=True)
    director.start()
    for client in CLIENTS:
        packet = pieces(client)[1]
        cable.wire.send([ethernet(packet, IPV4 if client % 2 else IPV6, dst=cable.mac)])
    counters = director.wait_for("fragment_peer_too_long", 6)
    assert counters["fragment_peer_too_long"] > 5
    assert counters["fragment_redirected"] == 0
