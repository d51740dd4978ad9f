"""`glb doctor` on machines made of files: each check when all is well, and when it is not."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from glbpy import abi
from glbpy.cli.main import build
from glbpy.doctor import Finding, System, devices, examine, host
from glbpy.doctor.interface import check_interface
from glbpy.pmdinfo import ANY, Driver, PciId

CONFIG = "CONFIG_NET_SCH_INGRESS=m\nCONFIG_NET_CLS_BPF=y\n"
TRY_TC = "unshare --net tc qdisc add dev lo clsact"

NAMES = ("net_af_packet", "net_pcap", "net_af_xdp")
VIRTUAL = [Driver(name, Path("x.so")) for name in NAMES]
IXGBE = Driver("net_ixgbe", Path("x.so"), "", "* igb_uio | vfio-pci", (PciId(0x8086, 0x10FB),))
MLX5 = Driver("mlx5_pci", Path("x.so"), "", "* ib_uverbs & mlx5_core", (PciId(0x15B3, ANY),))

STATUS = "/proc/self/status"
RELEASE = "/proc/sys/kernel/osrelease"
RP_FILTER = "/proc/sys/net/ipv4/conf/eth0/rp_filter"
BOOT = "/boot/config-6.12.9+bpo-amd64"

FILES = {
    STATUS: "Name:\tglb\nCapEff:\t000001ffffffffff",
    RELEASE: "6.12.9+bpo-amd64",
    "/proc/sys/kernel/unprivileged_bpf_disabled": "2",
    "/sys/kernel/btf/vmlinux": "",
    "/proc/sys/net/core/bpf_jit_enable": "1",
    "/proc/mounts": "bpf /sys/fs/bpf bpf rw 0 0\nnone /dev/hugepages hugetlbfs rw 0 0",
    "/proc/sys/net/ipv4/conf/all/rp_filter": "0",
    RP_FILTER: "2",
    "/proc/meminfo": "MemTotal: 1 kB\nHugePages_Total: 512\nHugePages_Free: 400\nHugepagesize: 2048 kB",
    BOOT: CONFIG,
    "/sys/kernel/iommu_groups/0/type": "DMA",
}


class Machine(System):
    """A machine of files in a directory, with fixed answers to commands."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.answers: dict[str, str] = {TRY_TC: ""}
        self.programs = {"tc"}
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str | None) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text + "\n")

    def add_nic(
        self, address: str, vendor: int, device: int, driver: str | None, kind: str = "0x020000"
    ) -> None:
        base = f"/sys/bus/pci/devices/{address}"
        self.write(f"{base}/class", kind)
        names = ("vendor", "device", "subsystem_vendor", "subsystem_device")
        for name, number in zip(names, (vendor, device, 1, 2), strict=True):
            self.write(f"{base}/{name}", f"0x{number:04x}")
        if driver is not None:
            self.path(f"{base}/driver").symlink_to(f"../../../bus/pci/drivers/{driver}")

    def run(self, command: Sequence[str]) -> str | None:
        return self.answers.get(" ".join(command))

    def has(self, program: str) -> bool:
        return program in self.programs


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def only(findings: Iterator[Finding]) -> Finding:
    [finding] = findings
    return finding


def assert_trouble(finding: Finding, status: str, message: str, mend: str) -> None:
    assert finding.status == status
    assert message in finding.message
    assert mend in finding.mend


Check = Callable[[System], Iterator[Finding]]

TROUBLE: list[tuple[str, Check, dict[str, str | None], str, str, str]] = [
    ("no rights", host.check_rights, {STATUS: "CapEff: 0"}, "fail", "CAP_NET_ADMIN, CAP_NET_RAW", "root"),
    ("few rights", host.check_rights, {STATUS: "CapEff: 3000"}, "fail", "lacks CAP_SYS_ADMIN", "root"),
    ("old", host.check_kernel, {RELEASE: "5.9.0-5-amd64"}, "fail", "older than 5.10", "5.10"),
    ("odd", host.check_kernel, {RELEASE: "strange"}, "fail", "older than 5.10", "5.10"),
    ("other bpffs", host.check_bpffs, {"/proc/mounts": "b /x bpf rw 0 0"}, "warn", "only at /x", "--pin-dir"),
    ("no bpffs", host.check_bpffs, {"/proc/mounts": ""}, "warn", "no bpf file system", "mount -t bpf"),
    ("rp_filter", host.check_rp_filter, {RP_FILTER: "1"}, "warn", "strict for eth0", "eth0.rp_filter=2"),
    ("tc", host.check_tc, {BOOT: "CONFIG_NET_CLS_BPF=y"}, "fail", "lacks CONFIG_NET_SCH_INGRESS", "kernel"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "files", "status", "message", "mend"),
    [case[1:] for case in TROUBLE],
    ids=[case[0] for case in TROUBLE],
)
def test_trouble_is_found_and_mended(
    machine: Machine, check: Check, files: dict[str, str | None], status: str, message: str, mend: str
) -> None:
    assert only(check(machine)).status == "ok"
    for name, text in files.items():
        machine.write(name, text)
    assert_trouble(only(check(machine)), status, message, mend)


@pytest.mark.parametrize("release", ["5.10.0", "6.1.0-28-amd64", "6.18.44", "7.0-rc1"])
def test_kernels_that_glb_redirect_runs_on(machine: Machine, release: str) -> None:
    machine.write(RELEASE, release)
    assert only(host.check_kernel(machine)).status == "ok"


def test_bpf_features_are_told_apart(machine: Machine) -> None:
    assert [finding.status for finding in host.check_bpf(machine)] == ["ok", "ok", "ok"]
    for name in ("/proc/sys/kernel/unprivileged_bpf_disabled", "/sys/kernel/btf/vmlinux"):
        machine.write(name, None)
    machine.write("/proc/sys/net/core/bpf_jit_enable", "0")
    call, btf, jit = host.check_bpf(machine)
    assert_trouble(call, "fail", "no bpf system call", "CONFIG_BPF_SYSCALL")
    assert_trouble(btf, "fail", "/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF")
    assert_trouble(jit, "warn", "interpreted", "bpf_jit_enable=1")


def test_tc_is_tried(machine: Machine) -> None:
    machine.answers.clear()
    assert_trouble(only(host.check_tc(machine)), "fail", "on trial", "modprobe sch_ingress")
    machine.programs.clear()
    assert_trouble(only(host.check_tc(machine)), "fail", "tc program is missing", "iproute2")


def test_hugepages_and_their_mount(machine: Machine) -> None:
    pages, mount = devices.check_hugepages(machine)
    assert (pages.status, pages.message) == ("ok", "512 of 2048 kB, 400 free")
    assert (mount.status, mount.message) == ("ok", "mounted at /dev/hugepages")
    machine.write("/proc/mounts", "")
    assert_trouble(list(devices.check_hugepages(machine))[1], "warn", "no hugetlbfs", "mount -t hugetlbfs")
    machine.write("/proc/meminfo", "MemTotal: 1 kB")
    assert_trouble(only(devices.check_hugepages(machine)), "warn", "--no-huge", "nr_hugepages")


def test_drivers_that_are_needed() -> None:
    assert only(devices.check_drivers(VIRTUAL)).status == "ok"
    assert_trouble(only(devices.check_drivers([])), "fail", "DPDK is not installed", "apt-get install dpdk")
    without = [driver for driver in VIRTUAL if driver.name != "net_pcap"]
    assert_trouble(only(devices.check_drivers(without)), "fail", "needed for glb replay", "dpdk")
    without = [driver for driver in VIRTUAL if driver.name != "net_af_xdp"]
    assert_trouble(only(devices.check_drivers(without)), "warn", "net_af_xdp is missing", "dpdk")


def test_a_nic_is_dpdks_when_bound_to_vfio(machine: Machine) -> None:
    machine.add_nic("0000:01:00.0", 0x8086, 0x10FB, "ixgbe")
    nics, iommu = devices.check_nics(machine, [IXGBE])
    assert_trouble(nics, "warn", "0000:01:00.0 (net_ixgbe, now ixgbe)", "--bind=vfio-pci 0000:01:00.0")
    assert iommu.status == "ok"
    machine.add_nic("0000:02:00.0", 0x8086, 0x10FB, "vfio-pci")
    nics, _ = devices.check_nics(machine, [IXGBE])
    assert (nics.status, nics.message) == ("ok", "DPDK can take 0000:02:00.0 (net_ixgbe)")


def test_a_nic_that_stays_with_the_kernel_is_usable(machine: Machine) -> None:
    machine.add_nic("0000:01:00.0", 0x15B3, 0x1013, "mlx5_core")
    assert next(devices.check_nics(machine, [IXGBE, MLX5])).message == "DPDK can take 0000:01:00.0 (mlx5_pci)"


def test_other_devices_are_no_nics(machine: Machine) -> None:
    machine.add_nic("0000:01:00.0", 0x8086, 0x10FB, "nvme", kind="0x010802")
    machine.add_nic("0000:02:00.0", 0x1234, 0x5678, "e1000")
    nics, _ = devices.check_nics(machine, [IXGBE])
    assert (nics.status, nics.message) == ("ok", "no PCI NIC that DPDK could drive: virtual devices only")


def test_iommu_matters_only_to_vfio(machine: Machine) -> None:
    machine.path("/sys/kernel/iommu_groups/0/type").unlink()
    machine.path("/sys/kernel/iommu_groups/0").rmdir()
    assert list(devices.check_nics(machine, [IXGBE]))[1].status == "ok"
    machine.add_nic("0000:01:00.0", 0x8086, 0x10FB, None)
    assert_trouble(list(devices.check_nics(machine, [IXGBE]))[1], "warn", "no-IOMMU", "intel_iommu=on")


def test_the_forwarder_must_be_there_and_of_this_release(tmp_path: Path) -> None:
    assert_trouble(only(devices.check_forwarder(None)), "fail", "not installed", "make setup")
    program = tmp_path / "glb-forwarder"
    program.write_text("#!/bin/sh\n")
    assert_trouble(only(devices.check_forwarder(program)), "fail", str(program), "make setup")
    assert_trouble(only(devices.check_library(program)), "fail", str(program), "make setup")
    assert_trouble(only(devices.check_library(None)), "fail", "not installed", "make setup")
    assert only(devices.check_library(abi.find_extension())).status == "ok"


# ---- an interface


def add_link(machine: Machine, name: str, features: str, **link: Any) -> None:
    command = f"ip -json -details link show dev {name}"
    machine.answers[command] = json.dumps([{"ifname": name, "mtu": 1600, **link}])
    lines = "".join(f"{word}: on\n" for word in features.split())
    answer = f"Features for {name}:\n{lines}rx-checksumming: off [fixed]\n"
    machine.answers[f"ethtool --show-features {name}"] = answer


VETH: dict[str, Any] = {"linkinfo": {"info_kind": "veth"}}


def test_a_good_interface(machine: Machine) -> None:
    add_link(machine, "va", "", link="vb", **VETH)
    add_link(machine, "vb", "", link="va", **VETH)
    findings = list(check_interface(machine, "va"))
    assert [finding.status for finding in findings] == ["ok"] * 3


def test_checksums_of_the_other_end(machine: Machine) -> None:
    add_link(machine, "va", "", link="vb", **VETH)
    add_link(machine, "vb", "tx-checksumming", link="va", **VETH)
    assert_trouble(next(check_interface(machine, "va")), "fail", "other end vb", "ethtool -K vb tx off")
    own = list(check_interface(machine, "vb"))[1]
    assert_trouble(own, "warn", "vb would send partial checksums", "ethtool -K vb tx off")


def test_the_other_end_in_another_namespace(machine: Machine) -> None:
    add_link(machine, "va", "", link="vb", link_netnsid=0, **VETH)
    add_link(machine, "vb", "", link="eth0")  # another vb, of this namespace
    assert_trouble(next(check_interface(machine, "va")), "warn", "another namespace", "tx off")


def test_merging_of_packets(machine: Machine) -> None:
    add_link(machine, "eth0", "generic-receive-offload large-receive-offload rx-udp-gro-forwarding", mtu=1500)
    merging, udp, mtu = check_interface(machine, "eth0")
    assert_trouble(merging, "warn", "lro, gro on", "ethtool -K eth0 lro off gro off")
    assert_trouble(udp, "fail", "glb-redirect drops", "ethtool -K eth0 rx-udp-gro-forwarding off")
    assert_trouble(mtu, "warn", "MTU 1500", "mtu 1600")


def test_what_keeps_af_xdp_away(machine: Machine) -> None:
    add_link(machine, "eth0", "", mtu=9000, xdp={"mode": 1, "prog": {"id": 77, "tag": "0f"}})
    _, _, large, program = check_interface(machine, "eth0")
    assert_trouble(large, "warn", "MTU 9000: an af_xdp port", "ip link set eth0 mtu 3498")
    assert_trouble(program, "warn", "XDP program (id 77)", "ip link set dev eth0 xdp off")
    add_link(machine, "eth0", "", mtu=3498)
    assert [finding.status for finding in check_interface(machine, "eth0")] == ["ok"] * 2


def test_an_interface_that_is_not_there(machine: Machine) -> None:
    assert_trouble(only(check_interface(machine, "eth9")), "fail", "no interface eth9", "ip link")
    machine.answers["ip -json -details link show dev eth9"] = '[{"mtu": 1600}]'
    assert_trouble(only(check_interface(machine, "eth9")), "fail", "offloads cannot be read", "ethtool")


# ---- all of it


def test_a_report_fails_when_one_check_does(machine: Machine) -> None:
    from glbpy.forwarder import locate_program

    report = examine(machine, locate_program(), drivers=VIRTUAL)
    assert report.ok, [finding for finding in report.findings if finding.status == "fail"]
    assert not examine(machine, None, drivers=VIRTUAL).ok
    assert not examine(machine, locate_program(), "eth9", VIRTUAL).ok


def test_every_trouble_says_how_to_mend_it(tmp_path: Path) -> None:
    """On a machine that has nothing at all."""
    report = examine(System(tmp_path), None, drivers=[])
    assert not report.ok
    for finding in report.findings:
        assert bool(finding.mend) == (finding.status != "ok"), finding


def test_the_command_on_this_machine() -> None:
    """Whatever is wrong here: one object, and an exit code that agrees with it."""
    result = CliRunner().invoke(build(), ["doctor", "--json", "--interface", "lo"])
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["ok"] else 1)
    assert report["ok"] == all(finding["status"] != "fail" for finding in report["findings"])
    assert "net_af_packet" in {driver["name"] for driver in report["drivers"]}
    ixgbe = next(driver for driver in report["drivers"] if driver["name"] == "net_ixgbe")
    assert "8086:10fb" in ixgbe["pci_ids"]


def test_the_table_names_every_check() -> None:
    result = CliRunner().invoke(build(), ["doctor"])
    for word in ("net_af_packet", "kernel", "hugepages", "glb-forwarder"):
        assert word in result.stdout
