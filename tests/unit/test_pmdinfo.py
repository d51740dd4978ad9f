"""Driver information: from DPDK's own libraries, and from small libraries made here."""

import subprocess
from pathlib import Path

import pytest

from glbpy import pmdinfo
from glbpy.pmdinfo import Driver, PciId


def library(path: Path, *lines: str) -> Path:
    """Compile a shared library whose read-only data holds these PMD_INFO strings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.parent / "source.c"
    quoted = [line.replace('"', '\\"') for line in lines]
    source.write_text("".join(f'const char info{n}[] = "{text}";\n' for n, text in enumerate(quoted)))
    subprocess.run(["cc", "-shared", "-fPIC", "-nostdlib", "-o", path, source], check=True)
    return path


MARK = "PMD_INFO_STRING= "
NIC = MARK + '{"name": "net_nic", "kmod": "* igb_uio | vfio-pci", "pci_ids": [[32902, 4347, 65535, 65535]]}'
VDEV = MARK + '{"name": "net_virtual", "params": "iface=<string>", "pci_ids": []}'
SIDE = MARK + '{"name": "net_side", "kmod": "* mlx5_core", "pci_ids": [[5555, 65535, 65535, 65535]]}'


def test_every_driver_of_a_library_is_found(tmp_path: Path) -> None:
    path = library(tmp_path / "lib.so", NIC, VDEV, SIDE, MARK + "not json", "other text")
    assert pmdinfo.installed([path]) == [
        Driver("net_nic", path, "", "* igb_uio | vfio-pci", (PciId(0x8086, 0x10FB),)),
        Driver("net_side", path, "", "* mlx5_core", (PciId(5555, pmdinfo.ANY),)),
        Driver("net_virtual", path, "iface=<string>"),
    ]
    assert [driver.takes_vfio for driver in pmdinfo.installed([path])] == [True, False, False]


def test_pci_ids_match_with_wildcards() -> None:
    device = PciId(0x8086, 0x10FB, 0x1AF4, 7)
    assert PciId(0x8086, 0x10FB).matches(device)
    assert PciId(0x8086, pmdinfo.ANY).matches(device)
    assert PciId(0x8086, 0x10FB, 0x1AF4, 7).matches(device)
    assert not PciId(0x8086, 0x10FC).matches(device)
    assert not PciId(0x8086, 0x10FB, 0x1AF4, 8).matches(device)


def test_what_is_no_library_has_no_drivers(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("PMD_INFO_STRING= {}")
    assert pmdinfo.installed([text, tmp_path / "absent.so"]) == []


def test_a_library_with_many_links_counts_once(tmp_path: Path) -> None:
    directory = tmp_path / "usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0"
    real = library(directory / "librte_net_nic.so.23.0", NIC)
    (directory / "librte_net_nic.so").symlink_to(real.name)
    (directory / "librte_net_gone.so").symlink_to("nowhere")
    assert pmdinfo.libraries(tmp_path) == [real]


@pytest.mark.parametrize("name", ["net_af_packet", "net_af_xdp", "net_pcap"])
def test_debians_dpdk_has_the_virtual_drivers_that_we_use(name: str) -> None:
    driver = next(driver for driver in pmdinfo.installed() if driver.name == name)
    assert driver.pci_ids == ()
    assert driver.params


def test_debians_dpdk_drives_a_common_nic() -> None:
    drivers = [d for d in pmdinfo.installed() if any(i.matches(PciId(0x8086, 0x10FB)) for i in d.pci_ids)]
    assert [driver.name for driver in drivers] == ["net_ixgbe"]
    assert drivers[0].takes_vfio
