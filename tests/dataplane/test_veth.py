"""A forwarder on a veth, driven by raw frames: what comes back, what is counted, swaps and crashes."""

import os
import signal
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from oracle.build import IPV4, IPV6, ethernet, ipv4, ipv6, tcp

from dataplane.rig import BACKENDS, GATEWAY, SOURCE, VIP, Director, Segment, run_once, snapshot
from glbpy import counters
from glbpy.errors import ForwarderError

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
CLIENT, CLIENT6, VIP6 = "192.0.2.77", "2001:db8:ff::7", "2001:db8::10"

Make = Callable[..., Director]
Name = Callable[[str], str]


def syn(
    sport: int, destination: str, vip: str = VIP, dport: int = 80, src: str = "02:00:00:00:00:aa"
) -> bytes:
    return ethernet(ipv4(CLIENT, vip, 6, tcp(sport, dport)), IPV4, dst=destination, src=src)


@pytest.fixture
def director(make: Make, name: Name, segment: Segment) -> Director:
    made = make(name("a"), AF_PACKET, prefix=segment.prefix)
    snapshot(made.snapshot)
    return made.start()


def test_forwards_and_counts(director: Director, segment: Segment) -> None:
    ports = range(1024, 1124)
    segment.wire.send(syn(sport, segment.mac) for sport in ports)
    frames = segment.wire.receive(len(ports))
    assert len(frames) == len(ports)
    for sport, frame in zip(ports, frames, strict=True):
        assert frame[:6] == bytes.fromhex(GATEWAY.replace(":", ""))
        assert frame[6:12] == bytes.fromhex(segment.mac.replace(":", ""))
        assert frame[26:30] == ip_address(SOURCE).packed
        assert str(ip_address(frame[30:34])) in BACKENDS
        inner = frame[14 + 20 + 8 + 8 + 4:]
        assert inner == syn(sport, segment.mac)[14:]

    totals = counters.read(director.client.status().stats_path)
    assert totals.reasons["forwarded"] == len(ports)
    assert totals.services[1].packets == len(ports)
    assert totals.services[1].bytes == 40 * len(ports)
    assert sum(backend.packets for backend in totals.backends.values()) == len(ports)
    assert set(totals.backends) == {101, 102, 103}
    assert all(backend.packets for backend in totals.backends.values())
    assert totals.tx_packets == len(ports)
    assert totals.rx_packets == sum(totals.reasons.values())
    assert totals.pid == director.pid


@pytest.mark.parametrize(
    ("devargs", "workers"),
    [
        (AF_PACKET + ",qpairs=2", 2),
        ("net_af_xdp0,iface=director0", 1),
    ],
)
def test_other_ways_to_the_wire(make: Make, name: Name, segment: Segment, devargs: str, workers: int) -> None:
    """Two workers on a queue each; AF_XDP. Every packet comes out once, whole."""
    args = ["--no-huge", "-m", "160", "--no-pci"]
    director = make(name("w"), devargs, prefix=segment.prefix, eal={"args": args, "workers": workers})
    snapshot(director.snapshot)
    director.start()
    frames = [syn(sport, segment.mac) for sport in range(2000, 2400)]
    segment.wire.send(frames, pace_s=0.0005)
    out = segment.wire.receive(len(frames))
    assert sorted(frame[54:] for frame in out) == sorted(frame[14:] for frame in frames)
    status = director.client.status()
    assert status.counters["forwarded"] == len(frames)
    assert len(status.workers) == workers
    assert status.ports[0].mtu == 1600
    assert director.terminate() == 0


def test_punts_what_is_not_ours(director: Director, segment: Segment) -> None:
    segment.wire.send([
        syn(1, "02:00:00:00:00:77"),
        syn(2, segment.mac, src=segment.mac),
        syn(3, segment.mac, vip="203.0.113.99"),
        syn(4, segment.mac, dport=81),
        ethernet(bytes(46), 0x0806, dst=segment.mac),
        syn(5, "ff:ff:ff:ff:ff:ff"),
        syn(6, "01:00:5e:00:00:01"),
        segment_cut(syn(7, segment.mac)),
    ])  # fmt: skip
    seen = director.wait_for("ipv4_bad_length", 1)
    assert len(segment.wire.receive(3, 1)) == 2  # to all, and to many: let through, as GLB does
    assert {reason: n for reason, n in seen.items() if n} == {
        "other_mac": 1, "own_mac": seen["own_mac"], "not_vip": 1, "no_service": 1, "not_ip": 1,
        "ipv4_bad_length": 1, "forwarded": 2,
    }  # fmt: skip
    # the driver also shows the forwarder what it sent itself
    assert seen["own_mac"] in (1, 3)


def segment_cut(frame: bytes) -> bytes:
    """Claim more than there is."""
    return frame[:16] + (2000).to_bytes(2, "big") + frame[18:]


def test_padding_is_cut_off(director: Director, segment: Segment) -> None:
    frame = syn(9, segment.mac)
    segment.wire.send([frame.ljust(300, b"\xee")])
    (out,) = segment.wire.receive(1)
    assert len(out) == len(frame) + 40
    assert out.endswith(frame[14:])


def test_too_long_for_the_mtu(director: Director, segment: Segment) -> None:
    def data(size: int) -> bytes:
        return ethernet(ipv4(CLIENT, VIP, 6, tcp(9, 80, bytes(size))), IPV4, dst=segment.mac)

    assert director.client.status().ports[0].mtu == 1600
    segment.wire.send([data(1600 - 40 - 40), data(1600 - 40 - 40 + 1)])
    seen = director.wait_for("oversize_answered", 1)
    assert (seen["forwarded"], seen["oversize_answered"]) == (1, 1)
    (out,) = segment.wire.receive(1)
    assert len(out) == 1614


def test_swaps_lose_nothing(director: Director, segment: Segment, tmp_path: Path) -> None:
    """Load after load while packets flow: none is lost, and the generation counts every load."""
    files = [
        snapshot(tmp_path / f"{n}.glb", revision=n, backends=BACKENDS[: n % 3 + 1], services=n % 4 + 1)
        for n in range(1, 13)
    ]
    done = threading.Event()
    loads = 0
    problems: list[Exception] = []

    def swap() -> None:
        nonlocal loads
        try:
            while not done.is_set():
                loaded = director.client.load(files[loads % len(files)])
                loads += 1
                assert loaded.generation == loads + 1
                time.sleep(0.01)
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=swap)
    thread.start()
    sent = received = 0
    deadline = time.monotonic() + 60
    while (loads < 150 or sent < 4000) and not problems and time.monotonic() < deadline:
        sent += segment.wire.send(syn(1024 + n, segment.mac) for n in range(200))
        received += len(segment.wire.receive(200, 2))
    done.set()
    thread.join()
    assert not problems
    assert loads >= 150
    assert received == sent >= 4000
    status = director.client.status()
    assert status.counters["forwarded"] == sent
    assert status.counters["no_snapshot"] == 0
    assert status.last_error is None
    assert status.revision == (loads - 1) % len(files) + 1
    totals = counters.read(status.stats_path)
    assert totals.services[1].packets == sent  # kept its slot across all swaps
    assert totals.generation == loads + 1


@pytest.mark.parametrize(
    "damage", ["empty", "truncated", "flipped", "version", "garbage", "missing", "folder"]
)
def test_bad_snapshot_is_refused(director: Director, segment: Segment, tmp_path: Path, damage: str) -> None:
    good = director.snapshot.read_bytes()
    bad = tmp_path / "bad.glb"
    if damage == "folder":
        bad.mkdir()
    elif damage != "missing":
        bad.write_bytes({
            "empty": b"", "truncated": good[: len(good) // 2], "garbage": os.urandom(4096),
            "flipped": good[:-100] + bytes([good[-100] ^ 1]) + good[-99:],
            "version": good[:8] + b"\x63" + good[9:],
        }[damage])  # fmt: skip
    before = director.client.status()
    segment.wire.send([syn(1, segment.mac)])
    with pytest.raises(ForwarderError) as refused:
        director.client.load(bad)
    assert refused.value.code == "snapshot_refused"
    assert len(str(refused.value)) > 10
    segment.wire.send([syn(2, segment.mac)])
    assert len(segment.wire.receive(2)) == 2

    status = director.client.status()
    assert (status.generation, status.digest) == (before.generation, before.digest)
    assert status.last_error is not None
    assert status.last_error.path == str(bad)
    assert status.last_error.message == str(refused.value)
    director.client.load(director.snapshot)
    assert director.client.status().last_error is None


def test_bad_snapshot_at_start(make: Make, name: Name, segment: Segment) -> None:
    director = make(name("a"), AF_PACKET, prefix=segment.prefix)
    director.snapshot.write_bytes(b"GLBSNAP\n not much of one")
    director.start()
    segment.wire.send([syn(1, segment.mac)])
    assert director.wait_for("no_snapshot", 1)["no_snapshot"] == 1
    status = director.client.status()
    assert status.last_error is not None
    assert status.last_error.path == str(director.snapshot)
    assert (status.generation, status.revision, status.snapshot_path) == (0, None, None)
    assert "snapshot refused" in director.log.read_text()
    director.client.load(snapshot(director.snapshot))
    segment.wire.send([syn(2, segment.mac)])
    assert len(segment.wire.receive(1)) == 1


def test_starts_again_after_a_crash(director: Director, segment: Segment) -> None:
    director.kill()
    assert director.client.socket_path.endswith("control.sock")
    assert os.path.exists(director.client.socket_path)  # a crash leaves it
    director.start()
    segment.wire.send([syn(1, segment.mac)])
    assert len(segment.wire.receive(1)) == 1
    assert counters.read(director.run_dir / "stats").pid == director.pid


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_stops_cleanly(director: Director, segment: Segment, signum: int) -> None:
    segment.wire.send([syn(1, segment.mac)])
    director.wait_for("forwarded", 1)
    assert director.terminate(signum) == 0
    assert not director.run_dir.exists()
    assert not Path(f"/run/dpdk/glb-{director.document['director']['name']}").exists()


def test_stop_command(director: Director) -> None:
    director.client.stop()
    assert director.wait() == 0
    assert not director.run_dir.exists()


def test_second_instance_of_the_same_name_is_refused(director: Director) -> None:
    second = run_once("--config", str(director.toml))
    assert second.returncode == 1
    assert "another forwarder is running" in second.stderr
    assert director.client.status().pid == director.pid


def test_two_instances_side_by_side(make: Make, name: Name, segment: Segment, director: Director) -> None:
    other = make(name("b"), "net_null0,no-rx=1")
    snapshot(other.snapshot)
    other.start()
    assert other.client.status().pid != director.client.status().pid
    segment.wire.send([syn(1, segment.mac)])
    assert len(segment.wire.receive(1)) == 1
    assert other.terminate() == 0
    assert director.client.status().counters["forwarded"] == 1


def test_idle_costs_little(director: Director) -> None:
    """Processor time of a forwarder without traffic, all threads: a small part of a core."""

    def busy_s() -> float:
        fields = Path(f"/proc/{director.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    time.sleep(0.2)
    before = busy_s()
    time.sleep(2)
    assert busy_s() - before < 2 * 0.15
    (worker,) = director.client.status().workers
    assert worker.sleeps > 100


def test_families_that_come_mixed_keep_their_order(director: Director, segment: Segment) -> None:
    """With packets of other kinds between them: what is usual is forwarded, each family in its order."""
    snapshot(director.snapshot, also=(VIP6,))
    director.client.load(director.snapshot)
    frames = []
    for sport in range(3000, 3200):
        frames.append(syn(sport, segment.mac))
        frames.append(ethernet(ipv6(CLIENT6, VIP6, 6, tcp(sport, 80)), IPV6, dst=segment.mac))
        if sport % 10 == 0:
            frames.append(ethernet(bytes(46), 0x88B5, dst=segment.mac))
    segment.wire.send(frames)
    out = segment.wire.receive(400)
    inner = [frame[54:] for frame in out]
    for family in (4, 6):
        sent = [frame[14:] for frame in frames if frame[14] >> 4 == family]
        assert [packet for packet in inner if packet[0] >> 4 == family] == sent
    assert director.counters()["forwarded"] == 400
