"""What `glb trace` and `glb replay` make of a document and of a director's TOML file."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from glbpy import offline
from glbpy.errors import DocumentError, InvalidInputError

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples"
DOCUMENT = """
pools: [{name: web, backends: [{name: web1, address: 10.0.0.11}, {name: web2, address: 10.0.0.12}]}]
services: [{name: www, vips: [203.0.113.10], protocol: tcp, ports: [80], pool: web}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "glb.yaml").write_text(DOCUMENT)
    return tmp_path


def test_what_a_director_adds(folder: Path) -> None:
    toml = folder / "director.toml"
    toml.write_text("""
        [director]
        name = "d1"
        [forward]
        outer_source_v4 = "198.51.100.1"
        outer_source_v6 = "2001:db8::1"
        outer_source_prefix_v4 = "198.51.100.0/28"
        gateway_mac = "02:00:00:00:00:FE"
        outer_udp_checksum = "computed"
        icmp_echo = "answer"
        mtu = 1600                         # not of this file's business
    """)
    found = offline.read_forward(toml)
    director = found.director()
    assert director.outer_source_v4 == ip_address("198.51.100.1")
    assert director.outer_prefix_v4 == ip_network("198.51.100.0/28")
    assert director.gateway_mac.hex(":") == "02:00:00:00:00:fe"
    assert (director.outer_udp_checksum, director.outer_udp_checksum_v6) == ("computed", "computed")
    assert (director.icmp_echo, director.mtu, director.filter_mac) == ("answer", 0, False)
    again = folder / "again.toml"
    again.write_text(found.toml())
    assert offline.read_forward(again) == found


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_can_be_read(folder: Path, example: Path) -> None:
    case = offline.from_document(str(folder / "glb.yaml"), example)
    assert case.path().snapshot.services[0].name == "www"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('[forward]\nouter_source_v4 = "::1"', "/forward/outer_source_v4"),
        ('[forward]\nlocal_mac = "02:00:00"', "/forward/local_mac"),
        ('[forward]\nouter_udp_checksum = "none"', "/forward/outer_udp_checksum"),
        ('[forward]\nouter_source_prefix_v6 = "2001:db8::1/64"', "/forward/outer_source_prefix_v6"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, pointer: str) -> None:
    (tmp_path / "d.toml").write_text(text)
    with pytest.raises(DocumentError) as caught:
        offline.read_forward(tmp_path / "d.toml")
    assert [error.pointer for error in caught.value.errors] == [pointer]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        offline.read_forward(tmp_path / "none.toml")
    (tmp_path / "d.toml").write_text("= 1")
    with pytest.raises(InvalidInputError, match="is not TOML"):
        offline.read_forward(tmp_path / "d.toml")


def test_unhealthy_backends(folder: Path) -> None:
    snapshot = offline.from_document(str(folder / "glb.yaml"), None, ["web/web1"]).path().snapshot
    assert [backend.health for backend in snapshot.backends] == ["unhealthy", "unknown"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give -f"),
        ({"file": "a", "table": Path("b")}, "give -f"),
        ({"table": Path("b")}, "--table needs --director"),
        ({"table": Path("b"), "director": Path("c"), "unhealthy": ["p/b"]}, "--unhealthy is for -f"),
        ({"file": "a", "policy": "glb"}, "--policy is for --table"),
        ({"file": "a", "outer_udp_checksum": "zero"}, "--outer-udp-checksum is for --table"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], said: str) -> None:
    given = {"file": None, "table": None, "director": None, **options}
    with pytest.raises(InvalidInputError, match=said):
        offline.open_case(**given)


def test_neighbours() -> None:
    found = offline.parse_neighbours(["10.0.0.11=02:00:00:00:00:11", "2001:db8::1=02:00:00:00:00:12"])
    assert found == {
        ip_address("10.0.0.11"): bytes.fromhex("020000000011"),
        ip_address("2001:db8::1"): bytes.fromhex("020000000012"),
    }
    assert offline.parse_neighbours([]) is None
    for wrong in ("10.0.0.11", "10.0.0.11=x", "web=02:00:00:00:00:11"):
        with pytest.raises(InvalidInputError, match="write ADDRESS=MAC"):
            offline.parse_neighbours([wrong])
