"""Two directors of one controller: what is new fills until both have it; then either may get the packets."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from glbpy.compiler import NativeCompiler
from glbpy.controller import Controller
from glbpy.director import Director
from glbpy.forwarder import Forwarder
from glbpy.lab import director, netns, topology
from glbpy.lab.driver import Driver
from glbpy.lab.lab import POOL, Lab, document
from glbpy.lab.topology import DIRECTOR4, DIRECTOR6, MTU
from glbpy.lab.traffic import Client
from glbpy.models import Backend, Document, State, parse
from glbpy.store import Store
from tests.lab.stayers import Stayers
from tests.lab.test_changes import new_connections

T = TypeVar("T")
SECOND, SECOND4, SECOND6 = "director2", "10.0.0.3", "2001:db8:b::3"


class Plane:
    """A controller in a thread, above forwarders that run: their run directories by instance."""

    def __init__(self, store: Path, runs: dict[str, Path]) -> None:
        self.store, self.runs = store, runs
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self) -> "Plane":
        self.thread.start()
        assert self.ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(20)

    async def _main(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        compiler, store = NativeCompiler(), Store(self.store)
        directors = [
            Director(name, run / "snapshot.glb", Forwarder(run / "control.sock", timeout_s=1.0), compiler)
            for name, run in self.runs.items()
        ]
        try:
            async with Controller(store, compiler, directors).run() as self.controller:
                self.ready.set()
                await self.stop.wait()
        finally:
            store.close()

    def call(self, body: Callable[[Controller], Awaitable[T]]) -> T:
        async def work() -> T:
            return await body(self.controller)

        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(30)

    def state(self, name: str) -> State | None:
        return self.controller.desired.backend(POOL, name).state

    def in_force(self, instance: str) -> bool:
        return self.controller.director_status(instance).in_force


@pytest.fixture
def second(lab: Lab) -> Iterator[int]:
    """Another forwarder, on another port of the router; its pid. The lab's `glb serve` is away meanwhile."""
    lab.kill_serve()
    ns, router = topology.namespace(lab.name, SECOND), topology.namespace(lab.name, "router")
    netns.add(ns)
    netns.sysctl(ns, topology.EVERYWHERE | topology.DIRECTOR)
    netns.ip(router, [*topology.cable(SECOND, ns, MTU), f"link set {SECOND} master br0"])
    netns.ip(ns, topology.addresses(f"{SECOND4}/24", f"{SECOND6}/64"))
    netns.run_in(router, ["ethtool", "-K", SECOND, "tx", "off", "tso", "off"])
    run = lab.path / SECOND
    config = director.write_config(lab.name, run, Driver.AF_PACKET)
    config.write_text(config.read_text().replace(f"{lab.name}-{director.NAME}", f"{lab.name}-{SECOND}"))
    pid = netns.spawn(ns, ["glb-forwarder", "--config", str(config)], run / "forwarder.log")
    netns.wait_until(lambda: (run / "control.sock").exists(), f"glb-forwarder; see {run}/forwarder.log")
    yield pid
    topology.route_vips(lab.name, DIRECTOR4, DIRECTOR6)
    netns.stop(netns.processes(ns))
    netns.remove(ns)


def test_a_backend_fills_until_both_directors_have_it(
    lab: Lab, client: Client, second: int, tmp_path: Path
) -> None:
    one, two, new = lab.backends()
    whole = document([one, two])
    del whole["pools"][0]["health_check"]
    first, other = f"{lab.name}-{director.NAME}", f"{lab.name}-{SECOND}"
    runs = {first: lab.director_dir, other: lab.path / SECOND}
    with Plane(tmp_path / "store.db", runs) as plane:
        revision = plane.call(lambda c: c.apply(parse(Document, whole))).revision
        netns.wait_until(lambda: plane.state(one.name) == State.ACTIVE, "the first two to have filled")
        plane.call(lambda c: c.wait(revision + 1))
        assert new_connections(client) == {one.name, two.name}
        with Stayers(client) as stayers:
            os.kill(second, signal.SIGSTOP)
            try:
                added = Backend(name=new.name, address=new.address4)
                plane.call(lambda c: c.put_backend(POOL, added))
                netns.wait_until(lambda: plane.in_force(first), "the first director to follow")
                stayers.exercise()
                assert new_connections(client) == {one.name, two.name}
                assert plane.state(new.name) == State.FILLING
            finally:
                os.kill(second, signal.SIGCONT)
            netns.wait_until(lambda: plane.state(new.name) == State.ACTIVE, f"{new.name} to be active", 20)
            netns.wait_until(lambda: plane.in_force(first) and plane.in_force(other), "both to follow")
            assert new_connections(client) == {one.name, two.name, new.name}
            with Stayers(client) as later:
                assert later.on(new.name) > 20
                topology.route_vips(lab.name, SECOND4, SECOND6)
                later.exercise()
                stayers.exercise()
                assert new_connections(client) == {one.name, two.name, new.name}
                later.finish()
            stayers.finish()
        counters = Forwarder(runs[other] / "control.sock").status().counters
        assert counters["forwarded"] > 100
