"""Fragments through the real forwarder: whole datagrams, in any order, go one way; the rest is counted.

From files, and from a real stack on af_xdp (on net_af_packet the kernel puts IPv4 fragments together before
the forwarder sees them):

    client's kernel (far0) ──veth── director (director0)
"""

import json
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_INET, AF_INET6, SOCK_DGRAM, socket
from typing import Any

import pytest
from oracle.build import IPV4, IPV6, ethernet, fragment, ipv4, ipv6, tcp, udp

from dataplane.rig import VIP, Director, snapshot
from dataplane.test_af_xdp import AF_XDP, Cable
from glbpy import pcap

GLB = Path(sys.executable).with_name("glb")
VIP6 = "2001:db8::10"
CLIENTS = {4: "192.0.2.77", 6: "2001:db8:c::77"}
VIPS = {4: VIP, 6: VIP6}
PORT = 5300
PIECE = 1200  # bytes of a datagram in a fragment; a multiple of 8
PORTS = ["src_addr", "dst_addr", "src_port", "dst_port"]
DOCUMENT: dict[str, Any] = {
    "pools": [{"name": "all", "backends": [{"name": f"b{n}", "address": f"10.0.0.1{n}"} for n in range(8)]}],
    "services": [
        {
            "name": "media", "vips": [VIP, VIP6], "protocol": "udp", "ports": [PORT], "pool": "all",
            "hash_fields": PORTS, "table_size": 1024, "fragments": "follow",
        },
        {
            "name": "other", "vips": [VIP, VIP6], "protocol": "udp", "ports": [9], "pool": "all",
            "hash_fields": PORTS, "table_size": 1024,
        },
    ],
}  # fmt: skip


def piece(family: int, number: int, at: int, part: bytes, more: bool, protocol: int = 17) -> bytes:
    """The frame of one fragment: ``part``, from byte ``at`` of datagram ``number`` on."""
    if family == 4:
        flags = (0x2000 if more else 0) | at // 8
        packet = ipv4(CLIENTS[4], VIP, protocol, part, identification=number, fragment=flags)
        return ethernet(packet, IPV4)
    return ethernet(ipv6(CLIENTS[6], VIP6, 44, fragment(protocol, at // 8, more, number) + part), IPV6)


def pieces(family: int, number: int, size: int, dport: int = PORT) -> list[bytes]:
    """The frames of a datagram, whose number is also its identification and source port."""
    whole = udp(number, dport, random.Random(number).randbytes(size - 8))
    return [
        piece(family, number, at, whole[at : at + PIECE], at + PIECE < size) for at in range(0, size, PIECE)
    ]


def inner(frame: bytes) -> bytes:
    """The client's packet in a GUE frame."""
    return frame[42 + 4 + 4 * (frame[42] & 0x1F) :]


def way(frame: bytes) -> bytes:
    """What says where a GUE frame goes: first hop, source port, further hops."""
    return frame[30:36] + frame[46 : 46 + 4 * (frame[42] & 0x1F)]


def number_of(frame: bytes) -> tuple[int, int]:
    packet = inner(frame)
    v4 = packet[0] >> 4 == 4
    return (4, int.from_bytes(packet[4:6])) if v4 else (6, int.from_bytes(packet[44:48]))


def replay(folder: Path, frames: list[bytes], **fields: Any) -> tuple[dict[str, Any], list[bytes]]:
    """What the real forwarder counts, and sends, of frames from a file; ``fields`` are the service's."""
    services = [DOCUMENT["services"][0] | fields, DOCUMENT["services"][1]]
    (folder / "glb.json").write_text(json.dumps(DOCUMENT | {"services": services}))
    pcap.write(folder / "in.pcap", frames, range(len(frames)))
    done = subprocess.run(
        [GLB, "replay", "-f", "glb.json", "--in", "in.pcap", "--out", "out.pcap"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), list(pcap.read(folder / "out.pcap").frames())


def check_whole(sent: list[bytes], frames: list[bytes]) -> None:
    """All of them came out, those of a datagram the same way, and not all datagrams."""
    assert sorted(map(inner, sent)) == sorted(frame[14:] for frame in frames)
    ways = defaultdict(set)
    for frame in sent:
        ways[number_of(frame)].add(way(frame))
    assert {len(each) for each in ways.values()} == {1}
    assert len({next(iter(each)) for each in ways.values()}) > len(ways) // 2


@pytest.mark.parametrize("order", ["as sent", "backwards", "mixed", "all mixed"])
def test_datagrams_in_any_order(tmp_path: Path, order: str) -> None:
    datagrams = [pieces(family, number, 7000) for number in range(1, 41) for family in (4, 6)]
    if order == "backwards":
        datagrams = [each[::-1] for each in datagrams]
    if order == "mixed":
        datagrams = [random.Random(n).sample(each, len(each)) for n, each in enumerate(datagrams)]
    frames = [frame for each in datagrams for frame in each]
    if order == "all mixed":
        random.Random(1).shuffle(frames)
    counts, sent = replay(tmp_path, frames)
    assert (counts["in"], counts["forwarded"], counts["out"]) == (len(frames),) * 3
    check_whole(sent, frames)


def test_drop_is_the_default(tmp_path: Path) -> None:
    frames = pieces(4, 1, 4000) + pieces(6, 2, 4000)
    counts, sent = replay(tmp_path, frames, fragments="drop")
    assert (counts["forwarded"], counts["punted_by_reason"]) == (2, {"later_fragment": 6})
    assert [inner(frame) for frame in sent] == [frames[0][14:], frames[4][14:]]


def test_of_the_same_vip_each_service_decides(tmp_path: Path) -> None:
    frames = [frame for n in (1, 2) for frame in pieces(4, n, 4000, PORT if n == 1 else 9)]
    counts, _ = replay(tmp_path, frames + pieces(4, 3, 4000, 10)[::-1])
    assert counts["forwarded"] == 4 + 1
    assert counts["punted_by_reason"] == {"later_fragment": 3 + 3, "no_service": 1}


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_wrong_is_counted(tmp_path: Path, family: int) -> None:
    """Each kind of nonsense in a datagram of its own, beside one that is as it should be."""
    good = pieces(family, 1, 4000)

    def part(at: int, size: int, more: bool = True, protocol: int = 17) -> tuple[Any, ...]:
        return at, bytes(size), more, protocol

    start, header = part(0, PIECE), tcp(9, 80)[:16]
    wrong: list[tuple[list[tuple[Any, ...]], dict[str, int]]] = [
        ([start, part(PIECE - 8, 16), part(4 * PIECE, 8)], {"fragment_overlap": 2}),
        ([start, part(8, 16), part(4 * PIECE, 8)], {"fragment_overlap": 1}),
        ([start, part(2 * PIECE, 8, False), part(3 * PIECE, 8)], {"fragment_overlap": 1}),
        ([start, start], {"fragment_overlap": 1}),
        ([part(65528, 100, False)], {"fragment_endless": 1}),
        ([part(PIECE, 12)], {"fragment_bad_length": 1}),
        ([part(PIECE, 0)], {"fragment_bad_length": 1}),
        ([part(16, 64, protocol=6)], {"fragment_tiny": 1}),
        ([(0, header, True, 6)], {"l4_truncated": 1}),
        ([part(PIECE, 8), part(2 * PIECE, 8)], {"fragment_timeout": 2}),
        ([part(8 * n, 8) for n in range(3, 103)], {"fragment_timeout": 64, "fragment_no_room": 36}),
    ]
    frames, expected = good[:2], Counter[str]()
    for number, (parts, reasons) in enumerate(wrong, 2):
        for at, data, more, protocol in parts:
            begun = udp(9, PORT, data[8:]) if at == 0 and protocol == 17 else data
            frames.append(piece(family, number, at, begun, more, protocol))
        expected.update(reasons)
    counts, sent = replay(tmp_path, frames + good[2:])
    assert counts["dropped_by_reason"] == expected
    assert counts["in"] == len(frames) + 2 == counts["forwarded"] + counts["dropped"]
    assert [inner(frame) for frame in sent if number_of(frame)[1] == 1] == [frame[14:] for frame in good]


@pytest.mark.parametrize("encapsulation", ["gre", "nat"])
def test_however_packets_are_wrapped(tmp_path: Path, encapsulation: str) -> None:
    """With nat, each fragment gets the backend's address, and the checksum is in the first."""
    frames = [frame for n in range(1, 9) for frame in pieces(4, n, 4000)]
    fields = {"vips": [VIP], "hops": 1} if encapsulation == "nat" else {}
    counts, sent = replay(tmp_path, frames, encapsulation=encapsulation, **fields)
    assert counts["forwarded"] == len(frames) == len(sent)
    if encapsulation == "nat":
        went = defaultdict(set)
        for frame in sent:
            went[frame[18:20]].add(frame[30:34])
        assert {len(each) for each in went.values()} == {1}
        assert len(set.union(*went.values())) > 1


# ---- from a real stack ----

Make = Callable[..., Director]
Name = Callable[[str], str]


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    for vip, via in ((VIP, "10.9.0.1"), (VIP6, "fd00:9::1")):
        made.far.ip("route", "add", vip, "via", via, "dev", "far0", "mtu", "1500")
    made.far.ip("neigh", "replace", "10.9.0.1", "lladdr", made.mac, "dev", "far0", "nud", "permanent")
    made.far.ip("neigh", "replace", "fd00:9::1", "lladdr", made.mac, "dev", "far0", "nud", "permanent")
    yield made
    made.close()


@pytest.mark.parametrize("model", ["run-to-completion", "pipeline"])
def test_datagrams_of_64_kb_from_a_real_stack(make: Make, name: Name, cable: Cable, model: str) -> None:
    """Both families, many senders; in a pipeline, two workers, of which each datagram meets one."""
    lcores = {"workers": 2, "senders": 1} if model == "pipeline" else {}
    director = make(name(model[:4]), AF_XDP, prefix=cable.prefix, forward={"run_model": model}, eal=lcores)
    snapshot(
        director.snapshot, protocol="udp", ports=(PORT, PORT), also=[VIP6], fragments=True,
        backends=[f"10.1.0.{n}" for n in range(1, 17)],
    )  # fmt: skip
    director.start()
    sizes = (65_000, 30_001, 1_473)
    came: list[bytes] = []
    count = 0
    for n in range(12):
        for family, vip in ((AF_INET, VIP), (AF_INET6, VIP6)):
            with cable.far.entered():
                client = socket(family, SOCK_DGRAM)
            with client:
                for size in sizes:
                    client.sendto(random.Random(n).randbytes(size), (vip, PORT))
                    # IPv6 has 8 bytes for its fragment header, and 20 more for its own
                    room = 1480 if family == AF_INET else 1448
                    expected = -(-(size + 8) // room)
                    count += expected
                    came += cable.wire.receive(expected, 5)
    assert len(came) == count
    counters = director.counters()
    assert counters["forwarded"] == count
    ways = defaultdict(set)
    for frame in came:
        ways[number_of(frame)].add(way(frame))
    assert len(ways) == 12 * 2 * len(sizes)
    assert {len(each) for each in ways.values()} == {1}
    if model == "pipeline":
        busy = [worker.rx_packets for worker in director.client.status().workers if worker.role == "worker"]
        assert sum(busy) == count


def test_waiting_ends_with_the_first_one_or_in_time(make: Make, name: Name, cable: Cable) -> None:
    director = make(name("late"), AF_XDP, prefix=cable.prefix, fragments={"wait_ms": 300, "timeout_ms": 600})
    snapshot(director.snapshot, protocol="udp", ports=(PORT, PORT), also=[VIP6], fragments=True)
    director.start()
    mac = bytes.fromhex(cable.mac.replace(":", ""))

    def send(frame: bytes) -> None:
        cable.wire.send([mac + frame[6:]])

    first, *rest = pieces(4, 1, 4 * PIECE)
    for each in (rest[2], rest[0], first, rest[1]):
        send(each)
    order = [inner(frame) for frame in cable.wire.receive(4)]
    assert order == [frame[14:] for frame in (first, rest[2], rest[0], rest[1])]

    first, second, third = pieces(4, 2, 3 * PIECE)
    begun = time.monotonic()
    send(second)
    assert director.wait_for("fragment_timeout", 1)["fragment_timeout"] == 1
    assert time.monotonic() - begun > 0.29
    send(first)
    send(third)
    assert len(cable.wire.receive(2)) == 2
    time.sleep(0.7)  # past the timeout: this is another datagram now
    send(second)
    assert director.wait_for("fragment_timeout", 2)["fragment_timeout"] == 2
    assert director.counters()["forwarded"] == 6
