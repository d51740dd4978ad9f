"""Stand-ins for what the controller talks to: a forwarder's control socket, a compiler, a clock."""

import asyncio
import hashlib
import json
import selectors
import socketserver
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from glbpy.desired import Desired
from glbpy.errors import SnapshotError
from glbpy.models import Health
from glbpy.snapshot import Snapshot
from glbpy.status import Leaver

T = TypeVar("T")


class FakeCompiler:
    """Snapshots that are JSON: {"revision", "takes": names of backends that take new connections}."""

    def __init__(self) -> None:
        self.compiled: list[Snapshot] = []
        self.fail_with: Exception | None = None
        self.begin: Callable[[], object] = lambda: None  # called by each compile first, on its thread

    def compile(self, state: Desired, secret: bytes, health: Mapping[int, Health]) -> Snapshot:
        self.begin()
        if self.fail_with is not None:
            raise self.fail_with
        takes = [
            backend.name
            for pool in state.document.pools
            for backend in pool.backends
            if backend.state == "active"
            and health[state.ids[f"pools/{pool.name}/backends/{backend.name}"]] != Health.UNHEALTHY
        ]
        members = [backend.name for pool in state.document.pools for backend in pool.backends]
        content = {"revision": state.revision, "takes": takes, "members": members}
        snapshot = self.open(json.dumps(content).encode())
        self.compiled.append(snapshot)
        return snapshot

    def open(self, data: bytes) -> Snapshot:
        try:
            return Snapshot(json.loads(data)["revision"], hashlib.md5(data).hexdigest(), data)
        except ValueError as error:
            raise SnapshotError(str(error)) from error

    def leavers(self, before: Snapshot, after: Snapshot) -> list[Leaver]:
        gone = set(json.loads(before.data)["members"]) - set(json.loads(after.data)["members"])
        return [Leaver(service="www", backend=name, rows=10, first=5) for name in sorted(gone)]


class FakeForwarder:
    """The control socket's protocol on a thread, with the fields of its first release.

    ``loads`` are the snapshots loaded, oldest first.
    """

    def __init__(self, socket_path: Path, instance: str = "director1") -> None:
        self.socket_path = socket_path
        self.instance = instance
        self.loads: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.digest: str | None = None
        self.pid = 1000
        self.refuse = False
        self.keep_error: str | None = None
        self.opens: Callable[[bytes], Snapshot] = FakeCompiler().open  # NativeCompiler's, for real snapshots
        self._server: socketserver.ThreadingUnixStreamServer | None = None

    def start(self) -> None:
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                reply = fake.answer(json.loads(self.rfile.readline()))
                self.wfile.write(json.dumps({"version": 1, **reply}).encode() + b"\n")

        self._server = socketserver.ThreadingUnixStreamServer(str(self.socket_path), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self.socket_path.unlink()

    def restart(self) -> None:
        """As a process would: nothing loaded, another pid."""
        self.stop()
        self.digest, self.pid = None, self.pid + 1
        self.start()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "load":
            data = Path(request["path"]).read_bytes()
            if self.refuse:
                error = {"code": "snapshot_refused", "message": "no outer source address"}
                return {"ok": False, "error": error}
            opened = self.opens(data)
            self.loads.append(json.loads(data) if data[:1] == b"{" else {"revision": opened.revision})
            self.times.append(time.monotonic())
            self.digest = opened.digest
            generation = {"generation": len(self.loads), "revision": self.loads[-1]["revision"]}
            if self.keep_error is None:
                Path(request["path"].removesuffix(".next")).write_bytes(data)
            times = {"load_us": 1, "switch_us": 1}
            return {"ok": True, **generation, "digest": self.digest, **times, "kept": self.keep_error is None}
        return {
            "ok": True, "instance": self.instance, "pid": self.pid, "program_version": "0.1", "uptime_s": 1.5,
            "generation": len(self.loads), "revision": self.loads[-1]["revision"] if self.digest else None,
            "digest": self.digest, "snapshot_path": None, "last_error": None, "keep_error": self.keep_error,
            "workers": [], "ports": [],
            "counters": {"forwarded": 7}, "stats_path": "/nowhere",
        }


class _Skip(selectors.SelectSelector):
    """Never waits: moves the clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while all tasks wait, and then at once. Not for threads."""

    def __init__(self) -> None:
        self._clock = _Skip()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run_fake_time(main: Callable[[], Awaitable[T]]) -> T:
    async def body() -> T:
        return await main()

    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(body())


async def eventually(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Wait, in real time, until ``condition`` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        await asyncio.sleep(0.005)
