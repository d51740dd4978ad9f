"""`glb serve`'s engine with a real forwarder: killing one does not disturb the other."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dataplane.rig import Director
from glbpy import _native, engine
from glbpy.errors import ForwarderError, InvalidInputError
from glbpy.models import Document, parse

BACKENDS = [{"name": f"web{n}", "address": f"10.1.0.1{n}"} for n in (1, 2, 3)]
SERVICE = {"name": "www", "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web"}
WEB = parse(Document, {"pools": [{"name": "web", "backends": BACKENDS}], "services": [SERVICE]})

SERVE = """
import asyncio, sys
from pathlib import Path
from glbpy import engine
from glbpy.models import Document

async def main():
    async with engine.running(Path(sys.argv[1]), Path(sys.argv[2])) as controller:
        result = await controller.apply(Document.model_validate_json(sys.argv[3]))
        await controller.wait(result.revision, 60)
        result = await controller.drain("web", "web1")
        await controller.wait(result.revision, 60)
        print(controller.director_statuses()[0].pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def director(name: Callable[[str], str], make: Callable[..., Director]):
    """A configuration on a port where nothing comes; whatever forwarder runs by it ends with the test."""
    made = make(name("engine"), "net_null0,no-rx=1")
    yield made
    try:
        made.client.stop()
    except ForwarderError:
        return
    for _ in range(500):
        if not answers(made):
            return
        time.sleep(0.02)
    raise AssertionError("the forwarder did not stop")


def answers(director: Director) -> bool:
    try:
        return bool(director.client.status())
    except ForwarderError:
        return False


def test_each_half_outlives_the_other(director: Director, tmp_path: Path):
    store = tmp_path / "store.db"
    argv = [sys.executable, "-c", SERVE, str(director.toml), str(store), WEB.model_dump_json()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as serve:
        assert serve.stdout is not None
        pid = int(serve.stdout.readline())
        serve.kill()
    before = director.client.status()
    assert (before.pid, before.revision) == (pid, 2)
    assert _native.Snapshot(director.snapshot.read_bytes()).digest == before.digest

    async def adopt() -> None:
        async with engine.running(director.toml, store) as controller:
            await controller.wait(2, 30)
            now = await asyncio.to_thread(director.client.status)
            assert (now.pid, now.generation, now.digest) == (pid, before.generation, before.digest)

            result = await controller.undrain("web", "web1")
            await controller.wait(result.revision, 30)
            now = await asyncio.to_thread(director.client.status)
            assert (now.pid, now.generation, now.revision) == (pid, before.generation + 1, 3)

            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(60):
                while controller.director_statuses()[0].pid in (pid, None):
                    await asyncio.sleep(0.02)
            await controller.wait(3, 30)
            fresh = await asyncio.to_thread(director.client.status)
            assert fresh.pid != pid
            assert (fresh.generation, fresh.digest) == (1, now.digest)  # its own file had it: nothing loaded

    asyncio.run(adopt())
    assert answers(director)


def test_a_forwarder_that_cannot_start_is_said_and_tried_again(director: Director, tmp_path: Path):
    text = director.toml.read_text()
    director.toml.write_text(text.replace("gateway_mac", "gateway_mak"))

    async def body() -> None:
        async with engine.running(director.toml, tmp_path / "store.db") as controller:
            await controller.apply(WEB)
            async with asyncio.timeout(60):
                while (trouble := controller.director_statuses()[0].trouble) is None:
                    await asyncio.sleep(0.02)
            assert trouble.code == "start_failed"
            assert "gateway_mak" in trouble.message
            director.toml.write_text(text)
            await controller.wait(1, 60)

    asyncio.run(body())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("[director\nname = 3\n", "line 1"),
        ("[forward]\n", r"/director: .* has no \[director\] table"),
        ("[director]\n", "/director/name: must be a text"),
        ("[director]\nname = 3\n", "/director/name: must be a text"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path, text: str | None, message: str):
    path = tmp_path / "director.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        engine.read_config(path)


def test_paths_have_the_forwarder_s_defaults(tmp_path: Path):
    path = tmp_path / "director.toml"
    path.write_text('[director]\nname = "d1"\n')
    config = engine.read_config(path)
    assert config.socket == Path("/run/glb/d1/control.sock")
    assert config.snapshot == Path("/var/lib/glb/d1/snapshot.glb")
    assert config.store == Path("/var/lib/glb/d1/store.db")
