"""The Debian package: what is in it, and that it works from there."""

import json
import os
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


def test_the_units_are_valid(unpacked: Path, tmp_path: Path) -> None:
    """As systemd judges them, with the package's program."""
    program = str(unpacked / "usr/bin/glb-redirect")
    for unit in (unpacked / "lib/systemd/system").iterdir():
        text = unit.read_text().replace("/usr/bin/glb-redirect", program)
        (tmp_path / unit.name.replace("@.", "@eth0.")).write_text(text)
    units = sorted(str(unit) for unit in tmp_path.iterdir())
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units]
    found = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=found)
    assert [line for line in done.stderr.splitlines() if "glb-redirect" in line] == []
    assert done.returncode == 0, done.stderr


def test_the_program_is_of_the_package_s_version(unpacked: Path) -> None:
    control = (unpacked / "DEBIAN/control").read_text()
    version = re.search(r"^Version: (\S+)$", control, re.MULTILINE)
    assert version
    assert run(str(unpacked / "usr/bin/glb-redirect"), "--version") == f"glb-redirect {version[1]}\n"


def test_the_nfqueue_unit_does_what_it_says(unpacked: Path, namespace: Namespace, tmp_path: Path) -> None:
    """Its commands, with its environment file's words: rules and process come up, and both go."""
    unit = (unpacked / "lib/systemd/system/glb-redirect-nfqueue.service").read_text()
    list_file, status = tmp_path / "allow", tmp_path / "status.json"
    list_file.write_text("10.77.0.1\n")
    words = {"$TAKE": "--queue 7 --decap gre", "$OPTIONS": "--gre-key 5"}
    words |= {"$ALLOW": f"--allow-file {list_file}", "/usr/bin/": f"{unpacked}/usr/bin/"}
    words["/run/glb-redirect-nfqueue/status.json"] = str(status)

    def command(key: str) -> list[str]:
        found = re.search(rf"^{key}=(.*)$", unit, re.MULTILINE)
        assert found
        text = found[1]
        for old, new in words.items():
            text = text.replace(old, new)
        return text.split()

    namespace.run(*command("ExecStartPre"))
    assert namespace.run("iptables", "-S", "INPUT").count("NFQUEUE --queue-num 7 --queue-bypass") == 2
    prefix = ["ip", "netns", "exec", namespace.name]
    with subprocess.Popen([*prefix, *command("ExecStart")], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said = ""
        while "are taken" not in said:
            said += process.stderr.readline()
            assert process.poll() is None, said
        process.terminate()
    assert process.returncode == 0
    assert "the allow-list has 1 prefixes by" in said
    assert json.loads(status.read_text())["queue"] == 7
    namespace.run(*command("ExecStopPost"))
    assert "NFQUEUE" not in namespace.run("iptables", "-S", "INPUT")


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
