"""The flow cache in a real forwarder: what it keeps through changes of backends, and under floods.

A service with one hop has no second chance, so that nothing but the cache holds its flows where they are.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import BACKENDS, SOURCE, VIP, Director, Segment, snapshot
from dataplane.test_telemetry import ask
from glbpy import _native as native
from glbpy import counters
from glbpy.errors import ForwarderError
from glbpy.forwarder import FlowCounters

Make = Callable[..., Director]
Name = Callable[[str], str]

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
CLIENT = "192.0.2.77"
MORE = (*BACKENDS, "10.1.0.14", "10.1.0.15", "10.1.0.16")
FLOWS = range(2000, 2120)
SYN, ACK, FIN_ACK, RST = 0x02, 0x10, 0x11, 0x04
MODELS = {
    "run-to-completion": {"workers": 1},
    "pipeline": {"workers": 2, "args": ["--no-huge", "-m", "160", "--no-pci"]},
}


def frame(segment: Segment, sport: int, flags: int, client: str = CLIENT) -> bytes:
    return ethernet(ipv4(client, VIP, 6, tcp(sport, 80, flags=flags)), IPV4, dst=segment.mac)


def send(segment: Segment, sports: Iterable[int], flags: int) -> dict[int, list[str]]:
    """Send a packet of each flow; return the chains that come back, by source port."""
    sports = list(sports)
    segment.wire.send((frame(segment, sport, flags) for sport in sports), pace_s=0.0002)
    out = segment.wire.receive(len(sports))
    assert len(out) == len(sports)
    return {int.from_bytes(each[50 + 4 * each[49] + 20 :][:2], "big"): chain(each) for each in out}


def chain(out: bytes) -> list[str]:
    """The hops of a GUE frame, the first one included."""
    further = [out[50 + 4 * n : 54 + 4 * n] for n in range(out[49])]
    return [str(ip_address(hop)) for hop in (out[30:34], *further)]


def first(chains: dict[int, list[str]]) -> dict[int, str]:
    return {sport: hops[0] for sport, hops in chains.items()}


def flows_of(director: Director) -> dict[str, int]:
    """Counters of all workers' caches together."""
    caches = [each.flows for each in director.client.status().workers if each.flows is not None]
    return {name: sum(getattr(cache, name) for cache in caches) for name in FlowCounters.model_fields}


class Bench:
    """A director whose service remembers its flows."""

    def __init__(self, director: Director, segment: Segment, hops: int = 1) -> None:
        self.director, self.segment = director, segment
        self.service: dict[str, Any] = {"hops": hops, "flow_cache": True}
        self.revision = 0
        self.put(BACKENDS)
        director.start()

    def put(self, backends: tuple[str, ...], **states: dict[str, str]) -> None:
        """Make this the snapshot; ``states`` by the last part of the address, as in ``b11``."""
        self.revision += 1
        by_address = {f"10.1.0.{name[1:]}": fields for name, fields in states.items()}
        snapshot(
            self.director.snapshot, backends=backends, revision=self.revision, states=by_address,
            **self.service,
        )  # fmt: skip
        self.path = native.PacketPath(
            native.Snapshot(self.director.snapshot.read_bytes()),
            native.DirectorInput(
                outer_source_v4=ip_address(SOURCE), local_mac=bytes(6), gateway_mac=bytes(6)
            ),
        )
        if self.director.pid:
            self.director.client.load(self.director.snapshot)

    def by_chain(self, sports: Iterable[int]) -> dict[int, list[str]]:
        """Where the snapshot alone sends them."""
        return {
            sport: [str(b.address) for b in self.path.decide(frame(self.segment, sport, ACK)).chain]
            for sport in sports
        }

    def open(self, sports: Sequence[int]) -> dict[int, str]:
        """Open flows, a few at a time: a small cache has little room for new ones."""
        opened = {}
        for at in range(0, len(sports), 2):
            opened |= first(self.send(sports[at : at + 2], SYN))
            self.send(sports[at : at + 2], ACK)
        return opened

    def send(self, sports: Iterable[int], flags: int) -> dict[int, list[str]]:
        return send(self.segment, sports, flags)


@pytest.mark.parametrize("model", MODELS)
def test_flows_stay_through_changes(make: Make, name: Name, segment: Segment, model: str) -> None:
    director = make(
        name("flow"), AF_PACKET, prefix=segment.prefix, forward={"run_model": model}, eal=MODELS[model],
        flow_cache={"entries": 4096},
    )  # fmt: skip
    bench = Bench(director, segment)
    opened = first(bench.send(FLOWS, SYN))
    assert opened == first(bench.by_chain(FLOWS))
    assert first(bench.send(FLOWS, ACK)) == opened
    seen = flows_of(director)
    assert (seen["inserts"], seen["established"], seen["entries"]) == (len(FLOWS),) * 3
    assert (seen["hits"], seen["misses"]) == (len(FLOWS), len(FLOWS))
    assert seen["capacity"] == 4096 * MODELS[model]["workers"]

    bench.put(MORE)  # three more backends take over many rows
    moved = {sport for sport, hops in bench.by_chain(FLOWS).items() if hops[0] != opened[sport]}
    assert len(moved) > len(FLOWS) / 4
    chains = bench.send(FLOWS, ACK)
    assert first(chains) == opened
    assert {sport for sport, hops in chains.items() if len(hops) == 2} == moved  # its row's hop comes behind

    bench.put(MORE, b11={"state": "draining"}, b12={"state": "filling"})
    assert first(bench.send(FLOWS, ACK)) == opened
    fresh = first(bench.send(range(3000, 3100), SYN))
    assert {"10.1.0.11", "10.1.0.12"}.isdisjoint(fresh.values())
    again = [sport for sport in FLOWS if opened[sport] == "10.1.0.11"][:5]
    replaced = first(bench.send(again, SYN))  # a new connection with the ports of one that drains
    assert replaced == first(bench.by_chain(again))
    assert "10.1.0.11" not in replaced.values()
    opened |= replaced

    bench.put(MORE, b13={"health": "unhealthy"})
    sick = [sport for sport in FLOWS if opened[sport] == "10.1.0.13"]
    chains, rows = bench.send(FLOWS, ACK), bench.by_chain(FLOWS)
    assert {s: hops[0] for s, hops in chains.items() if s not in sick} == \
        {s: b for s, b in opened.items() if s not in sick}
    assert all(chains[sport] == [*rows[sport], "10.1.0.13"] for sport in sick)

    before = flows_of(director)
    bench.put(MORE[:2])
    gone = [sport for sport in FLOWS if opened[sport] not in MORE[:2]]
    chains = bench.send(FLOWS, ACK)
    assert {s: chains[s] for s in gone} == bench.by_chain(gone)
    assert {s: hops[0] for s, hops in chains.items() if s not in gone} == \
        {s: b for s, b in opened.items() if s not in gone}
    seen = flows_of(director)
    assert (seen["gone"] - before["gone"], seen["replaced"]) == (len(gone), len(again))
    assert director.terminate() == 0


def test_with_second_chance_only_syns_teach(make: Make, name: Name, segment: Segment) -> None:
    director = make(name("teach"), AF_PACKET, prefix=segment.prefix, flow_cache={"entries": 4096})
    bench = Bench(director, segment, hops=2)
    known, unknown = FLOWS[:60], FLOWS[60:]
    opened = first(bench.send(known, SYN))
    bench.send(unknown, ACK)
    assert flows_of(director)["inserts"] == len(known)
    bench.put(MORE)
    rows = bench.by_chain(FLOWS)
    assert bench.send(unknown, ACK) == {sport: rows[sport] for sport in unknown}
    chains = bench.send(known, ACK)
    assert first(chains) == opened
    for sport, hops in chains.items():  # its own backend, then the row without it
        assert hops == [opened[sport], *(hop for hop in rows[sport] if hop != opened[sport])]


def test_services_without_it_ask_nothing(make: Make, name: Name, segment: Segment) -> None:
    """No memory is taken before a service wants it; what was remembered waits while none does."""
    director = make(name("off"), AF_PACKET, prefix=segment.prefix, flow_cache={"entries": 4096})
    snapshot(director.snapshot, hops=1)
    director.start()
    send(segment, FLOWS, SYN)
    status = director.client.status()
    assert status.flow_cache is not None
    assert (status.flow_cache.entries, status.flow_cache.bytes_taken) == (4096, 0)
    assert status.workers[0].flows is None
    director.client.load(snapshot(director.snapshot, hops=1, flow_cache=True, revision=2))
    opened = first(send(segment, FLOWS, ACK))
    status = director.client.status()
    assert status.flow_cache is not None
    assert status.flow_cache.bytes_taken >= status.flow_cache.bytes >= 16 * 4096
    director.client.load(snapshot(director.snapshot, hops=1, revision=3))
    send(segment, FLOWS, ACK)
    seen = flows_of(director)
    assert (seen["hits"], seen["inserts"], seen["entries"]) == (0, len(FLOWS), len(FLOWS))
    director.client.load(snapshot(director.snapshot, hops=1, flow_cache=True, backends=MORE, revision=4))
    assert first(send(segment, FLOWS, ACK)) == opened


def test_a_director_may_have_none(make: Make, name: Name, segment: Segment) -> None:
    director = make(name("none"), AF_PACKET, prefix=segment.prefix, flow_cache={"entries": 0})
    bench = Bench(director, segment)
    bench.send(FLOWS, SYN)
    bench.put(MORE)
    assert bench.send(FLOWS, ACK) == bench.by_chain(FLOWS)
    status = director.client.status()
    assert status.flow_cache is not None
    assert status.flow_cache.bytes == status.flow_cache.bytes_taken == 0


def test_every_reader_has_the_counters(make: Make, name: Name, segment: Segment) -> None:
    director = make(name("read"), AF_PACKET, prefix=segment.prefix, flow_cache={"entries": 1001})
    bench = Bench(director, segment)
    bench.open(FLOWS[:50])
    wanted = flows_of(director)
    assert (wanted["hits"], wanted["capacity"]) == (50, 1008)
    reply = ask(director, "/glb/flows")[0]
    assert (reply["start"], reply["total"], reply["flows"]) == (0, 1, {"0": wanted})
    assert counters.read(director.client.status().stats_path).flows == wanted


def test_finished_and_idle_flows_are_forgotten(make: Make, name: Name, segment: Segment) -> None:
    """One bucket, so that it is swept every second."""
    lives = {"opening_seconds": 1, "established_seconds": 30, "closing_seconds": 1}
    director = make(name("time"), AF_PACKET, prefix=segment.prefix, flow_cache={"entries": 8, **lives})
    bench = Bench(director, segment)
    opened = bench.open(FLOWS[:4])
    bench.send(FLOWS[:1], FIN_ACK)
    bench.send(FLOWS[1:2], RST)
    bench.send(FLOWS[4:6], SYN)
    assert flows_of(director)["entries"] == 6
    deadline = time.monotonic() + 20
    while flows_of(director)["expired"] < 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    seen = flows_of(director)
    assert (seen["expired"], seen["entries"]) == (4, 2)
    bench.put(MORE)
    assert first(bench.send(FLOWS[2:4], ACK)) == {sport: opened[sport] for sport in FLOWS[2:4]}


@pytest.mark.parametrize(("packets", "stay"), [(1, 1.0), (2, 0.0)])
def test_floods(make: Make, name: Name, segment: Segment, packets: int, stay: float) -> None:
    """SYNs alone push out no established flow; two packets each do, the most idle first, and then the chain
    decides.
    """
    settings = {"entries": 512, "opening_seconds": 600}
    director = make(name(f"flood{packets}"), AF_PACKET, prefix=segment.prefix, flow_cache=settings)
    bench = Bench(director, segment)
    opened = bench.open(FLOWS)
    time.sleep(1.1)  # idle times are in whole seconds
    kinds = (SYN, ACK)[:packets]
    flood = [frame(segment, n, flags, "198.51.100.1") for n in range(1024, 11024) for flags in kinds]
    sent = 2 * len(FLOWS)
    for at in range(0, len(flood), 500):  # as fast as they are taken, and no faster
        segment.wire.send(flood[at : at + 500])
        sent += 500
        director.wait_for("forwarded", sent)
    seen = flows_of(director)
    assert director.counters()["forwarded"] == sent
    assert seen["inserts"] == len(FLOWS) + 10000
    if packets == 1:
        assert (seen["evicted_established"], seen["evicted_new"]) == (0, 10000 - seen["entries"] + len(FLOWS))
    else:
        assert seen["evicted_established"] > 9000
    assert seen["entries"] <= seen["capacity"] == 512
    while segment.wire.receive(1000, 0.5):  # what came of the flood
        pass
    bench.put(MORE)
    rows, chains = bench.by_chain(FLOWS), first(bench.send(FLOWS, ACK))
    moved = [sport for sport in FLOWS if rows[sport][0] != opened[sport]]
    kept = [sport for sport in moved if chains[sport] == opened[sport]]
    assert len(kept) == round(stay * len(moved))
    assert all(chains[sport] == rows[sport][0] for sport in moved if sport not in kept)


def test_a_snapshot_whose_cache_does_not_fit_is_refused(make: Make, name: Name, segment: Segment) -> None:
    """The old one stays in force."""
    director = make(
        name("fit"), AF_PACKET, prefix=(*segment.prefix, "prlimit", f"--data={250 << 20}"),
        flow_cache={"entries": 1 << 24},
    )  # fmt: skip
    snapshot(director.snapshot, hops=1)
    director.start()
    wanted = snapshot(director.folder / "wanted.glb", hops=1, flow_cache=True, revision=2)
    with pytest.raises(ForwarderError, match=r"flow cache of worker 0, 256 MiB: lower flow_cache\.entries"):
        director.client.load(wanted)
    assert director.client.status().revision == 1
    assert len(send(segment, FLOWS[:3], SYN)) == 3
