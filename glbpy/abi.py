"""Read the ABI note of a library or program, and refuse what this glbpy cannot talk to.

The note (``native/include/glb/abi.h``) is read with pyelftools from the file, so nothing of it runs: the
extension is checked before it is imported, the forwarder before it is started.
"""

import struct
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from glbpy.errors import AbiError

SECTION, OWNER, TYPE = ".note.glbpy", b"glbpy\0", 1

# Lengths of owner and descriptor, type, owner padded to 8, then the versions. A newer libglb may append
# to the descriptor; these words stay.
NOTE = struct.Struct("<3I8s4I")


@dataclass(frozen=True, slots=True)
class Abi:
    """``struct glb_abi``: the versions that programs meet by."""

    abi: int  # libglb's functions and structs, as the extension offers them
    snapshot: int  # the snapshot file's format
    stats: int  # the counter file's layout
    control: int  # the control socket's protocol


# What this glbpy is written for; a test holds it against the headers.
WANTED = Abi(abi=1, snapshot=1, stats=1, control=1)

WORDS = {
    "abi": "libglb interface",
    "snapshot": "snapshot format",
    "stats": "counter file layout",
    "control": "control protocol",
}

EXTENSION = ("abi", "snapshot", "stats")
FORWARDER = ("snapshot", "stats", "control")


def read(path: Path) -> Abi:
    """Return the note of an ELF file. Raises AbiError when it has none, or is no ELF file."""
    try:
        with path.open("rb") as file:
            section = ELFFile(file).get_section_by_name(SECTION)
            data: bytes = section.data() if section else b""
    except OSError as error:
        raise AbiError(f"{path} cannot be read ({error.strerror}): build it with `make setup`") from error
    except (ELFError, ValueError) as error:
        raise AbiError(f"{path} is no whole ELF file ({error}): build it again with `make setup`") from error
    if len(data) >= NOTE.size:
        owner_bytes, _, kind, owner, *versions = NOTE.unpack_from(data)
        if owner[:owner_bytes] == OWNER and kind == TYPE:
            return Abi(*versions)
    raise AbiError(f"{path} has no ABI note, so it is not of this release: build it again with `make setup`")


def check(path: Path, names: tuple[str, ...], wanted: Abi = WANTED) -> Abi:
    """Return the note of a file that has the wanted versions under `names`. AbiError names what differs."""
    found = read(path)
    have, want = asdict(found), asdict(wanted)
    differing = [
        f"{WORDS[name]} {have[name]} (wanted {want[name]})" for name in names if have[name] != want[name]
    ]
    if differing:
        raise AbiError(
            f"{path} speaks {', '.join(differing)}: it and this glbpy are of different releases; "
            "install both from one, or run `make setup` in the checkout"
        )
    return found


def find_extension() -> Path | None:
    """Return the file of the Python extension, without importing it; None when it is not built."""
    spec = find_spec("glbpy._glb")
    return None if spec is None or spec.origin is None else Path(spec.origin)


def check_extension(path: Path) -> Abi:
    """Check the Python extension before it is imported."""
    return check(path, EXTENSION)


def check_forwarder(path: Path) -> Abi:
    """Check ``glb-forwarder`` before it is started."""
    return check(path, FORWARDER)
