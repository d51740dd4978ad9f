"""The hex dumps of docs/wire are what libglb makes."""

import re
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

from glbpy import _native as native
from glbpy import keys

WIRE = Path(__file__).resolve().parents[2] / "docs/wire"


def dumps(text: str) -> list[bytes]:
    """Return the bytes of the page's hex dumps, whose offsets must add up."""
    found = []
    for block in re.findall(r"```hexdump\n(.*?)```", text, re.DOTALL):
        data = b""
        for line in block.splitlines():
            match = re.fullmatch(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  +\S.*)?", line)
            assert match is not None, line
            assert int(match[1], 16) == len(data), line
            data += bytes.fromhex(match[2])
        found.append(data)
    return found


def example_path() -> native.PacketPath:
    """Return the example of gue.md."""
    secret = keys.OFFLINE_SECRET
    backends = tuple(
        native.BackendInput(f"web{i}", i, ip_address(f"10.0.0.1{i}")) for i in (1, 2, 3)
    )
    service = native.ServiceInput(
        "www", 1, 0, keys.flow_key(secret, "www"), keys.row_seed(secret, "web"),
        (native.BindInput(ip_network("203.0.113.10"), "tcp", 80, 80),),
    )  # fmt: skip
    data = native.compile_snapshot(native.ConfigInput((native.PoolInput("web", backends),), (service,)))
    director = native.DirectorInput(
        IPv4Address("10.0.0.2"), bytes.fromhex("020000000002"), bytes.fromhex("0200000000fe")
    )
    return native.PacketPath(native.Snapshot(data), director)


def test_gue_dump_is_what_a_director_sends() -> None:
    page = (WIRE / "gue.md").read_text()
    expected = dumps(page)[0]
    frame = bytes.fromhex("020000000002 0200000000aa 0800") + expected[0x36:]
    decision = example_path().decide(frame)
    assert decision.output == expected
    assert decision.hash is not None
    chain = ", ".join(str(backend.address) for backend in decision.chain)
    assert f"flow hash `{decision.hash:016x}`, so row {decision.row}, whose chain is {chain}" in page


def test_gue_reasons_are_those_of_libglb() -> None:
    page = (WIRE / "gue.md").read_text()
    documented = re.findall(r"^   \| `(\w+)` \|", page, re.MULTILINE)
    assert documented == list(native.GUE_VERDICTS[1:])


def test_snapshot_dump_is_what_the_compiler_writes() -> None:
    """Every line of the dump, and that what it leaves out is zero, or rows."""
    page = (WIRE / "snapshot.md").read_text()
    secret = keys.OFFLINE_SECRET
    states = ("active", "draining", "active")
    backends = tuple(
        native.BackendInput(f"web{i}", i, ip_address(f"10.0.0.1{i}"), state, "healthy")
        for i, state in enumerate(states, 1)
    )
    binds = (
        native.BindInput(ip_network("203.0.113.10"), "tcp", 80, 80),
        native.BindInput(ip_network("2001:db8::/64"), "tcp", 443, 443),
    )
    service = native.ServiceInput(
        "www", 1, 0, keys.flow_key(secret, "www"), keys.row_seed(secret, "web"), binds, rows=256
    )
    left = bytearray(
        native.compile_snapshot(native.ConfigInput((native.PoolInput("web", backends),), (service,), 7))
    )
    rows = int.from_bytes(left[56 + 3 * 16 : 64 + 3 * 16], "little")
    left[rows + 2 * 4 : rows + 256 * 4] = bytes(254 * 4)  # "the rows from 2 on"
    [block] = re.findall(r"```hexdump\n(.*?)```", page, re.DOTALL)
    for line in block.splitlines():
        found = re.fullmatch(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})  +\S.*", line)
        assert found, line
        offset, octets = int(found[1], 16), bytes.fromhex(found[2])
        assert left[offset : offset + len(octets)] == octets, line
        left[offset : offset + len(octets)] = bytes(len(octets))
    assert not any(left)


def test_snapshot_tables_have_the_sizes_of_the_structs() -> None:
    """Offsets in the field tables add up, and end at sizeof."""
    page = (WIRE / "snapshot.md").read_text()
    for title, struct in {
        "Header, 264 bytes": "glb_snapshot_header",
        "QUIC, 192 bytes": "glb_quic",
        "SERVICES, 64 bytes": "glb_service",
        "BACKENDS, 32 bytes": "glb_backend",
        "TABLES, 32 bytes": "glb_table",
        "VIPS, 36 bytes": "glb_vip",
        "BINDS, 12 bytes": "glb_bind",
        "PROTECTIONS, 32 bytes": "glb_protection",
    }.items():
        section = page.split(f"### {title}")[1].split("###")[0]
        end = 0
        for offset, times, size, field in re.findall(
            r"^\| (\d+) \| (?:(\d+) \S )?(\d+) \| (\w*) ?\|", section, re.MULTILINE
        ):
            assert int(offset) == end, (struct, field)
            if field:
                assert native.ffi.offsetof(f"struct {struct}", field) == end, field
            end += int(times or 1) * int(size)
        assert end == native.ffi.sizeof(f"struct {struct}")


def test_hashing_examples_are_what_libglb_computes() -> None:
    page = (WIRE / "hashing.md").read_text()
    blocks = re.findall(r"```siphash\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        values = {"key": b"", "message": b"", "digest": b""}
        for line in block.splitlines():
            word, octets = re.match(r"(\w+) +((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  |$)", line).groups()
            values[word] += bytes.fromhex(octets)
        digest = native.lib.glb_siphash24(values["key"], values["message"], len(values["message"]))
        assert digest.to_bytes(8, "little") == values["digest"], block


def test_hashing_keys_are_those_of_the_secret() -> None:
    page = (WIRE / "hashing.md").read_text()
    [block] = re.findall(r"```hmac\n(.*?)```", page, re.DOTALL)
    lines = [line.split(maxsplit=1) for line in block.splitlines()]
    secret, *rest = [bytes.fromhex(value) for word, value in lines if word in ("secret", "key")]
    assert [value for word, value in lines if word == "label"] == ["rows:web", "flow:www"]
    assert rest == [keys.row_seed(secret, "web"), keys.flow_key(secret, "www")]
