"""What the controller asks of the compiler, and how its files are written. The format is libglb's."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from glbpy.desired import Desired
from glbpy.models import Health
from glbpy.status import Leaver


@dataclass(frozen=True)
class Snapshot:
    """Compiled bytes, with what identifies them."""

    revision: int
    digest: str  # hex, as the forwarder reports it
    data: bytes


class Compiler(Protocol):
    """Desired state and health to bytes: glbpy.compiler, or what a test injects. Blocks; any thread."""

    def compile(self, state: Desired, secret: bytes, health: Mapping[int, Health]) -> Snapshot: ...

    def open(self, data: bytes) -> Snapshot:
        """Validate bytes. Raises SnapshotError."""

    def leavers(self, before: Snapshot, after: Snapshot) -> Sequence[Leaver]:
        """Return which backends leave chains, by the names that ``before`` has."""


def write_file(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that it is there whole or not at all, also over a power cut.

    What is no regular file (/dev/null, a pipe) is written to, never replaced; a symbolic link stays one.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # It has the flow-hash keys in it: not for everybody to read.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o640), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        move_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def move_file(source: Path, target: Path) -> None:
    """Rename within a directory, durably."""
    os.replace(source, target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
