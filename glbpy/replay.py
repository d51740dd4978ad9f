"""Run the real forwarder over a capture file: what would a director with this table do with these packets?

The forwarder runs once over the file on DPDK's net_pcap. It filters no MAC addresses, and knows no MTU but
the one that is given; time stamps of the output are those of the packets that came in.

With one worker packets keep their order. With more, those of a flow do. A pipeline reads the file as it is,
and its receiver spreads flows over workers; the output is in the order in which it was sent.
Run-to-completion workers have a queue each, as on a NIC that spreads flows: the file is split by the same
hash into one for each. Queues have no order among them, so the output is merged in the input's.
"""

import heapq
import json
import os
import subprocess
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from glbpy import _native, forwarder, offline, pcap
from glbpy.errors import ForwarderError, InvalidInputError

BUFFERS = 1024
BUFFERS_PER_WORKER = 256  # a full ring to it and one from it, its burst, and what its lcore keeps for itself
RING_SIZE = 64
QUEUE_SHIFT = 48  # native/forwarder/order.h
WORKERS_MAX = {"run-to-completion": 16, "pipeline": 64}  # net_pcap has 16 queues
START_S = 60.0  # EAL's start on a busy machine
OUTER_MAX = 192  # bytes of outer headers
FRAGMENT_MIN = 68  # every link carries it
IPV4_HEADER_MAX = 60
FRAMES_PER_S = 5000  # far below what is usual: bounds the run


class Result(BaseModel):
    """Packets: ``received = forwarded + answered + punted + dropped``; ``out`` are in the output file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    received: int
    forwarded: int
    answered: int
    punted: int
    dropped: int
    out: int
    punted_by_reason: dict[str, int]
    dropped_by_reason: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``glb replay`` prints: ``received`` is called ``in``."""
        fields = self.model_dump()
        return {"in": fields.pop("received"), **fields}


def replay(
    table: Path,
    director: Path,
    source: Path,
    target: Path,
    *,
    outer_udp_checksum: str = "zero",
    policy: str = "glb",
    run_model: str = "run-to-completion",
    workers: int = 1,
) -> Result:
    """Replay with GLB's files ``table`` and ``director``. Raises CompatError; else as replay_case()."""
    check_workers(run_model, workers)
    case = offline.from_glb(table, director, policy, outer_udp_checksum)
    return replay_case(case, source, target, run_model=run_model, workers=workers)


def check_workers(run_model: str, workers: int) -> None:
    """Raises InvalidInputError for more workers than a replay has."""
    most = WORKERS_MAX[run_model]
    if not 1 <= workers <= most:
        raise InvalidInputError(f"--workers: {workers}; a replay with {run_model} has 1 to {most}")


def replay_case(
    case: offline.Case,
    source: Path,
    target: Path,
    *,
    run_model: str = "run-to-completion",
    workers: int = 1,
) -> Result:
    """Replay the capture ``source`` and write what the director would send to ``target``.

    Raises InvalidInputError for a case that the forwarder refuses, for a capture that cannot be read and for
    more workers than WORKERS_MAX; ForwarderError when the forwarder fails or hangs. ``target`` is replaced
    only when all went well.
    """
    check_workers(run_model, workers)
    capture = pcap.read(source)
    if not target.parent.is_dir():
        raise InvalidInputError(f"{target}: its directory does not exist")
    program = forwarder.find_program().absolute()
    with tempfile.TemporaryDirectory(prefix="glb-replay-") as folder:
        work = Path(folder)
        (work / "snapshot.glb").write_bytes(case.snapshot)
        (work / "lists.glbl").write_bytes(case.lists)
        _reserve(work / "order", 8 * _most_out(capture, case.mtu))
        queues = _split(capture, workers if run_model == "run-to-completion" else 1)
        if len(queues) == 1 and capture.plain and source.is_file():
            (work / "in0.pcap").symlink_to(source.resolve())
        else:
            for number, queue in enumerate(queues):
                times_ns = [capture.times_ns[frame] for frame in queue]
                pcap.write(work / f"in{number}.pcap", map(capture.frame, queue), times_ns)
        longest = max(capture.lengths, default=0)
        text = _director(work, case, longest, len(queues), run_model, workers)
        (work / "director.toml").write_text(text)
        try:
            result = _run(program, work, START_S + workers + len(capture) / FRAMES_PER_S)
        finally:
            forwarder.remove_traces(_name(work))
        if result.received != len(capture):
            raise ForwarderError(
                f"the forwarder saw {result.received} of the capture's {len(capture)} frames", "replay_failed"
            )
        _finish(work, capture, queues, target)
    return result


def _split(capture: pcap.Capture, count: int) -> list[Sequence[int]]:
    """Return the numbers of the frames that each of ``count`` queues gets, as a NIC that spreads flows."""
    if count == 1:
        return [range(len(capture))]
    queues = [array("Q") for _ in range(count)]
    for number, frame in enumerate(capture.frames()):
        queues[_native.steer_worker(frame, count)].append(number)
    return list(queues)


def _most_out(capture: pcap.Capture, mtu: int) -> int:
    """Return how many frames can come out at the most: those that exceed the MTU may go in fragments."""
    fits = max(mtu - OUTER_MAX, FRAGMENT_MIN)
    each = max(fits - IPV4_HEADER_MAX, 8) // 8 * 8  # payload of a fragment
    return sum(1 if not mtu or length <= fits else 1 + length // each for length in capture.lengths)


def _reserve(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def _name(work: Path) -> str:
    suffix = work.name[-8:].replace("_", "-")
    return f"replay-{os.getpid()}-{suffix}"


def _director(
    work: Path, case: offline.Case, longest: int, queues: int, run_model: str, workers: int
) -> str:
    """Return the TOML of a director that runs once over the files in ``work``, its working directory.

    The captures' names are relative, since a comma in a path would end a device's argument; and the run
    directory's is short, since a socket's path has a limit.
    """
    frame = min(max(longest, 2048), 65407)
    buffers = BUFFERS + (BUFFERS_PER_WORKER * workers if workers > 1 or run_model == "pipeline" else 0)
    memory_mb = buffers * (frame + 512) // (1 << 20) + 64
    ports = "".join(f",rx_pcap=in{n}.pcap,tx_pcap=out{n}.pcap" for n in range(queues))
    text = json.dumps  # a JSON string is a TOML string
    return f"""
[director]
name = {text(_name(work))}
snapshot = {text(str(work / "snapshot.glb"))}
lists = {text(str(work / "lists.glbl"))}
run_dir = "/proc/self/cwd/run"
{case.forward.toml(case.mtu)}run_model = {text(run_model)}
[eal]
workers = {workers}
ring_size = {RING_SIZE}
args = ["--no-huge", "-m", "{memory_mb}", "--no-pci", "--no-telemetry"]
mbuf_bytes = {frame}
mbufs = {buffers}
[[port]]
devargs = "net_pcap0{ports}"
"""


def _run(program: Path, work: Path, timeout_s: float) -> Result:
    try:
        done = subprocess.run(
            [program, "--config", "director.toml", "--replay", "--replay-order", "order"],
            cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=timeout_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ForwarderError(f"the forwarder did not end in {timeout_s:.0f} s", "replay_failed") from error
    said = " | ".join(done.stderr.strip().splitlines()[-6:])
    if done.returncode == 2:
        raise InvalidInputError(f"the forwarder refuses this: {said}")
    if done.returncode != 0:
        raise ForwarderError(f"the forwarder failed (status {done.returncode}): {said}", "replay_failed")
    try:
        fields = json.loads(done.stdout.splitlines()[-1])
        fields.pop("flow_cache", None)  # of services that have one: not among what a replay promises
        return Result(received=fields.pop("in"), **fields)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ForwarderError(f"the forwarder's result is not understood: {said}", "replay_failed") from error


def _finish(work: Path, capture: pcap.Capture, queues: Sequence[Sequence[int]], target: Path) -> None:
    """Write the output with the time of the frame that each one was made of, and whole, to ``target``."""
    outs = [pcap.parse((work / f"out{number}.pcap").read_bytes()) for number in range(len(queues))]
    sent = _sent((work / "order").read_bytes(), outs, queues)
    frames = (_whole(outs[queue], number, capture.frame(source)) for source, queue, number in sent)
    times_ns = [capture.times_ns[source] for source, _, _ in sent]
    try:
        if target.exists() and not target.is_file():  # /dev/null, a pipe: written to, never replaced
            pcap.write(target, frames, times_ns)
        else:
            _replace(target.resolve(), frames, times_ns)
    except OSError as error:
        raise ForwarderError(f"{target}: cannot be written: {error.strerror}", "replay_failed") from error


def _sent(
    order: bytes, outs: Sequence[pcap.Capture], queues: Sequence[Sequence[int]]
) -> list[tuple[int, int, int]]:
    """Return (source frame, queue, place in its output) of what was sent: each queue's, merged."""
    sent: list[list[tuple[int, int, int]]] = [[] for _ in queues]
    for word in array("Q", order)[: sum(map(len, outs))]:
        queue, number = word >> QUEUE_SHIFT, word & ((1 << QUEUE_SHIFT) - 1)
        sent[queue].append((queues[queue][number], queue, len(sent[queue])))
    return sent[0] if len(sent) == 1 else list(heapq.merge(*sent))


def _replace(target: Path, frames: Iterator[bytes], times_ns: Sequence[int]) -> None:
    fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        pcap.write(fresh, frames, times_ns)
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)


def _whole(out: pcap.Capture, number: int, source: bytes) -> bytes:
    """Return a frame that was sent.

    A frame longer than a DPDK buffer (65407 bytes) lies in several, and net_pcap writes only the first
    16128 bytes of such a one. What it leaves out is the end of the client's packet: put back from there.
    """
    frame = out.frame(number)
    missing = out.wire_lengths[number] - len(frame)
    if not missing:
        return frame
    end = _end(source)
    return frame + source[end - missing : end]


def _end(frame: bytes) -> int:
    """Return where a frame's IP packet ends: there may be none to two VLAN tags, and padding behind it."""
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    v4 = frame[at : at + 2] == b"\x08\x00"
    length = int.from_bytes(frame[at + 4 : at + 6] if v4 else frame[at + 6 : at + 8])
    return at + 2 + length + (0 if v4 else 40)
