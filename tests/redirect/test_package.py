"""The Debian package: what is in it, and that it works from there."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .netns import Namespace, run

ROOT = Path(__file__).resolve().parents[2]
PRERM = ROOT / "devtools/package/prerm"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the package that the recipe makes."""
    directory = tmp_path_factory.mktemp("package")
    package = run(str(ROOT / "devtools/package.sh")).strip()
    run("dpkg-deb", "--raw-extract", str(ROOT / package), str(directory))
    return directory


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    namespace = Namespace("p")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    yield namespace
    namespace.delete()


def test_the_program_needs_the_c_library_alone(unpacked: Path) -> None:
    dynamic = run("readelf", "--dynamic", str(unpacked / "usr/bin/glb-redirect"))
    assert re.findall(r"NEEDED.*\[(.*)\]", dynamic) == ["libc.so.6"]
    control = (unpacked / "DEBIAN/control").read_text()
    assert re.search(r"^Depends: libc6 \(>= [0-9.]+\)$", control, re.MULTILINE)


def test_the_units_start_what_the_package_has(unpacked: Path) -> None:
    units = sorted((unpacked / "lib/systemd/system").iterdir())
    assert [unit.name for unit in units] == [
        "glb-redirect-allow@.service", "glb-redirect-metrics.service", "glb-redirect-metrics.timer",
        "glb-redirect-nfqueue.service", "glb-redirect-report.service", "glb-redirect@.service",
    ]  # fmt: skip
    texts = "".join(unit.read_text() for unit in units)
    started = set(re.findall(r"^Exec\w+=(\S+)", texts, re.MULTILINE))
    assert started == {"/usr/bin/glb-redirect"}


def test_the_program_attaches(unpacked: Path, namespace: Namespace, bpffs: Path) -> None:
    program = str(unpacked / "usr/bin/glb-redirect")
    where = ["eth0", "--pin-dir", str(bpffs / "package"), "--name", namespace.name]
    namespace.run(program, "attach", "--allow", "10.77.0.1", *where)
    status = json.loads(namespace.run(program, "status", "--json", *where))
    assert status["attached"]
    assert status["allow"] == ["10.77.0.1/32"]
    namespace.run(program, "detach", "--force", *where)


@pytest.mark.parametrize("attached", [True, False])
def test_a_removal_is_refused_while_attached(attached: bool) -> None:
    # /run is hidden so that a machine's own systemd is not asked.
    hide = "mount -t tmpfs none /run && mount -t tmpfs none /sys/fs/bpf"
    pins = "mkdir -p /sys/fs/bpf/glb" + ("/eth0" if attached else "")
    command = ["unshare", "--mount", "sh", "-c", f"{hide} && {pins} && sh {PRERM} remove"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if attached else 0), done.stderr
    assert ("still attached: eth0. Drain" in done.stderr) == attached
