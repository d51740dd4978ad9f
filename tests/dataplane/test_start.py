"""How a forwarder is started: options, configuration errors, EAL options, devices, swaps under load."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataplane.hugepages import at_least
from dataplane.rig import Director, config, run_once, snapshot, to_toml
from glbpy import __version__, counters, forwarder
from glbpy.errors import ForwarderError

Make = Callable[..., Director]
Name = Callable[[str], str]


def test_help_and_version() -> None:
    usage = run_once("--help")
    assert usage.returncode == 0
    assert "--config" in usage.stdout
    assert run_once("--version").stdout == f"glb-forwarder {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--config is missing"),
        (["--frobnicate"], "--frobnicate: unknown option"),
        (["-l", "0,1"], "EAL options go in front of --"),
        (["--config"], "needs a value"),
        (["--config", "/nonexistent.toml"], "/nonexistent.toml: No such file"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    done = run_once(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"forward": {"mtu": 70000}}, "forward.mtu: must be an integer from 0 to 65535, not 70000"),
        ({"forward": {"mtuu": 1600}}, "forward.mtuu: unknown key"),
        ({"forward": {"idle": "lazy"}}, 'forward.idle: must be "adaptive" or "busy"'),
        ({"eal": {"workers": "one"}}, "eal.workers: must be an integer"),
        ({"weather": {"rain": True}}, "weather: unknown key"),
    ],
)
def test_wrong_configuration(tmp_path: Path, sections: dict[str, Any], said: str) -> None:
    path = tmp_path / "director.toml"
    path.write_text(to_toml(config("wrong", tmp_path, "net_null0", **sections)))
    for arguments in (["--check"], []):
        done = run_once("--config", str(path), *arguments)
        assert done.returncode == 2
        assert f"{path}: {said}" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1  # nothing was started


def test_check_starts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "director.toml"
    path.write_text(to_toml(config("right", tmp_path, "net_null0")))
    done = run_once("--config", str(path), "--check")
    assert (done.returncode, done.stdout) == (0, f"{path}: ok\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("devargs", "sections", "said", "status"),
    [
        (["net_null0"], {"eal": {"worker_lcores": [999]}}, "eal.worker_lcores: CPU 999 is not there", 2),
        (["net_null0"], {"eal": {"workers": 2, "main_lcore": 0}, "forward": {"mtu": 0}}, "", 0),
        (["net_af_packet0,iface=nosuch0"], {}, "port[0].devargs: the device net_af_packet0", 1),
        (["net_null0", "net_nosuch0"], {}, "port[1].devargs: this DPDK has no driver for net_nosuch0", 1),
        (["0000:ff:1f.7"], {}, "port: 0 of 1 devices came up", 1),
        ([], {}, "port: none; add a [[port]]", 2),
        (["net_null0"], {"eal": {"mbufs": 200000}}, "no room for 200000 packet buffers", 1),
        (["net_pcap0,rx_pcap=/nonexistent,tx_pcap=/dev/null"], {}, "/nonexistent", 1),
    ],
)
def test_what_the_machine_does_not_have(
    tmp_path: Path, name: Name, devargs: list[str], sections: dict[str, Any], said: str, status: int
) -> None:
    path = tmp_path / "director.toml"
    path.write_text(to_toml(config(name("m"), tmp_path, *devargs, **sections)))
    if status == 0:
        log = tmp_path / "log"
        pid = forwarder.start(
            [Path(__file__).resolve().parents[2] / ".venv/bin/glb-forwarder", "--config", path],
            tmp_path / "run/control.sock", log=log,
        )  # fmt: skip
        client = forwarder.Forwarder(tmp_path / "run/control.sock")
        assert len(client.status().workers) == 2
        client.stop()
        assert forwarder.wait_gone(pid)
        return
    done = run_once("--config", str(path))
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_start_says_why_it_failed(tmp_path: Path, make: Make, name: Name) -> None:
    director = make(name("f"), "net_af_packet0,iface=nosuch0")
    with pytest.raises(ForwarderError, match=r"exited with status 1 at start: .*did not come up"):
        director.start()


def test_eal_options_in_front(make: Make, name: Name) -> None:
    """As every DPDK program: EAL's options, --, ours; cores and devices then come from there."""
    director = make(name("e"))
    director.toml.write_text(to_toml({**director.document, "eal": {}, "port": []}))
    command = [
        *director.command()[:1], "--lcores", "(0-2)@0", "--no-huge", "-m", "96", "--no-pci",
        "--vdev", "net_null0,no-rx=1", "--vdev=net_null1,no-rx=1",
        "--", "--config", str(director.toml), "--set", "forward.mtu=1400",
    ]  # fmt: skip
    director.pid = forwarder.start(command, director.client.socket_path, log=director.log, timeout_s=60)
    status = director.client.status()
    assert [worker.lcore for worker in status.workers] == [1, 2]
    assert [port.name for port in status.ports] == ["net_null0", "net_null1"]
    assert [port.mtu for port in status.ports] == [1400, 1400]
    assert director.terminate() == 0


def test_swaps_under_full_load(make: Make, name: Name, tmp_path: Path) -> None:
    """Two busy workers that share the cores with everybody, and load after load."""
    director = make(
        name("s"), "net_null0,size=60", eal={"workers": 2, "args": ["--no-huge", "-m", "128", "--no-pci"]}
    )
    files = [snapshot(tmp_path / f"{n}.glb", services=n + 1) for n in range(3)]
    director.start()
    for loads in range(200):
        loaded = director.client.load(files[loads % 3])
        assert loaded.generation == loads + 1
        time.sleep(0.005)
    assert director.terminate() == 0
    assert "has not left" not in director.log.read_text()


def test_counts_are_exact_under_load(make: Make, name: Name) -> None:
    director = make(name("x"), "net_null0,size=60")
    director.start()
    time.sleep(0.5)
    first = counters.read(director.run_dir / "stats")
    assert first.rx_packets > 1000
    # frames of zeros are for another MAC; nothing is sent, and all is accounted for
    status = director.client.status()
    assert status.counters["other_mac"] >= first.rx_packets
    assert sum(status.counters.values()) == status.counters["other_mac"]
    assert status.workers[0].tx_packets == 0
    assert director.terminate() == 0


def hugepages_free() -> int:
    return int(subprocess.check_output(["awk", "/HugePages_Free/ {print $2}", "/proc/meminfo"]))


@pytest.fixture
def hugepages(tmp_path: Path) -> Iterator[Path]:
    """A mounted hugetlbfs with 80 huge pages of 2 MB to use."""
    folder = tmp_path / "huge"
    folder.mkdir()
    with at_least(80):
        subprocess.run(["mount", "-t", "hugetlbfs", "none", folder], check=True)
        yield folder
        subprocess.run(["umount", folder], check=True)


def test_hugepages(make: Make, name: Name, hugepages: Path) -> None:
    """They are free again after the end, and what a crash left is no obstacle."""
    free = hugepages_free()
    args = ["-m", "128", "--no-pci", "--huge-dir", str(hugepages)]
    director = make(name("h"), "net_null0,no-rx=1", eal={"args": args})
    snapshot(director.snapshot)
    director.start()
    assert hugepages_free() < free
    director.kill()
    director.start()
    assert director.client.status().generation == 1
    assert director.terminate() == 0
    assert hugepages_free() == free


def test_documented_keys_are_those_of_the_program() -> None:
    """README.md's table of keys, against what the program says that it knows."""
    page = (Path(__file__).resolve().parents[2] / "native/forwarder/README.md").read_text()
    keys = page.split("## Keys")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+\.\w+)` \|", keys, re.MULTILINE))
    said = run_once("--check", "--set", "port=[{nonsense=1}]").stderr
    known = {f"port.{key}" for key in said.split("[[port]] has ")[1].strip().split(", ")}
    for section in ("director", "forward", "eal", "punt", "flow_cache", "fragments", "stats"):
        said = run_once("--check", "--set", f"{section}.nonsense=1").stderr
        listed = re.search(rf"\[{section}\] has (.*)$", said, re.MULTILINE)
        assert listed, said
        known |= {f"{section}.{key}" for key in listed.group(1).split(", ")}
    assert documented == known


def test_one_cpu_is_enough(make: Make, name: Name) -> None:
    """Main and two workers on the only CPU that the process may use."""
    director = make(
        name("o"), "net_null0,size=60", prefix=("taskset", "-c", "0"), eal={"workers": 2}
    )  # fmt: skip
    snapshot(director.snapshot)
    director.start()
    time.sleep(0.2)
    before = time.monotonic()
    for _ in range(5):
        director.client.load(director.snapshot)
    assert time.monotonic() - before < 5
    assert all(worker.rx_packets for worker in director.client.status().workers)
    assert director.terminate() == 0
