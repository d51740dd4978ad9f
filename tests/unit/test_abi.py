"""The ABI note: read from the real extension, from doctored copies of it, and from what has none."""

import struct
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from glbpy import abi
from glbpy._native import lib
from glbpy.errors import AbiError


def extension() -> Path:
    spec = find_spec("glbpy._glb")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def doctored(directory: Path, **versions: int) -> Path:
    """Return a copy of the extension whose note says these versions."""
    source = extension()
    with source.open("rb") as file:
        at = ELFFile(file).get_section_by_name(abi.SECTION)["sh_offset"]
    data = bytearray(source.read_bytes())
    note = asdict(replace(abi.WANTED, **versions))
    struct.pack_into("<4I", data, at + 20, *note.values())
    copy = directory / source.name
    copy.write_bytes(data)
    return copy


def test_wanted_versions_are_the_headers() -> None:
    header = lib.glb_abi_get()
    found = abi.Abi(header.abi, header.snapshot, header.stats, header.control)
    assert found == abi.WANTED == abi.read(extension())


def test_extension_of_this_build_is_accepted() -> None:
    assert abi.check_extension(extension()) == abi.WANTED


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"abi": 2}, "libglb interface 2 (wanted 1)"),
        ({"snapshot": 9}, "snapshot format 9 (wanted 1)"),
        ({"stats": 0}, "counter file layout 0 (wanted 1)"),
        ({"abi": 2, "stats": 3}, "libglb interface 2 (wanted 1), counter file layout 3 (wanted 1)"),
    ],
)
def test_extension_of_another_release_is_refused(
    tmp_path: Path, versions: dict[str, int], message: str
) -> None:
    copy = doctored(tmp_path, **versions)
    with pytest.raises(AbiError) as refused:
        abi.check_extension(copy)
    assert message in str(refused.value)
    assert str(copy) in str(refused.value)
    assert "make setup" in str(refused.value)


def test_forwarder_is_held_to_what_it_shares_with_python(tmp_path: Path) -> None:
    """Its own libglb interface may differ; files, counters and control protocol may not."""
    assert abi.check_forwarder(doctored(tmp_path, abi=7)).abi == 7
    with pytest.raises(AbiError, match="control protocol 2"):
        abi.check_forwarder(doctored(tmp_path, control=2))


def test_files_without_a_note_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    cut = tmp_path / "cut"
    cut.write_bytes(extension().read_bytes()[:100])
    for path, message in (
        (Path(sys.executable).resolve(), "no ABI note"),
        (text, "no whole ELF file"),
        (cut, "no whole ELF file"),
        (tmp_path / "absent", "cannot be read"),
    ):
        with pytest.raises(AbiError, match=message):
            abi.read(path)


def test_extension_is_checked_before_it_is_imported(tmp_path: Path) -> None:
    """A doctored copy under the extension's name is refused, and none of its code has run."""
    copy = doctored(tmp_path, abi=2)
    program = f"""
import importlib.machinery, importlib.util, sys
import glbpy
path = {str(copy)!r}
class Finder:
    def find_spec(self, name, where=None, target=None):
        if name == "glbpy._glb":
            loader = importlib.machinery.ExtensionFileLoader(name, path)
            return importlib.util.spec_from_file_location(name, path, loader=loader)
sys.meta_path.insert(0, Finder())
from glbpy.errors import AbiError
try:
    import glbpy._native
except AbiError as error:
    print(error)
    print("glbpy._glb" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    message, imported = done.stdout.splitlines()
    assert "libglb interface 2 (wanted 1)" in message
    assert imported == "False"
