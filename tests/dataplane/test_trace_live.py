"""`glb trace --live`: a marked packet through a real forwarder, in both run models; what is said of it."""

import json
import subprocess
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from dataplane.rig import BACKENDS, GATEWAY, PROGRAM, SOURCE, VIP, Director, Segment, snapshot
from dataplane.test_punt import TAP, Two, start, two
from dataplane.test_watchdog import stopped, worker_thread
from glbpy import _native as native
from glbpy import live_trace
from glbpy.errors import ForwarderError
from glbpy.live_trace import LiveTrace
from glbpy.marked import MAGIC, Marked

__all__ = ["two"]

GLB = PROGRAM.with_name("glb")
PORT = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
PIPELINE: dict[str, dict[str, Any]] = {"forward": {"run_model": "pipeline"}, "eal": {"workers": 2}}
NO_SENDERS: dict[str, dict[str, Any]] = {**PIPELINE, "eal": {"workers": 1, "senders": 0}}
MODELS: list[dict[str, dict[str, Any]]] = [{}, PIPELINE, NO_SENDERS]

Make = Callable[..., Director]
Name = Callable[[str], str]


@pytest.fixture(params=MODELS, ids=["run-to-completion", "pipeline", "no-senders"])
def director(make: Make, name: Name, segment: Segment, request: pytest.FixtureRequest) -> Director:
    made = make(name("trace"), PORT, prefix=segment.prefix, **request.param)
    snapshot(made.snapshot, services=2, revision=7)
    return made.start()


def trace(director: Director, packet: Marked | bytes, **options: Any) -> LiveTrace:
    port = director.client.status().ports[0].port
    return live_trace.run(director.client, packet, port=port, **options)[0]


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def command(director: Director, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [GLB, "trace", "--live", "--socket", director.client.socket_path, *arguments],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_every_step_is_told_and_nothing_is_sent(director: Director, segment: Segment) -> None:
    pipeline = director.document["forward"].get("run_model") == "pipeline"
    packet = Marked(ip_address("203.0.113.11"), client=ip_address("198.51.100.9"), client_port=4242)
    found = trace(director, packet)
    assert (found.generation, found.revision, found.queue) == (1, 7, 0)
    assert found.worker is not None
    if pipeline:
        assert found.steering is not None
        assert found.steering.worker == found.worker.worker
    else:
        assert found.steering is None
        assert found.worker.worker == 0
    assert found.packet is not None
    assert (found.packet.kind, found.packet.bytes, found.packet.protocol) == ("tcp", 56, 6)
    assert (str(found.packet.source), found.packet.source_port) == ("198.51.100.9", 4242)
    assert (str(found.packet.destination), found.packet.destination_port) == ("203.0.113.11", 80)
    assert found.service is not None
    assert (found.service.id, found.service.name, found.service.encapsulation) == (2, "www1", "gue")
    assert (found.verdict, found.reason, found.sent) == ("forward", "forwarded", False)
    assert found.next_hop is not None
    hop = found.next_hop
    assert (hop.source, hop.kind, hop.mac, hop.port) == ("gateway_mac", "router", GATEWAY, "net_af_packet0")
    assert found.flow_cache is None
    # the same decision as the library's, from the file
    path = native.PacketPath(
        native.Snapshot(director.snapshot.read_bytes()),
        native.DirectorInput(
            ip_address(SOURCE), octets(segment.mac), octets(GATEWAY)
        ),
    )
    assert found.output is not None
    output = bytes.fromhex(found.output.frame)
    decision = path.decide(bytes(12) + b"\x08\x00" + output[-56:])
    assert found.row is not None
    assert (int(found.row.hash, 16), found.row.row) == (decision.hash, decision.row)
    assert [hop.address for hop in found.chain] == [str(each.address) for each in decision.chain]
    assert output == decision.output
    assert MAGIC in output
    # nothing on the wire, and counted as what it is, whole
    assert segment.wire.receive(1, timeout_s=0.5) == []
    counters = director.client.status()
    assert counters.counters["traced"] == 1
    assert counters.counters["forwarded"] == 0
    totals = native.read_counters(Path(counters.stats_path).read_bytes())
    assert (totals.rx_packets, totals.tx_packets) == (sum(totals.reasons.values()), 0)
    assert totals.services[2].packets == 0


def test_with_send_it_arrives(director: Director, segment: Segment) -> None:
    found = trace(director, Marked(ip_address(VIP)), send=True)
    assert found.output is not None
    assert (found.verdict, found.sent) == ("forward", True)
    [frame] = segment.wire.receive(1)
    assert frame == bytes.fromhex(found.output.frame)
    assert frame[30:34] == ip_address(found.chain[0].address).packed
    assert MAGIC in frame
    counters = director.wait_for("forwarded", 1)
    assert (counters["forwarded"], counters["traced"]) == (1, 0)


def test_what_is_not_for_a_service(director: Director) -> None:
    unknown = trace(director, Marked(ip_address("198.51.100.1")))
    assert (unknown.verdict, unknown.reason, unknown.service, unknown.row) == ("punt", "not_vip", None, None)
    assert unknown.chain == []
    assert unknown.output is unknown.next_hop is unknown.punt is None
    assert unknown.packet is not None
    assert str(unknown.packet.to) == "198.51.100.1"
    port = trace(director, Marked(ip_address(VIP), port=81))
    assert (port.verdict, port.reason) == ("punt", "no_service")
    broken = trace(director, bytes(6) + bytes.fromhex("0200000000aa 0800 45000014"))
    assert (broken.verdict, broken.reason) == ("punt", "other_mac")
    assert broken.packet is None
    mac = octets(director.client.status().ports[0].mac)
    cut = trace(director, mac + bytes.fromhex("0200000000aa 0800 45000014"))
    assert (cut.verdict, cut.reason) == ("drop", "ipv4_truncated")
    assert director.client.status().counters["traced"] == 4


def test_a_drained_backend_shows(director: Director) -> None:
    chain = {trace(director, Marked(ip_address(VIP), client_port=n)).chain[0].name for n in range(2000, 2020)}
    assert chain == {"web1", "web2", "web3"}
    states = ("active", "draining", "active")
    pool = native.PoolInput("web", tuple(
        native.BackendInput(f"web{n}", 100 + n, ip_address(address), state, "healthy")
        for n, (address, state) in enumerate(zip(BACKENDS, states, strict=True), 1)
    ))  # fmt: skip
    service = native.ServiceInput(
        name="www0", id=1, pool=0, hash_key=bytes(16), seed=bytes(16), rows=1024,
        binds=(native.BindInput(ip_network(VIP), "tcp", 80, 80),), hash_fields=("src_addr", "src_port"),
    )  # fmt: skip
    director.snapshot.write_bytes(native.compile_snapshot(native.ConfigInput((pool,), (service,), 8)))
    director.client.load(director.snapshot)
    chains = []
    for n in range(2000, 2020):
        found = trace(director, Marked(ip_address(VIP), client_port=n))
        assert (found.generation, found.revision) == (2, 8)
        chains.append(found.chain)
    assert {chain[0].name for chain in chains} == {"web1", "web3"}
    draining = [hop for chain in chains for hop in chain if hop.name == "web2"]
    assert draining
    assert {(hop.state, hop.health) for hop in draining} == {("draining", "healthy")}


def test_the_command(director: Director, segment: Segment) -> None:
    done = command(director, "--service", "www1", "--client", "198.51.100.9", "--client-port", "4242")
    assert done.returncode == 0, done.stderr
    lines = {line[:8].strip(): line[9:] for line in done.stdout.splitlines()}
    assert lines["snapshot"] == "revision 7, generation 1"
    assert lines["in"] == "port net_af_packet0, rx queue 0"
    assert lines["packet"] == "TCP 198.51.100.9 port 4242 → 203.0.113.11 port 80; IPv4, 56 bytes"
    assert lines["service"] == "www1, id 2, gue"
    assert lines["hop 1"].endswith(", active, unknown")
    assert lines["next hop"] == f"router {GATEWAY} by port net_af_packet0, from gateway_mac"
    backend = lines["hop 1"].split()[0]
    assert lines["output"].startswith(f"110 bytes to {GATEWAY}; {SOURCE} → {backend}, protocol 17, port ")
    assert lines["verdict"] == "forward (forwarded): sent to a backend"
    assert lines["end"].startswith("not sent: freed, after ")
    done = command(director, "--vip", VIP, "--send", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["sent"], said["output"]["frame"]) == (True, segment.wire.receive(1)[0].hex())
    for wrong, message in (
        (("--service", "nobody"), "there are: www0, www1"),
        (("--vip", "nowhere"), "is not an IP address"),
        (("--vip", VIP, "--service", "www0"), "give one of"),
        ((), "give one of"),
        (("--vip", VIP, "--on", "eth7"), "no port of the forwarder"),
        (("--vip", VIP, "--client", "2001:db8::1"), "the VIP is an IPv4 address"),
        (("--vip", VIP, "--table", "x"), "for a trace from files"),
    ):
        done = command(director, *wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in " ".join(done.stderr.split())


def test_echo_and_udp(director: Director) -> None:
    echo = trace(director, Marked(ip_address(VIP), protocol="icmp"))
    assert echo.packet is not None
    assert (echo.packet.kind, echo.verdict) == ("echo", "forward")
    udp = trace(director, Marked(ip_address(VIP), protocol="udp"))
    assert (udp.verdict, udp.reason) == ("punt", "no_service")


def test_it_passes_among_traffic(director: Director, segment: Segment) -> None:
    """Marked packets between real ones, which all come out."""
    frame = octets(segment.mac) + bytes.fromhex("0200000000aa 0800")
    frames = [frame + Marked(ip_address(VIP), client_port=n).build() for n in range(1000)]
    for n in range(0, 1000, 100):
        segment.wire.send(frames[n : n + 100], pace_s=0.0002)
        assert trace(director, Marked(ip_address(VIP), client_port=n), send=n % 200 == 0).verdict == "forward"
    assert len(segment.wire.receive(1005)) == 1005
    counters = director.wait_for("forwarded", 1005)
    assert (counters["forwarded"], counters["traced"]) == (1005, 5)


def test_an_lcore_that_does_not_answer_is_named(director: Director) -> None:
    """The packet is taken back, and the next one passes."""
    pipeline = director.document["forward"].get("run_model") == "pipeline"
    role = "receiver" if pipeline else "worker"
    lcore = next(each.lcore for each in director.client.status().workers if each.role == role)
    with stopped(worker_thread(director.pid, lcore)):
        with pytest.raises(ForwarderError, match=f"{role} 0 did not take the packet in 1000 ms") as caught:
            trace(director, Marked(ip_address(VIP)))
        assert caught.value.code == "trace_failed"
    assert trace(director, Marked(ip_address(VIP))).verdict == "forward"
    assert director.client.status().counters["traced"] == 1


def test_a_packet_that_gets_stuck_on_its_way(make: Make, name: Name) -> None:
    """In a pipeline, whose worker stands: until it goes on nothing else is traced, then it is forgotten."""
    director = make(name("stuck"), "net_null0,no-rx=1", forward={"run_model": "pipeline"}, eal={"workers": 1})
    snapshot(director.snapshot)
    director.start()
    lcore = director.client.status().workers[0].lcore
    with stopped(worker_thread(director.pid, lcore)):
        with pytest.raises(ForwarderError, match="receiver 0 took the packet, and it has not come") as caught:
            trace(director, Marked(ip_address(VIP)))
        assert caught.value.code == "trace_failed"
        with pytest.raises(ForwarderError, match="an earlier packet is still on its way") as caught:
            trace(director, Marked(ip_address(VIP)))
        assert caught.value.code == "busy"
    director.wait_for("traced", 1)
    found = trace(director, Marked(ip_address(VIP), client_port=77))
    assert found.packet is not None
    assert found.packet.source_port == 77


def test_a_punted_one_goes_to_the_kernel_only_with_send(make: Make, name: Name, two: Two) -> None:
    director = start(make, name, two)
    found = trace(director, Marked(ip_address("192.0.2.1"), port=179))
    assert found.punt is not None
    assert (found.punt.class_, found.punt.interface) == ("routing", TAP)
    assert (found.verdict, found.sent) == ("punt", False)
    assert director.client.status().punt[0].classes["routing"].to_kernel == 0
    assert trace(director, Marked(ip_address("192.0.2.1"), port=179), send=True).sent
    deadline = time.monotonic() + 10
    while director.client.status().punt[0].classes["routing"].to_kernel < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert director.client.status().punt[0].classes["routing"].to_kernel == 1


def test_orders_that_make_no_sense_are_refused(make: Make, name: Name) -> None:
    director = make(name("no"), "net_null0,no-rx=1").start()
    orders: list[tuple[Any, str]] = [
        (None, "packet: must be an object"),
        ({}, "packet: ip or frame is missing"),
        ({"ip": ""}, "ip: must be 1 to 9216 bytes"),
        ({"ip": "0"}, "ip: must be 1 to 9216 bytes"),
        ({"ip": "0g"}, "ip: must be bytes in hex"),
        ({"ip": 7}, "ip: must be 1 to 9216 bytes"),
        ({"frame": "00" * 9217}, "frame: must be 1 to 9216 bytes"),
        ({"ip": "00", "frame": "00"}, "frame: give either ip or frame"),
        ({"ip": "00", "port": 9}, "port: must be the number of a port"),
        ({"ip": "00", "queue": 1}, "queue: must be 0 to 0"),
        ({"ip": "00", "queue": -1}, "queue: must be 0 to 0"),
        ({"ip": "00", "send": 1}, "send: not a field of a packet, or not a valid value"),
        ({"ip": "00", "colour": "blue"}, "colour: not a field of a packet"),
    ]
    for order, message in orders:
        with pytest.raises(ForwarderError, match=message) as caught:
            director.client.request({"version": 1, "command": "trace", "packet": order})
        assert caught.value.code == "bad_request"
    assert live_trace.run(director.client, Marked(ip_address(VIP)), port=0)[0].reason == "no_snapshot"
