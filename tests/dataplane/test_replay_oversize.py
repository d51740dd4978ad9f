"""`glb replay --egress-mtu --oversize`: the forwarder tells, fragments and drops as the packet path does."""

import json
import random
from pathlib import Path

import pytest
from oracle.build import IPV4, IPV6, ethernet, ipv4, ipv6, tcp, udp
from oracle.parse import ICMP

from dataplane.test_replay import TABLE, Files
from glbpy import offline, pcap

VIP6 = "2001:db8:100::10"
BINDS = [{"ip": ip, "proto": proto, "port": 80} for ip in ("203.0.113.10", VIP6) for proto in ("tcp", "udp")]
DF = 0x4000


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    [table] = TABLE["tables"]
    made.table.write_text(json.dumps({"tables": [{**table, "binds": BINDS}]}))
    return made


def sized(size: int, sport: int, *, df: bool = True, v6: bool = False) -> bytes:
    body = bytes(index % 251 for index in range(size))
    head = udp(sport, 80) if sport % 2 else tcp(sport, 80, flags=0x10)
    if v6:
        kind = 17 if sport % 2 else 6
        return ethernet(ipv6("2001:db8:c::77", VIP6, kind, (head + body)[: size - 40]), IPV6)
    kind, payload = 17 if sport % 2 else 6, (head + body)[: size - 20]
    return ethernet(ipv4("192.0.2.77", "203.0.113.10", kind, payload, fragment=DF if df else 0), IPV4)


def expected(
    files: Files, frames: list[bytes], mtu: int, oversize: str | None
) -> tuple[list[bytes], list[str]]:
    case = offline.from_glb(files.table, files.director, "glb", "zero", mtu=mtu, oversize=oversize)
    path = case.path()
    made = [path.decide(frame) for frame in frames]
    out = [one for decision in made if decision.output for one in (decision.output, *decision.further)]
    return out, [decision.reason for decision in made]


@pytest.mark.parametrize("oversize", [None, "icmp", "fragment", "drop"])
@pytest.mark.parametrize(
    ("model", "workers"), [("run-to-completion", 1), ("run-to-completion", 3), ("pipeline", 2)]
)
def test_the_forwarder_does_as_the_packet_path(
    files: Files, model: str, workers: int, oversize: str | None
) -> None:
    draw = random.Random(f"replay {oversize}")
    sizes = [1400, 1460, 1461, 1500, 4000, 9000]
    frames = [
        sized(draw.choice(sizes), 1024 + n, df=draw.random() < 0.5, v6=draw.random() < 0.3)
        for n in range(300)
    ]
    pcap.write(files.source, frames, [n * 1000 for n in range(len(frames))])
    more = [] if oversize is None else ["--oversize", oversize]
    done = files.command("--egress-mtu", "1500", "--run-model", model, "--workers", str(workers), *more)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    out, reasons = expected(files, frames, 1500, oversize)
    assert result["in"] == 300 == sum(result[part] for part in ("forwarded", "answered", "punted", "dropped"))
    assert result["answered"] == reasons.count("oversize_answered")
    assert result["forwarded"] == reasons.count("forwarded") + reasons.count("oversize_fragmented")
    assert result["dropped_by_reason"] == (
        {"too_long": reasons.count("too_long")} if oversize == "drop" else {}
    )
    assert result["out"] == len(out)
    found = pcap.read(files.target)
    if workers == 1:
        assert list(found.frames()) == out
    assert sorted(found.frames()) == sorted(out)
    assert max(len(frame) for frame in found.frames()) == 1514


def test_without_an_mtu_nothing_is_too_big(files: Files) -> None:
    frames = [sized(9000, 1024), sized(9001, 1025, df=False)]
    pcap.write(files.source, frames, [1, 2])
    done = files.command("--oversize", "drop")
    assert json.loads(done.stdout)["forwarded"] == 2


def test_the_longest_packets_in_the_smallest_fragments(files: Files) -> None:
    """Many more frames come out than went in."""
    frames = [sized(60000, 1024, df=False), sized(65000, 1025, df=False)]
    pcap.write(files.source, frames, [1, 2])
    done = files.command("--egress-mtu", "108", "--oversize", "fragment")
    out, _ = expected(files, frames, 108, "fragment")
    assert json.loads(done.stdout)["out"] == len(out) == (59980 + 47) // 48 + (64980 + 47) // 48
    assert list(pcap.read(files.target).frames()) == out


def test_answers_have_the_time_of_what_they_answer(files: Files) -> None:
    frames = [sized(1500, 1024), sized(60, 1026), sized(1461, 1028)]
    pcap.write(files.source, frames, [10, 20, 30])
    files.command("--egress-mtu", "1500")
    found = pcap.read(files.target)
    assert list(found.times_ns) == [10, 20, 30]
    assert [frame[23] == ICMP for frame in found.frames()] == [True, False, True]


@pytest.mark.parametrize(
    "wrong", [("--egress-mtu", "65536"), ("--egress-mtu", "-1"), ("--oversize", "maybe")]
)
def test_wrong_options_are_refused(files: Files, wrong: tuple[str, str]) -> None:
    assert files.command(*wrong).returncode == 2
