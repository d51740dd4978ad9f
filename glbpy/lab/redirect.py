"""glb-redirect on the lab's backends: attached, told who may send, and asked for its counters.

The maps are pinned in a bpf file system of the lab's own, mounted in its run directory: `ip netns exec` gives
every command another /sys.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from glbpy.lab import netns
from glbpy.lab.encapsulations import OUTER_PREFIX_V4, OUTER_PREFIX_V6
from glbpy.lab.topology import Backend, Director


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


def attach(
    backend: Backend,
    run: Path,
    peers: Iterable[Backend],
    directors: Iterable[Director],
    options: Sequence[str] = (),
) -> None:
    """Attach glb-redirect to the backend's eth0; `directors` and `peers` may send to it.

    `options` are those for encapsulations other than GUE; with them come the directors' other sources, too.
    """
    allowed = [address for each in directors for address in (each.address4, each.address6)]
    allowed += [OUTER_PREFIX_V4, OUTER_PREFIX_V6] if options else []
    others = [address for peer in peers if peer != backend for address in (peer.address4, peer.address6)]
    known = ["--allow", *allowed, *(["--peer", *others] if others else [])]
    tool(backend, run, "attach", "eth0", *known, *options)


def allow(backend: Backend, run: Path, peer: Backend) -> None:
    """Let `peer` send to the backend, and it to `peer`."""
    tool(backend, run, "allow", "add", peer.address4, peer.address6, "--peer")


def detach(backend: Backend, run: Path) -> None:
    tool(backend, run, "detach", "eth0", "--force")


def forget(backend: Backend, run: Path, peer: Backend) -> None:
    """Undo allow()."""
    tool(backend, run, "allow", "remove", peer.address4, peer.address6)


def counters(backend: Backend, run: Path) -> dict[str, int]:
    """Packets by what became of them; `forwarded` are those given a second chance on the next hop."""
    status: dict[str, Any] = json.loads(tool(backend, run, "status", "eth0", "--json"))
    return dict(status["counters"])
