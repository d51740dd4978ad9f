"""Real forwarders for tests: in a namespace on a veth, or on files, with snapshots made on the spot."""

import ipaddress
import json
import os
import re
import signal
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redirect.netns import Namespace

from glbpy import _native as native
from glbpy import forwarder

PROGRAM = Path(__file__).resolve().parents[2] / ".venv/bin/glb-forwarder"
GATEWAY = "02:00:00:00:00:fe"
SOURCE = "172.16.0.1"
VIP = "203.0.113.10"
BACKENDS = ("10.1.0.11", "10.1.0.12", "10.1.0.13")


def snapshot(
    path: Path,
    *,
    vip: str = VIP,
    also: Sequence[str] = (),
    backends: Sequence[str] = BACKENDS,
    revision: int = 1,
    services: int = 1,
    protocol: str = "tcp",
    ports: tuple[int, int] = (80, 80),
    states: Mapping[str, dict[str, str]] | None = None,
    **extra: Any,
) -> Path:
    """Write a snapshot: TCP port 80 of ``vip``, ``also`` and the addresses after them; ids from 1 and 101.

    ``states`` are fields of backends by address, ``extra`` those of the services.
    """
    ip = ipaddress.ip_address
    states = states or {}
    pool = native.PoolInput(
        "web",
        tuple(
            native.BackendInput(f"web{n}", 100 + n, ip(a), **states.get(a, {}))
            for n, a in enumerate(backends, 1)
        ),
    )
    made = tuple(
        native.ServiceInput(
            name=f"www{n}", id=n + 1, pool=0, hash_key=bytes(16), seed=bytes(16), rows=1024,
            binds=tuple(
                native.BindInput(ipaddress.ip_network(address), protocol, *ports)
                for address in (ip(vip) + n, *(ip(other) + n for other in also))
            ),
            hash_fields=("src_addr", "src_port"), **extra,
        )
        for n in range(services)
    )  # fmt: skip
    data = native.compile_snapshot(native.ConfigInput((pool,), made, revision))
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.rename(path)
    return path


def to_toml(document: dict[str, Any]) -> str:
    """Enough of TOML: tables of scalars and lists, and lists of tables."""
    lines = []
    for name, table in document.items():
        for each in table if isinstance(table, list) else [table]:
            lines.append(f"[[{name}]]" if isinstance(table, list) else f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in each.items()]
    return "\n".join(lines) + "\n"


def config(name: str, folder: Path, *devargs: str, **sections: dict[str, Any]) -> dict[str, Any]:
    """A director's document with what these tests share; ``sections`` go over it."""
    document: dict[str, Any] = {
        "director": {
            "name": name, "snapshot": str(folder / "snapshot.glb"), "run_dir": str(folder / "run"),
        },
        "forward": {"outer_source_v4": SOURCE, "gateway_mac": GATEWAY},
        "eal": {"args": ["--no-huge", "-m", "96", "--no-pci"]},
        "port": [{"devargs": each} for each in devargs],
    }  # fmt: skip
    for section, keys in sections.items():
        document[section] = {**document.get(section, {}), **keys}
    return document


@dataclass
class Director:
    """A forwarder process of a test."""

    folder: Path
    document: dict[str, Any]
    prefix: tuple[str, ...] = ()  # ("ip", "netns", "exec", NAME)
    pid: int = 0
    program: Path = PROGRAM
    client: forwarder.Forwarder = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.toml = self.folder / "director.toml"
        self.write()
        self.run_dir = Path(self.document["director"]["run_dir"])
        self.log = self.folder / "log"
        self.snapshot = Path(self.document["director"]["snapshot"])
        self.client = forwarder.Forwarder(self.run_dir / "control.sock")

    def write(self) -> None:
        """Write the document, once more after a change."""
        self.toml.write_text(to_toml(self.document))

    def command(self) -> list[str]:
        return [*self.prefix, str(self.program), "--config", str(self.toml)]

    def start(self) -> "Director":
        self.pid = forwarder.start(self.command(), self.client.socket_path, log=self.log, timeout_s=60)
        return self

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert forwarder.wait_gone(self.pid)
        self.pid = 0

    def terminate(self, signum: int = signal.SIGTERM) -> int:
        """Stop it with a signal; its exit status."""
        os.kill(self.pid, signum)
        return self.wait()

    def wait(self, timeout_s: float = 20) -> int:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        raise AssertionError(f"the forwarder did not end in {timeout_s} s")

    def counters(self) -> dict[str, int]:
        return self.client.status().counters

    def wait_for(self, reason: str, packets: int, timeout_s: float = 10) -> dict[str, int]:
        """Wait until that many packets were counted under ``reason``."""
        deadline = time.monotonic() + timeout_s
        while (counters := self.counters())[reason] < packets and time.monotonic() < deadline:
            time.sleep(0.02)
        return counters


class Wire:
    """The far end of the director's veth: raw frames out and in."""

    def __init__(self, interface: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((interface, 0))
        self.socket.settimeout(0.2)

    def send(self, frames: Iterable[bytes], pace_s: float = 0.0) -> int:
        count = 0
        for frame in frames:
            self.socket.send(frame)
            count += 1
            if pace_s:
                time.sleep(pace_s)
        return count

    def receive(self, count: int, timeout_s: float = 10) -> list[bytes]:
        """Return GUE frames that came, at most ``count``."""
        frames: list[bytes] = []
        deadline = time.monotonic() + timeout_s
        while len(frames) < count and time.monotonic() < deadline:
            try:
                frame, address = self.socket.recvfrom(65535)
            except TimeoutError:
                continue
            if address[2] != socket.PACKET_OUTGOING and frame[12:14] == b"\x08\x00" and frame[23] == 17 \
                    and frame[36:38] == struct.pack("!H", 19523):
                frames.append(frame)
        return frames

    def close(self) -> None:
        self.socket.close()


class Segment:
    """A namespace with a veth: ``director0`` for the forwarder, ``far0`` for the test."""

    def __init__(self) -> None:
        self.namespace = Namespace("dataplane")
        self.namespace.ip("link", "add", "director0", "type", "veth", "peer", "name", "far0")
        for interface in ("director0", "far0"):
            self.namespace.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", 1)
            self.namespace.ip("link", "set", interface, "mtu", "1600", "up")
        self.prefix = ("ip", "netns", "exec", self.namespace.name)
        self.mac = self.namespace.run("cat", "/sys/class/net/director0/address").strip()
        with self.namespace.entered():
            self.wire = Wire("far0")

    def close(self) -> None:
        self.wire.close()
        self.namespace.delete()


def ping(
    space: Namespace, address: str, *options: str, count: int = 10, interval_s: float = 0.05
) -> tuple[int, int, float]:
    """Ping until there are ``count`` replies; requests sent, replies, and the median of their times in ms.

    A reply that is late is waited for while more requests are sent: with ``-c`` alone ping would wait for
    the last one only twice as long as the slowest before it took.
    """
    said = space.run("ping", "-c", str(count), "-i", str(interval_s), "-w", "20", *options, address)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said
    times = [float(each) for each in re.findall(r"time=([\d.]+)", said)]
    return int(found[1]), int(found[2]), statistics.median(times)


def run_once(*arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False,
        stdin=subprocess.DEVNULL,
    )
