"""`glb capture` on a real forwarder: which packets are in the file, and what their comments say."""

import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import PROGRAM, Director, Segment, snapshot
from glbpy import capture, pcap
from glbpy.errors import ForwarderError, InvalidInputError

GLB = PROGRAM.with_name("glb")
PORT = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"


def comments(path: Path) -> list[str]:
    """Read the comments of a pcapng file's packets: an independent reader, from the format's description."""
    data, position, found = path.read_bytes(), 0, []
    while position < len(data):
        kind, length = struct.unpack_from("<II", data, position)
        if kind == 6:
            captured = struct.unpack_from("<I", data, position + 20)[0]
            option = position + 28 + (captured + 3) // 4 * 4
            code, size = struct.unpack_from("<HH", data, option)
            assert code == 1
            found.append(data[option + 4 : option + 4 + size].decode())
        position += length
    return found


def syn(segment: Segment, client: str, sport: int, vip: str = "203.0.113.10", dport: int = 80) -> bytes:
    return ethernet(ipv4(client, vip, 6, tcp(sport, dport)), IPV4, dst=segment.mac, src="02:00:00:00:00:aa")


@pytest.fixture
def director(make: Callable[..., Director], name: Callable[[str], str], segment: Segment) -> Director:
    made = make(name("capture"), PORT, prefix=segment.prefix, forward={"mtu": 600})
    snapshot(made.snapshot, services=2, oversize="drop")
    return made.start()


@contextmanager
def capturing(director: Director, target: Path, *arguments: str) -> Iterator[None]:
    """Run `glb capture` around what happens inside, which must be all that it waits for."""
    command = [GLB, "capture", "--socket", director.client.socket_path, "-w", target, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("capturing ")
        yield
        text = process.stderr.read()
        assert process.wait(30) == 0, text
        assert text.endswith(" packets written, 0 missed\n")
    assert not (director.run_dir / "capture").exists()


def test_ingress_of_one_service_and_client(director: Director, segment: Segment, tmp_path: Path) -> None:
    target = tmp_path / "in.pcapng"
    wanted = [syn(segment, "192.0.2.7", 1024 + n, "203.0.113.11") for n in range(5)]
    others = [syn(segment, "198.51.100.7", 1024, "203.0.113.11"), syn(segment, "192.0.2.7", 1024)]
    filters = ("--service", "www1", "--client", "192.0.2.0/24", "--count", "5")
    with capturing(director, target, *filters):
        segment.wire.send([*others, *wanted, *others])
    found = pcap.read(target)
    assert list(found.frames()) == wanted
    assert abs(found.times_ns[0] / 1e9 - time.time()) < 60
    for comment in comments(target):
        assert comment.startswith("ingress: forward (forwarded); service www1; backend web")
        assert comment.endswith("; worker 0")


def test_egress_is_what_is_sent(director: Director, segment: Segment, tmp_path: Path) -> None:
    target = tmp_path / "out.pcapng"
    with capturing(director, target, "--at", "egress", "--count", "20"):
        segment.wire.send(syn(segment, "192.0.2.7", 1024 + n) for n in range(20))
        on_the_wire = segment.wire.receive(20)
    assert list(pcap.read(target).frames()) == on_the_wire
    assert all(comment.startswith("egress: forward (forwarded); ") for comment in comments(target))


def test_a_pipeline_is_captured_at_its_workers(
    make: Callable[..., Director], name: Callable[[str], str], segment: Segment, tmp_path: Path
) -> None:
    target = tmp_path / "pipeline.pcapng"
    director = make(
        name("pipe"), PORT, prefix=segment.prefix, forward={"run_model": "pipeline"}, eal={"workers": 2}
    )
    snapshot(director.snapshot)
    director.start()
    with capturing(director, target, "--at", "ingress", "--at", "egress", "--count", "80"):
        segment.wire.send(syn(segment, "192.0.2.7", 1024 + n) for n in range(40))
        on_the_wire = segment.wire.receive(40)
    seen = list(zip(comments(target), pcap.read(target).frames(), strict=True))
    ingress = [frame for comment, frame in seen if comment.startswith("ingress: forward")]
    egress = [frame for comment, frame in seen if comment.startswith("egress: forward")]
    assert sorted(ingress) == sorted(syn(segment, "192.0.2.7", 1024 + n) for n in range(40))
    assert sorted(egress) == sorted(on_the_wire)
    assert {comment[-8:] for comment, _ in seen} == {"worker 0", "worker 1"}
    for reason in ("steer_ring_full", "tx_full"):  # at other lcores
        with pytest.raises(ForwarderError, match=f"in a pipeline {reason} is counted, but cannot"):
            director.client.capture(seconds=1, reason=reason)


def test_drops_for_one_reason(director: Director, segment: Segment, tmp_path: Path) -> None:
    target = tmp_path / "drop.pcapng"
    long = ethernet(ipv4("192.0.2.7", "203.0.113.10", 6, tcp(1024, 80) + bytes(900)), IPV4, dst=segment.mac)
    with capturing(director, target, "--drop-reason", "too_long", "--count", "1"):
        segment.wire.send([syn(segment, "192.0.2.7", 1024), long])
    assert list(pcap.read(target).frames()) == [long]
    assert comments(target)[0].startswith("drop: drop (too_long); service www0")


def test_punts_have_no_service_of_an_earlier_packet(
    director: Director, segment: Segment, tmp_path: Path
) -> None:
    target = tmp_path / "punt.pcapng"
    foreign = ethernet(ipv4("192.0.2.7", "203.0.113.10", 6, tcp(9, 80)), IPV4, dst="02:00:00:00:00:99")
    segment.wire.send(syn(segment, "192.0.2.7", 1024 + n) for n in range(64))
    director.wait_for("forwarded", 64)
    with capturing(director, target, "--count", "2"):
        segment.wire.send([foreign, syn(segment, "192.0.2.7", 1, vip="192.0.2.99")])
    first, second = comments(target)
    assert first == "ingress: punt (other_mac); worker 0"
    assert second == "ingress: punt (not_vip); worker 0"


def test_frames_in_several_buffers_are_whole(
    make: Callable[..., Director], name: Callable[[str], str], segment: Segment, tmp_path: Path
) -> None:
    """Buffers of 2048 bytes and frames of 5000: as they came, as they were sent, and as one was dropped."""
    for interface in ("director0", "far0"):
        segment.namespace.ip("link", "set", interface, "mtu", "9000")
    director = make(
        name("long"), "net_pcap0,iface=director0,phy_mac=1", prefix=segment.prefix, forward={"mtu": 5100},
        eal={"mbuf_bytes": 2048},
    )  # fmt: skip
    snapshot(director.snapshot, oversize="drop")
    director.start()
    frames = [
        ethernet(ipv4("192.0.2.7", "203.0.113.10", 6, tcp(port, 80, bytes(n % 251 for n in range(length)))),
                 IPV4, dst=segment.mac)
        for port, length in ((1024, 5000), (1025, 5060), (1026, 100))
    ]  # fmt: skip
    places = ("--at", "ingress", "--at", "egress", "--at", "drop")
    filters = ("--client", "192.0.2.7")
    with capturing(director, tmp_path / "all.pcapng", *places, *filters, "--snaplen", "9000", "--count", "6"):
        segment.wire.send(frames, pace_s=0.05)
        sent = segment.wire.receive(2)
    found = pcap.read(tmp_path / "all.pcapng")
    seen: dict[str, list[bytes]] = {"ingress": [], "egress": [], "drop": []}
    for comment, frame in zip(comments(tmp_path / "all.pcapng"), found.frames(), strict=True):
        seen[comment.split(":")[0]].append(frame)
    assert seen == {"ingress": frames, "egress": sent, "drop": [frames[1]]}
    assert [len(frame) for frame in sent] == [len(frames[0]) + 40, len(frames[2]) + 40]
    with capturing(director, tmp_path / "cut.pcapng", *filters, "--snaplen", "3000", "--count", "3"):
        segment.wire.send(frames, pace_s=0.05)
    cut = pcap.read(tmp_path / "cut.pcapng")
    assert list(cut.frames()) == [frame[:3000] for frame in frames]


def test_it_ends_by_itself_and_one_runs_at_a_time(director: Director) -> None:
    path = Path(director.client.capture(seconds=1))
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ForwarderError, match="a capture is running") as caught:
        director.client.capture(seconds=1)
    assert caught.value.code == "busy"
    deadline = time.monotonic() + 10
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not path.exists()
    director.client.capture(seconds=3600)
    director.client.end_capture()
    director.client.end_capture()
    assert not path.exists()


def test_a_reader_that_does_not_read_loses_packets_and_the_forwarder_none(
    director: Director, segment: Segment, tmp_path: Path
) -> None:
    path = Path(director.client.capture(seconds=60))
    segment.wire.send((syn(segment, "192.0.2.7", 1024 + n) for n in range(1500)), pace_s=0.0002)
    assert director.wait_for("forwarded", 1500)["forwarded"] == 1500
    head, missed = struct.unpack_from("<QQ", path.read_bytes(), 64)
    assert (head, missed) == (1024, 476)
    director.client.end_capture()


def test_captures_come_and_go_under_traffic(director: Director, segment: Segment) -> None:
    """Memory that workers write to goes away under them: RCU has to see to it."""
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            director.client.capture(seconds=10, at=["ingress", "egress", "drop"])
            director.client.end_capture()

    thread = threading.Thread(target=churn)
    thread.start()
    segment.wire.send((syn(segment, "192.0.2.7", 1024 + n) for n in range(2000)), pace_s=0.0002)
    counted = director.wait_for("forwarded", 2000)
    done.set()
    thread.join()
    assert counted["forwarded"] == 2000


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "seconds"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": 1, "at": []}, "at: "),
        ({"seconds": 1, "at": ["sideways"]}, "at: "),
        ({"seconds": 1, "client": "192.0.2.0/33"}, "prefix length"),
        ({"seconds": 1, "client": "192.0.2.0/x"}, "prefix length"),
        ({"seconds": 1, "client": "somebody"}, "is no address"),
        ({"seconds": 1, "reason": "boredom"}, "reason: "),
        ({"seconds": 1, "service": 0}, "service: "),
        ({"seconds": 1, "snaplen": 0}, "snaplen: must be 1 to 16344"),
        ({"seconds": 1, "snaplen": 16345}, "snaplen: must be 1 to 16344"),
        ({"seconds": 1, "colour": "blue"}, "colour: "),
    ],
)
def test_filters_that_make_no_sense_are_refused(
    director: Director, wanted: dict[str, object], message: str
) -> None:
    with pytest.raises(ForwarderError, match=message) as caught:
        director.client.capture(**wanted)
    assert caught.value.code == "bad_request"


def test_a_service_or_place_that_is_not_there(director: Director, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there are: www0, www1"):
        capture.capture(director.client, tmp_path / "x.pcapng", service="nobody")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        capture.capture(director.client, tmp_path / "no/x.pcapng")
