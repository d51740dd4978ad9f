"""Live capture from a running forwarder into a pcapng file, each packet with its verdict as a comment.

The forwarder's workers copy what matches into shared memory and never wait: what this reader is too slow
for is counted as missed. A capture ends in the forwarder by itself after ``seconds``.
"""

import mmap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glbpy import _native as native
from glbpy import pcapng
from glbpy.errors import ForwarderError, InvalidInputError, SnapshotError
from glbpy.forwarder import Forwarder, ForwarderStatus

RUN = Path("/run/glb")
POLL_S = 0.005
GRACE_S = 5  # the forwarder's own end comes this much after ours


@dataclass(frozen=True, slots=True)
class Result:
    packets: int  # written
    missed: int  # matched, and not seen because nobody read fast enough


class Names:
    """Names by id, from the snapshot in force; ids where it cannot be read."""

    def __init__(self, status: ForwarderStatus) -> None:
        self.services: dict[int, str] = {}
        self.backends: dict[int, str] = {}
        try:
            snapshot = native.Snapshot(Path(status.snapshot_path or "").read_bytes())
        except (OSError, SnapshotError):
            return
        self.services = {service.id: service.name for service in snapshot.services}
        self.backends = {backend.id: f"{backend.name} ({backend.address})" for backend in snapshot.backends}

    def service_id(self, service: str) -> int:
        for number, name in self.services.items():
            if service == name:
                return number
        if service.isdigit() and int(service) > 0:
            return int(service)
        known = ", ".join(sorted(self.services.values())[:10]) or "none"
        raise InvalidInputError(f"service {service!r} is not in the snapshot in force; there are: {known}")

    def comment(self, record: native.CaptureRecord) -> str:
        parts = [f"{record.at}: {record.verdict} ({record.reason})"]
        if record.service:
            parts.append(f"service {self.services.get(record.service, record.service)}")
        if record.backend:
            parts.append(f"backend {self.backends.get(record.backend, record.backend)}, hops {record.hops}")
        return "; ".join([*parts, f"worker {record.worker}"])


def find() -> Path:
    """Return the control socket of the only forwarder here. InvalidInputError if there are more or none."""
    found = sorted(RUN.rglob("control.sock"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise InvalidInputError(
            f"no forwarder has its run_dir below {RUN}: name its control socket with --socket"
        )
    paths = ", ".join(map(str, found))
    raise InvalidInputError(f"there are several forwarders: choose one with --socket: {paths}")


def capture(
    client: Forwarder,
    target: Path,
    *,
    at: Sequence[str] = ("ingress",),
    service: str | None = None,
    prefix: str | None = None,
    reason: str | None = None,
    count: int | None = None,
    seconds: int = 60,
    snaplen: int | None = None,
    started: Callable[[], None] = lambda: None,
) -> Result:
    """Write matching packets to ``target`` until ``count`` are written, ``seconds`` are over, or interrupted.

    Calls ``started`` once every packet from then on is looked at.

    Raises InvalidInputError for a service or a target that is not there; ForwarderError when the forwarder
    is away, refuses the filter, or has a capture running.
    """
    status = client.status()
    names = Names(status)
    wanted: dict[str, Any] = {"at": list(at), "seconds": min(seconds + GRACE_S, 3600)}
    if service is not None:
        wanted["service"] = names.service_id(service)
    if prefix is not None:
        wanted["client"] = prefix
    if reason is not None:
        wanted["reason"] = reason
    if snaplen is not None:
        wanted["snaplen"] = snaplen
    try:
        file = target.open("wb")
    except OSError as error:
        raise InvalidInputError(f"{target}: cannot be written: {error.strerror}") from error
    with pcapng.Writer(file, [port.name for port in status.ports]) as writer:
        path = client.capture(**wanted)
        try:
            started()
            interfaces = {port.port: index for index, port in enumerate(status.ports)}
            return _read(Path(path), writer, names, interfaces, count, time.monotonic() + seconds)
        finally:
            client.end_capture()


def _read(
    path: Path,
    writer: pcapng.Writer,
    names: Names,
    interfaces: dict[int, int],
    count: int | None,
    deadline: float,
) -> Result:
    written = 0
    try:
        file = path.open("r+b")
    except OSError as error:
        raise ForwarderError(f"{path}: {error.strerror}", "capture_failed") from error
    with file, mmap.mmap(file.fileno(), 0) as data:
        rings = native.CaptureFile(data)
        try:
            while time.monotonic() < deadline:
                records = rings.take()
                for record in sorted(records, key=lambda each: each.time_ns):
                    writer.write(
                        interfaces.get(record.port, 0),
                        record.time_ns,
                        record.frame,
                        record.frame_len,
                        names.comment(record),
                    )
                    written += 1
                    if written == count:
                        return Result(written, rings.missed)
                if not records:
                    time.sleep(POLL_S)
        except KeyboardInterrupt:
            pass
        finally:
            missed = rings.missed
            rings.close()
    return Result(written, missed)
