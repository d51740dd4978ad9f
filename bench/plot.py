"""An SVG of small charts: values with their spread against a number that grows tenfold from mark to mark.

Knows nothing of what is measured. No library: a chart is some lines of text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, GAP = 300, 240, 24  # of a chart, and what is around it
LEFT, TOP, BOTTOM = 40, 34, 40  # inside it
INK, GRID, LINE = "#333333", "#dddddd", "#1f6fb4"


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Chart:
    title: str
    x_label: str
    points: Sequence[Point]


def short(value: float) -> str:
    """Return 1000 as 1k and 1000000 as 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def step(top: float) -> float:
    """Return a distance of grid lines, 1, 2 or 5 times a power of ten, that gives four to ten of them."""
    power: float = 10 ** math.floor(math.log10(top / 4))
    return next(times * power for times in (5, 2, 1) if times * power * 4 <= top)


def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{INK}">'
        f"{escape(words)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def draw(chart: Chart, left: float) -> list[str]:
    """Return the elements of a chart whose left edge is at ``left``. It needs two points or more."""
    points = sorted(chart.points, key=lambda point: point.x)
    low, high = math.log10(points[0].x), math.log10(points[-1].x)
    top = max(max(point.high for point in points) * 1.05, 1e-9)
    x0, y0 = left + LEFT, GAP + HEIGHT - BOTTOM
    x1, y1 = left + WIDTH, GAP + TOP

    def across(x: float) -> float:
        return x0 + (math.log10(x) - low) / (high - low) * (x1 - x0 - 12) + 6

    def up(y: float) -> float:
        return y0 - max(y, 0) / top * (y0 - y1)

    made = [text((x0 + x1) / 2, GAP + 14, chart.title, size=13), text((x0 + x1) / 2, y0 + 32, chart.x_label)]
    for number in range(int(top / step(top)) + 1):
        value = number * step(top)
        made += [line(x0, up(value), x1, up(value), GRID), text(x0 - 6, up(value) + 4, f"{value:g}", "end")]
    for power in range(math.ceil(low), math.floor(high) + 1):
        made += [line(across(10**power), y0, across(10**power), y0 + 4, INK)]
        made += [text(across(10**power), y0 + 16, short(10**power))]
    made.append(line(x0, y0, x1, y0, INK))
    path = " ".join(f"{across(point.x):.1f},{up(point.y):.1f}" for point in points)
    made.append(f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    for point in points:
        x = across(point.x)
        made.append(line(x, up(point.low), x, up(point.high), LINE))
        made.append(f'<circle cx="{x:.1f}" cy="{up(point.y):.1f}" r="3" fill="{LINE}"/>')
    return made


def svg(charts: Sequence[Chart], note: str) -> str:
    """Return a picture of the charts side by side, with a line of text below."""
    width, height = len(charts) * (WIDTH + GAP) + GAP, HEIGHT + 2 * GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, chart in enumerate(charts):
        lines += draw(chart, GAP + number * (WIDTH + GAP))
    lines += [text(GAP, height - 8, note, "start", 10), "</svg>"]
    return "\n".join(lines) + "\n"
