"""The controller against a fake forwarder on a real socket: what is wanted gets there, whatever happens."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from glbpy.controller import Controller
from glbpy.director import Director
from glbpy.errors import (
    ConflictError,
    DocumentError,
    ForwarderError,
    NotFoundError,
    SnapshotError,
    StaleError,
)
from glbpy.forwarder import Forwarder
from glbpy.guard import GuardError
from glbpy.health import CheckFailed, Target
from glbpy.models import Backend, Document, Health, Pool, State, parse
from glbpy.store import Store, Written
from tests.unit.fakes import FakeCompiler, FakeForwarder, eventually

BACKENDS = [{"name": f"web{n}", "address": f"10.0.0.1{n}"} for n in (1, 2, 3)]
CHECK = {"type": "tcp", "port": 80, "interval_ms": 50, "timeout_ms": 50, "rise": 2, "fall": 2}
WEB = parse(
    Document,
    {
        "pools": [{"name": "web", "backends": BACKENDS, "health_check": CHECK}],
        "services": [
            {"name": "www", "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web"}
        ],
    },
)


class Rig:
    """Everything around a controller; ``controller()`` makes a fresh one, as a restart would."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.forwarder = FakeForwarder(directory / "control.sock")
        self.compiler = FakeCompiler()
        self.dead: set[str] = set()
        self.launched = 0

    async def probe(self, target: Target) -> str:
        if target.address in self.dead:
            raise CheckFailed("connection refused")
        return "connected"

    def controller(self, launch: Callable[[], int] | None = None) -> Controller:
        store = Store(self.directory / "store.db")
        client = Forwarder(self.directory / "control.sock", timeout_s=2.0)
        director = Director("director1", self.directory / "snapshot.glb", client, self.compiler, launch)
        return Controller(store, self.compiler, [director], probe=self.probe)

    def run(
        self, body: Callable[[Controller], Awaitable[None]], launch: Callable[[], int] | None = None
    ) -> None:
        async def main() -> None:
            controller = self.controller(launch)
            try:
                async with asyncio.timeout(20), controller.run():
                    await body(controller)
            finally:
                controller.store.close()

        asyncio.run(main())


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    rig.forwarder.start()
    yield rig
    rig.forwarder.stop()


@dataclass(frozen=True)
class IfMatch:
    tag: str | None

    def holds(self, current: str | None) -> bool:
        return current == self.tag


class Gate:
    """Holds a write inside its transaction until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def holds(self, current: str | None) -> bool:
        self.reached.set()
        return self.opened.wait(10)


def test_apply_reaches_the_forwarder_and_is_confirmed(rig: Rig):
    async def body(controller: Controller) -> None:
        result = await controller.apply(WEB, actor="test")
        assert (result.revision, result.changed, result.warnings) == (1, True, ())
        await controller.wait(1, timeout_s=5)
        # what the first checks found is on its way, too
        await eventually(lambda: controller.backend_status("web", "web3").health == Health.HEALTHY)
        await eventually(lambda: controller.director_status("director1").in_force)
        status = controller.director_status("director1")
        assert status.trouble is None
        assert status.counters == {"forwarded": 7}
        assert (status.confirmed_revision, status.wanted_revision) == (1, 1)
        assert rig.forwarder.loads[-1]["takes"] == ["web1", "web2", "web3"]
        assert (rig.directory / "snapshot.glb").read_bytes() == rig.compiler.compiled[-1].data
        assert not (rig.directory / "snapshot.glb.next").exists()

    rig.run(body)


def test_a_change_is_loaded_promptly_and_bursts_are_taken_together(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        await asyncio.sleep(0.2)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await controller.wait((await controller.drain("web", "web1")).revision)
        assert loop.time() - start < 1.0  # a loaded machine; alone it takes some 10 ms
        before = len(rig.forwarder.loads)
        start = loop.time()
        await asyncio.gather(*(controller.put_pool(Pool(name=f"p{n}")) for n in range(20)))
        await controller.wait(22)
        periods = (loop.time() - start) / 0.05
        assert len(rig.forwarder.loads) - before <= periods + 2

    rig.run(body)


def test_drain_and_undrain(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        drained = await controller.drain("web", "web2", actor="ann")
        assert (drained.revision, drained.version, drained.changed) == (2, 2, True)
        await controller.wait(2)
        assert rig.forwarder.loads[-1]["takes"] == ["web1", "web3"]
        assert not controller.backend_status("web", "web2").available
        assert not (await controller.drain("web", "web2")).changed
        back = await controller.undrain("web", "web2")
        await controller.wait(3)
        assert back.notes == ()
        assert rig.forwarder.loads[-1]["takes"] == ["web1", "web2", "web3"]
        assert [r.action for r in controller.store.revisions()] == [
            "undrain pools/web/backends/web2",
            "drain pools/web/backends/web2",
            "apply",
        ]
        with pytest.raises(NotFoundError, match="pools/web/backends/web9"):
            await controller.drain("web", "web9")

    rig.run(body)


def test_an_inactive_backend_is_neither_drained_nor_undrained(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.put_backend("web", Backend(name="web1", address="10.0.0.11", state=State.INACTIVE))
        with pytest.raises(ConflictError, match="inactive"):
            await controller.drain("web", "web1")
        with pytest.raises(ConflictError, match="inactive"):
            await controller.undrain("web", "web1")
        assert controller.desired.revision == 2

    rig.run(body)


def test_ending_a_drain_by_document_is_done_and_said(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.drain("web", "web2")
        assert (await controller.apply(WEB)).changed is False
        assert controller.desired.backend("web", "web2").state == State.DRAINING
        given = [{**b, "state": "active"} for b in BACKENDS]
        result = await controller.apply(parse(Document, {"pools": [{"name": "web", "backends": given}]}))
        assert len(result.notes) == 1
        assert "web2: its drain has ended" in result.notes[0]

    rig.run(body)


def test_a_backend_that_leaves_chains_is_reported(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        result = await controller.delete_backend("web", "web3")
        assert [leaver.backend for leaver in result.leavers] == ["web3"]
        assert "web3 leaves 10 rows of www" in result.warnings[0]

    rig.run(body)


def test_a_write_waits_for_the_end_of_a_compile_that_has_begun_with_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    """Back late from the store, it finds its compile under way: what it breaks is not known yet."""

    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        begun, go_on = threading.Event(), threading.Event()
        loop, write = asyncio.get_running_loop(), controller.store.write

        def late_write(*arguments: Any, **options: Any) -> Written:
            written = write(*arguments, **options)
            loop.call_soon_threadsafe(controller._dirty.set)
            assert begun.wait(5)
            return written

        rig.compiler.begin = lambda: (begun.set(), go_on.wait(5))
        monkeypatch.setattr(controller.store, "write", late_write)
        deleting = asyncio.create_task(controller.delete_backend("web", "web3"))
        await asyncio.to_thread(begun.wait, 5)
        await asyncio.sleep(0.05)
        assert not deleting.done()
        go_on.set()
        assert [leaver.backend for leaver in (await deleting).leavers] == ["web3"]

    rig.run(body)


def test_draining_the_last_backend_is_an_alarm(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.drain("web", "web1")
        await controller.drain("web", "web2")
        with pytest.raises(GuardError, match="no backend of pool web would take new connections"):
            await controller.drain("web", "web3")
        assert controller.desired.revision == 3
        result = await controller.drain("web", "web3", force=True)
        assert "may break" in result.warnings[0]  # three drain, by chains of two hops
        assert result.warnings[1:] == ("service www: no backend of pool web is available",)
        assert controller.status().alarms == result.warnings[1:]

    rig.run(body)


def test_stale_writers_are_refused(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        pool = controller.desired.pool("web")
        await controller.drain("web", "web1")
        with pytest.raises(StaleError) as caught:
            await controller.put_pool(pool, expect=IfMatch("1"))
        assert caught.value.current == 2
        assert controller.desired.backend("web", "web1").state == State.DRAINING
        with pytest.raises(StaleError):
            await controller.put_pool(Pool(name="new"), expect=IfMatch("1"))
        created = await controller.put_pool(Pool(name="new"), expect=IfMatch(None))
        assert (created.created, created.version) == (True, 3)
        with pytest.raises(ConflictError, match="used by service www"):
            await controller.delete_pool("web")

    rig.run(body)


def test_an_unhealthy_backend_goes_and_comes_back_without_a_revision(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        await eventually(lambda: controller.backend_status("web", "web3").health == Health.HEALTHY)
        rig.dead.add("10.0.0.13")
        await eventually(lambda: rig.forwarder.loads[-1]["takes"] == ["web1", "web2"])
        status = controller.backend_status("web", "web3")
        assert (status.health, status.detail) == (Health.UNHEALTHY, "connection refused")
        rig.dead.clear()
        await eventually(lambda: rig.forwarder.loads[-1]["takes"] == ["web1", "web2", "web3"])
        assert controller.desired.revision == 1

    rig.run(body)


def test_what_is_in_force_is_what_health_was_last_found_to_be(rig: Rig):
    """From the moment that a backend is found dead: in force means that the forwarder has heard of it."""

    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        await eventually(lambda: controller.director_status("director1").in_force)
        rig.dead.add("10.0.0.13")
        while controller.backend_status("web", "web3").health != Health.UNHEALTHY:
            await asyncio.sleep(0)
        assert not controller.director_status("director1").in_force
        await eventually(lambda: controller.director_status("director1").in_force)
        assert rig.forwarder.loads[-1]["takes"] == ["web1", "web2"]

    rig.run(body)


def test_a_restart_keeps_dead_backends_dead_and_reloads_nothing(rig: Rig):
    async def first(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        rig.dead.add("10.0.0.13")
        states = controller.backend_statuses
        await eventually(lambda: [s.health for s in states()] == ["healthy", "healthy", "unhealthy"])
        await eventually(lambda: rig.forwarder.loads[-1]["takes"] == ["web1", "web2"])
        await eventually(lambda: controller.director_status("director1").in_force)

    rig.run(first)
    loads = len(rig.forwarder.loads)

    async def second(controller: Controller) -> None:
        assert controller.backend_status("web", "web3").health == Health.UNHEALTHY
        await controller.wait(1)
        await asyncio.sleep(0.3)
        assert len(rig.forwarder.loads) == loads

    rig.run(second)


def test_a_forwarder_that_restarts_is_loaded_again(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        await asyncio.to_thread(rig.forwarder.restart)
        loads = len(rig.forwarder.loads)
        await eventually(lambda: len(rig.forwarder.loads) > loads)
        await eventually(lambda: controller.director_status("director1").pid == 1001)

    rig.run(body)


def test_a_forwarder_that_is_away_gets_the_newest_when_it_comes(rig: Rig):
    rig.forwarder.stop()

    async def body(controller: Controller) -> None:
        assert (await controller.apply(WEB)).changed
        await controller.drain("web", "web1")
        with pytest.raises(ForwarderError, match=r"not confirmed within 0\.3 s.*control\.sock"):
            await controller.wait(2, timeout_s=0.3)
        status = controller.director_status("director1")
        assert not status.reachable
        assert status.trouble is not None
        assert controller.status().alarms
        await asyncio.to_thread(rig.forwarder.start)
        await controller.wait(2, timeout_s=5)
        assert [load["revision"] for load in rig.forwarder.loads] == [2]
        assert controller.status().alarms == ()

    rig.run(body)


def test_a_forwarder_that_does_not_run_is_started_once(rig: Rig):
    rig.forwarder.stop()

    def launch() -> int:
        rig.launched += 1
        rig.forwarder.start()
        return rig.forwarder.pid

    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1, timeout_s=5)

    rig.run(body, launch)
    assert rig.launched == 1
    rig.run(body, launch)
    assert rig.launched == 1


def test_an_empty_store_does_not_stop_the_traffic(rig: Rig):
    async def first(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)

    rig.run(first)
    (rig.directory / "store.db").unlink()

    async def second(controller: Controller) -> None:
        await eventually(lambda: controller.director_status("director1").trouble is not None)
        trouble = controller.director_status("director1").trouble
        assert trouble is not None
        assert trouble.code == "empty_store"
        assert len(rig.forwarder.loads) == loads
        await controller.apply(WEB)
        await controller.drain("web", "web1")
        await controller.wait(2)
        assert rig.forwarder.loads[-1]["takes"] == ["web2", "web3"]
        await eventually(lambda: controller.status().alarms == ())

    loads = len(rig.forwarder.loads)
    rig.run(second)


def test_a_fresh_forwarder_is_given_the_empty_state(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.wait(0, timeout_s=5)
        assert [load["revision"] for load in rig.forwarder.loads] == [0]
        assert controller.director_status("director1").in_force

    rig.run(body)


def test_another_instance_is_not_touched(rig: Rig):
    rig.forwarder.instance = "director9"

    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await eventually(lambda: controller.director_status("director1").trouble is not None)
        trouble = controller.director_status("director1").trouble
        assert trouble is not None
        assert trouble.code == "other_instance"
        assert rig.forwarder.loads == []

    rig.run(body)


def test_a_refused_snapshot_leaves_the_last_good_one_on_disk(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        await eventually(lambda: controller.backend_status("web", "web3").health == Health.HEALTHY)
        await asyncio.sleep(0.2)
        good = (rig.directory / "snapshot.glb").read_bytes()
        rig.forwarder.refuse = True
        await controller.drain("web", "web1")
        await eventually(lambda: controller.director_status("director1").trouble is not None)
        status = controller.director_status("director1")
        assert status.trouble is not None
        assert status.trouble.code == "snapshot_refused"
        assert (status.wanted_revision, status.confirmed_revision, status.in_force) == (2, 1, False)
        assert (rig.directory / "snapshot.glb").read_bytes() == good
        rig.forwarder.refuse = False
        await controller.wait(2, timeout_s=5)

    rig.run(body)


def test_a_snapshot_that_is_not_kept_is_in_force_with_trouble(rig: Rig):
    rig.forwarder.keep_error = "director.snapshot: No space left on device"

    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        await eventually(lambda: controller.director_status("director1").trouble is not None)
        status = controller.director_status("director1")
        assert status.trouble is not None
        assert (status.trouble.code, status.trouble.message) == ("not_kept", rig.forwarder.keep_error)
        await eventually(lambda: controller.director_status("director1").in_force)
        assert not (rig.directory / "snapshot.glb").exists()
        rig.forwarder.keep_error = None
        await eventually(lambda: controller.director_status("director1").trouble is None)

    rig.run(body)


@pytest.mark.parametrize("error", [SnapshotError("too many rows"), ZeroDivisionError("a fault")])
def test_a_state_that_does_not_compile_leaves_the_old_snapshot_in_force(rig: Rig, error: Exception):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        rig.compiler.fail_with = error
        result = await controller.drain("web", "web1")
        assert "does not compile" in result.warnings[0]
        status = controller.status()
        assert (status.revision, status.compiled_revision) == (2, 1)
        assert status.compile_trouble is not None
        assert str(error) in status.compile_trouble.message
        assert rig.forwarder.loads[-1]["revision"] == 1
        rig.compiler.fail_with = None
        await controller.wait((await controller.undrain("web", "web1")).revision)
        assert controller.status().compile_trouble is None

    rig.run(body)


def test_a_cancelled_writer_s_change_takes_effect(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.wait(1)
        gate = Gate()
        drained = Backend(name="web1", address="10.0.0.11", state=State.DRAINING)
        writer = asyncio.create_task(controller.put_backend("web", drained, expect=gate))
        await eventually(gate.reached.is_set)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        assert writer.cancelled()
        gate.opened.set()
        await controller.wait(2, timeout_s=5)
        assert rig.forwarder.loads[-1]["takes"] == ["web2", "web3"]

    rig.run(body)


def test_rollback_brings_a_state_back_as_a_new_revision(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        await controller.drain("web", "web1")
        result = await controller.rollback(1, actor="ann")
        assert (result.revision, result.changed) == (3, True)
        assert "web1: its drain has ended" in result.notes[0]
        assert controller.store.diff(1, 3) == []
        with pytest.raises(NotFoundError):
            await controller.rollback(77)

    rig.run(body)


def test_a_result_says_what_changed_and_a_dry_run_does_not_change_it(rig: Rig):
    async def body(controller: Controller) -> None:
        added = await controller.apply(WEB)
        assert [change.path for change in added.changes if change.change == "added"] == [
            "pools/web", *(f"pools/web/backends/web{n}" for n in (1, 2, 3)), "services/www",
        ]  # fmt: skip
        await controller.drain("web", "web1")
        back = await controller.rollback(1, dry_run=True)
        assert (back.dry_run, back.changed, back.revision) == (True, True, 2)
        assert back.changes[0].fields[0].model_dump() == {
            "field": "state", "before": "draining", "after": "active",
        }  # fmt: skip
        assert controller.desired.revision == 2

    rig.run(body)


def test_errors_point_into_what_was_sent(rig: Rig):
    async def body(controller: Controller) -> None:
        await controller.apply(WEB)
        taken = WEB.services[0].model_copy(update={"name": "aaa", "pool": "none"})
        with pytest.raises(DocumentError) as caught:
            await controller.apply(Document(services=(taken,)))
        assert [error.pointer for error in caught.value.errors] == ["/services/0/pool", "/services/0/vips/0"]
        assert "service www" in caught.value.errors[1].detail
        with pytest.raises(DocumentError) as caught:
            await controller.put_service(taken)
        assert [error.pointer for error in caught.value.errors] == ["/pool", "/vips/0"]

    rig.run(body)
