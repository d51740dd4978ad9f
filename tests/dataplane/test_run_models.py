"""The run models: the same packets come out of both, flows keep their order, nothing is lost uncounted."""

import json
import mmap
import os
import random
import re
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oracle.build import IPV4, IPV6, ethernet, fragment, icmp, ipv4, ipv6, tcp, udp

from dataplane.rig import Director, Segment, config, run_once, snapshot, to_toml
from dataplane.test_replay import GROUPS, VECTORS, Files, compiled, director_of, files, inner
from glbpy import _native as native
from glbpy import pcap
from glbpy.errors import InvalidInputError

__all__ = ["files"]

Make = Callable[..., Director]
Name = Callable[[str], str]
AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
PIPELINE = {"run_model": "pipeline"}
VIP, CLIENT6, VIP6 = "203.0.113.10", "2001:db8:ff::7", "2001:db8::10"
PACKETS = 100_000


def cut(frame: bytes, rng: random.Random) -> bytes:
    return frame[: rng.randrange(len(frame))]


def random_frame(rng: random.Random, serial: int) -> tuple[object, bytes]:
    """Return a frame and the flow that it belongs to, by what it was made of; None for what has no flow."""
    client, port = f"192.0.2.{rng.randrange(1, 20)}", rng.randrange(1024, 1064)
    payload = struct.pack(">I", serial) + bytes(rng.randrange(60))
    match rng.randrange(20):
        case 0:
            return None, cut(ethernet(ipv4(client, VIP, 6, tcp(port, 80, payload)), IPV4), rng)
        case 1:
            return ("v6", port), ethernet(ipv6(CLIENT6, VIP6, 6, tcp(port, 80, payload)), IPV6)
        case 2:
            more = fragment(17, 0, True) + udp(port, 80, payload)
            return "pieces", ethernet(ipv6(CLIENT6, VIP6, 44, more), IPV6)
        case 3:
            return ("echo", client), ethernet(ipv4(client, VIP, 1, icmp(8, 0, serial, payload)), IPV4)
        case 4:
            quoted = ipv4(VIP, client, 6, tcp(80, port))
            return (client, 6, port), ethernet(ipv4("198.51.100.1", VIP, 1, icmp(3, 4, 1400, quoted)), IPV4)
        case 5:
            other = f"203.0.113.{rng.randrange(11, 250)}"
            return (client, other), ethernet(ipv4(client, other, 6, tcp(port, 80, payload)), IPV4)
        case 6:
            return (client, 17, port), ethernet(ipv4(client, VIP, 17, udp(port, 80, payload)), IPV4)
        case 7:
            frame = ethernet(ipv4(client, VIP, 6, tcp(port, 80, payload)), IPV4, tags=((0x8100, 5),))
            return (client, 6, port), frame
        case _:
            return (client, 6, port), ethernet(ipv4(client, VIP, 6, tcp(port, 80, payload)), IPV4)


def assert_flows_in_order(sources: list[int], flows: list[object]) -> None:
    last: dict[object, int] = {}
    for source in sources:
        flow = flows[source]
        if flow is not None:
            assert last.get(flow, -1) < source, flow
            last[flow] = source


@pytest.fixture(scope="module")
def traffic() -> tuple[list[object], list[bytes]]:
    rng = random.Random(3)
    made = [random_frame(rng, serial) for serial in range(PACKETS)]
    return [flow for flow, _ in made], [frame for _, frame in made]


def test_both_models_send_the_same(files: Files, traffic: tuple[list[object], list[bytes]]) -> None:
    flows, frames = traffic
    pcap.write(files.source, frames, range(PACKETS))
    result = files.run()
    assert result["in"] == PACKETS
    assert result["forwarded"] == result["out"] > PACKETS // 2
    one = pcap.read(files.target)
    wanted = dict(zip(one.times_ns, one.frames(), strict=True))  # times tell the packets apart
    whole = files.target.read_bytes()
    for run_model, workers in (("pipeline", 1), ("pipeline", 4), ("run-to-completion", 3)):
        again = files.run(run_model=run_model, workers=workers)
        assert again == result
        if (run_model, workers) != ("pipeline", 4):  # one worker after another, or merged: the same file
            assert files.target.read_bytes() == whole
        out = pcap.read(files.target)
        assert dict(zip(out.times_ns, out.frames(), strict=True)) == wanted
        sources = list(out.times_ns)
        assert len(set(sources)) == len(sources)
        assert_flows_in_order(sources, flows)


LCORES: dict[str, dict[str, Any]] = {
    "senders": {"workers": 3, "senders": 1},
    "no-senders": {"workers": 1, "senders": 0},
    "receivers-send": {"workers": 2, "receivers_send": True},
}


@pytest.mark.parametrize("lcores", LCORES.values(), ids=LCORES)
@pytest.mark.parametrize("group", GROUPS)
def test_pipeline_does_what_the_oracle_says(tmp_path: Path, group: str, lcores: dict[str, Any]) -> None:
    """Every vector, as with run-to-completion in test_replay.py."""
    configuration, director, *_ = group.split("/")
    services = next(item["services"] for item in VECTORS["configs"] if item["name"] == configuration)
    settings = next(item for item in VECTORS["directors"] if item["name"] == director)
    cases = GROUPS[group]
    (tmp_path / "snapshot.glb").write_bytes(compiled(services))
    document = director_of(tmp_path, settings)
    document["forward"] |= PIPELINE
    document["eal"] |= {"args": ["--no-huge", "-m", "240", "--no-pci"], "mbufs": 2048, "ring_size": 64}
    document["eal"] |= lcores
    (tmp_path / "director.toml").write_text(to_toml(document))
    (tmp_path / "order").write_bytes(bytes(8 * len(cases)))
    frames = [bytes.fromhex(case["frame"]) + bytes(case.get("zeros", 0)) for case in cases]
    pcap.write(tmp_path / "in.pcap", frames, range(len(cases)))
    order_file = str(tmp_path / "order")
    toml = str(tmp_path / "director.toml")
    done = run_once("--config", toml, "--replay", "--replay-order", order_file)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    reasons = Counter(case["reason"] for case in cases if case["verdict"] in ("punt", "drop"))
    assert result["punted_by_reason"] | result["dropped_by_reason"] == reasons
    assert result["in"] == len(cases)
    wanted = {
        number: bytes.fromhex(case["output"]) + bytes(case.get("zeros", 0))
        for number, case in enumerate(cases) if case["verdict"] in ("forward", "answer")
    }  # fmt: skip
    out = pcap.parse((tmp_path / "out.pcap").read_bytes())
    order = struct.unpack(f"{len(cases)}Q", (tmp_path / "order").read_bytes())[: len(out)]
    assert sorted(order) == sorted(wanted)
    for number, frame in zip(order, out.frames(), strict=True):
        assert frame == wanted[number][: len(frame)]


def test_command_takes_both_options(files: Files) -> None:
    frames = [ethernet(ipv4("192.0.2.77", VIP, 6, tcp(n, 80)), IPV4) for n in range(1, 40)]
    pcap.write(files.source, frames, range(39))
    done = files.command("--run-model", "pipeline", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["out"] == 39
    out = [inner(frame) for frame in pcap.read(files.target).frames()]
    assert sorted(out) == sorted(frame[14:] for frame in frames)
    for wrong in (("--workers", "0"), ("--workers", "65"), ("--run-model", "other"), ("--workers", "17")):
        assert files.command(*wrong).returncode == 2
    with pytest.raises(InvalidInputError, match="run-to-completion has 1 to 16"):
        files.run(workers=17)
    assert files.run(run_model="pipeline", workers=64)["out"] == 39
    assert files.run(workers=16)["out"] == 39


def counters_of(director: Director) -> mmap.mmap:
    """Map the counter file, to be read when the forwarder has ended."""
    with (director.run_dir / "stats").open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def numbered(segment: Segment, count: int) -> list[bytes]:
    """Packets of 20 flows in turn, each with its number."""
    return [
        ethernet(ipv4("192.0.2.77", VIP, 6, tcp(2000 + n % 20, 80, struct.pack(">I", n))), IPV4,
                 dst=segment.mac)
        for n in range(count)
    ]  # fmt: skip


def cpu_s(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def assert_rests(director: Director) -> None:
    """Nothing comes: busy lcores would use all of a CPU at least."""
    before = cpu_s(director.pid)
    time.sleep(1)
    assert cpu_s(director.pid) - before < 0.5


def end_with(director: Director, counters: mmap.mmap, forwarded: int) -> None:
    """Stop it: that many were forwarded in all, and each packet has a reason."""
    assert director.terminate() == 0
    totals = native.read_counters(counters)
    assert totals.reasons["forwarded"] == totals.tx_packets == forwarded
    assert totals.rx_packets == sum(totals.reasons.values())


def test_full_rings_drop_and_everything_is_counted(make: Make, name: Name) -> None:
    """A port that never runs dry in front of workers on the same CPU: more comes than they can do."""
    director = make(
        name("f"), "net_null0,size=60", prefix=("taskset", "-c", "0"), forward=PIPELINE,
        eal={"workers": 2, "ring_size": 64},
    )  # fmt: skip
    snapshot(director.snapshot)
    director.start()
    counters = counters_of(director)
    director.wait_for("steer_ring_full", 1)
    director.client.load(director.snapshot)
    director.client.stop()
    assert director.wait() == 0
    totals = native.read_counters(counters)
    assert totals.reasons["steer_ring_full"] > 0
    assert totals.rx_packets == sum(totals.reasons.values())
    assert totals.rx_packets > 1000


def test_on_the_wire(make: Make, name: Name, segment: Segment) -> None:
    """Over af_packet, nothing pinned: every packet once, in its flow's order; an idle one rests."""
    args = ["--no-huge", "-m", "160", "--no-pci"]
    director = make(
        name("p"), AF_PACKET, prefix=segment.prefix, forward=PIPELINE, eal={"args": args, "workers": 3}
    )  # fmt: skip
    snapshot(director.snapshot)
    director.start()
    counters = counters_of(director)
    frames = numbered(segment, 600)
    segment.wire.send(frames, pace_s=0.0005)
    out = segment.wire.receive(len(frames))
    assert sorted(frame[54:] for frame in out) == sorted(frame[14:] for frame in frames)
    flows = defaultdict(list)
    for frame in out:
        flows[frame[54 + 20 : 54 + 24]].append(frame[-4:])
    assert len(flows) == 20
    assert all(serials == sorted(serials) for serials in flows.values())

    lcores = director.client.status().workers
    assert [lcore.role for lcore in lcores] == ["worker", "worker", "worker", "receiver", "sender"]
    assert sum(lcore.rx_packets > 0 for lcore in lcores[:3]) >= 2  # spread
    assert max(lcore.ring_high_water for lcore in lcores) >= 1
    assert [list(lcore.rings) for lcore in lcores] == \
        [["receiver 0"]] * 3 + [[], ["worker 0", "worker 1", "worker 2"]]
    assert all(lcore.ring_high_water == max(lcore.rings.values(), default=0) for lcore in lcores)
    assert all((lcore.busy_cycles > 0) == (lcore.rx_packets > 0) for lcore in lcores)
    assert_rests(director)
    segment.wire.send(frames[:1])
    assert len(segment.wire.receive(1)) == 1
    end_with(director, counters, 601)


SEND_THEMSELVES: dict[str, tuple[dict[str, Any], list[tuple[str, list[str]]]]] = {
    "workers": ({"workers": 1, "senders": 0}, [("worker", ["receiver 0"]), ("receiver", [])]),
    "receivers": (
        {"workers": 1, "receivers_send": True},
        [("worker", ["receiver 0"]), ("receiver", []), ("sender", ["worker 0"])],
    ),
}


@pytest.mark.parametrize(("eal", "roles"), SEND_THEMSELVES.values(), ids=SEND_THEMSELVES)
def test_on_the_wire_without_senders(
    make: Make, name: Name, segment: Segment, eal: dict[str, Any], roles: list[tuple[str, list[str]]]
) -> None:
    """Others have the tx queue; what they sent is counted once, and they rest when nothing comes."""
    director = make(name("n"), AF_PACKET, prefix=segment.prefix, forward=PIPELINE, eal=eal)
    snapshot(director.snapshot)
    director.start()
    counters = counters_of(director)
    frames = numbered(segment, 200)
    segment.wire.send(frames, pace_s=0.0005)
    assert [frame[54:] for frame in segment.wire.receive(200)] == [frame[14:] for frame in frames]
    lcores = director.client.status().workers
    assert [(lcore.role, list(lcore.rings)) for lcore in lcores] == roles
    assert_rests(director)
    end_with(director, counters, 200)


def test_layout_is_shown(tmp_path: Path) -> None:
    keys = {"workers": 2, "receiver_lcores": [0]}
    document = config("l", tmp_path, "net_null0", forward=PIPELINE, eal=keys)
    (tmp_path / "director.toml").write_text(to_toml(document))
    done = run_once("--config", str(tmp_path / "director.toml"), "--show-layout")
    assert done.returncode == 0, done.stderr
    lcores, ports, flows = done.stdout.split("\n\n")
    assert flows == "flow caches, once a service has flow_cache on: 32 MiB, 1048576 flows for each worker\n"
    rows = [re.split(r"  +", line.strip()) for line in lcores.splitlines()]
    assert rows[0] == ["lcore", "role", "CPU", "node", "takes from", "passes to"]
    assert [row[1] for row in rows[1:]] == ["main", "worker 0", "worker 1", "receiver 0", "sender 0"]
    assert rows[4][2] == "0"
    assert rows[4][-2:] == ["rx queue 0", "workers 0-1"]
    assert [re.split(r"  +", line.strip()) for line in ports.splitlines()] == [
        ["port", "device", "node", "buffers"], ["0", "net_null0", "-", "node 0: rx queue 0"],
    ]  # fmt: skip
    done = run_once("--config", str(tmp_path / "director.toml"), "--show-layout", "--set", "eal.senders=0")
    rows = [re.split(r"  +", line.strip()) for line in done.stdout.split("\n\n")[0].splitlines()]
    assert [row[1] for row in rows[1:]] == ["main", "worker 0", "worker 1", "receiver 0"]
    assert rows[3][-2:] == ["receiver 0", "tx queue 1"]
    done = run_once("--config", str(tmp_path / "director.toml"), "--show-layout",
                    "--set", "eal.receiver_lcores=[1000]")  # fmt: skip
    assert done.returncode == 2
    assert "eal.receiver_lcores: CPU 1000 is not there" in done.stderr


@pytest.mark.parametrize(("keys", "said"), [
    ({"receivers": 2}, "eal.receivers: 2, but port net_pcap0 has 1 receive"),
    ({"workers": 2, "senders": 2}, "eal.senders: 2, but port net_pcap0 has 1 receive and 1 transmit"),
    ({"workers": 2, "senders": 0}, "eal.workers: 2, but port net_pcap0 has 1 receive and 1 transmit"),
])  # fmt: skip
def test_queues_that_are_missing_are_named(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    pcap.write(tmp_path / "in.pcap", [bytes(60)], [0])
    port = f"net_pcap0,rx_pcap={tmp_path}/in.pcap,tx_pcap={tmp_path}/out.pcap"
    document = config("q", tmp_path, port, forward=PIPELINE, eal=keys)
    (tmp_path / "director.toml").write_text(to_toml(document))
    done = run_once("--config", str(tmp_path / "director.toml"))
    assert done.returncode == 2
    assert said in done.stderr
