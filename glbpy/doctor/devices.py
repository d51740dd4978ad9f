"""Checks of what a director needs: memory, drivers, NICs, and programs of one release."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from glbpy import abi
from glbpy.doctor.finding import Finding
from glbpy.doctor.system import System
from glbpy.errors import AbiError
from glbpy.pmdinfo import Driver, PciId


def check_hugepages(system: System) -> Iterator[Finding]:
    """Wanted on real NICs; a lab runs with --no-huge."""
    lines = (line.split() for line in (system.read("/proc/meminfo") or "").splitlines())
    counts = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1}
    total, size = counts.get("HugePages_Total", 0), counts.get("Hugepagesize", 0)
    if total:
        yield Finding("hugepages", "ok", f"{total} of {size} kB, {counts.get('HugePages_Free', 0)} free")
    else:
        message = "none reserved; the forwarder then needs --no-huge, and is slower"
        yield Finding("hugepages", "warn", message, "echo 512 > /proc/sys/vm/nr_hugepages")
    places = system.mounts("hugetlbfs")
    if places:
        yield Finding("hugetlbfs", "ok", f"mounted at {', '.join(places)}")
    elif total:
        message = "hugepages are reserved, but no hugetlbfs is mounted"
        yield Finding("hugetlbfs", "warn", message, "mount -t hugetlbfs none /dev/hugepages")


NEEDED = {
    "net_af_packet": "directors on any kernel device",
    "net_pcap": "glb replay",
}
USEFUL = {"net_af_xdp": "faster than af_packet, on devices that have XDP"}


def check_drivers(drivers: Sequence[Driver]) -> Iterator[Finding]:
    """The virtual devices that glbpy uses everywhere."""
    names = {driver.name for driver in drivers}
    mend = "apt-get install dpdk libdpdk-dev (22.11 or later)"
    if not names:
        yield Finding("drivers", "fail", "no poll-mode driver was found: DPDK is not installed", mend)
        return
    for name, use in NEEDED.items():
        if name not in names:
            yield Finding("drivers", "fail", f"{name} is missing: needed for {use}", mend)
    for name, use in USEFUL.items():
        if name not in names:
            yield Finding("drivers", "warn", f"{name} is missing: {use}", mend)
    if names >= NEEDED.keys() | USEFUL.keys():
        yield Finding("drivers", "ok", f"{len(names)} drivers, the virtual devices among them")


NETWORK_CLASS = "0x02"
PCI_FILES = ("vendor", "device", "subsystem_vendor", "subsystem_device")


@dataclass(frozen=True, slots=True)
class Nic:
    """A PCI network device that an installed driver knows."""

    address: str
    driver: Driver
    bound: str | None  # kernel driver

    @property
    def usable(self) -> bool:
        return self.bound == "vfio-pci" if self.driver.takes_vfio else self.bound is not None


def nics(system: System, drivers: Sequence[Driver]) -> Iterator[Nic]:
    """Yield the PCI network devices here that a poll-mode driver knows."""
    base = "/sys/bus/pci/devices"
    for address in system.names(base):
        if not (system.read(f"{base}/{address}/class") or "").startswith(NETWORK_CLASS):
            continue
        device = PciId(*(int(system.read(f"{base}/{address}/{name}") or "0", 16) for name in PCI_FILES))
        known = [driver for driver in drivers if any(wanted.matches(device) for wanted in driver.pci_ids)]
        if known:
            # Drivers of other classes may know it, too.
            driver = min(known, key=lambda driver: not driver.name.startswith("net_"))
            yield Nic(address, driver, system.link(f"{base}/{address}/driver"))


def check_nics(system: System, drivers: Sequence[Driver]) -> Iterator[Finding]:
    """A NIC is DPDK's when it is bound to vfio-pci, or its driver works beside the kernel's."""
    found = list(nics(system, drivers))
    usable = [nic for nic in found if nic.usable]
    if usable:
        words = ", ".join(f"{nic.address} ({nic.driver.name})" for nic in usable)
        yield Finding("NICs", "ok", f"DPDK can take {words}")
    elif found:
        words = ", ".join(f"{nic.address} ({nic.driver.name}, now {nic.bound or 'unbound'})" for nic in found)
        message = f"no PCI NIC is given to DPDK, so only virtual devices can be used; it could drive {words}"
        mend = f"to take one from the kernel: dpdk-devbind.py --bind=vfio-pci {found[-1].address}"
        yield Finding("NICs", "warn", message, mend)
    else:
        yield Finding("NICs", "ok", "no PCI NIC that DPDK could drive: virtual devices only")
    yield from check_iommu(system, found)


def check_iommu(system: System, found: Sequence[Nic]) -> Iterator[Finding]:
    if system.names("/sys/kernel/iommu_groups"):
        yield Finding("IOMMU", "ok", "on")
    elif any(nic.driver.takes_vfio for nic in found):
        message = "off: vfio-pci takes a device only in its unsafe no-IOMMU mode; virtual devices do not mind"
        mend = "boot with intel_iommu=on iommu=pt (AMD: amd_iommu=on) and switch it on in the firmware"
        yield Finding("IOMMU", "warn", message, mend)
    else:
        yield Finding("IOMMU", "ok", "off, and nothing here needs it")


def check_forwarder(program: Path | None) -> Iterator[Finding]:
    """The forwarder that glbpy would start must be of a release that it can talk to."""
    return _check_release("glb-forwarder", program, abi.check_forwarder)


def check_library(library: Path | None) -> Iterator[Finding]:
    """So must the extension that has libglb in it."""
    return _check_release("libglb", library, abi.check_extension)


def _check_release(name: str, file: Path | None, check: Callable[[Path], abi.Abi]) -> Iterator[Finding]:
    if file is None:
        yield Finding(name, "fail", f"{name} is not installed", "run `make setup`")
        return
    try:
        check(file)
    except AbiError as error:
        message, _, mend = str(error).rpartition(": ")
        yield Finding(name, "fail", message, mend)
    else:
        yield Finding(name, "ok", f"{file} is of this release")
