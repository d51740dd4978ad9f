"""Checks of one director: what its configuration needs, and how its forwarder is if it runs.

What the configuration needs of machine and process is known by the forwarder (``glb-forwarder --needs``),
which says the same when it cannot start.
"""

import ipaddress
import json
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glbpy.doctor.finding import Finding, Status
from glbpy.doctor.system import System
from glbpy.engine import DirectorConfig, read_config
from glbpy.errors import ForwarderError, GlbError, InvalidInputError
from glbpy.forwarder import Forwarder, ForwarderStatus
from glbpy.pmdinfo import Driver

if TYPE_CHECKING:
    from glbpy._native import Snapshot

TIMEOUT_S = 10.0
SHARED = "net_af_packet"  # the kernel sees every packet, too


def check_director(
    system: System, path: Path, forwarder: Path | None, drivers: Sequence[Driver]
) -> Iterator[Finding]:
    """Check one director's configuration here, and its forwarder if one runs."""
    try:
        config = read_config(path)
    except InvalidInputError as error:
        yield Finding("configuration", "fail", str(error), "correct the file; docs/examples has several")
        return
    if forwarder is not None:
        yield from check_needs(forwarder, path)
    ports = tomllib.loads(path.read_text()).get("port", [])
    devargs = [str(port.get("devargs", "")) for port in ports if isinstance(port, dict)]
    yield from check_port_drivers(devargs, drivers)
    yield from check_vips(system, config, any(each.startswith(SHARED) for each in devargs))
    yield from check_running(config)


def check_needs(forwarder: Path, path: Path) -> Iterator[Finding]:
    """Ask the forwarder what is missing, in this process's network namespace and with its rights."""
    command = [str(forwarder), "--config", str(path), "--needs"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)["findings"] if done.returncode == 0 else []
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield Finding("configuration", "fail", f"{forwarder} does not answer: {error}", "run `make setup`")
        return
    if done.returncode != 0:
        mend = f"correct {path}; `glb-forwarder --config {path} --check` says the same"
        yield Finding("configuration", "fail", done.stderr.strip(), mend)
        return
    yield from (Finding(**finding) for finding in found)
    if not found:
        yield Finding("configuration", "ok", f"{path}: the machine has what it needs")


def check_port_drivers(devargs: Sequence[str], drivers: Sequence[Driver]) -> Iterator[Finding]:
    """Every virtual device of the configuration needs its driver."""
    names = tuple(driver.name for driver in drivers)
    for index, each in enumerate(devargs):
        if each[:1].isalpha() and ":" not in each.partition(",")[0] and not each.startswith(names):
            message = f"this DPDK has no driver for {each.partition(',')[0]}"
            mend = "correct devargs, or install the driver; those that are there are listed above"
            yield Finding(f"port[{index}].devargs", "fail", message, mend)


def check_vips(system: System, config: DirectorConfig, shared: bool) -> Iterator[Finding]:
    """The kernel must not answer for a VIP itself, nor send on what the forwarder already has."""
    if shared and system.read("/proc/sys/net/ipv4/ip_forward") == "1":
        message = f"ip_forward is on: the kernel sees what a {SHARED} port sees, and may send VIP packets on"
        yield Finding("ip_forward", "warn", message, "sysctl -w net.ipv4.ip_forward=0")
    vips = open_snapshot(config.snapshot)
    for address, interface in addresses(system).items() if vips else ():
        if vips is not None and vips.is_vip(address):
            message = f"{interface} has {address}, which is a VIP: the kernel answers clients itself"
            mend = f"ip address del {address} dev {interface}; routers send VIPs here by a route"
            yield Finding("VIP", "fail", message, mend)


def open_snapshot(path: Path) -> "Snapshot | None":
    """Return the last good snapshot, or None when it cannot be read."""
    from glbpy import _native as native

    try:
        return native.Snapshot(path.read_bytes())
    except (OSError, GlbError):
        return None


def addresses(system: System) -> dict[ipaddress.IPv4Address | ipaddress.IPv6Address, str]:
    """Return the addresses of this network namespace, with their interfaces."""
    text = system.run(["ip", "-json", "address", "show"])
    links: list[dict[str, Any]] = json.loads(text) if text else []
    return {
        ipaddress.ip_address(each["local"]): link["ifname"]
        for link in links
        for each in link.get("addr_info", ())
        if "local" in each
    }


def check_running(config: DirectorConfig) -> Iterator[Finding]:
    """What a forwarder says of itself; nothing when none runs."""
    try:
        status = Forwarder(config.socket, timeout_s=TIMEOUT_S).status()
    except ForwarderError as error:
        if error.code != "unreachable":
            mend = f"look at the log of instance {config.name}; restart it"
            yield Finding("forwarder", "fail", str(error), mend)
        return
    troubles = list(troubles_of(status))
    yield from troubles
    if not troubles:
        yield Finding("forwarder", "ok", f"runs, pid {status.pid}, revision {status.revision}")


MENDS = {
    "no_route": "ip route get {address}; add the route, or set the interface up",
    "other_interface": "correct the route, or add the port; port.kernel_interface where DPDK owns it",
    "own_address": "the backend has an address of this machine: correct one of them",
    "no_neighbour": "ip neigh show {address}; is it up, and on this segment? is the neighbour table full?",
}


def troubles_of(status: ForwarderStatus) -> Iterator[Finding]:
    """Yield what is wrong with a forwarder that runs."""
    if status.last_error is not None:
        mend = "load a good one; `glb serve` does by itself"
        how: Status = "fail" if status.digest is None else "warn"
        yield Finding("snapshot", how, status.last_error.message, mend)
    if status.keep_error is not None:
        yield Finding("snapshot", "warn", status.keep_error, "make room, or correct the directory's rights")
    for worker in status.workers:
        if worker.stuck:
            message = f"{worker.role} {worker.worker} (lcore {worker.lcore}) {worker.stuck}"
            yield Finding("workers", "fail", message, "restart the forwarder, and report its log")
    for missing in status.next_hops.missing if status.next_hops else ():
        backend = f"backend {missing.name} ({missing.address})"
        message = f"{backend} has no next hop ({missing.why}): its packets are dropped"
        mend = MENDS.get(missing.why, "see docs/operations.md").format(address=missing.address)
        yield Finding("next hops", "warn", message, mend)
