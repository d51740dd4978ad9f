"""Where GLB's reference results are, when this machine has them, and which of them glbpy departs from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def find() -> Path | None:
    """Return the directory `shared/vectors`: $GLB_SHARED_VECTORS, or beside the repository or above it."""
    given = os.environ.get("GLB_SHARED_VECTORS")
    places = [Path(given)] if given else [parent / "shared/vectors" for parent in (ROOT, *ROOT.parents)]
    return next((place for place in places if (place / "glb/packets.json").is_file()), None)


VECTORS = find()
ABSENT = "GLB's reference results (shared/vectors) are not on this machine"


def load(name: str) -> Any:
    """Return a reference file, for example "packets.json"; only when VECTORS is there."""
    assert VECTORS is not None, ABSENT
    return json.loads((VECTORS / "glb" / name).read_text())


def table_files() -> list[str]:
    """Return the names of the reference tables, "" standing for none on this machine."""
    return sorted(path.name for path in (VECTORS / "glb/tables").iterdir()) if VECTORS else []


def packet_cases() -> list[dict[str, Any]]:
    return load("packets.json")["cases"] if VECTORS else []


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
