"""Parts of the lab die or are fed nonsense; traffic goes on."""

import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glbpy.errors import ForwarderError
from glbpy.lab import netns
from glbpy.lab.demo import SWITCH_S, Events
from glbpy.lab.first_hop import FirstHop
from glbpy.lab.lab import DETECTION_S, Lab
from glbpy.lab.topology import PORT, VIP4, VIP6
from glbpy.lab.traffic import Client, Load, Result, request
from glbpy.process import reap, start_time
from tests.lab.conftest import wait_healthy
from tests.lab.stayers import Stayers
from tests.lab.test_changes import new_connections

VERSION_OFFSET = 8  # of the snapshot header's format version, behind the magic


def kill_nginx(lab: Lab, name: str) -> None:
    """The process dies, its machine lives: connections are refused."""
    netns.stop(netns.processes(lab.backend(name).ns), grace_s=0)


@pytest.mark.parametrize("kill", [Lab.kill_backend, kill_nginx], ids=["machine", "process"])
def test_a_dead_backend_gets_no_connections_after_the_health_check_time(
    lab: Lab, client: Client, kill: Callable[[Lab, str], None]
) -> None:
    dead = "backend2"
    first_hop = FirstHop((lab.director_dir / "snapshot.glb").read_bytes())
    loads = [Load(vip, PORT, workers=4, timeout_s=5) for vip in (VIP4, VIP6)]
    running = [client.start(load.run()) for load in loads]
    netns.wait_until(
        lambda: all(load.account.per_backend()[dead] > 10 for load in loads), f"answers of {dead}"
    )
    events = Events(killed=dead, killed_at=time.monotonic())
    kill(lab, dead)
    with lab.api() as api:
        netns.wait_until(lambda: lab.health(api)[dead] == "unhealthy", f"{dead} to be found dead", 10)
        found = time.monotonic() - events.killed_at
        lab.wait_in_force(api)
    events.found_at = time.monotonic()
    in_force = events.found_at - events.killed_at
    netns.wait_until(
        lambda: all(
            load.account.results[-1].began > events.killed_at + DETECTION_S + SWITCH_S + 1 for load in loads
        ),
        "traffic after that",
    )
    for load in loads:
        load.stop()
    for each in running:
        each.result(20)
    results: list[Result] = [result for load in loads for result in load.account.results]
    # Found within the time that the settings promise, and in force soon after.
    assert found <= DETECTION_S + 0.5
    assert in_force <= DETECTION_S + SWITCH_S
    assert [str(each) for each in results if each.error and not events.allows(each, first_hop)] == []
    late = [each for each in results if each.began > events.killed_at + DETECTION_S + SWITCH_S]
    assert len(late) > 50
    assert {each.backend for each in late} == set(lab.state().backends) - {dead}
    assert max(each.ended - each.began for each in late) < 0.9, (
        "a SYN was lost: it went to the dead one first"
    )

    lab.revive_backend(dead)
    wait_healthy(lab)
    back = {client.run(request(VIP4, PORT)).backend for _ in range(60)}
    assert back == set(lab.state().backends)


def ping(lab: Lab, count: int) -> tuple[int, int]:
    """Start pinging both VIPs through the balancer, `count` times each at 200 per second; return the pids."""
    client = lab.state().namespaces.client
    pids = []
    for vip, log in ((VIP4, "ping4.log"), (VIP6, "ping6.log")):
        (lab.path / log).unlink(missing_ok=True)
        argv = ["ping", "-n", "-q", "-i", "0.005", "-c", str(count), "-W", "2", vip]
        pids.append(netns.spawn(client, argv, lab.path / log))
    return pids[0], pids[1]


def assert_no_ping_lost(lab: Lab, pids: tuple[int, int], count: int) -> None:
    for pid, log in zip(pids, ("ping4.log", "ping6.log"), strict=True):
        netns.wait_until(lambda pid=pid: reap(pid) or start_time(pid) is None, "ping to end", 30)
        said = (lab.path / log).read_text()
        assert re.search(rf"{count} packets transmitted, {count} received, 0% packet loss", said), said


def test_killing_and_restarting_glb_serve_loses_no_packet(lab: Lab, client: Client) -> None:
    before = lab.forwarder_pids()
    with Stayers(client) as stayers:
        count = 1200  # six seconds
        pids = ping(lab, count)
        lab.kill_serve()
        stayers.exercise()
        assert lab.forwarder_pids() == before
        lab.start_serve()
        assert lab.forwarder_pids() == before, "it should have adopted the forwarders that ran"
        lab.drain("backend1")
        stayers.exercise()
        lab.drain("backend1", undrain=True)
        assert_no_ping_lost(lab, pids, count)
        stayers.finish()


@pytest.mark.parametrize("name", ["director1", "director2"])
def test_a_director_dies_and_comes_back(lab: Lab, client: Client, name: str) -> None:
    """Its machine loses power, director1's with `glb serve`: the router sends its flows to the other one."""
    (other,) = [each.name for each in lab.directors() if each.name != name]
    control = lab.forwarder(other)
    lab.drain("backend1")  # so that connections live behind first hops, too
    with Stayers(client) as stayers:
        assert stayers.on("backend1") == 0
        lab.drain("backend1", undrain=True)
        stayers.exercise()
        before = control.status().counters["forwarded"]
        lab.kill_director(name)
        lab.route([other])
        stayers.exercise()
        assert new_connections(client) == set(lab.state().backends)
        assert control.status().counters["forwarded"] > before
        lab.revive_director(name)
        with lab.api() as api:
            lab.wait_in_force(api)
        lab.route([name])  # all of them now come by it, that has never seen one
        stayers.exercise()
        lab.route()
        stayers.exercise()
        stayers.finish()


@pytest.mark.parametrize("name", ["director1", "director2"])
def test_a_forwarder_dies_and_starts_without_glb_serve(lab: Lab, client: Client, name: str) -> None:
    """From the last good snapshot on disk: with the control plane away, and after a kill -9 of its own."""
    control = lab.forwarder(name)
    lab.drain("backend3")  # so that the snapshot on disk is not one of a fresh start
    with Stayers(client) as stayers:
        before = control.status()
        lab.kill_serve()
        lab.kill_forwarder(name)
        lab.route([each.name for each in lab.directors() if each.name != name])
        stayers.exercise()
        lab.start_forwarder(name)
        lab.route([name])
        after = control.status()
        assert (after.digest, after.generation) == (before.digest, 1)
        stayers.exercise()
        assert new_connections(client) == {"backend1", "backend2"}
        count = 400
        pids = ping(lab, count)
        lab.start_serve()
        assert control.status().pid == after.pid
        assert_no_ping_lost(lab, pids, count)
        stayers.finish()


def spoilt(good: bytes) -> dict[str, bytes]:
    """Snapshot files that must be refused, by what is wrong with them."""
    (version,) = struct.unpack_from("<I", good, VERSION_OFFSET)
    files = {
        "empty": b"",
        "of one byte": good[:1],
        "cut in the header": good[:40],
        "cut in half": good[: len(good) // 2],
        "short of a byte": good[:-1],
        "with a byte too many": good + b"\0",
        "of another version": good[:VERSION_OFFSET]
        + struct.pack("<I", version + 1)
        + good[VERSION_OFFSET + 4 :],
        "of zeroes": bytes(len(good)),
    }
    for place in (0, 3, 20, 60, len(good) // 3, len(good) // 2, len(good) - 1):
        flipped = bytearray(good)
        flipped[place] ^= 0x10
        files[f"with a bit flipped at {place}"] = bytes(flipped)
    return files


def test_bad_snapshots_are_refused_while_traffic_goes_on(lab: Lab, client: Client, tmp_path: Path) -> None:
    control = lab.forwarder()
    good = (lab.director_dir / "snapshot.glb").read_bytes()
    loads = [Load(vip, PORT, workers=2) for vip in (VIP4, VIP6)]
    running = [client.start(load.run()) for load in loads]
    before = control.status()
    with Stayers(client) as stayers:
        for what, data in spoilt(good).items():
            path = tmp_path / "bad.glb"
            path.write_bytes(data)
            with pytest.raises(ForwarderError) as refused:
                control.load(path)
            assert refused.value.code == "snapshot_refused", what
            now = control.status()
            assert (now.digest, now.generation, now.pid) == (before.digest, before.generation, before.pid), (
                what
            )
            assert now.last_error is not None
            assert now.last_error.path == str(path)
        with pytest.raises(ForwarderError):
            control.load(tmp_path / "absent.glb")
        stayers.exercise()
        control.load(lab.director_dir / "snapshot.glb")
        assert control.status().last_error is None
        stayers.exercise()
        stayers.finish()
    for load in loads:
        load.stop()
    for each in running:
        each.result(20)
    assert [str(each) for load in loads for each in load.account.failures()] == []


def test_forwarder_does_not_start_from_a_bad_snapshot_but_takes_a_good_one(lab: Lab, client: Client) -> None:
    path = lab.director_dir / "snapshot.glb"
    control = lab.forwarder()
    good = path.read_bytes()
    lab.kill_serve()
    lab.kill_forwarder()
    path.write_bytes(good[: len(good) // 2])
    lab.start_forwarder()
    status = control.status()
    assert (status.generation, status.digest) == (0, None)
    lab.route(["director1"])
    assert client.run(request(VIP4, PORT, timeout_s=0.5)).error
    lab.start_serve()  # compiles anew and mends it
    assert client.run(request(VIP4, PORT)).error is None
    assert path.read_bytes() == good
