"""DPDK telemetry as an operator asks for it: with dpdk-telemetry.py, with more services than fit a page."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import BACKENDS, Director, snapshot
from glbpy import _native as native
from glbpy import counters, pcap
from glbpy.errors import ForwarderError

TELEMETRY = "dpdk-telemetry.py"
SERVICES = 150


def ask(director: Director, *commands: str) -> list[Any]:
    """Return the replies, each the value of the command's own key."""
    done = subprocess.run(
        [TELEMETRY, "-f", f"glb-{director.document['director']['name']}"],
        input="\n".join(commands) + "\nquit\n", capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    decoder, replies, text = json.JSONDecoder(), [], done.stdout
    while "{" in text:
        reply, end = decoder.raw_decode(text, text.index("{"))
        replies.append(reply)
        text = text[end:]
    assert [next(iter(reply)) for reply in replies] == [each.partition(",")[0] for each in commands]
    return [next(iter(reply.values())) for reply in replies]


@pytest.fixture
def director(name: Callable[[str], str], make: Callable[..., Director], tmp_path: Path) -> Director:
    """A forwarder that has read ten packets for each of three services, and one that is not for it."""
    vips = [f"203.0.113.{10 + n % 3}" for n in range(30)] + ["198.51.100.1"]
    frames = [ethernet(ipv4("192.0.2.7", vip, 6, tcp(1024 + n, 80)), IPV4) for n, vip in enumerate(vips)]
    pcap.write(tmp_path / "in.pcap", frames, range(len(frames)))
    made = make(
        name("telemetry"), f"net_pcap0,rx_pcap={tmp_path}/in.pcap,tx_pcap={tmp_path}/out.pcap",
        forward={"filter_mac": False},
    )  # fmt: skip
    snapshot(made.snapshot, services=SERVICES, revision=5)
    made.start()
    made.wait_for("not_vip", 1)
    return made


def test_every_endpoint_says_what_the_counters_say(director: Director) -> None:
    stats, workers, services, backends, loaded = ask(
        director, "/glb/stats", "/glb/workers", "/glb/services", "/glb/backends", "/glb/snapshot"
    )
    seen, status = counters.read(director.client.status().stats_path), director.client.status()
    assert stats == {
        **{key: getattr(seen, key) for key in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")},
        **seen.reasons,
    }
    assert (stats["rx_packets"], stats["forwarded"], stats["not_vip"]) == (31, 30, 1)
    assert (workers["start"], workers["total"], "next" in workers) == (0, 1, False)
    assert workers["workers"]["0"]["rx_packets"] == 31
    assert workers["workers"]["0"]["stuck"] == 0
    assert set(workers["workers"]["0"]) == set(status.workers[0].model_dump()) - {"worker", "rings", "flows"}
    busy = {number: each["packets"] for number, each in services["services"].items() if each["packets"]}
    assert busy == {"1": 10, "2": 10, "3": 10}
    assert backends["total"] == len(BACKENDS)
    assert {int(n): native.Traffic(**t) for n, t in backends["backends"].items()} == seen.backends
    assert (loaded["generation"], loaded["revision"], loaded["digest"]) == (1, 5, status.digest)
    assert (loaded["services"], loaded["backends"], loaded["refused"]) == (SERVICES, len(BACKENDS), 0)
    assert loaded["load_us"] > 0


def test_long_lists_have_pages_that_together_are_the_list(director: Director) -> None:
    found: dict[str, Any] = {}
    start: int | None = 0
    pages = 0
    while start is not None:
        page = ask(director, f"/glb/services,{start}")[0]
        assert (page["start"], page["total"]) == (start, SERVICES)
        assert page["services"]
        assert not set(page["services"]) & set(found)
        found |= page["services"]
        start = page.get("next")
        pages += 1
    assert pages == 2
    assert {int(each) for each in found} == set(range(1, SERVICES + 1))


def test_what_makes_no_sense_is_answered_with_null(director: Director) -> None:
    replies = ask(director, "/glb/services,x", "/glb/services,-1", "/glb/workers,1e9", "/glb/services,99999")
    assert replies[:3] == [None, None, None]
    assert replies[3] == {"start": 99999, "total": SERVICES, "services": {}}


def test_a_load_shows_and_a_refused_one_is_counted(director: Director, tmp_path: Path) -> None:
    director.client.load(snapshot(tmp_path / "next.glb", services=2, revision=6))
    (tmp_path / "bad.glb").write_bytes(b"nothing")
    with pytest.raises(ForwarderError):
        director.client.load(tmp_path / "bad.glb")
    loaded = ask(director, "/glb/snapshot")[0]
    assert (loaded["generation"], loaded["revision"], loaded["services"], loaded["refused"]) == (2, 6, 2, 1)
    services = ask(director, "/glb/services")[0]["services"]
    assert services["1"]["packets"] == 10  # counters go by id, and outlive the swap


def test_busy_cycles_and_the_latency_histogram_count_bursts(director: Director) -> None:
    status = director.client.status()
    seen = counters.read(status.stats_path)
    assert seen.tsc_hz == status.tsc_hz > 10**8
    assert 0 < seen.busy_cycles == status.workers[0].busy_cycles < seen.tsc_hz * status.uptime_s
    assert sum(seen.latency) == sum(status.latency_ns.values()) == 1  # the first burst is a sample
    assert {2 << bucket for bucket, count in enumerate(seen.latency) if count} == {
        int(bound) for bound in status.latency_ns
    }


def test_port_counters_of_the_driver_and_the_last_load_are_in_the_status(director: Director) -> None:
    status = director.client.status()
    assert status.ports[0].xstats["rx_good_packets"] == 31
    assert status.ports[0].xstats["tx_good_packets"] == 30
    assert all(status.ports[0].xstats.values())
    assert status.last_load is not None
    assert status.last_load.load_us > 0
