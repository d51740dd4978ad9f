"""The forwarder with DPDK's archives in it: the same program, without DPDK's shared libraries."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment
from dataplane.rig import snapshot as make_snapshot
from glbpy import abi, forwarder, offline, pcap
from glbpy.errors import ForwarderError
from glbpy.replay import replay_case

SHARED = Path(sys.executable).with_name("glb-forwarder").resolve()
TARGET = "native/forwarder/glb-forwarder-static"
DOCUMENT = f"""
pools: [{{name: web, backends: [{{name: web1, address: 10.0.0.11}}, {{name: web2, address: 10.0.0.12}}]}}]
services: [{{name: www, vips: [{VIP}], protocol: tcp, ports: [80], pool: web}}]
"""


@pytest.fixture(scope="module")
def static() -> Path:
    build = SHARED.parents[2]
    ninja = Path(sys.executable).with_name("ninja")
    done = subprocess.run([ninja, "-C", build, TARGET], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return build / TARGET


def needed(program: Path) -> set[str]:
    with program.open("rb") as file:
        dynamic = ELFFile(file).get_section_by_name(".dynamic")
        assert dynamic is not None
        return {tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"}


def client_frame(port: int) -> bytes:
    return ethernet(ipv4("192.0.2.77", VIP, 6, tcp(port, 80)), IPV4)


def test_it_needs_no_library_of_dpdk(static: Path) -> None:
    abi.check_forwarder(static)
    assert any(name.startswith("librte_") for name in needed(SHARED))
    assert not [name for name in needed(static) if name.startswith("librte_")]
    assert any(name.startswith("libpcap") for name in needed(static))  # drivers are in it


def test_it_sends_the_same(static: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrapped.yaml").write_text(DOCUMENT)
    case = offline.from_document(str(tmp_path / "wrapped.yaml"), None)
    source = tmp_path / "in.pcap"
    pcap.write(source, [client_frame(1024 + n) for n in range(500)], range(500))
    sent = []
    for program in (SHARED, static):
        monkeypatch.setenv("GLB_FORWARDER", str(program))
        assert replay_case(case, source, tmp_path / "out.pcap").to_json()["forwarded"] == 500
        sent.append((tmp_path / "out.pcap").read_bytes())
    assert sent[0] == sent[1]


def test_it_forwards_on_an_interface(
    static: Path, segment: Segment, make: Callable[..., Director], name: Callable[[str], str]
) -> None:
    director = make(
        name("static"), "net_af_packet0,iface=director0,framecnt=512,blocksz=65536",
        prefix=segment.prefix, forward={"filter_mac": False},
    )  # fmt: skip
    director.program = static
    make_snapshot(director.snapshot)
    director.start()
    segment.wire.send([client_frame(5000)])
    assert len(segment.wire.receive(1)) == 1


def test_a_forwarder_by_name_must_be_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLB_FORWARDER", str(tmp_path / "nothing"))
    with pytest.raises(ForwarderError, match="GLB_FORWARDER"):
        forwarder.find_program()
