"""With hugepages, as all other tests do without; and what is said where there are none."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane import hugepages
from dataplane.rig import PROGRAM, VIP, Director, Segment, snapshot

Make = Callable[..., Director]
Name = Callable[[str], str]
PAGES = 64  # as many as a small forwarder needs

# A machine as the forwarder sees it: pages by our own directory, /proc/sys as in containers, no hugetlbfs.
MACHINE = """
mount --make-rprivate / && mount -t tmpfs none /sys/kernel/mm/hugepages || exit 99
mkdir /sys/kernel/mm/hugepages/hugepages-2048kB && cd /sys/kernel/mm/hugepages/hugepages-2048kB || exit 99
echo "$FREE" >free_hugepages; echo "$RESERVED" >nr_hugepages
echo 0 >resv_hugepages; echo 0 >surplus_hugepages
if [ "$CONTAINER" = 1 ]; then
    mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys || exit 99
fi
for place in $(grep hugetlbfs /proc/self/mounts | cut -d" " -f2); do umount "$place" || exit 99; done
cd / && exec "$@"
"""


@pytest.mark.parametrize("devargs", ["net_af_packet0,iface=director0", "net_af_xdp0,iface=director0"])
def test_forwards(make: Make, name: Name, segment: Segment, devargs: str) -> None:
    """They are given back at the end."""
    with hugepages.at_least(PAGES):
        eal = {"args": ["-m", "96", "--no-pci", "--in-memory"]}
        director = make(name("huge"), devargs, prefix=segment.prefix, eal=eal)
        snapshot(director.snapshot)
        director.start()
        segment.wire.send([ethernet(ipv4("192.0.2.77", VIP, 6, tcp(7, 80)), IPV4, dst=segment.mac)])
        assert len(segment.wire.receive(1)) == 1
        while_running = hugepages.free()
        assert director.terminate() == 0
        assert hugepages.free() > while_running


def test_a_killed_test_gives_them_back() -> None:
    before = hugepages.RESERVED.read_text()
    code = (
        "import time; from dataplane import hugepages\n"
        "with hugepages.at_least(hugepages.free() + 4):\n    print('here', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "here\n"
        assert int(hugepages.RESERVED.read_text()) == int(before) + 4
        victim.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while hugepages.RESERVED.read_text() != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert hugepages.RESERVED.read_text() == before


@pytest.mark.parametrize(
    ("machine", "args", "said"),
    [
        (
            {"FREE": "0", "RESERVED": "0", "CONTAINER": "0"}, ["-m", "96"],
            "0 MB of hugepages are free, of 0 MB reserved, and 96 MB are wanted: run `echo 48 > "
            '/proc/sys/vm/nr_hugepages`, or add "--no-huge" to eal.args',
        ),
        (
            {"FREE": "10", "RESERVED": "30", "CONTAINER": "1"}, ["-m", "96", "--in-memory"],
            "20 MB of hugepages are free, of 60 MB reserved, and 96 MB are wanted: run `echo 68 > "
            "/proc/sys/vm/nr_hugepages` on the host, for it cannot be written here (a container?)",
        ),
        (
            {"FREE": "512", "RESERVED": "512", "CONTAINER": "0"}, ["-m", "96"],
            "no hugetlbfs is mounted: run `mount -t hugetlbfs none /dev/hugepages`, or add "
            '"--in-memory" to eal.args',
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(
    make: Make, name: Name, machine: dict[str, str], args: list[str], said: str
) -> None:
    director = make(name("none"), "net_null0,no-rx=1", eal={"args": [*args, "--no-pci"]})
    command = ["unshare", "-m", "sh", "-c", MACHINE, "sh", str(PROGRAM), "--config", str(director.toml)]
    done = subprocess.run(
        command, env={**os.environ, **machine}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    assert said in done.stderr
