"""The hex dumps of docs/wire are what libglb makes."""

import re
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

from glbpy import _native as native
from glbpy import keys

WIRE = Path(__file__).resolve().parents[2] / "docs/wire"


def dump(text: str) -> bytes:
    """Return the bytes of the page's hex dump, whose offsets must add up."""
    [block] = re.findall(r"```hexdump\n(.*?)```", text, re.DOTALL)
    data = b""
    for line in block.splitlines():
        offset, octets = re.fullmatch(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})  +\S.*", line).groups()
        assert int(offset, 16) == len(data), line
        data += bytes.fromhex(octets)
    return data


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
    expected = dump(page)
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
