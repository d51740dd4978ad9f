"""QUIC-LB and QUIC's invariants, from draft-ietf-quic-load-balancers-21 and RFC 8999, 9000 and 9369 alone.

Written for reading: numbers of any size instead of halves of bytes, the cipher from a library. Judges
native/core/quic_*.c, and gives the test servers of tests/lab their connection ids.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

VERSION_1, VERSION_2 = 0x00000001, 0x6B3343CF
TYPES = {
    VERSION_1: ("initial", "0-rtt", "handshake", "retry"),
    VERSION_2: ("retry", "initial", "0-rtt", "handshake"),
}


@dataclass(frozen=True)
class Config:
    """A configuration; without a key ids are in the clear. Lengths are bytes."""

    config_id: int
    server_id_length: int
    nonce_length: int
    key: bytes | None

    @property
    def length(self) -> int:
        return self.server_id_length + self.nonce_length

    def _aes(self, block: bytes, decrypt: bool = False) -> bytes:
        assert self.key is not None
        cipher = Cipher(algorithms.AES(self.key), modes.ECB())
        context = cipher.decryptor() if decrypt else cipher.encryptor()
        return context.update(block) + context.finalize()

    def _round(self, number: int, half: int) -> int:
        """Return the round function of a half, which has 4 * length bits: as many bits again.

        The draft has halves as bytes, where an odd length leaves the left one's last, and the right one's
        first, four bits zero; so a left half is at the front of its bytes, and a right one at their end.
        """
        bits, size = 4 * self.length, (self.length + 1) // 2
        spare = 8 * size - bits
        from_left = number % 2 == 1
        given = (half << spare if from_left else half).to_bytes(size)
        block = given.ljust(14, b"\0") + bytes([self.length, number])
        result = int.from_bytes(self._aes(block)[:size])
        return result & ((1 << bits) - 1) if from_left else result >> spare

    def _halves(self, value: bytes) -> tuple[int, int]:
        bits, number = 4 * self.length, int.from_bytes(value)
        return number >> bits, number & ((1 << bits) - 1)

    def _whole(self, left: int, right: int) -> bytes:
        return (left << 4 * self.length | right).to_bytes(self.length)

    def encode(self, server_id: bytes, nonce: bytes, low_bits: int | None = None) -> bytes:
        """Return a connection id. ``low_bits`` of its first byte: by default the length of what follows."""
        assert (len(server_id), len(nonce)) == (self.server_id_length, self.nonce_length)
        body = server_id + nonce
        if self.key is not None and self.length == 16:
            body = self._aes(body)
        elif self.key is not None:
            left, right = self._halves(body)
            right ^= self._round(1, left)
            left ^= self._round(2, right)
            right ^= self._round(3, left)
            left ^= self._round(4, right)
            body = self._whole(left, right)
        return bytes([self.config_id << 5 | (self.length if low_bits is None else low_bits)]) + body

    def decode(self, connection_id: bytes) -> bytes:
        """Return the server id. The first byte is not looked at."""
        body = connection_id[1 : 1 + self.length]
        if self.key is not None and self.length == 16:
            body = self._aes(body, decrypt=True)
        elif self.key is not None:
            left, right = self._halves(body)
            left ^= self._round(4, right)
            right ^= self._round(3, left)
            left ^= self._round(2, right)
            right ^= self._round(1, left)
            body = self._whole(left, right)
        return body[: self.server_id_length]


def server_of(
    configs: dict[int, tuple[Config, dict[bytes, int]]], connection_id: bytes
) -> int | None:
    """Return whose a connection id is. ``configs`` has each configuration and its servers by id."""
    if not connection_id or connection_id[0] >> 5 not in configs:
        return None
    config, servers = configs[connection_id[0] >> 5]
    if len(connection_id) < 1 + config.length:
        return None
    return servers.get(config.decode(connection_id))


class Truncated(Exception):
    """A packet ends too early."""


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        if len(self.data) < count:
            raise Truncated
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def integer(self) -> int:
        """Take an integer of variable length, RFC 9000, 16."""
        first = self.take(1)
        rest = self.take((1 << (first[0] >> 6)) - 1)
        return int.from_bytes(bytes([first[0] & 0x3F]) + rest)


def packets(payload: bytes) -> list[tuple[str, bytes]]:
    """Return (kind, destination id) of the packets of a datagram, up to the first that cannot be read.

    A short header's id has no end that can be seen: it comes with all that follows.
    """
    found: list[tuple[str, bytes]] = []
    reader = Reader(payload)
    try:
        while reader.data:
            first = reader.take(1)[0]
            if first & 0x80 == 0:
                found.append(("short" if first & 0x40 else "short, unfixed", reader.data))
                break
            types = TYPES.get(int.from_bytes(reader.take(4)))
            destination = reader.take(reader.take(1)[0])
            source = reader.take(reader.take(1)[0])
            if types is None or max(len(destination), len(source)) > 20:
                break
            kind = types[first >> 4 & 3]
            found.append((kind, destination))
            if kind == "retry":
                break
            if kind == "initial":
                reader.take(reader.integer())
            reader.take(reader.integer())
    except Truncated:
        pass
    return found


def server_chosen(payload: bytes) -> bytes | None:
    """Return the connection id that a server has chosen; None: there is none, or nothing shows it."""
    read = packets(payload)
    if not read:
        return None
    kind, own = read[0]
    if kind in ("short", "short, unfixed", "handshake"):
        return own
    if kind == "retry":
        return None
    for kind, other in read[1:4]:
        if kind == "short":
            return own if own and other.startswith(own) else None
        if other != own or kind not in ("initial", "0-rtt", "handshake"):
            return None
        if kind == "handshake":
            return own
    return None
