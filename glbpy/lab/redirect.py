"""glb-redirect on the lab's backends: attached, told who may send, and asked for its counters.

The maps are pinned in a bpf file system of the lab's own, mounted in its run directory: `ip netns exec` gives
every command another /sys.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from glbpy.lab import netns
from glbpy.lab.topology import DIRECTOR4, Backend


def mount(run: Path) -> Path:
    """Mount the pin directory below `run`, if it is not; return it."""
    pins = run / "bpf"
    if not pins.is_mount():
        pins.mkdir(parents=True, exist_ok=True)
        netns.run(["mount", "-t", "bpf", "bpf", str(pins)])
    return pins


def tool(backend: Backend, run: Path, command: str, *options: str) -> str:
    where = ["--name", backend.name, "--pin-dir", str(run / "bpf")]
    return netns.run_in(backend.ns, [netns.find_program("glb-redirect"), command, *where, *options])


def attach(backend: Backend, run: Path, peers: Iterable[Backend]) -> None:
    """Attach glb-redirect to the backend's eth0; the director and `peers` may send to it."""
    addresses = ",".join(peer.address4 for peer in peers if peer != backend)
    tool(backend, run, "attach", "eth0", "--allow", DIRECTOR4, *(["--peer", addresses] if addresses else []))


def allow(backend: Backend, run: Path, peer: Backend) -> None:
    """Let `peer` send to the backend, and it to `peer`."""
    tool(backend, run, "allow", "add", peer.address4, "--peer")


def detach(backend: Backend, run: Path) -> None:
    tool(backend, run, "detach", "eth0")


def forget(backend: Backend, run: Path, peer: Backend) -> None:
    """Undo allow()."""
    tool(backend, run, "allow", "remove", peer.address4)


def counters(backend: Backend, run: Path) -> dict[str, int]:
    """Packets by what became of them; `forwarded` are those given a second chance on the next hop."""
    status: dict[str, Any] = json.loads(tool(backend, run, "status", "eth0", "--json"))
    return dict(status["counters"])
