"""`glb replay` and the forwarder's replay mode: every vector of the oracle through the real program."""

import contextlib
import ipaddress
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from oracle import glb_results
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import config, run_once, snapshot, to_toml
from glbpy import _native as native
from glbpy import forwarder, pcap
from glbpy.errors import ForwarderError, InvalidInputError
from glbpy.replay import replay

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors/frames.json").read_text())
GLB = Path(sys.executable).with_name("glb")
TABLE = {
    "tables": [{
        "name": "web", "hash_key": "00" * 16, "seed": "11" * 16,
        "binds": [{"ip": "203.0.113.10", "proto": "tcp", "port": 80}],
        "backends": [
            {"ip": f"10.1.0.{n}", "state": "active", "healthy": True} for n in (11, 12, 13)
        ],
    }],
}  # fmt: skip
DIRECTOR = {
    "outbound_src_ip": "172.16.0.1", "outbound_gateway_mac": "02:00:00:00:00:fe",
    "local_mac": "02:00:00:00:00:01",
    "hash_fields": {"src_addr": True, "src_port": True},
}  # fmt: skip

START_NS = 1_700_000_000_000_000_001  # more digits than a float has


def syn(sport: int, payload: bytes = b"", vip: str = "203.0.113.10") -> bytes:
    return ethernet(ipv4("192.0.2.77", vip, 6, tcp(sport, 80, payload)), IPV4)


def inner(frame: bytes) -> bytes:
    """Return the client's packet in a frame with a chain of two."""
    return frame[54:]


class Files:
    def __init__(self, folder: Path) -> None:
        self.table, self.director = folder / "table.json", folder / "director.json"
        self.source, self.target = folder / "in.pcap", folder / "out.pcap"
        self.table.write_text(json.dumps(TABLE))
        self.director.write_text(json.dumps(DIRECTOR))

    def replay(self, frames: list[bytes], **options: Any) -> dict[str, Any]:
        pcap.write(self.source, frames, [START_NS + number * 1_000_000_007 for number in range(len(frames))])
        return self.run(**options)

    def run(self, **options: Any) -> dict[str, Any]:
        return replay(self.table, self.director, self.source, self.target, **options).to_json()

    def command(self, *more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [GLB, "replay", "--table", self.table, "--director", self.director, "--in", self.source,
             "--out", self.target, *more],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# ---- the oracle's vectors, through the forwarder itself ----


def vector_groups() -> dict[str, list[dict[str, Any]]]:
    groups = defaultdict(list)
    for case in VECTORS["cases"]:
        groups["/".join(case["name"].split("/")[:2])].append(case)
    return groups


GROUPS = vector_groups()


def service_input(item: dict[str, Any], pool: int) -> native.ServiceInput:
    network = ipaddress.ip_network
    return native.ServiceInput(
        name=item["name"], id=item["id"], pool=pool,
        rows=item["rows"], hops=item["hops"], policy=item["policy"],
        hash_key=bytes.fromhex(item["hash_key"]), seed=bytes.fromhex(item["seed"]),
        binds=tuple(native.BindInput(network(ip), protocol, a, b) for ip, protocol, a, b in item["binds"]),
        hash_fields=tuple(item["hash_fields"]), alt_hash_fields=tuple(item["alt_hash_fields"]),
    )  # fmt: skip


def compiled(services: list[dict[str, Any]]) -> bytes:
    """Compile a vector's configuration: a pool for each service."""
    numbers = iter(range(1, 1 << 20))
    pools = [
        native.PoolInput(item["name"], tuple(
            native.BackendInput(f"b{n}", next(numbers), ipaddress.ip_address(address), state, health)
            for n, (address, state, health) in enumerate(item["backends"])
        ))
        for item in services
    ]  # fmt: skip
    made = tuple(service_input(item, pool) for pool, item in enumerate(services))
    return native.compile_snapshot(native.ConfigInput(tuple(pools), made))


def director_of(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    return config(
        f"v-{folder.name[-20:].lower().replace('_', '-')}", folder,
        f"net_pcap0,rx_pcap={folder}/in.pcap,tx_pcap={folder}/out.pcap",
        forward={
            "outer_source_v4": settings["source_v4"], "gateway_mac": settings["gateway_mac"],
            "local_mac": settings["local_mac"], "outer_udp_checksum": settings["checksum"],
            "icmp_echo": "punt" if settings["punt_echo"] else "forward", "mtu": settings["mtu"],
            "filter_mac": settings["filter_mac"],
        },
        eal={"args": ["--no-huge", "-m", "160", "--no-pci"], "mbuf_bytes": 65407, "mbufs": 1024},
    )  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_forwarder_does_what_the_oracle_says(tmp_path: Path, group: str) -> None:
    configuration, director, *_ = group.split("/")
    services = next(item["services"] for item in VECTORS["configs"] if item["name"] == configuration)
    settings = next(item for item in VECTORS["directors"] if item["name"] == director)
    cases = GROUPS[group]
    (tmp_path / "snapshot.glb").write_bytes(compiled(services))
    (tmp_path / "director.toml").write_text(to_toml(director_of(tmp_path, settings)))
    (tmp_path / "order").write_bytes(bytes(8 * len(cases)))
    frames = [bytes.fromhex(case["frame"]) + bytes(case.get("zeros", 0)) for case in cases]
    pcap.write(tmp_path / "in.pcap", frames, range(len(cases)))

    done = run_once(
        "--config", str(tmp_path / "director.toml"), "--replay", "--replay-order", str(tmp_path / "order")
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    reasons = Counter(case["reason"] for case in cases if case["verdict"] in ("punt", "drop"))
    assert result["punted_by_reason"] | result["dropped_by_reason"] == reasons
    assert result["in"] == len(cases)
    assert result["in"] == sum(result[key] for key in ("forwarded", "answered", "punted", "dropped"))

    wanted = [
        (number, bytes.fromhex(case["output"]) + bytes(case.get("zeros", 0)))
        for number, case in enumerate(cases) if case["verdict"] in ("forward", "answer")
    ]  # fmt: skip
    out = pcap.parse((tmp_path / "out.pcap").read_bytes())
    order = struct.unpack(f"{len(cases)}Q", (tmp_path / "order").read_bytes())[: len(out)]
    assert list(order) == [number for number, _ in wanted]
    for (_, frame), seen, wire_length in zip(wanted, out.frames(), out.wire_lengths, strict=True):
        assert wire_length == len(frame)
        assert seen == frame[: len(seen)]
        assert len(seen) == len(frame) or len(frame) > 65407  # net_pcap cuts what lies in two buffers


# ---- glb replay ----


def test_glbs_reference_packets(tmp_path: Path) -> None:
    reference = glb_results.load("packets.json")
    groups = defaultdict(list)
    for case in reference["cases"]:
        groups[case["config"], case["director"]].append(case)
    for (configuration, director), cases in groups.items():
        files = Files(tmp_path)
        files.table.write_text(json.dumps(reference["configs"][configuration]))
        files.director.write_text(json.dumps(reference["directors"][director]))
        pcap.write(files.source, [bytes.fromhex(case["frame"]) for case in cases], range(len(cases)))
        files.run(outer_udp_checksum="computed")
        out = pcap.read(files.target)
        sent = {number: frame.hex() for number, frame in zip(out.times_ns, out.frames(), strict=True)}
        for number, case in enumerate(cases):
            if case["name"] in glb_results.DEPARTURES:
                assert (number in sent) == (glb_results.DEPARTURES[case["name"]][0] == "forwarded")
            elif case["expected"] in ("pass", "drop"):
                assert number not in sent, case["name"]
            else:
                assert sent[number] == glb_results.glb_output(case["expected"]), case["name"]


def test_command_prints_one_object(files: Files) -> None:
    frames = [syn(1), syn(2, vip="203.0.113.99"), syn(3)[:30], syn(4)]
    pcap.write(files.source, frames, [10, 20, 30, 40])
    done = files.command()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "in": 4, "forwarded": 2, "answered": 0, "punted": 1, "dropped": 1, "out": 2,
        "punted_by_reason": {"not_vip": 1}, "dropped_by_reason": {"ipv4_truncated": 1},
    }  # fmt: skip
    out = pcap.read(files.target)
    assert list(out.times_ns) == [10, 40]  # time is the capture's own
    assert [inner(frame) for frame in out.frames()] == [frames[0][14:], frames[3][14:]]


def test_order_and_every_length(files: Files) -> None:
    frames = [syn(1024 + n, bytes([n % 251]) * (n * 7 % 1400)) for n in range(3000)]
    result = files.replay(frames)
    assert (result["in"], result["forwarded"], result["out"]) == (3000, 3000, 3000)
    assert [inner(frame) for frame in pcap.read(files.target).frames()] == [frame[14:] for frame in frames]


@pytest.mark.parametrize("checksum", ["zero", "computed"])
def test_longest_frames(files: Files, checksum: str) -> None:
    """Across several buffers, and up to the outer header's limit: an IPv4 total length of 65535."""
    lengths = (2048, 60000, 65000, 65300, 65393, 65394, 65494, 65495, 65496, 65521)
    frames = [syn(7, bytes(index % 256 for index in range(n - 40))) for n in lengths]
    assert [len(frame) - 14 for frame in frames] == list(lengths)
    result = files.replay(frames, outer_udp_checksum=checksum)
    assert result["dropped_by_reason"] == {"too_long": 2}
    out = list(pcap.parse(files.target.read_bytes()).frames())
    assert [inner(frame) for frame in out] == [frame[14:] for frame in frames[:-2]]
    for frame in out:
        sum_of = native_checksum(frame)
        assert sum_of == (0 if checksum == "computed" else None)


def native_checksum(frame: bytes) -> int | None:
    """The outer UDP checksum over all it covers, 0 when right; None when there is none."""
    udp = frame[34:]
    if udp[6:8] == b"\0\0":
        return None
    data = frame[26:34] + struct.pack("!HH", 17, len(udp)) + udp
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def test_output_that_is_no_file_is_never_replaced(files: Files) -> None:
    os.mkfifo(files.target)
    reader = os.open(files.target, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert files.replay([syn(1)])["out"] == 1
        assert len(pcap.parse(os.read(reader, 4096))) == 1
    finally:
        os.close(reader)
    assert files.target.is_fifo()


def test_capture_from_a_pipe(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with a temporary directory whose name means something to DPDK and to TOML, and is long."""
    place = tmp_path / ('a,b="c" =\'d' + "e" * 100)
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    pcap.write(files.source, [syn(1), syn(2)], [1, 2])
    reader, writer = os.pipe()
    try:
        os.write(writer, files.source.read_bytes())
        os.close(writer)
        files.source = Path(f"/dev/fd/{reader}")
        assert files.run()["out"] == 2
    finally:
        os.close(reader)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_replay_that_is_ended_leaves_nothing(files: Files, tmp_path: Path, number: int) -> None:
    pcap.write(files.source, [syn(n) for n in range(50000)], range(50000))
    place = tmp_path / "tmp"
    place.mkdir()
    process = subprocess.Popen(
        [GLB, "replay", "--table", files.table, "--director", files.director, "--in", files.source,
         "--out", files.target],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(place)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(place.glob("*/run")):  # the forwarder's, at its start
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    [work] = map(str, place.iterdir())
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"Traceback" not in said
    assert list(place.iterdir()) == []
    assert not files.target.exists()
    assert not list(Path("/var/run/dpdk").glob(f"glb-replay-{process.pid}-*"))
    assert not running(work)


def running(text: str) -> list[str]:
    """Return the command lines of processes that have ``text`` in them."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(process.read_text(errors="replace"))
    return [line for line in found if text in line]


def test_empty_capture(files: Files) -> None:
    result = files.replay([])
    assert (result["in"], result["out"]) == (0, 0)
    assert len(pcap.read(files.target)) == 0


def test_policy_and_pcapng(files: Files) -> None:
    """The same packets as pcapng give the same output; the policies differ where two backends are down."""
    files.table.write_text(json.dumps({"tables": [{
        **TABLE["tables"][0],
        "backends": [
            {"ip": f"10.1.0.{n}", "state": "active", "healthy": n == 13} for n in (11, 12, 13)
        ],
    }]}))  # fmt: skip
    frames = [syn(1000 + n) for n in range(64)]
    files.replay(frames)
    glb = files.target.read_bytes()
    files.run(policy="ordered")
    ordered = list(pcap.read(files.target).frames())
    assert {str(ipaddress.ip_address(frame[30:34])) for frame in ordered} == {"10.1.0.13"}
    assert list(pcap.parse(glb).frames()) != ordered

    blocks = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    blocks += struct.pack("<IIHHIHHB3xII", 1, 32, 1, 0, 0, 9, 1, 9, 0, 32)  # if_tsresol: ns
    for number, frame in enumerate(frames):
        padded = frame + bytes(-len(frame) % 4)
        time_ns = START_NS + number * 1_000_000_007
        head = struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(frame), len(frame))
        size = 12 + len(head) + len(padded)
        blocks += struct.pack("<II", 6, size) + head + padded + struct.pack("<I", size)
    files.source.write_bytes(blocks)
    files.run()
    assert files.target.read_bytes() == glb


HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
RECORD = struct.pack("<IIII", 1, 0, 60, 60) + bytes(60)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "too short"),
        (b"not a capture file at all", "is not a capture"),
        (HEADER[:20], "too short"),
        (HEADER[:20] + struct.pack("<I", 101), "link type 101"),
        (HEADER + RECORD + RECORD[:10], "cut short in frame 1"),
        (HEADER + RECORD + RECORD[:-1], "cut short in frame 1"),
        (HEADER + struct.pack("<IIII", 1, 0, 65536, 65536) + bytes(65536), "frame 0 has 65536 bytes"),
        (HEADER[:4] + b"\x09" + HEADER[5:], "version 9"),
        (None, "No such file"),
    ],
)
def test_bad_captures(files: Files, data: bytes | None, said: str) -> None:
    files.target.write_bytes(b"old")
    if data is not None:
        files.source.write_bytes(data)
    done = files.command()
    assert done.returncode == 2
    assert said in done.stderr
    assert str(files.source) in done.stderr
    assert "Traceback" not in done.stderr
    assert files.target.read_bytes() == b"old"


def test_bad_documents(files: Files) -> None:
    pcap.write(files.source, [syn(1)], [0])
    files.director.write_text(json.dumps({**DIRECTOR, "outbound_gateway_mac": "nonsense"}))
    done = files.command()
    assert done.returncode == 2
    assert "outbound_gateway_mac" in done.stderr
    files.director.write_text(json.dumps(DIRECTOR))
    files.table.write_text("{")
    assert files.command().returncode == 2
    assert files.command("--policy", "other").returncode == 2


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("kill -SEGV $$", "failed"),
        ("echo nothing of use", "not understood"),
        ("echo wrong >&2; exit 1", "wrong"),
        ("exec sleep 60", "did not end"),
    ],
)
def test_forwarder_that_fails(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(forwarder, "find_program", lambda: program)
    monkeypatch.setattr("glbpy.replay.START_S", 1.0)
    with pytest.raises(ForwarderError, match=said):
        files.replay([syn(1)])
    assert not files.target.exists()


def test_snapshot_that_cannot_be_used_ends_a_replay(tmp_path: Path) -> None:
    bad = snapshot(tmp_path / "snapshot.glb")
    bad.write_bytes(bad.read_bytes()[:-1])
    pcap.write(tmp_path / "in.pcap", [syn(1)], [0])
    settings = VECTORS["directors"][0]
    (tmp_path / "director.toml").write_text(to_toml(director_of(tmp_path, settings)))
    done = run_once("--config", str(tmp_path / "director.toml"), "--replay")
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


def test_backends_that_only_ipv6_reaches_are_refused(files: Files) -> None:
    backends = [{"ip": f"2001:db8::{n}", "state": "active", "healthy": True} for n in (1, 2)]
    files.table.write_text(json.dumps({"tables": [{**TABLE["tables"][0], "backends": backends}]}))
    with pytest.raises(InvalidInputError, match="IPv6"):
        files.replay([syn(1)])
