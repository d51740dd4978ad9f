"""SipHash-2-4 with a 64-bit result: one message at a time, and many messages at once.

The second form packs one 64-bit word of each message into a lane of a single big integer, so that
one Python operation works on all of them. It is the same algorithm; tests compare the two.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

MASK = (1 << 64) - 1
LANE = 128  # bits: a word, and room above it for carries and shifts


def siphash24(key: bytes, message: bytes) -> int:
    """Return the digest's 8 bytes read as a little-endian integer."""
    return siphash24_lanes(key, words(message), 1)[0]


def words(message: bytes) -> list[int]:
    """Return the message as little-endian words: zero padded, the length in the last byte."""
    padded = message + bytes(-(len(message) + 1) % 8) + bytes([len(message) & 0xFF])
    return [int.from_bytes(padded[at : at + 8], "little") for at in range(0, len(padded), 8)]


def pack(values: Sequence[int]) -> int:
    """Put one word into each lane."""
    lanes = array("Q", [0]) * (2 * len(values))
    lanes[::2] = array("Q", values)
    return int.from_bytes(lanes.tobytes(), "little")


def siphash24_lanes(key: bytes, message: Sequence[int], count: int) -> array[int]:
    """Hash `count` messages of equal length; message[i] holds word i of each of them, packed."""
    ones = int.from_bytes((b"\1" + bytes(LANE // 8 - 1)) * count, "little")
    mask = ones * MASK
    k0 = int.from_bytes(key[:8], "little") * ones
    k1 = int.from_bytes(key[8:], "little") * ones
    v0, v1 = k0 ^ 0x736F6D6570736575 * ones, k1 ^ 0x646F72616E646F6D * ones
    v2, v3 = k0 ^ 0x6C7967656E657261 * ones, k1 ^ 0x7465646279746573 * ones

    def rotate(x: int, bits: int) -> int:
        return ((x << bits) | (x >> (64 - bits))) & mask

    def rounds(n: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(n):
            v0 = (v0 + v1) & mask
            v2 = (v2 + v3) & mask
            v1 = rotate(v1, 13) ^ v0
            v3 = rotate(v3, 16) ^ v2
            v0 = rotate(v0, 32)
            v2 = (v2 + v1) & mask
            v0 = (v0 + v3) & mask
            v1 = rotate(v1, 17) ^ v2
            v3 = rotate(v3, 21) ^ v0
            v2 = rotate(v2, 32)

    for word in message:
        v3 ^= word
        rounds(2)
        v0 ^= word
    v2 ^= 0xFF * ones
    rounds(4)
    lanes = array("Q", (v0 ^ v1 ^ v2 ^ v3).to_bytes(count * LANE // 8, "little"))
    return lanes[::2]
