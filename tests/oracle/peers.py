"""Which of several directors has a datagram's fragments: docs/wire/hashing.md, "Among directors"."""

from collections.abc import Sequence
from functools import cache

from oracle.parse import Address
from oracle.siphash import MASK, siphash24

KEY = b"glb peers" + bytes(7)


def scramble(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


@cache
def seed(peer: Address) -> int:
    return siphash24(KEY, peer.packed)


def message(source: Address, destination: Address, protocol: int) -> bytes:
    """Return what is hashed of a fragment."""
    ends = source.packed.ljust(16, b"\0") + destination.packed.ljust(16, b"\0")
    return ends + bytes([source.version, protocol if source.version == 4 else 0]) + bytes(6)


def choose(
    peers: Sequence[Address], hash_key: bytes, source: Address, destination: Address, protocol: int
) -> Address:
    """Return the director that all fragments of a datagram go to; `hash_key` is the VIP's first service's."""
    digest = siphash24(hash_key, message(source, destination, protocol))

    return max(peers, key=lambda peer: (scramble(digest ^ seed(peer)), seed(peer)))
