"""What `glb serve` runs beneath the API: store, compiler, directors and controller, put together from files.

Reads of a director's TOML file only what it shares with the forwarder; the forwarder judges the rest.
"""

import ipaddress
import logging
import os
import tomllib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glbpy import forwarder
from glbpy.compiler import NativeCompiler
from glbpy.controller import Controller
from glbpy.director import Director
from glbpy.errors import InvalidInputError
from glbpy.store import Store

log = logging.getLogger(__name__)

SOURCES = ("outer_source_v4", "outer_source_v6", "outer_source_prefix_v4", "outer_source_prefix_v6")


@dataclass(frozen=True)
class DirectorConfig:
    """The part of a director's configuration that both programs read. Paths as the forwarder takes them."""

    path: Path
    name: str
    snapshot: Path
    run_dir: Path
    sources: tuple[str, ...] = ()  # outer addresses and prefixes that its packets come from

    @property
    def socket(self) -> Path:
        return self.run_dir / "control.sock"

    @property
    def log(self) -> Path:
        return self.run_dir / "forwarder.log"

    @property
    def store(self) -> Path:
        """Where the store is unless told otherwise."""
        return Path("/var/lib/glb", self.name, "store.db")


def read_config(path: Path) -> DirectorConfig:
    """Read a director.toml. Raises InvalidInputError with the pointer of the field."""
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: {error}") from error
    director = data.get("director")
    if not isinstance(director, dict):
        raise InvalidInputError(f"{path} has no [director] table", "/director")
    name = _text(director, "name", None)
    return DirectorConfig(
        path=path.resolve(),
        name=name,
        snapshot=Path(_text(director, "snapshot", f"/var/lib/glb/{name}/snapshot.glb")),
        run_dir=Path(_text(director, "run_dir", f"/run/glb/{name}")),
        sources=_sources(data.get("forward", {})),
    )


def _sources(forward: Any) -> tuple[str, ...]:
    found = []
    for key in SOURCES:
        value = forward.get(key) if isinstance(forward, dict) else None
        if value is None:
            continue
        try:
            ipaddress.ip_network(value)
        except (TypeError, ValueError):
            raise InvalidInputError("must be an address or prefix as text", f"/forward/{key}") from None
        found.append(value)
    return tuple(found)


def _text(table: dict[str, Any], key: str, default: str | None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or not value:
        raise InvalidInputError("must be a text that is not empty", f"/director/{key}")
    return value


def launcher(config: DirectorConfig) -> Callable[[], int]:
    """Return what starts the director's forwarder, as a process that outlives this one: its pid."""
    child: list[int] = []

    def launch() -> int:
        while child:  # one that we started and that has ended must not stay a zombie
            _reap(child.pop())
        program = forwarder.find_program()
        config.run_dir.mkdir(parents=True, exist_ok=True)
        pid = forwarder.start([program, "--config", config.path], config.socket, log=config.log)
        child.append(pid)
        return pid

    return launch


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        log.debug("process %d is not our child any more", pid)


@asynccontextmanager
async def running(
    config_path: Path,
    store_path: Path | None = None,
    *,
    start_forwarder: bool = True,
    others: Sequence[Path] = (),
    report_key: bytes | None = None,
) -> AsyncIterator[Controller]:
    """Run the control plane of a director, and of ``others``, until the block ends; their forwarders go on.

    With ``start_forwarder`` false a forwarder is adopted, never started; those of ``others`` always are.
    ``report_key`` is what draining backends are asked with.
    """
    configs = [read_config(path) for path in (config_path, *others)]
    _check_apart(configs)
    first = configs[0]
    store = Store(store_path or first.store)
    try:
        compiler = NativeCompiler()
        directors = [
            Director(
                config.name,
                config.snapshot,
                forwarder.Forwarder(config.socket),
                compiler,
                launcher(config) if start_forwarder and config is first else None,
                sources=config.sources,
            )
            for config in configs
        ]
        made = Controller(store, compiler, directors, report_key=report_key)
        async with made.run() as controller:
            yield controller
    finally:
        store.close()


def _check_apart(configs: Sequence[DirectorConfig]) -> None:
    """Raises InvalidInputError when two directors share what each must have for itself."""
    for field in ("name", "snapshot", "run_dir"):
        seen: dict[object, Path] = {}
        for config in configs:
            value = getattr(config, field)
            if value in seen:
                text = f"{value} is that of {seen[value]}, too: each director has its own"
                raise InvalidInputError(f"{config.path}: {text}", f"/director/{field}")
            seen[value] = config.path
