"""What bench/everything.py puts into docs/performance.md: others beside us, each target, and a picture."""

from collections.abc import Sequence

import plot
import report
from results import Result

PICTURE = report.PAGE.parent / "performance.svg"
GUE = "gue-v4-100k"

# Charts of the picture: name, label, and results by their place on the x axis.
SWEEP: dict[str, tuple[str, dict[int, str]]] = {
    "flows": (
        "flows (10 services of 10 backends)",
        {1000: "gue-v4-1k", 10_000: "flows-10k", 100_000: GUE, 300_000: "flows-300k", 1_000_000: "gue-v4-1m"},
    ),
    "services": (
        "services (100,000 flows, 10 backends each)",
        {10: GUE, 100: "services-100", 1000: "services-1k", 10_000: "services-10k"},
    ),
    "backends": (
        "backends each (100,000 flows, 10 services)",
        {10: GUE, 100: "backends-100", 300: "backends-300", 1000: "backends-1k"},
    ),
}

# Measured on a development machine with 2 cores: 64-byte TCP packets, CPU time of a packet, medians.
RIVALS = """\
| testpmd macswap: the floor | receive, touch, send | 14.5 | | 19.2 | 40 |
| GLB's XDP director, stateless, 2 hops, GUE | the program alone | 82 | 81 | 80 | 89 |
| Katran, IPIP, hit in its connection table | the program alone | 98 | 126 | 251 | 385 |
| Katran, GUE, hit | the program alone | 150 | 150 | 268 | 401 |
| VPP lb, GRE4, hit in its flow table | from ethernet-input to ip4-rewrite | | 38.5 | 68 | 86 |
| VPP lb node alone | the node | | 17 | 46 | 65 |"""


def point(number: int, result: Result) -> plot.Point:
    return plot.Point(number, result.median, result.min, result.max)


def picture(found: Sequence[Result]) -> str:
    """Return the SVG of all charts for which two or more points are there."""
    by_name = {result.name: result for result in found}
    charts = [
        plot.Chart(f"ns a packet by {title}", label, points)
        for title, (label, places) in SWEEP.items()
        if len(points := [point(n, by_name[name]) for n, name in places.items() if name in by_name]) > 1
    ]
    note = "Above testpmd macswap on the same packets. Medians; bars: lowest to highest round."
    return plot.svg(charts, note)


def comparison(found: Sequence[Result]) -> str:
    """Return the table of others, with our own rows."""
    by_name = {result.name: result for result in found}

    def row(what: str, one_k: str, hundred_k: str, one_m: str) -> str:
        cells = (
            f"**{by_name[name].median:.1f}**" if name in by_name else ""
            for name in (one_k, "", hundred_k, one_m)
        )
        return f"| {what} | all above the floor | {' | '.join(cells)} |"

    return "\n".join((
        "| who | what the figure covers, ns | 1k flows | 10k to 16k | 100k to 131k | 1M |",
        "|" + " --- |" * 6,
        RIVALS,
        row("glb-forwarder, GUE, 2 hops", "gue-v4-1k", GUE, "gue-v4-1m"),
        row("glb-forwarder, flow cache, hit", "", "cache-hit-100k", "cache-hit-1m"),
        row("glb-forwarder, flow cache, all flows new", "", "", "cache-new-1m"),
    ))  # fmt: skip


def write(machine: str, found: Sequence[Result], sweep: Sequence[Result]) -> None:
    """Put the tables into the page and draw the picture, where there is something to be drawn."""
    text = f"{machine}.\n\n{comparison(found)}\n\n{report.table(found)}"
    if sweep:
        PICTURE.write_text(picture([*found, *sweep]))
        text += f"\n\n![Cost of a packet by flows, services and backends]({PICTURE.name})"
    report.put("packets", text)
