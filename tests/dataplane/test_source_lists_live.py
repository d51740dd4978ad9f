"""Source lists on a real forwarder: swapped under traffic, apart from the tables; refused files; offline."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment, snapshot
from dataplane.test_echo import AF_PACKET
from glbpy import _native as native
from glbpy import counters, forwarder, pcap
from glbpy.errors import ForwarderError

Make = Callable[..., Director]
Name = Callable[[str], str]
GLB = Path(sys.executable).with_name("glb")
LISTS = native.ProtectionInput(block="bots", allow="office")
OFFICE = b"192.0.2.0/24\n2001:db8::/32\n"


def lists(path: Path, **texts: bytes) -> Path:
    path.write_bytes(native.compile_lists(texts))
    return path


def packet(segment: Segment, source: str, n: int = 0) -> bytes:
    return ethernet(ipv4(source, VIP, 6, tcp(1024 + n, 80, flags=16)), IPV4, dst=segment.mac)


def refused(director: Director) -> dict[str, int]:
    """Of service 1."""
    return counters.read(str(director.run_dir / "stats")).refused.get(1, {})


def start(make: Make, name: Name, segment: Segment, what: str) -> Director:
    director = make(name(what), AF_PACKET, prefix=segment.prefix)
    lists(director.folder / "lists.glbl", bots=b"192.0.2.66\n", office=OFFICE)
    snapshot(director.snapshot, protection=LISTS)
    director.start()
    return director


def test_blocked_allowed_and_counted(make: Make, name: Name, segment: Segment) -> None:
    director = start(make, name, segment, "lists")
    seen = director.client.status()
    assert seen.lists is not None
    assert (seen.lists.generation, seen.lists.count, seen.lists.prefixes) == (1, 2, 3)
    assert seen.lists.missing == ()
    for source, packets in (("192.0.2.7", 5), ("192.0.2.66", 3), ("198.51.100.1", 2)):
        segment.wire.send([packet(segment, source, n) for n in range(packets)])
    director.wait_for("forwarded", 5)
    director.wait_for("blocked", 3)
    assert director.wait_for("not_allowed", 2)["forwarded"] == 5
    assert refused(director) == {"packets_limited": 0, "flows_limited": 0, "blocked": 3, "not_allowed": 2}


@contextmanager
def traffic(segment: Segment) -> Iterator[list[int]]:
    """Send from one that stays allowed, and one that is blocked in turns; yields how many of the first."""
    sent, done = [0], threading.Event()

    def run() -> None:
        while not done.wait(0.002):
            segment.wire.send([packet(segment, "192.0.2.7"), packet(segment, "192.0.2.66")])
            sent[0] += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield sent
    finally:
        done.set()
        thread.join()


def test_swapped_under_traffic_without_the_tables(make: Make, name: Name, segment: Segment) -> None:
    """The generation stays; nobody who is allowed throughout loses a packet; a restart has the last lists."""
    director = start(make, name, segment, "swap")
    before = director.client.status()
    with traffic(segment) as sent:
        for turn in range(20):
            bots = b"203.0.113.66\n" if turn % 2 == 0 else b"192.0.2.66\n"
            loaded = director.client.load_lists(lists(director.folder / "next", bots=bots, office=OFFICE))
            assert loaded.kept
            assert loaded.lists.generation == turn + 2
    expected = before.counters["forwarded"] + sent[0]
    total = 2 * sent[0]
    seen = director.wait_for("forwarded", expected)
    while seen["forwarded"] + seen["blocked"] < total:
        seen = director.wait_for("forwarded", seen["forwarded"])
    assert seen["forwarded"] + seen["blocked"] == total
    assert seen["blocked"] > 0
    assert seen["forwarded"] > sent[0]
    after = director.client.status()
    assert (after.generation, after.digest) == (before.generation, before.digest)
    assert after.lists is not None
    director.client.stop()
    assert forwarder.wait_gone(director.pid)
    director.start()
    again = director.client.status().lists
    assert again is not None
    assert again.digest == after.lists.digest
    segment.wire.send([packet(segment, "192.0.2.66")])
    assert director.wait_for("blocked", 1)["blocked"] == 1


def test_refused_files_change_nothing(make: Make, name: Name, segment: Segment) -> None:
    director = start(make, name, segment, "refuse")
    good = (director.folder / "lists.glbl").read_bytes()
    was = director.client.status().lists
    assert was is not None
    bad = director.folder / "bad"
    for data, text in (
        (b"", "the file is empty"),
        (b"GLBSNAP\n" + good[8:], "not a lists file"),
        (good[:-1], "truncated"),
        (good[:-1] + b"\0", "digest does not match"),
        (native.compile_lists({"office": OFFICE}), "service www0 wants the list bots"),
    ):
        bad.write_bytes(data)
        with pytest.raises(ForwarderError, match=text) as error:
            director.client.load_lists(bad)
        assert error.value.code == "lists_refused"
    now = director.client.status().lists
    assert now is not None
    assert now.digest == was.digest
    assert now.refused == 5
    assert now.last_error is not None
    more = native.ProtectionInput(block="others")
    with pytest.raises(ForwarderError, match="service www0 wants the list others, which"):
        director.client.load(snapshot(director.folder / "more.glb", protection=more, revision=2))
    assert director.client.status().revision == 1
    segment.wire.send([packet(segment, "192.0.2.66")])
    director.wait_for("blocked", 1)


def test_at_start_missing_lists_are_said(make: Make, name: Name, segment: Segment) -> None:
    """With nothing to stay with, the snapshot is loaded: nobody is blocked, nobody is allowed."""
    director = make(name("missing"), AF_PACKET, prefix=segment.prefix)
    (director.folder / "lists.glbl").write_bytes(b"damaged")
    snapshot(director.snapshot, protection=LISTS)
    director.start()
    seen = director.client.status()
    assert seen.revision == 1
    assert seen.lists is not None
    assert [(one.service, one.list) for one in seen.lists.missing] == [("www0", "bots"), ("www0", "office")]
    assert seen.lists.last_error is not None
    segment.wire.send([packet(segment, "192.0.2.66")])
    director.wait_for("not_allowed", 1)
    director.client.load_lists(lists(director.folder / "next", bots=b"", office=OFFICE))
    segment.wire.send([packet(segment, "192.0.2.66")])
    director.wait_for("forwarded", 1)
    healed = director.client.status().lists
    assert healed is not None
    assert healed.missing == ()
    assert healed.last_error is None


def test_replay_and_trace_honour_them(tmp_path: Path) -> None:
    service = {
        "name": "www", "vips": [VIP], "protocol": "tcp", "ports": [80], "pool": "web", "table_size": 256,
        "block": "bots", "allow": "office",
    }  # fmt: skip
    pools = [{"name": "web", "backends": [{"name": "web1", "address": "10.0.0.11"}]}]
    (tmp_path / "glb.json").write_text(json.dumps({"pools": pools, "services": [service]}))
    (tmp_path / "bots.txt").write_text("192.0.2.66  # a scanner\n")
    (tmp_path / "office.txt").write_text("192.0.2.0/24\n")
    frames = [
        ethernet(ipv4(source, VIP, 6, tcp(1024, 80)), IPV4)
        for source in ("192.0.2.1", "192.0.2.66", "198.51.100.1", "192.0.2.2")
    ]
    pcap.write(tmp_path / "in.pcap", frames, range(len(frames)))
    given = ("-f", "glb.json", "--list", "bots=bots.txt", "--list", "office=office.txt")

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [GLB, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )

    done = run("replay", *given, "--in", "in.pcap", "--out", "out.pcap")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["forwarded"] == counts["out"] == 2
    assert counts["dropped_by_reason"] == {"blocked": 1, "not_allowed": 1}
    for frame, reason in zip(frames, ("forwarded", "blocked", "not_allowed", "forwarded"), strict=True):
        done = run("trace", *given, "--frame", frame.hex(), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["reason"] == reason
    done = run("trace", *given[:4], "--frame", frames[0].hex())
    assert done.returncode == 2
    assert "service www wants the list office: give --list office=FILE" in done.stderr
