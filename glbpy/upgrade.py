"""Hand a director over to a new process of its forwarder, without losing a packet: `glb upgrade`.

The new process starts muted beside the running one and takes over when it is ready
(native/forwarder/takeover.h). Whatever fails before that leaves the running one as it was. The control plane
need not know: the socket keeps its name.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glbpy import forwarder
from glbpy.engine import DirectorConfig
from glbpy.errors import ForwarderError


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What a hand-over did."""

    old_pid: int
    new_pid: int
    old_version: str
    new_version: str
    overlap_us: int  # while both forwarded: packets of this time came out twice


def upgrade(config: DirectorConfig, program: Path | None = None, timeout_s: float = 30.0) -> Upgraded:
    """Start ``program`` (default: the installed one) and let it take over. Raises ForwarderError.

    The old process must have ended ``timeout_s`` after the hand-over; otherwise the error names it.
    """
    old = forwarder.Forwarder(config.socket).status()
    command: list[str | os.PathLike[str]] = [
        *_into_namespace(old.pid), program or forwarder.find_program(), "--config", config.path, "--takeover",
    ]  # fmt: skip
    waiting = forwarder.Forwarder(config.run_dir / "next" / "control.sock")
    new_pid = forwarder.start(command, waiting.socket_path, log=config.log, timeout_s=timeout_s)
    try:
        reply = waiting.request({"version": forwarder.CONTROL_VERSION, "command": "takeover"})
    except ForwarderError:
        _stop_if_muted(waiting)
        raise
    if not forwarder.wait_gone(old.pid, timeout_s):
        raise ForwarderError(
            f"process {new_pid} forwards now, but the old one, {old.pid}, has not ended: end it", "not_gone"
        )
    new = forwarder.Forwarder(config.socket).status()
    if new.pid != new_pid:
        raise ForwarderError(f"process {new.pid} answers instead of the new one, {new_pid}", "other_instance")
    return Upgraded(old.pid, new_pid, old.program_version, new.program_version, int(reply["overlap_us"]))


def _stop_if_muted(waiting: forwarder.Forwarder) -> None:
    """A process that did not take over has no use; one that forwards must not be stopped."""
    try:
        if waiting.status().muted:
            waiting.stop()
    except ForwarderError:
        return  # it has ended by itself, or goes by the instance's name already


def _into_namespace(pid: int) -> Sequence[str]:
    """Return what runs a command in the network namespace of ``pid``; nothing when that is ours."""
    theirs = f"/proc/{pid}/ns/net"
    try:
        same = os.stat(theirs).st_ino == os.stat("/proc/self/ns/net").st_ino
    except OSError as error:
        raise ForwarderError(f"{theirs}: {error.strerror}; run as root") from error
    return () if same else ("nsenter", f"--net={theirs}")
