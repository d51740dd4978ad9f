"""What bench/page.py and bench/plot.py make of results; that cases are what they say. Measures nothing."""

import ipaddress
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import cases
import everything
import page
import plot
import report
import results
from oracle.build import IPV4, IPV6, ethernet, ipv4, ipv6, tcp

from glbpy import _native as native
from glbpy import pcap

NAMES = [
    "gue-v4-1k", "gue-v4-100k", "gue-v4-1m", "gue-v6-100k", "hash4-100k", "hops4-100k", "cache-hit-100k",
    "cache-hit-1m", "cache-new-1m", "services-10k", "backends-1k", "gre-100k", "ipip-100k", "l3dsr-100k",
    "nat-100k", "pipeline-ratio", "two-workers-ratio", "compile-256", "compile-1000", "compile-incremental",
    "maglev-65537-1000", "maglev-655373-10000", "load-10k-services",
]  # fmt: skip


def some() -> list[results.Result]:
    return [
        results.summarise("gue-v4-1k", "ns", [7.0, 9.0, 8.0], 10, floors=[14.0, 15.0, 16.0]),
        results.summarise("gue-v4-100k", "ns", [9.0, 9.5, 11.0], 8, floors=[19.0, 20.0, 21.0]),
        results.summarise("pipeline-ratio", "ratio", [1.5], 1.3),
    ]


def test_every_figure_is_measured_under_its_name() -> None:
    assert list(everything.NAMES) == NAMES


def test_the_comparison_has_our_rows_beside_the_others() -> None:
    rows = page.comparison(some()).splitlines()
    assert "| glb-forwarder, GUE, 2 hops | all above the floor | **8.0** |  | **9.5** |  |" in rows
    assert "| glb-forwarder, flow cache, hit | all above the floor |  |  |  |  |" in rows
    assert {row.count("|") for row in rows} == {7}


def test_results_with_floors_have_a_column_for_them() -> None:
    rows = report.table(some()).splitlines()
    assert rows[2] == "| `gue-v4-1k` | ns | 8 | 7 to 9 | 3 | ≤ 10: met | 15 |"
    assert rows[4] == "| `pipeline-ratio` | ratio | 1.5 | 1.5 to 1.5 | 1 | ≥ 1.3: met |  |"
    assert {row.count("|") for row in rows} == {8}


def test_the_picture_is_one_of_every_chart_that_has_points() -> None:
    tree = ET.fromstring(page.picture(some()))
    kinds = [element.tag.rpartition("}")[2] for element in tree]
    assert kinds.count("polyline") == 1  # flows alone: two points
    assert kinds.count("circle") == 2
    words = [element.text for element in tree]
    assert "ns a packet by flows" in words
    assert "100k" in words


def test_what_the_picture_shows_is_measured() -> None:
    shown = {name for _, places in page.SWEEP.values() for name in places.values()}
    assert shown <= set(NAMES) | {case.name for case in everything.EXTRA}


def test_grid_lines_are_round_and_four_to_ten() -> None:
    for top in (0.3, 1.1, 7.9, 8.1, 23, 99, 1234):
        assert 4 <= top / plot.step(top) <= 10.1
    assert [plot.short(n) for n in (10, 1000, 300_000, 1e6)] == ["10", "1k", "300k", "1M"]


def test_packets_are_what_other_code_makes_of_the_same_fields(tmp_path: Path) -> None:
    v4 = cases.Case("v4", 0, flows=50, services=3)
    v6 = cases.Case("v6", 0, flows=50, services=3, family=6, flags=cases.SYN)
    wanted = set()
    for n in range(50):
        segment = tcp(1024 + n, 80, flags=cases.ACK)
        packet = ipv4(f"100.64.0.{1 + n}", f"203.0.0.{n % 3}", 6, segment)
        wanted.add(ethernet(packet, IPV4).ljust(64, b"\0"))
    stock = cases.Stock(tmp_path)
    assert set(pcap.read(stock.packets(v4)).frames()) == wanted
    wanted = {
        ethernet(ipv6(f"2001:db8:1::{1 + n:x}", f"2001:db8:203::{n % 3}", 6, tcp(1024 + n, 80)), IPV6)
        for n in range(50)
    }
    assert set(pcap.read(stock.packets(v6)).frames()) == wanted


def test_every_case_has_a_snapshot_whose_services_take_its_packets(tmp_path: Path) -> None:
    stock = cases.Stock(tmp_path)
    for case in cases.CASES:
        few = replace(case, flows=40, services=20, tables=2, backends=5, rows=256)
        snapshot = native.Snapshot.open(stock.snapshot(few).read_bytes())
        director = native.DirectorInput(
            ipaddress.IPv4Address("172.16.0.1"), bytes.fromhex("020000000001"), bytes.fromhex("0200000000fe")
        )
        decide = native.PacketPath(snapshot, director).decide
        assert {decide(frame).reason for frame in pcap.read(stock.packets(few)).frames()} == {"forwarded"}
