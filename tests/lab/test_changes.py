"""What operators do every day, under two hundred long-lived connections, none of which may break."""

import concurrent.futures
import itertools
import time

from glbpy.lab import netns
from glbpy.lab.lab import Lab
from glbpy.lab.topology import DIRECTOR4, PORT, VIP4, VIP6, Backend
from glbpy.lab.traffic import Client, Load, request
from tests.lab.stayers import Stayers

PROBES = 60


def new_connections(client: Client) -> set[str | None]:
    """Backends that answer new connections, over both families; every one must be answered."""
    results = [client.run(request(vip, PORT)) for vip in (VIP4, VIP6) for _ in range(PROBES // 2)]
    assert [str(result) for result in results if result.error] == []
    return {result.backend for result in results}


def connections(backend: Backend) -> int:
    """Established connections to the service on a backend, health checks left out."""
    lines = netns.run_in(backend.ns, ["ss", "-Htn", "state", "established", f"sport = :{PORT}"]).splitlines()
    return sum(f"{DIRECTOR4}:" not in line for line in lines)


def test_drain_and_undrain_of_each_backend_in_turn(lab: Lab, client: Client) -> None:
    names = set(lab.state().backends)
    with Stayers(client) as stayers:
        for name in sorted(names):
            assert stayers.on(name) > 20
            before = sum(lab.second_chances().values())
            lab.drain(name)
            stayers.exercise()
            assert new_connections(client) == names - {name}
            assert sum(lab.second_chances().values()) > before + stayers.on(name)
            lab.drain(name, undrain=True)
            stayers.exercise()
            assert new_connections(client) == names
        stayers.finish()


def test_add_a_backend_and_remove_it_once_it_is_empty(lab: Lab, client: Client) -> None:
    names = set(lab.state().backends)
    with Stayers(client) as stayers:
        new = lab.add_backend()
        with lab.api() as api:
            netns.wait_until(lambda: lab.health(api)[new.name] == "healthy", f"{new.name} to be healthy")
            lab.wait_filled(api)
        stayers.exercise()
        assert new_connections(client) == names | {new.name}

        guests = Load(VIP4, PORT, workers=4)
        running = client.start(guests.run())
        netns.wait_until(lambda: guests.account.per_backend()[new.name] > 5, f"connections on {new.name}")
        lab.drain(new.name)
        guests.stop()
        running.result(20)
        assert guests.account.failures() == []
        netns.wait_until(lambda: connections(new) == 0, f"{new.name} to be empty")
        assert new_connections(client) == names

        lab.remove_backend(new.name)
        assert not netns.exists(new.ns)
        stayers.exercise()
        assert new_connections(client) == names
        stayers.finish()


def test_a_revision_after_the_other_under_traffic(lab: Lab, client: Client) -> None:
    """Drain and undrain each backend four times, as fast as the directors confirm."""
    controls = lab.forwarders()
    loads = [Load(vip, PORT, workers=2) for vip in (VIP4, VIP6)]
    with Stayers(client) as stayers:
        running = [client.start(load.run()) for load in loads]
        first = [control.status().generation for control in controls]
        for name in lab.state().backends * 4:
            lab.drain(name)
            lab.drain(name, undrain=True)
        for control, before in zip(controls, first, strict=True):
            assert control.status().generation - before >= 24
        finish(loads, running)
        stayers.exercise()
        stayers.finish()


def test_reloads_at_ten_per_second(lab: Lab, client: Client) -> None:
    """The forwarders alone, so that nothing but they and the clock set the pace: a real change every 100 ms,
    at one director a little before the other."""
    controls = lab.forwarders()
    live = lab.director_dir / "snapshot.glb"
    files = [lab.path / "whole.glb"]
    files[0].write_bytes(live.read_bytes())
    for name in lab.state().backends:
        lab.drain(name)
        drained = lab.path / f"without-{name}.glb"
        drained.write_bytes(live.read_bytes())
        files += [drained, files[0]]
        lab.drain(name, undrain=True)
    lab.kill_serve()  # it would load what it wants
    loads = [Load(vip, PORT, workers=2) for vip in (VIP4, VIP6)]
    with Stayers(client) as stayers:
        running = [client.start(load.run()) for load in loads]
        first = [control.status().generation for control in controls]
        began = time.monotonic()
        for number, file in enumerate(itertools.islice(itertools.cycle(files[1:]), 54), 1):
            for control in controls:
                control.load(file)
            time.sleep(max(0.0, began + number * 0.1 - time.monotonic()))
        took = time.monotonic() - began
        assert [control.status().generation - 54 for control in controls] == first
        finish(loads, running)
        stayers.exercise()
        stayers.finish()
    assert 54 / took > 9


def finish(loads: list[Load], running: list[concurrent.futures.Future[None]]) -> None:
    """End the loads; none of their requests may have failed."""
    for load in loads:
        load.stop()
    for each in running:
        each.result(20)
    assert [str(result) for load in loads for result in load.account.failures()] == []
    assert all(len(load.account.results) > 100 for load in loads)
