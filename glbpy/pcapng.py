"""Write pcapng: Ethernet frames with nanosecond times and a comment each. Reading is in :mod:`glbpy.pcap`."""

import struct
from types import TracebackType
from typing import BinaryIO

from glbpy import __version__

SECTION, INTERFACE, ENHANCED = 0x0A0D0D0A, 1, 6
ETHERNET, BYTE_ORDER = 1, 0x1A2B3C4D
COMMENT, NAME, RESOLUTION, APPLICATION = 1, 2, 9, 4  # options: opt_comment, if_name, if_tsresol, shb_userappl


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


class Writer:
    """A pcapng file with one section; interfaces are numbered from 0 in the order of ``interfaces``."""

    def __init__(self, file: BinaryIO, interfaces: list[str]) -> None:
        self._file = file
        options = _option(APPLICATION, f"glb {__version__}".encode()) + bytes(4)
        file.write(_block(SECTION, struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1) + options))
        for name in interfaces:
            options = _option(NAME, name.encode()) + _option(RESOLUTION, b"\x09") + bytes(4)
            file.write(_block(INTERFACE, struct.pack("<HHI", ETHERNET, 0, 0) + options))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, interface: int, time_ns: int, frame: bytes, frame_len: int, comment: str) -> None:
        """Append a frame, of which ``frame_len`` bytes were on the wire."""
        head = struct.pack("<IIIII", interface, time_ns >> 32, time_ns & 0xFFFFFFFF, len(frame), frame_len)
        options = _option(COMMENT, comment.encode()) + bytes(4)
        self._file.write(_block(ENHANCED, head + frame + bytes(-len(frame) % 4) + options))
