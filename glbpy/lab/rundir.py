"""A lab's run directory, /run/glb/lab/NAME: its lock, its state file, and taking everything down.

Taking down believes no record: it looks for the lab's namespaces by name, for processes by their namespace
and by where their output goes, for mounts by path. So it works after a crash of anything, `glb lab up`
half-way included.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from glbpy.errors import LabError
from glbpy.lab import netns, topology
from glbpy.lab.driver import Driver
from glbpy.lab.encapsulation import Encapsulation
from glbpy.lab.encapsulations import LabService

LABS = Path("/run/glb/lab")
EAL = Path("/var/run/dpdk")


class Namespaces(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    client: str
    router: str
    directors: list[str]
    backends: list[str]


class State(BaseModel):
    """What `glb lab status --json` prints: all that a program needs to drive the lab."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    api_url: str
    token: str | None
    namespaces: Namespaces
    service: str
    pool: str
    backends: list[str]  # names, in the order of namespaces.backends
    vip4: str
    vip6: str
    port: int
    driver: Driver  # of the directors' ports
    encapsulations: list[Encapsulation]  # other than that of `service`
    services: list[LabService]  # with those
    pids: dict[str, int]  # of the lab's programs, by name


class RunDir:
    def __init__(self, lab: str) -> None:
        topology.check_name(lab)
        self.lab = lab
        self.path = LABS / lab
        self._held = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The directory, made if need be, is ours alone meanwhile, and goes when it is left empty.

        May be nested. Raises LabError when it is somebody else's.
        """
        if self._held:
            yield
            return
        fd = self._lock()
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self.remove_empty()
            os.close(fd)

    def _lock(self) -> int:
        while True:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # somebody removed an empty directory in between
            except OSError as error:
                raise LabError(
                    f"{self.path} cannot be made ({error.strerror}): run `glb lab` as root"
                ) from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(fd), self.path.stat()):
                    return fd
            except FileNotFoundError:
                pass  # the last holder removed it: make it anew
            except BlockingIOError:
                os.close(fd)
                raise LabError(
                    f"another command is at work on lab {self.lab}: wait for it, or interrupt it"
                ) from None
            os.close(fd)

    def read(self) -> State | None:
        """The state of a lab that came up, or None."""
        try:
            return State.model_validate_json((self.path / "state.json").read_text())
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, state: State) -> None:
        new = self.path / "state.json.new"
        new.write_text(json.dumps(state.model_dump(), indent=2) + "\n")
        new.rename(self.path / "state.json")

    def traces(self) -> dict[str, list[Any]]:
        """Everything of this lab that exists: empty lists after remove()."""
        names = topology.namespaces(self.lab)
        return {
            "namespaces": names,
            "processes": self._processes(),
            "mounts": mounts_below(self.path),
            "files": [path for path in (self.path, *self._eal_dirs()) if path.exists()],
        }

    def _processes(self) -> list[int]:
        """Those inside the lab's namespaces, and its programs, even where a namespace has lost its name."""
        inside = {pid for name in topology.namespaces(self.lab) for pid in netns.processes(name)}
        return sorted(inside | set(netns.writers(self.path)))

    def _eal_dirs(self) -> list[Path]:
        """What DPDK's EAL keeps for the forwarder, and leaves behind when it is killed."""
        ours = re.compile(rf"glb-{re.escape(self.lab)}-director[0-9]+")
        return [path for path in EAL.glob("glb-*") if ours.fullmatch(path.name)]

    def remove(self) -> None:
        """End every process of the lab and remove all that it made. Call it locked(). Harmless twice."""
        for _ in range(5):  # a process may start another while it is being ended
            pids = self._processes()
            if not set(pids) - {os.getpid()}:
                break
            netns.stop(pids, grace_s=0)  # nothing that they would save is kept
        for mount in mounts_below(self.path):
            netns.run(["umount", "--lazy", mount])
        for name in topology.namespaces(self.lab):
            netns.remove(name)
        for path in self._eal_dirs():
            shutil.rmtree(path, ignore_errors=True)
        for entry in self.path.iterdir() if self.path.exists() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def remove_empty(self) -> None:
        """Remove the directory and those above it, up to the first that holds something."""
        with suppress(OSError):
            for directory in (self.path, LABS, LABS.parent):
                directory.rmdir()


def mounts_below(path: Path) -> list[str]:
    """Mount points at or below `path`, innermost first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in reversed(points) if point == str(path) or point.startswith(f"{path}/")]
