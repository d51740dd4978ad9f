"""What a machine or process may lack, provoked: the forwarder names key and fix; the doctor does before."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dataplane.rig import PROGRAM, Director, Segment, config, snapshot, to_toml
from glbpy.doctor import System, director, examine
from glbpy.doctor.finding import Finding
from glbpy.pmdinfo import installed, libraries

Make = Callable[..., Director]
Name = Callable[[str], str]

AF_PACKET = "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536"
AF_XDP = "net_af_xdp0,iface=director0"
LITTLE = ("prlimit", "--memlock=65536", "setpriv", "--bounding-set=-ipc_lock")
DRIVERS = installed(libraries(Path("/")))
RIGHTS = "as root, or give the service the capability"
DEVARGS, PUNT = "port[0].devargs", "port[0].punt"
TAP = {"punt": "tap", "punt_interface": "glbt0"}
HUGE = {"args": ["-m", "64", "--no-pci"]}


def without(*capabilities: str) -> tuple[str, ...]:
    return "setpriv", "--bounding-set=" + ",".join(f"-{each}" for each in capabilities)


def in_mounts(command: str) -> tuple[str, ...]:
    """Run behind a shell command in mounts of its own."""
    return "unshare", "--mount", "sh", "-c", f'{command} && exec "$@"', "sh"


def run(prefix: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def no_af_xdp() -> tuple[str, ...]:
    """Sockets of this family fail as on a kernel without them."""
    # ld [nr]; jne socket, allow; ld [arg0]; jne AF_XDP, allow; ret EAFNOSUPPORT; allow: ret ALLOW
    code = """
import ctypes, os, struct, sys
words = [(0x20, 0, 0, 0), (0x15, 0, 3, 41), (0x20, 0, 0, 16), (0x15, 0, 1, 44), (0x06, 0, 0, 0x50000 | 97),
         (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *word) for word in words))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(words), ctypes.addressof(program)))
assert ctypes.CDLL(None).prctl(22, 2, filter) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"""
    return sys.executable, "-c", code


def pci(driver: str, then: str = "true") -> tuple[str, ...]:
    """Stand a PCI network device up that the kernel's driver has."""
    devices = "/sys/bus/pci/devices"
    return in_mounts(
        f"mount -t tmpfs none {devices} && mkdir {devices}/0000:aa:00.0"
        f" && ln -s /somewhere/{driver} {devices}/0000:aa:00.0/driver && {then}"
    )


PCI: dict[str, Any] = {"eal": {"args": ["--no-huge", "-m", "64"]}}
WARNINGS = {"PCI device of a kernel's driver"}
CASES: dict[str, tuple[str, tuple[str, ...], dict[str, Any], str, str, str]] = {
    "af_packet: locked memory": (
        AF_PACKET, LITTLE, {}, DEVARGS, "locks 16 MB of memory or more", "LimitMEMLOCK=infinity"),
    "af_xdp: locked memory": (
        AF_XDP, LITTLE, {}, DEVARGS, "net_af_xdp locks", "LimitMEMLOCK=infinity"),
    "af_packet: no raw sockets": (
        AF_PACKET, without("net_raw"), {}, DEVARGS, "needs CAP_NET_RAW", RIGHTS),
    "af_packet: no administration": (
        AF_PACKET, without("net_admin"), {}, DEVARGS, "needs CAP_NET_ADMIN", RIGHTS),
    "af_xdp: no eBPF": (
        AF_XDP, without("bpf", "sys_admin"), {}, DEVARGS, "needs CAP_BPF", RIGHTS),
    "af_xdp: not in the kernel": (
        AF_XDP, no_af_xdp(), {}, DEVARGS, "gets no AF_XDP sockets: Address family not", "use net_af_packet"),
    "af_xdp: queues that the device lacks": (
        f"{AF_XDP},queue_count=2", (), {}, DEVARGS, "director0 has 1 combined queues", "ethtool -L"),
    "no such interface": (
        "net_af_packet0,iface=nosuch0", (), {}, DEVARGS, "no interface nosuch0", "correct iface="),
    "too many queues": (
        AF_PACKET, (), {"eal": {"workers": 2}}, "eal.workers",
        "2 queues are needed, but port[0] has 1", "use fewer"),
    "hugepages: none mounted": (
        "net_null0", in_mounts("umount -a -t hugetlbfs"), {"eal": HUGE}, "eal.args",
        "no hugetlbfs is mounted", "mount -t hugetlbfs"),
    "hugepages: not where the options say": (
        "net_null0", (), {"eal": {"args": [*HUGE["args"], "--huge-dir", "/proc"]}}, "eal.args",
        "--huge-dir /proc: no hugetlbfs", "mount -t hugetlbfs"),
    "hugepages: more than there are": (
        "net_null0", (), {"eal": {"args": ["-m", "900000", "--no-pci"]}}, "eal.args",
        "900000 MB are wanted", "nr_hugepages"),
    "punt: no administration": (
        "net_null0", without("net_admin"), {"port": TAP}, PUNT,
        "needs CAP_NET_ADMIN", RIGHTS),
    "punt: no tun device": (
        "net_null0", in_mounts("mount -t tmpfs none /dev/net"),
        {"port": TAP}, PUNT, "needs /dev/net/tun: No such file",
        "modprobe tun"),
    "no such PCI device": (
        "0000:ff:1f.7", (), {"eal": {"args": ["--no-huge", "-m", "64"]}}, "port[0].devargs",
        "no PCI device 0000:ff:1f.7", "dpdk-devbind.py"),
    "PCI device, but --no-pci": (
        "0000:ff:1f.7", (), {}, "eal.args", "port[0].devargs is a PCI device", "take --no-pci out"),
    "PCI device of a kernel's driver": (
        "0000:aa:00.0", pci("ixgbe"), PCI, DEVARGS, "0000:aa:00.0 belongs to ixgbe",
        "dpdk-devbind.py --bind=vfio-pci"),
    "PCI device of vfio, no rights": (
        "aa:00.0", pci("vfio-pci", "{ [ ! -d /dev/vfio ] || mount -t tmpfs none /dev/vfio; }"), PCI, DEVARGS,
        "needs /dev/vfio/vfio", "modprobe vfio-pci"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_says_what_is_missing(tmp_path: Path, name: Name, segment: Segment, case: str) -> None:
    devargs, prefix, sections, key, said, mend = CASES[case]
    document = config(name("n"), tmp_path, devargs)
    for section, keys in sections.items():
        target = document["port"][0] if section == "port" else document[section]
        target.update(keys)
    path = tmp_path / "director.toml"
    path.write_text(to_toml(document))
    where = (*segment.prefix, *prefix)
    before = run(where, "--config", str(path), "--needs")
    assert before.returncode == 0, before.stderr
    finding, *_ = [each for each in json.loads(before.stdout)["findings"] if said in each["message"]]
    assert (finding["check"], finding["status"]) == (key, "warn" if case in WARNINGS else "fail")
    assert mend in finding["mend"]
    failed = run(where, "--config", str(path))
    assert failed.returncode in (1, 2)
    assert f"error: {key}: {finding['message']}: {finding['mend']}\n" in failed.stderr
    assert not (tmp_path / "run").exists()


def test_jumbo_frames_and_af_xdp(tmp_path: Path, name: Name, segment: Segment) -> None:
    """A driver may take them."""
    segment.namespace.ip("link", "set", "director0", "mtu", "9000")
    path = tmp_path / "director.toml"
    path.write_text(to_toml(config(name("n"), tmp_path, AF_XDP)))
    said = run(segment.prefix, "--config", str(path), "--needs")
    (finding,) = json.loads(said.stdout)["findings"]
    assert (finding["check"], finding["status"]) == (DEVARGS, "warn")
    assert "director0 has an MTU of 9000, and XDP usually takes up to about 3498" in finding["message"]
    assert "mtu 3498" in finding["mend"]


def test_a_driver_that_is_not_there(tmp_path: Path, name: Name) -> None:
    path = tmp_path / "director.toml"
    path.write_text(to_toml(config(name("n"), tmp_path, "net_nosuch0")))
    failed = run((), "--config", str(path))
    assert failed.returncode == 1
    assert "port[0].devargs: this DPDK has no driver for net_nosuch0" in failed.stderr
    found = examine(System(), PROGRAM.resolve(), config=path).findings
    (finding,) = [each for each in found if each.check == "port[0].devargs"]
    assert (finding.status, finding.message) == ("fail", "this DPDK has no driver for net_nosuch0")


def of_director(path: Path) -> list[Finding]:
    report = examine(System(), PROGRAM.resolve(), config=path)
    return [each for each in report.findings if each.status != "ok"]


def test_doctor_and_a_running_forwarder(make: Make, name: Name, segment: Segment, tmp_path: Path) -> None:
    """Interface down, a small MTU, a VIP on the interface, next hops unresolved: each with what to do."""
    made = make(name("r"), AF_PACKET, prefix=segment.prefix)
    del made.document["forward"]["gateway_mac"]
    made.write()
    snapshot(made.snapshot)

    def troubles() -> dict[str, Finding]:
        with segment.namespace.entered():
            found = list(director.check_director(System(), made.toml, PROGRAM.resolve(), DRIVERS))
        return {each.check: each for each in found if each.status != "ok"}

    segment.namespace.sysctl("net.ipv4.ip_forward", 0)
    assert troubles() == {}
    segment.namespace.ip("link", "set", "director0", "mtu", "1500")
    segment.namespace.ip("link", "set", "director0", "down")
    segment.namespace.ip("address", "add", "203.0.113.10/32", "dev", "director0")
    segment.namespace.sysctl("net.ipv4.ip_forward", 1)
    found = troubles()
    assert set(found) == {DEVARGS, "forward.mtu", "VIP", "ip_forward"}
    assert found["port[0].devargs"].message == "interface director0 is down: nothing comes"
    assert "MTU of 1500" in found["forward.mtu"].message
    assert "director0 has 203.0.113.10, which is a VIP" in found["VIP"].message
    assert "ip address del 203.0.113.10" in found["VIP"].mend
    assert all(each.mend for each in found.values())
    segment.namespace.ip("address", "del", "203.0.113.10/32", "dev", "director0")
    segment.namespace.ip("link", "set", "director0", "mtu", "1600", "up")
    segment.namespace.sysctl("net.ipv4.ip_forward", 0)
    made.start()
    found = troubles()
    assert set(found) == {"next hops"}
    assert "has no next hop (no_route): its packets are dropped" in found["next hops"].message
    assert "ip route get 10.1.0.1" in found["next hops"].mend
    assert made.terminate() == 0


def test_doctor_and_a_wrong_configuration(tmp_path: Path, name: Name) -> None:
    path = tmp_path / "director.toml"
    path.write_text(to_toml(config(name("w"), tmp_path, "net_null0", forward={"mtu": "much"})))
    (finding,) = [each for each in of_director(path) if each.check == "configuration"]
    assert finding.status == "fail"
    assert "forward.mtu: must be an integer" in finding.message
    (missing,) = [each for each in of_director(tmp_path / "none.toml") if each.check == "configuration"]
    assert "No such file" in missing.message
