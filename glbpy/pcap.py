"""Read and check capture files (pcap and pcapng, Ethernet only), and write pcap.

A driver that reads a capture cannot tell its end from damage, so damage is found here first.
"""

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glbpy.errors import InvalidInputError

FRAME_MAX = 65535  # bytes
ETHERNET = 1  # link type
MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D  # magic numbers by resolution
PCAPNG = 0x0A0D0D0A
SECTION, INTERFACE, SIMPLE, ENHANCED = PCAPNG, 1, 3, 6  # pcapng block types


@dataclass(frozen=True, slots=True)
class Capture:
    """A checked capture. Frame ``n`` is ``data[offsets[n]:offsets[n] + lengths[n]]``."""

    data: bytes
    offsets: "array[int]"
    lengths: "array[int]"  # bytes that were captured
    wire_lengths: "array[int]"  # bytes that the frame had; more than lengths where it was cut
    times_ns: "array[int]"  # since the epoch
    plain: bool  # a pcap file that every reader takes as it is

    def __len__(self) -> int:
        return len(self.offsets)

    def frame(self, number: int) -> bytes:
        offset = self.offsets[number]
        return self.data[offset : offset + self.lengths[number]]

    def frames(self) -> Iterator[bytes]:
        return map(self.frame, range(len(self)))


def read(path: Path) -> Capture:
    """Read a capture. Raises InvalidInputError: unreadable, damaged, not Ethernet, a frame is too long."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        capture = parse(data)
    except ValueError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    for number, length in enumerate(capture.lengths):
        if length > FRAME_MAX:
            raise InvalidInputError(f"{path}: frame {number} has {length} bytes; at most {FRAME_MAX} fit")
    return capture


def parse(data: bytes) -> Capture:
    """Parse a capture's bytes, with frames of any length. Raises ValueError: what is wrong, and where."""
    if len(data) < 24:
        raise ValueError(f"{len(data)} bytes are too short for a capture file (pcap or pcapng)")
    if struct.unpack_from("<I", data)[0] == PCAPNG:
        return _parse_pcapng(data)
    for order in "<>":
        magic = struct.unpack_from(f"{order}I", data)[0]
        if magic in (MICROSECONDS, NANOSECONDS):
            return _parse_pcap(data, order, 1000 if magic == MICROSECONDS else 1)
    raise ValueError("is not a capture file (pcap or pcapng)")


def _check_link_type(link_type: int) -> None:
    if link_type != ETHERNET:
        raise ValueError(f"has link type {link_type}; only Ethernet (1) can be replayed")


def _empty(data: bytes, plain: bool) -> Capture:
    return Capture(data, array("Q"), array("I"), array("I"), array("Q"), plain)


def _add(capture: Capture, time_ns: int, offset: int, length: int, wire_length: int) -> None:
    capture.times_ns.append(time_ns)
    capture.offsets.append(offset)
    capture.lengths.append(length)
    capture.wire_lengths.append(wire_length)


def _parse_pcap(data: bytes, order: str, tick_ns: int) -> Capture:
    _, major, _, _, _, snap, link_type = struct.unpack_from(f"{order}IHHiIII", data)
    if major != 2:
        raise ValueError(f"has pcap version {major}; 2 is known")
    _check_link_type(link_type & 0xFFFF)  # the upper half describes check sequences
    record = struct.Struct(f"{order}IIII")
    capture = _empty(data, plain=True)
    position = 24
    while position < len(data):
        if position + 16 > len(data):
            raise ValueError(f"is cut short in frame {len(capture)}")
        seconds, fraction, length, wire_length = record.unpack_from(data, position)
        position += 16
        if position + length > len(data):
            raise ValueError(f"is damaged or cut short in frame {len(capture)}")
        _add(capture, seconds * 1_000_000_000 + fraction * tick_ns, position, length, wire_length)
        position += length
    if 0 < snap < max(capture.lengths, default=0):  # other readers would cut the frames
        return replace(capture, plain=False)
    return capture


def _ticks_per_s(options: bytes, order: str) -> int:
    """Return an interface's clock rate, from its if_tsresol option."""
    position = 0
    while position + 4 <= len(options):
        code, length = struct.unpack_from(f"{order}HH", options, position)
        if code == 9 and length == 1 and position + 5 <= len(options):
            value = options[position + 4]
            return int(2 ** (value & 0x7F) if value & 0x80 else 10**value)
        if code == 0:
            break
        position += 4 + (length + 3) // 4 * 4
    return 1_000_000


def _blocks(data: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Yield (byte order, type, start of the body, its length) of each block."""
    order, position = "<", 0
    while position < len(data):
        if position + 12 > len(data):
            raise ValueError("is cut short in a block")
        if struct.unpack_from("<I", data, position)[0] == SECTION:
            order = "<" if struct.unpack_from("<I", data, position + 8)[0] == 0x1A2B3C4D else ">"
        kind, length = struct.unpack_from(f"{order}II", data, position)
        if length < 12 or length % 4 or position + length > len(data):
            raise ValueError(f"is damaged or cut short at byte {position}")
        if struct.unpack_from(f"{order}I", data, position + length - 4)[0] != length:
            raise ValueError(f"is damaged at byte {position}: a block's two lengths differ")
        yield order, kind, position + 8, length - 12
        position += length


def _parse_pcapng(data: bytes) -> Capture:
    capture = _empty(data, plain=False)
    rates: list[int] = []  # ticks per second, of the section's interfaces
    for order, kind, body, size in _blocks(data):
        if kind == SECTION:
            rates = []
        elif kind == INTERFACE and size >= 8:
            _check_link_type(struct.unpack_from(f"{order}H", data, body)[0])
            rates.append(_ticks_per_s(data[body + 8 : body + size], order))
        elif kind == ENHANCED and size >= 20:
            interface, high, low, length, wire_length = struct.unpack_from(f"{order}IIIII", data, body)
            if interface >= len(rates) or length > size - 20:
                raise ValueError(f"is damaged in frame {len(capture)}")
            time_ns = (high << 32 | low) * 1_000_000_000 // rates[interface]
            _add(capture, time_ns, body + 20, length, wire_length)
        elif kind == SIMPLE and size >= 4:
            wire_length = struct.unpack_from(f"{order}I", data, body)[0]
            _add(capture, 0, body + 4, min(wire_length, size - 4), wire_length)
    return capture


def write(path: Path, frames: Iterator[bytes] | Sequence[bytes], times_ns: Sequence[int]) -> None:
    """Write a pcap file with nanosecond time stamps."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", NANOSECONDS, 2, 4, 0, 0, 262144, ETHERNET))
        for frame, time_ns in zip(frames, times_ns, strict=True):
            seconds, fraction = divmod(time_ns, 1_000_000_000)
            file.write(struct.pack("<IIII", seconds, fraction, len(frame), len(frame)) + frame)
