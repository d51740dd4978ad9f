"""What on this machine would keep glbpy from working, and how to mend it. Nothing here changes anything."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from glbpy import abi
from glbpy.doctor import devices, director, host
from glbpy.doctor.finding import Finding
from glbpy.doctor.interface import check_interface
from glbpy.doctor.system import System
from glbpy.pmdinfo import Driver, installed, libraries

__all__ = ["Finding", "Report", "System", "examine"]

CHECKS: tuple[Callable[[System], Iterator[Finding]], ...] = (
    host.check_rights,
    host.check_kernel,
    host.check_bpf,
    host.check_tc,
    host.check_bpffs,
    host.check_rp_filter,
    devices.check_hugepages,
)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found, and the drivers of the installed DPDK."""

    drivers: tuple[Driver, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Say whether nothing fails."""
        return all(finding.status != "fail" for finding in self.findings)


def examine(
    system: System,
    forwarder: Path | None,
    interface: str | None = None,
    drivers: Sequence[Driver] | None = None,
    config: Path | None = None,
) -> Report:
    """Run every check; those of an interface and of a director's configuration when they are given.

    ``drivers`` defaults to those installed.
    """
    known = tuple(installed(libraries(system.root)) if drivers is None else drivers)
    findings = [finding for check in CHECKS for finding in check(system)]
    findings += devices.check_drivers(known)
    findings += devices.check_nics(system, known)
    findings += devices.check_forwarder(forwarder)
    findings += devices.check_library(abi.find_extension())
    if interface is not None:
        findings += check_interface(system, interface)
    if config is not None:
        findings += director.check_director(system, config, forwarder, known)
    return Report(known, tuple(findings))
