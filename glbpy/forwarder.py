"""Talk to a forwarder: its control socket, and starting one as a process of its own.

The protocol is docs/wire/control.md. One connection carries one request and its reply; the
forwarder keeps no state per client, so a client that goes away leaves nothing behind. Counters are
read from the counter file, not here (``glbpy.counters``).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from glbpy import abi
from glbpy.errors import ForwarderError
from glbpy.process import reap, start_time

CONTROL_VERSION = 1
REPLY_MAX = 4 << 20  # bytes; a status with every worker and port is some kilobytes


class Reply(BaseModel):
    """A forwarder of a newer release may say more than this one knows: more is ignored.

    One of an older release, still running after an upgrade, says less: what came later has a default.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


R = TypeVar("R", bound=Reply)


class Loaded(Reply):
    """The answer to ``load``."""

    generation: int
    revision: int
    digest: str  # hex, 32 digits
    load_us: int  # reading and checking the file
    switch_us: int  # from the new snapshot's first packet to the old one's last
    kept: bool  # it is at director.snapshot: a restart begins from it


class MissingList(Reply):
    """A source list that a service names and that is not there: it blocks, or allows, nobody."""

    service: str
    list: str


class ListsStatus(Reply):
    """The source lists in force."""

    generation: int  # lists files loaded since start; 0 = none
    digest: str | None
    count: int
    prefixes: int
    path: str | None
    missing: tuple[MissingList, ...] = ()  # the first of them
    refused: int = 0
    last_error: "LastError | None" = None
    keep_error: str | None = None


class LoadedLists(Reply):
    """The answer to ``load_lists``."""

    load_us: int
    switch_us: int
    kept: bool  # it is at director.lists: a restart begins from it
    lists: ListsStatus


class CaptureStarted(Reply):
    path: str


class LastError(Reply):
    """Why the last load was refused; gone after the next good one."""

    code: str
    message: str
    path: str


class FlowCounters(Reply):
    """A worker's flow cache; docs/operations.md says what each means."""

    hits: int
    misses: int
    inserts: int
    established: int
    expired: int
    gone: int
    replaced: int
    evicted_closing: int
    evicted_new: int
    evicted_established: int
    entries: int  # flows remembered now
    capacity: int


class FlowCacheStatus(Reply):
    """What ``[flow_cache]`` of the director's configuration comes to."""

    entries: int  # most flows that a worker remembers; 0 = no cache
    bytes: int  # memory for all workers, as soon as a service has flow_cache on
    bytes_taken: int  # of that, so far


class WorkerStatus(Reply):
    """An lcore's counters. In a pipeline receivers and senders are in the list, too, behind the workers."""

    worker: int
    lcore: int
    role: str = "worker"  # or receiver, sender
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    bursts: int
    idle_polls: int
    sleeps: int
    busy_cycles: int = 0  # TSC cycles of polls that brought packets
    stalls: int = 0  # times that the watchdog found it stuck
    stuck: str | None = None  # now: "spins" or "stands"
    ring_high_water: int = 0  # most packets seen waiting in one of its rings (pipeline)
    flows: FlowCounters | None = None  # its flow cache, once a service has asked for one
    rings: dict[str, int] = {}  # the same for each of its rings, by who puts in: "receiver 0", "worker 1"


class XdpStatus(Reply):
    """The XDP program of an af_xdp port."""

    mode: str  # native, generic
    taken: int  # packets handed to the forwarder
    unserved: int  # packets to a VIP on queues that no worker serves: lost


class PortStatus(Reply):
    port: int
    name: str
    mac: str
    mtu: int  # bytes of IP on the way out; 0 = no limit
    driver: str
    link_up: bool
    rx_missed: int  # what the driver dropped before the forwarder saw it
    rx_errors: int = 0
    tx_errors: int = 0
    interface: str = "unknown"  # of the kernel, behind it: up, down, gone
    vanished: int = 0  # times that it went away
    reopened: int = 0  # times that the port was opened again
    xstats: dict[str, int] = {}  # the driver's own counters that are not 0
    vlan: int = 0  # of the tag that packets leave with; 0 = none
    offloads: list[str] = []  # what its device computes: ipv4_checksum, udp_checksum
    xdp: XdpStatus | None = None  # af_xdp with the forwarder's own program


class LastLoad(Reply):
    """What the last good load took."""

    load_us: int
    switch_us: int


class MissingNextHop(Reply):
    """A backend whose packets are dropped as ``no_next_hop``."""

    id: int
    name: str
    address: str
    why: str  # no_route, own_address, other_interface, no_neighbour


class NextHops(Reply):
    """Where packets to backends go next."""

    source: str  # gateway_mac or kernel
    backends: int  # of the snapshot, inactive ones left out
    unresolved: int
    missing: list[MissingNextHop]  # the first of them


class PathMtu(Reply):
    """A backend behind a link with a smaller MTU, as a router has said."""

    id: int
    name: str
    address: str
    mtu: int  # bytes of IP
    said_s: float  # ago


class PathMtus(Reply):
    """What routers said of the ways to backends (ICMP too-big about outer packets)."""

    known: int  # backends' addresses of which something is remembered
    refused: int  # messages about nobody
    backends: list[PathMtu]  # the first 256


class PuntClassStatus(Reply):
    """Packets of one class on their way to the kernel."""

    to_kernel: int
    limited: int  # above the class's rate
    queue_full: int  # rated in, but the queue to the kernel was full
    refused: int  # the kernel's interface did not take them: is it up?


class PuntStatus(Reply):
    """A port that punts through an interface of its own."""

    port: int
    interface: str
    classes: dict[str, PuntClassStatus]  # neighbour, routing, other
    from_kernel: int
    from_kernel_dropped: int


class ForwarderStatus(Reply):
    """The answer to ``status``."""

    instance: str
    pid: int
    program_version: str
    uptime_s: float
    generation: int  # snapshots loaded since start; 0 = none
    revision: int | None
    digest: str | None
    snapshot_path: str | None
    last_error: LastError | None
    keep_error: str | None = None  # why a restart would begin from an older snapshot
    last_load: LastLoad | None = None
    lists: ListsStatus | None = None
    muted: bool = False  # waits to take over from the process that forwards
    workers: list[WorkerStatus]
    flow_cache: FlowCacheStatus | None = None
    tsc_hz: int = 0  # 0: not said
    latency_ns: dict[str, int] = {}  # sampled bursts by upper bound
    ports: list[PortStatus]
    next_hops: NextHops | None = None  # None: from a release that had none
    path_mtus: PathMtus | None = None
    punt: list[PuntStatus] = []
    counters: dict[str, int]  # packets by reason, over all workers
    stats_path: str


class Forwarder:
    """A client of one forwarder's control socket. Safe to share between threads: it holds no connection."""

    def __init__(self, socket_path: str | os.PathLike[str], timeout_s: float = 10.0) -> None:
        self.socket_path = os.fspath(socket_path)
        self.timeout_s = timeout_s

    def load(self, path: str | os.PathLike[str]) -> Loaded:
        """Load a snapshot file. Raises ForwarderError (code ``snapshot_refused``) while the old one stays."""
        return self._ask(Loaded, command="load", path=os.path.abspath(path))

    def load_lists(self, path: str | os.PathLike[str]) -> LoadedLists:
        """Load a lists file. Raises ForwarderError (code ``lists_refused``) while the old ones stay."""
        return self._ask(LoadedLists, command="load_lists", path=os.path.abspath(path))

    def status(self) -> ForwarderStatus:
        return self._ask(ForwarderStatus, command="status")

    def capture(self, **filter: Any) -> str:
        """Start a live capture; return its file's path. Raises ForwarderError (``busy``) while one runs."""
        return self._ask(CaptureStarted, command="capture", filter=filter).path

    def end_capture(self) -> None:
        """End the capture, if one runs."""
        self._ask(Reply, command="capture", filter=None)

    def stop(self) -> None:
        """Ask the forwarder to stop. It answers before it goes; see :func:`wait_gone`."""
        self._ask(Reply, command="stop")

    def _ask(self, model: type[R], **request: Any) -> R:
        reply = self.request({"version": CONTROL_VERSION, **request})
        try:
            return model.model_validate(reply)
        except ValidationError as error:
            raise ForwarderError(f"{self.socket_path}: reply not understood: {error}", "protocol") from error

    def request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request, return the reply's object; raise ForwarderError when it says ``ok: false``."""
        line = self._exchange(json.dumps(request).encode() + b"\n")
        try:
            reply = json.loads(line)
            if isinstance(reply, dict) and reply["ok"] is True:
                return reply
            code, message = reply["error"]["code"], reply["error"]["message"]
        except (ValueError, KeyError, TypeError) as error:
            raise ForwarderError(f"{self.socket_path}: reply is not of this protocol", "protocol") from error
        raise ForwarderError(str(message), str(code))

    def _connect(self, connection: socket.socket, deadline: float) -> None:
        while True:
            try:
                return connection.connect(self.socket_path)
            except BlockingIOError:  # too many clients wait to be accepted
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _exchange(self, line: bytes) -> bytes:
        deadline = time.monotonic() + self.timeout_s
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self.timeout_s)
                self._connect(connection, deadline)
                connection.sendall(line)
                reply = b""
                while not reply.endswith(b"\n"):
                    connection.settimeout(max(0.001, deadline - time.monotonic()))
                    part = connection.recv(65536)
                    if not part:
                        raise ForwarderError(f"{self.socket_path}: closed before the reply was complete")
                    reply += part
                    if len(reply) > REPLY_MAX:
                        raise ForwarderError(f"{self.socket_path}: reply is too long", "protocol")
                return reply
        except TimeoutError as error:
            raise ForwarderError(f"{self.socket_path}: no answer in {self.timeout_s} s", "timeout") from error
        except OSError as error:
            raise ForwarderError(f"{self.socket_path}: {error.strerror or error}") from error


def locate_program() -> Path:
    """Return the forwarder: $GLB_FORWARDER, else beside this Python's programs, else on PATH.

    Raises ForwarderError when there is none.
    """
    named = os.environ.get("GLB_FORWARDER")
    if named:
        if not os.access(named, os.X_OK):
            raise ForwarderError(f"GLB_FORWARDER: {named} is no program", "start_failed")
        return Path(named)
    beside = Path(sys.executable).with_name("glb-forwarder")
    found = str(beside) if beside.exists() else shutil.which("glb-forwarder")
    if found is None:
        raise ForwarderError("glb-forwarder is not installed: run `make setup`", "start_failed")
    return Path(found)


def find_program() -> Path:
    """Return the forwarder of this installation; AbiError when this glbpy cannot talk to it."""
    program = locate_program()
    abi.check_forwarder(program.resolve())
    return program


def start(
    command: Sequence[str | os.PathLike[str]],
    socket_path: str | os.PathLike[str],
    *,
    log: str | os.PathLike[str],
    timeout_s: float = 30.0,
) -> int:
    """Start a forwarder as a process of its own session, wait until it answers, and return its pid.

    ``command`` is the whole command line (in a namespace: ``ip netns exec NS glb-forwarder --config …``).
    It outlives the caller; its output goes to ``log``. Raises ForwarderError with the end of the log when it
    exits or is not ready in time (it is then killed).
    """
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [os.fspath(word) for word in command],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )
    client = Forwarder(socket_path, timeout_s=2.0)
    deadline = time.monotonic() + timeout_s
    while True:
        if process.poll() is not None:
            raise ForwarderError(
                f"forwarder exited with status {process.returncode} at start: {_tail(log)}", "start_failed"
            )
        try:
            pid = client.status().pid
            if os.getsid(pid) == process.pid:  # and not one that was there before
                process.returncode = 0  # it outlives us: no warning when the object goes
                return pid
            trouble = f"process {pid} has its socket"
        except (ForwarderError, ProcessLookupError) as error:
            trouble = str(error)
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise ForwarderError(
                f"forwarder was not ready in {timeout_s} s ({trouble}): {_tail(log)}", "start_failed"
            )
        time.sleep(0.02)


def wait_gone(pid: int, timeout_s: float = 10.0) -> bool:
    """Wait until process ``pid`` has ended; return whether it has. Reaps it when it is our child.

    One that its parent has not reaped yet has ended, too.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        reap(pid)
        if start_time(pid) is None:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def remove_traces(name: str) -> None:
    """Remove what DPDK leaves in its run-time directory when the instance ``name`` was killed."""
    root = Path("/var/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "/tmp"))
    for folder in (root / "dpdk" / f"glb-{name}", *(root / "dpdk").glob(f"glb-{name}.*")):
        shutil.rmtree(folder, ignore_errors=True)


def _tail(log: str | os.PathLike[str], lines: int = 8) -> str:
    text = Path(log).read_text(errors="replace").strip().splitlines()
    return " | ".join(text[-lines:]) or "(it said nothing)"
