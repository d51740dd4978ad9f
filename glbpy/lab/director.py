"""What runs on the lab's directors: a forwarder on each, on one port, and on director1 `glb serve` for all.

`glb serve` starts the forwarder of director1; the others are started here, in their namespaces. The API's
listening socket is opened in the caller's namespace, on 127.0.0.1, and handed over by number: so the API is
reachable from the host although `glb serve` lives in director1's namespace.
"""

import json
import secrets
import socket
from collections.abc import Collection, Iterable
from pathlib import Path

import httpx

from glbpy.errors import ForwarderError, LabError
from glbpy.forwarder import Forwarder
from glbpy.lab import netns
from glbpy.lab.driver import DEVARGS, Driver
from glbpy.lab.encapsulation import Encapsulation
from glbpy.lab.encapsulations import OUTER_PREFIX_V4, OUTER_PREFIX_V6, Extra
from glbpy.lab.topology import MTU, ROUTER_MAC, Director
from glbpy.process import start_time

# No huge pages: the machine needs no set-up.
CONFIG = """\
[director]
name = "{instance}"
snapshot = "{run}/snapshot.glb"
run_dir = "{run}"

[forward]
outer_source_v4 = "{source_v4}"
outer_source_v6 = "{source_v6}"
{more}mtu = {mtu}
idle = "adaptive"

[eal]
args = ["--no-huge", "-m", "256", "--no-pci"]
workers = 1

[[port]]
devargs = "{devargs}"

[stats]
service_slots = 64
backend_slots = 256
"""


# Outer packets without ports have sources that vary by flow: receive queues and routers tell them apart.
PREFIXES = f"""\
outer_source_prefix_v4 = "{OUTER_PREFIX_V4}"
outer_source_prefix_v6 = "{OUTER_PREFIX_V6}"
"""


def config_path(run: Path) -> Path:
    """The director's TOML file, in its run directory."""
    return run / "director.toml"


def write_config(
    director: Director,
    run: Path,
    driver: Driver,
    services: Collection[Extra] = (),
    peers: Collection[Director] = (),
) -> None:
    """Write the director's TOML file below `run`, its run directory. `peers`: all directors, where there are
    several.

    With l2dsr the next hops are the kernel's, since packets go to the backends' own MAC addresses.
    """
    more = PREFIXES if services else ""
    if not any(each.encapsulation == Encapsulation.L2DSR for each in services):
        more += f'gateway_mac = "{ROUTER_MAC}"\n'
    shared = f"\n[fragments]\npeers = {json.dumps([each.address4 for each in peers])}\n" if peers else ""
    run.mkdir(parents=True, exist_ok=True)
    config_path(run).write_text(
        CONFIG.format(
            instance=director.instance,
            run=run,
            source_v4=director.address4,
            source_v6=director.address6,
            more=more,
            mtu=MTU,
            devargs=DEVARGS[driver],
        )
        + shared
    )


def report_key(run: Path) -> Path:
    """The file with the key of `glb-redirect report`, made if need be. The lab itself does not run that."""
    path = run / "report.key"
    if not path.exists():
        path.write_text(secrets.token_hex(16) + "\n")
        path.chmod(0o600)
    return path


def start_serve(director: Director, run: Path, others: Iterable[Path], port: int = 0) -> tuple[int, str]:
    """Start `glb serve` in the director's namespace, its API on `port` of the caller's 127.0.0.1 (0: any free
    one); it also drives the forwarders with the run directories `others`. Returns its pid and the API's URL.
    Wait with wait_answer()."""
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listening:
        argv = ["glb", "serve", "--config", str(config_path(run)), "--store", str(run / "store.db")]
        argv += ["--report-secret", str(report_key(run))]
        for other in others:
            argv += ["--director", str(config_path(other))]
        pid = netns.spawn(
            director.ns,
            [*argv, "--listen-fd", str(listening.fileno())],
            run / "serve.log",
            [listening.fileno()],
        )
        return pid, f"http://127.0.0.1:{listening.getsockname()[1]}"


def start_forwarder(director: Director, run: Path) -> None:
    """Start the forwarder in the director's namespace, without `glb serve`; return when it answers."""
    argv = ["glb-forwarder", "--config", str(config_path(run))]
    pid = netns.spawn(director.ns, argv, run / "forwarder.log")
    control = Forwarder(run / "control.sock")

    def answers() -> bool:
        if start_time(pid) is None:
            raise LabError(f"glb-forwarder ended; see {run}/forwarder.log")
        try:
            return control.status().pid == pid
        except ForwarderError:
            return False

    netns.wait_until(answers, f"glb-forwarder; see {run}/forwarder.log")


def wait_answer(pid: int, url: str, run: Path, path: str = "/healthz", timeout_s: float = 30.0) -> None:
    """Return when the API answers GET `path` with success. Raises LabError."""

    def answers() -> bool:
        if start_time(pid) is None:
            raise LabError(f"glb serve ended; see {run}/serve.log")
        try:
            return httpx.get(f"{url}{path}", timeout=2.0, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    netns.wait_until(answers, f"{url}{path}; see {run}/serve.log", timeout_s)
