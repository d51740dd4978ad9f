"""The API over a real store and controller, called through ASGI. The forwarder alone is a stand-in."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from api.app import Settings, create_app
from glbpy.compiler import NativeCompiler
from glbpy.controller import Controller
from glbpy.director import Director
from glbpy.errors import ForwarderError
from glbpy.forwarder import ForwarderStatus, Loaded
from glbpy.health import Target
from glbpy.store import Store
from glbpy.tokens import Tokens

POOL = {"backends": [{"name": "web1", "address": "10.0.0.11"}, {"name": "web2", "address": "10.0.0.12"}]}
SERVICE = {"vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web", "table_size": 256}
DOCUMENT = {"pools": [{"name": "web", **POOL}], "services": [{"name": "www", **SERVICE}]}
CREATE = {"If-None-Match": "*"}


class StandIn:
    """Answers as a forwarder does, and remembers what it was given."""

    def __init__(self, compiler: NativeCompiler) -> None:
        self.compiler = compiler
        self.generation = 0
        self.loaded: Any = None
        self.stats_path = "/nonexistent/stats"
        self.away = False

    def load(self, path: Any) -> Loaded:
        self.check()
        self.loaded = self.compiler.open(Path(path).read_bytes())
        self.generation += 1
        return Loaded(
            generation=self.generation,
            revision=self.loaded.revision,
            digest=self.loaded.digest,
            load_us=10,
            switch_us=1,
            kept=True,
        )

    def status(self) -> ForwarderStatus:
        self.check()
        return ForwarderStatus(
            instance="director1",
            pid=4711,
            program_version="0.1.0",
            uptime_s=12.5,
            generation=self.generation,
            revision=self.loaded.revision if self.loaded else None,
            digest=self.loaded.digest if self.loaded else None,
            snapshot_path=None,
            last_error=None, last_load=None, tsc_hz=1, latency_ns={},
            workers=[],
            ports=[],
            counters={"forwarded": 3},
            stats_path=self.stats_path,
        )

    def check(self) -> None:
        if self.away:
            raise ForwarderError("no forwarder here")


class Api:
    """Calls the API from plain functions: its event loop runs only while a request does."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.runner = asyncio.Runner()
        self.health = ""  # what the next health checks say; "" = healthy
        self.ill: set[str] = set()  # addresses whose checks fail
        self.runner.run(self.start(folder, settings))

    async def start(self, folder: Path, settings: Settings) -> None:
        self.store = Store(folder / "store.db")
        compiler = NativeCompiler()
        self.forwarder = StandIn(compiler)
        director = Director("director1", folder / "snapshot.glb", self.forwarder, compiler)
        self.controller = Controller(self.store, compiler, [director], probe=self.probe, gap_s=0.0)
        self.running = self.controller.run()
        await self.running.__aenter__()
        self.app = create_app(self.controller, settings)
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420")

    async def probe(self, target: Target) -> str:
        if self.health or target.address in self.ill:
            raise OSError(self.health or "refused")
        return "fine"

    def close(self) -> None:
        async def stop() -> None:
            await self.client.aclose()
            await self.running.__aexit__(None, None, None)

        self.runner.run(stop())
        self.store.close()
        self.runner.close()

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        status: int | None = None,
    ) -> httpx.Response:
        """Send a request; check the status, when given, and that every error is a problem."""
        response = self.runner.run(
            self.client.request(method, path, json=body, headers=headers, content=content)
        )
        if status is not None:
            assert response.status_code == status, response.text
        if response.status_code >= 400:
            check_problem(response)
        return response

    def get(self, path: str) -> Any:
        return self("GET", path, status=200).json()

    def apply(self, document: Any = DOCUMENT, query: str = "") -> Any:
        return self("POST", f"/v1/apply{query}", document, status=200).json()

    def wait(self, condition: Any) -> None:
        """Let the controller work until ``condition`` holds."""

        async def until() -> None:
            async with asyncio.timeout(10):
                while not condition():
                    await asyncio.sleep(0.01)

        self.runner.run(until())


def check_problem(response: httpx.Response) -> None:
    from api.problems import KINDS, PREFIX

    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    kind = KINDS[body["type"].removeprefix(PREFIX)]
    assert body["title"] == kind.title
    assert body["status"] == response.status_code
    assert isinstance(body["detail"], str)
    assert body["detail"]
    for error in body.get("errors", []):
        assert set(error) == {"pointer", "detail", "in"}
        assert error["pointer"] == "" or error["pointer"].startswith("/")


def tokens_of(folder: Path, line: str) -> Tokens:
    file = folder / "tokens"
    file.write_text(line + "\n")
    return Tokens.load(file)
