"""What the programs need of the kernel: the list, and who says what when some is missing.

A kernel without a feature is made by a library in front of libbpf, which answers the one question as such a
kernel would.
"""

import json
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import bpf
from .conftest import PROGRAM, Redirect
from .netns import Namespace, run

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "native/redirect"
DEBIAN_12 = (6, 1)
DIRECTOR = "10.77.0.1"
LACKING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#define LACKS(name) (getenv("LACKS_" name) ? atoi(getenv("LACKS_" name)) : -1)
#define REAL(name) ((int (*)(int, ...))dlsym(RTLD_NEXT, name))
int libbpf_probe_bpf_prog_type(int type, const void *none)
{
	return type == LACKS("PROGRAM") ? 0 : REAL("libbpf_probe_bpf_prog_type")(type, none);
}
int libbpf_probe_bpf_map_type(int type, const void *none)
{
	return type == LACKS("MAP") ? 0 : REAL("libbpf_probe_bpf_map_type")(type, none);
}
int libbpf_probe_bpf_helper(int type, int id, const void *none)
{
	return id == LACKS("HELPER") ? 0 : REAL("libbpf_probe_bpf_helper")(type, id, none);
}
"""
# In UAPI's numbers, which never change: what a kernel lacks, for which mode, and what is said then.
MISSING = {
    "skc_lookup_tcp": ("HELPER=99", "tc", "bpf_skc_lookup_tcp for tc programs", "5.2"),
    "redirect_neigh": ("HELPER=152", "tc", "bpf_redirect_neigh for tc programs", "5.10"),
    "ringbuf": ("MAP=27", "tc", "BPF_MAP_TYPE_RINGBUF", "5.8"),
    "sched_cls": ("PROGRAM=3", "tc", "BPF_PROG_TYPE_SCHED_CLS", "4.1"),
    "fib_lookup": ("HELPER=69", "xdp", "bpf_fib_lookup for XDP programs", "4.18"),
}


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("lacking") / "lacking.so"
    source = library.with_suffix(".c")
    source.write_text(LACKING)
    run("cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl")
    return library


@pytest.fixture
def redirect(bpffs: Path) -> Iterator[Redirect]:
    namespace = Namespace("f")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    redirect = Redirect(namespace, "eth0", bpffs / "glb")
    yield redirect
    redirect.call("detach", "eth0", "--force")
    namespace.delete()


def features() -> dict[str, tuple[str, str, str]]:
    """What `glb-redirect features` prints, by name: since when, of use to tc, to XDP."""
    head, *lines = (line.split() for line in run(str(PROGRAM), "features").splitlines())
    assert head == ["needed", "since", "tc", "xdp"]
    assert all(len(line) == 4 for line in lines)
    return {name: (since, tc, xdp) for name, since, tc, xdp in lines}


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def instructions(program: str, section: str, tmp_path: Path) -> list[tuple[int, int, int, int]]:
    """Of a compiled program and its functions: opcode, source register, offset, immediate value of each."""
    code = tmp_path / "code"
    compiled = ROOT / f"build/dev/native/redirect/{program}.bpf.o"
    whole = b""
    for name in (section, ".text"):
        run("llvm-objcopy", "-O", "binary", f"--only-section={name}", str(compiled), str(code))
        whole += code.read_bytes()
    words = struct.iter_unpack("<BBhi", whole)
    found = []
    for opcode, registers, offset, value in words:
        found.append((opcode, registers >> 4, offset, value))
        if opcode == 0x18:  # a load of 64 bits is twice as long
            next(words)
    assert len(found) > 1000
    return found


def inside(redirect: Redirect, *command: str) -> "subprocess.CompletedProcess[str]":
    whole = ["ip", "netns", "exec", redirect.namespace.name, *command]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


def without(
    lacking: Path, redirect: Redirect, lacks: str, *command: str
) -> "subprocess.CompletedProcess[str]":
    """A command on a kernel that lacks something."""
    where = ["--pin-dir", str(redirect.pin_dir), "--name", redirect.name]
    kernel = ["env", f"LD_PRELOAD={lacking}", f"LACKS_{lacks}"]
    return inside(redirect, *kernel, str(PROGRAM), *command, *where)


def test_this_kernel_has_all() -> None:
    assert all("no" not in each[1:] and "yes" in each[1:] for each in features().values())


def test_debian_12_has_all() -> None:
    assert max(version(since) for since, _, _ in features().values()) == (5, 11) < DEBIAN_12


def readme() -> str:
    text = (SOURCES / "README.md").read_text()
    return text.partition("## What the kernel must have")[2].partition("\n## ")[0]


def programs() -> str:
    return "".join(each.read_text() for each in sorted(SOURCES.glob("*.bpf.*")))


def test_readme_lists_them() -> None:
    rows = re.findall(r"^\| `([\w/]+)` \| ([\d.]+) \| (yes|-) \| (yes|-) \|", readme(), re.MULTILINE)
    assert {name: tuple(rest) for name, *rest in rows} == features()


@pytest.mark.parametrize(
    ("program", "section", "column"), [("glb_redirect", "tc", 1), ("glb_redirect_xdp", "xdp", 2)]
)
def test_programs_call_what_is_listed(program: str, section: str, column: int, tmp_path: Path) -> None:
    code = instructions(program, section, tmp_path)
    calls = [(source, value) for opcode, source, _, value in code if opcode == 0x85]
    assert {source for source, _ in calls} == {0, 1}, "numbered functions and the program's own: no kfunc"
    header = Path("/usr/include/linux/bpf.h").read_text()
    mapper = re.findall(r"\bFN\((\w+)(?:, (\d+),[^)]*)?\)", header.partition("__BPF_FUNC_MAPPER(FN")[2])
    names = [f"bpf_{name}" for name, _ in mapper if name != "unspec"]  # in the order of their numbers, from 1
    assert names.index("bpf_redirect_neigh") == 151
    listed = {name for name, row in features().items() if name.startswith("bpf_") and row[column] != "-"}
    assert {names[number - 1] for source, number in calls if source == 0} == listed


@pytest.mark.parametrize(("program", "section"), [("glb_redirect", "tc"), ("glb_redirect_xdp", "xdp")])
def test_instructions_are_old_ones(program: str, section: str, tmp_path: Path) -> None:
    """None of those that came after Linux 5.1: atomic ones that fetch (5.12), and -mcpu=v4 (6.6)."""
    for opcode, _, offset, _ in instructions(program, section, tmp_path):
        kind, mode = opcode & 7, opcode & 0xE0
        if kind in (0, 1, 2, 3):  # loads and stores
            assert mode in (0x00, 0x60), "neither atomic nor sign-extending"
        elif kind in (4, 7):  # arithmetic
            assert offset == 0, "neither a signed division nor a sign-extending move"
            assert opcode != 0xD7, "bswap"
        else:
            assert opcode != 0x06, "gotol"
            assert opcode != 0xE5, "may_goto"


def test_maps_are_of_listed_types() -> None:
    used = set(re.findall(r"\bBPF_MAP_TYPE_\w+", programs()))
    assert used == {name for name in features() if name.startswith("BPF_MAP_TYPE_")}


def test_readme_lists_flags() -> None:
    flag = r"\b(?:BPF_F|BPF_ADJ|BPF_FIB)_\w+"
    (listed,) = (each for each in readme().split("\n- ") if each.startswith("flags: "))
    assert set(re.findall(flag, programs())) == set(re.findall(flag, listed))


def test_the_verifier_has_room(redirect: Redirect) -> None:
    redirect.attach("--mode", "xdp", "--nat", "tcp:8080=203.0.113.80:80", "--allow", DIRECTOR)
    status = redirect.status()
    assert 100_000 < bpf.verifier_steps(status["program_id"]) < 500_000
    assert 50_000 < bpf.verifier_steps(status["xdp_program_id"]) < 500_000


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_named(name: str, lacking: Path, redirect: Redirect) -> None:
    lacks, mode, what, since = MISSING[name]
    says = f"no {what} (it is in Linux {since} and later)"
    done = without(lacking, redirect, lacks, "attach", "eth0", "--mode", mode, "--allow", DIRECTOR)
    instead = {"tc": "use `glb-redirect nfqueue run`", "xdp": "use --mode tc"}[mode]
    assert (done.returncode, done.stderr) == (1, f"glb-redirect: this kernel has {says}: {instead}\n")
    assert not (redirect.pin_dir / redirect.name).exists()
    assert redirect.namespace.run("tc", "qdisc", "show", "dev", "eth0").count("clsact") == 0
    report = json.loads(without(lacking, redirect, lacks, "doctor", "eth0", "--json").stdout)
    kernel = next(each for each in report["findings"] if each["check"] == "kernel")
    assert kernel["message"].endswith(f" has {says}")
    assert kernel["status"] == {"tc": "fail", "xdp": "warn"}[mode]


def test_tc_does_without_what_xdp_needs(lacking: Path, redirect: Redirect) -> None:
    done = without(lacking, redirect, "HELPER=69", "attach", "eth0", "--allow", DIRECTOR)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_btf(redirect: Redirect) -> None:
    """Really none: an empty file system lies over the kernel's."""
    attach = f"{PROGRAM} attach eth0 --pin-dir {redirect.pin_dir}"
    command = f"mount -t tmpfs none /sys/kernel/btf && exec {attach}"
    done = inside(redirect, "unshare", "--mount", "sh", "-c", command)
    says = "no /sys/kernel/btf/vmlinux (it is in Linux 5.4 and later, with CONFIG_DEBUG_INFO_BTF=y)"
    assert done.stderr == f"glb-redirect: this kernel has {says}: use `glb-redirect nfqueue run`\n"
    assert done.returncode == 1


def test_who_may_not_ask() -> None:
    """What is not permitted is not called missing."""
    command = ["setpriv", "--reuid", "65534", "--clear-groups", str(PROGRAM), "features"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not permitted; run as root" in done.stderr
