"""Which poll-mode drivers the installed DPDK has, and which PCI devices they drive.

Every driver carries a line ``PMD_INFO_STRING= {json}`` in its read-only data; it is read with pyelftools,
without loading the library.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

MARK = b"PMD_INFO_STRING= "
ANY = 0xFFFF  # a PCI id that matches every device

# Where distributions and DPDK's own install put drivers, under the root directory.
PLACES = (
    "usr/lib/*/dpdk/pmds-*",
    "usr/lib/dpdk/pmds-*",
    "usr/lib64/dpdk/pmds-*",
    "usr/local/lib/*/dpdk/pmds-*",
    "usr/local/lib/dpdk/pmds-*",
    "usr/local/lib64/dpdk/pmds-*",
)


@dataclass(frozen=True, slots=True)
class PciId:
    vendor: int
    device: int
    subvendor: int = ANY
    subdevice: int = ANY

    def matches(self, device: "PciId") -> bool:
        """Say whether this pattern covers a device."""
        return (
            self.vendor in (device.vendor, ANY)
            and self.device in (device.device, ANY)
            and self.subvendor in (device.subvendor, ANY)
            and self.subdevice in (device.subdevice, ANY)
        )


@dataclass(frozen=True, slots=True)
class Driver:
    """A poll-mode driver. Virtual ones have no PCI ids."""

    name: str  # as in devargs, for example net_af_packet
    library: Path
    params: str = ""  # devargs that it takes, in DPDK's own notation
    kernel_modules: str = ""  # DPDK's notation: "* igb_uio | vfio-pci"
    pci_ids: tuple[PciId, ...] = field(default=(), repr=False)

    @property
    def takes_vfio(self) -> bool:
        """False for drivers that work beside the kernel's own, such as mlx5."""
        return "vfio" in self.kernel_modules


def libraries(root: Path = Path("/")) -> list[Path]:
    """Return the driver libraries under `root`, each once however many links lead to it."""
    found = {file.resolve() for place in PLACES for file in root.glob(f"{place}/*.so*")}
    return sorted(file for file in found if file.is_file())


def drivers_in(path: Path) -> Iterator[Driver]:
    """Yield the drivers in one library, or in a program that has them linked in. None for what is not ELF."""
    try:
        with path.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".rodata")
            data: bytes = section.data() if section else b""
    except (OSError, ELFError):
        return
    for part in data.split(MARK)[1:]:
        text = part.partition(b"\0")[0]
        try:
            info = json.loads(text)
        except ValueError:
            continue  # the mark itself, in a program that looks for it
        yield Driver(
            name=info["name"],
            library=path,
            params=info.get("params", ""),
            kernel_modules=info.get("kmod", ""),
            pci_ids=tuple(PciId(*ids) for ids in info.get("pci_ids", [])),
        )


def installed(paths: Iterable[Path] | None = None) -> list[Driver]:
    """Return the drivers in `paths` (default: the installed DPDK's libraries), by name."""
    files = libraries() if paths is None else paths
    return sorted((driver for path in files for driver in drivers_in(path)), key=lambda driver: driver.name)
