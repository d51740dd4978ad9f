"""GLB's reference results (tests/reference), and which of them glbpy departs from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GLB = Path(__file__).resolve().parents[1] / "reference/glb"


def load(name: str) -> Any:
    """Return a reference file, for example "packets.json"."""
    return json.loads((GLB / name).read_text())


def table_files() -> list[str]:
    """Return the names of the reference tables."""
    return sorted(path.name for path in (GLB / "tables").iterdir())


def packet_cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = load("packets.json")["cases"]
    return cases


def glb_output(expected: str) -> str:
    """Return GLB's frame up to the outer IP total length: it leaves Ethernet padding behind the packet."""
    return expected[: 2 * (14 + int(expected[32:36], 16))]


MALFORMED = "malformed headers are counted and dropped"
LENGTH = "an IP total length too small for its own headers, or beyond the frame, is a counted drop"
OPTIONS = "IHL is honoured"
FRAGMENTS = "fragments are not taken for whole packets"

# Case of packets.json where glbpy departs from GLB on purpose → (our reason, why). Every other case is
# reproduced bit for bit.
DEPARTURES: dict[str, tuple[str, str]] = {
    "v4_later_fragment_looks_bound": ("later_fragment", FRAGMENTS),
    "v4_ip_options": ("forwarded", OPTIONS),
    "v4_ip_options_look_bound": ("no_service", OPTIONS),
    "v4_ihl_4": ("ipv4_truncated", MALFORMED),
    "v4_version_6": ("ipv4_bad_version", MALFORMED),
    "v4_ports_only_24_bytes": ("l4_truncated", LENGTH),
    "v4_ports_cut": ("l4_truncated", MALFORMED),
    "v4_header_only": ("l4_truncated", MALFORMED),
    "v4_header_cut": ("ipv4_truncated", MALFORMED),
    "eth_only": ("ipv4_truncated", MALFORMED),
    "vlan": ("forwarded", "VLAN tags are parsed"),
    "v6_fragment": ("forwarded", FRAGMENTS + "; a first fragment has its ports"),
    "v6_ports_cut": ("l4_truncated", MALFORMED),
    "v6_header_cut": ("ipv6_truncated", MALFORMED),
    "v4_total_length_too_small": ("l4_truncated", LENGTH),
    "v4_total_length_zero": ("ipv4_bad_length", LENGTH),
    "v4_total_length_too_big": ("ipv4_bad_length", LENGTH),
}
