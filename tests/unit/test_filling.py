"""Two directors: what is to take connections fills first, until both have it, and follows when they do."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from glbpy import controller as controller_module
from glbpy.compiler import NativeCompiler
from glbpy.controller import Controller
from glbpy.director import Director
from glbpy.forwarder import Forwarder
from glbpy.models import Backend, Document, State, parse
from glbpy.store import Store
from tests.unit.fakes import FakeCompiler, FakeForwarder, eventually

BACKENDS = [{"name": f"web{n}", "address": f"10.0.0.1{n}"} for n in (1, 2)]
WEB = parse(
    Document,
    {
        "pools": [{"name": "web", "backends": BACKENDS}],
        "services": [
            {
                "name": "www", "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web",
                "table_size": 256,
            }
        ],
    },
)  # fmt: skip
NEW = Backend(name="web3", address="10.0.0.13")


class Rig:
    """A controller of two directors, each with a fake forwarder on a real socket."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.forwarders = [FakeForwarder(directory / f"{n}.sock", f"director{n}") for n in (1, 2)]
        self.compiler = FakeCompiler()

    def run(self, body: Callable[[Controller], Awaitable[None]]) -> None:
        async def main() -> None:
            directors = [
                Director(
                    f.instance, self.directory / f"{f.instance}.glb", Forwarder(f.socket_path), self.compiler
                )
                for f in self.forwarders
            ]
            store = Store(self.directory / "store.db")
            try:
                async with asyncio.timeout(20), Controller(store, self.compiler, directors).run() as running:
                    await body(running)
            finally:
                store.close()

        asyncio.run(main())


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(controller_module, "SETTLE_S", 0.05)
    made = Rig(tmp_path)
    for forwarder in made.forwarders:
        forwarder.start()
    yield made
    for forwarder in made.forwarders:
        forwarder.stop()


def takes(rig: Rig) -> list[list[str]]:
    """By director, who takes new connections there; what has not loaded yet says nothing."""
    return [forwarder.loads[-1]["takes"] if forwarder.loads else [] for forwarder in rig.forwarders]


def test_a_backend_takes_connections_when_every_director_has_it(rig: Rig) -> None:
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await eventually(lambda: takes(rig) == [["web1", "web2"]] * 2)
        first, second = rig.forwarders
        second.refuse = True
        result = await controller.put_backend("web", NEW)
        assert controller.desired.backend("web", "web3").state == State.FILLING
        assert controller.backend_status("web", "web3").state == State.FILLING
        await eventually(lambda: first.loads[-1]["revision"] == result.revision)
        await asyncio.sleep(0.3)
        assert controller.desired.revision == result.revision  # the other does not have it yet
        assert takes(rig)[0] == ["web1", "web2"]
        second.refuse = False
        await eventually(lambda: controller.desired.backend("web", "web3").state == State.ACTIVE)
        await eventually(lambda: takes(rig) == [["web1", "web2", "web3"]] * 2)
        # Each had it among its members before any let it take connections.
        for forwarder in rig.forwarders:
            loads = [load for load in forwarder.loads if "web3" in load["members"]]
            assert "web3" not in loads[0]["takes"]
        [revision, *_] = controller.store.revisions()
        assert (revision.actor, revision.action) == ("controller", "filled pools/web/backends/web3")

    rig.run(body)


def test_a_drain_that_ends_fills_again(rig: Rig) -> None:
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await eventually(lambda: takes(rig) == [["web1", "web2"]] * 2)
        await controller.drain("web", "web1")
        await eventually(lambda: takes(rig) == [["web2"]] * 2)
        await controller.undrain("web", "web1")
        assert controller.desired.backend("web", "web1").state == State.FILLING
        await eventually(lambda: takes(rig) == [["web1", "web2"]] * 2)

    rig.run(body)


def test_a_rollback_to_a_time_of_filling_leads_to_what_it_led_to(rig: Rig) -> None:
    async def body(controller: Controller) -> None:
        first = await controller.apply(WEB)
        await eventually(lambda: controller.desired.filling == frozenset())
        added = await controller.put_backend("web", NEW)
        await eventually(lambda: controller.desired.filling == frozenset())
        for number, names in ((first.revision, ["web1", "web2"]), (added.revision, ["web1", "web2", "web3"])):
            await controller.rollback(number)
            await eventually(lambda names=names: takes(rig) == [names] * 2)
            assert {b.state for b in controller.desired.pool("web").backends} == {State.ACTIVE}

    rig.run(body)


def test_what_surprises_a_director_that_lags_is_said(rig: Rig) -> None:
    """Another key gives every flow another row: one that lags does not find the connections of others."""
    rig.compiler = NativeCompiler()  # type: ignore[assignment]
    for forwarder in rig.forwarders:
        forwarder.opens = NativeCompiler().open

    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await eventually(lambda: controller.desired.filling == frozenset())
        await controller.wait(controller.desired.revision)
        service = WEB.services[0].model_copy(update={"hash_key": "ab" * 16})
        result = await controller.put_service(service)
        assert result.leavers == ()
        assert any("director director2 does not have web/web1 in" in text for text in result.warnings)

    rig.run(body)
