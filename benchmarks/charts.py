"""Draws the charts of docs/: bars and lines of what results.json says.

Usage: python benchmarks/charts.py

It makes docs/_static/NAME-light.svg and NAME-dark.svg for each chart.
"""

from collections.abc import Callable
from html import escape
from math import log10
from pathlib import Path
from typing import Any, NamedTuple

import results

DOCS = results.ROOT / "docs"


class Bars(NamedTuple):
    """Of the cells of a row, or of a column."""

    name: str
    title: str
    marker: str
    """Of the result."""
    cells: dict[str, tuple[str, str]]
    """For each bar the row and the column that it shows."""


class Lines(NamedTuple):
    """Of columns, over some of their rows; the scale is logarithmic."""

    name: str
    title: str
    marker: str
    rows: dict[str, str]
    """Below each point the row that it shows."""
    columns: dict[str, str]


READ = "the same, every element read"
AT_ONCE = "CPU per N-SET, 8 at once, µs"
OPEN = "N-SET on an open association, "
PROPOSED = "associate and release, "
IN_READ = "decode, read all: 2 x 5 images, implicit"
SERVERS = {
    "pynetdicom": "pynetdicom",
    "install()": "`install()`",
    "nset.scp": "`nset.scp`, async",
    "DCMTK, C++": "DCMTK, C++",
    "canned bytes": "canned, uvloop",
}
CHARTS: list[Bars | Lines] = [
    Bars(
        "report",
        "One report of 2 series with 5 images: µs of the server's CPU",
        "report",
        {
            "pynetdicom": (READ, "pynetdicom"),
            "with install()": (READ, "`install()`"),
            "nset.scp": (READ, "`nset.scp`, async"),
            "DCMTK, C++": (READ, "DCMTK, C++"),
        },
    ),
    Bars(
        "open",
        "One N-SET of 1 KiB, 8 associations that stay open: µs of the server's CPU",
        "servers",
        {
            "pynetdicom": (AT_ONCE, "pynetdicom"),
            "with install()": (AT_ONCE, "with nset"),
            "nset.scp": (AT_ONCE, "nset.scp"),
        },
    ),
    Bars(
        "baselines",
        "One N-SET of 1 KiB, 32 associations that stay open: µs of the server's CPU",
        "scp",
        {
            "canned bytes": ("canned bytes, uvloop", "32 at once"),
            "inline handler": ("inline handler", "32 at once"),
            "async handler": ("`nset.scp`, async handler", "32 at once"),
            "plain handler": ("plain handler, in the pool", "32 at once"),
            "DCMTK, C++": ("DCMTK, C++, data set dropped", "32 at once"),
        },
    ),
    Bars(
        "data-sets",
        "A list of 2 series with 5 images, decoded and read: µs of CPU",
        "data-sets",
        {
            "pydicom": (IN_READ, "pydicom, µs"),
            "nset.dataset": (IN_READ, "nset.dataset, µs"),
            "DCMTK, C++": (IN_READ, "DCMTK, µs"),
        },
    ),
    Lines(
        "growth-lists",
        "An N-SET on an open association, by the size of its list: µs of CPU",
        "growth",
        {size: OPEN + size for size in ("1 KiB", "64 KiB", "1 MiB", "16 MiB")},
        SERVERS,
    ),
    Lines(
        "growth-contexts",
        "An association and its release, by the contexts proposed: µs of CPU",
        "growth",
        {
            "1 context": f"{PROPOSED}1 context proposed",
            **{number: f"{PROPOSED}{number} contexts proposed" for number in ("3", "10", "30")},
        },
        SERVERS,
    ),
    Lines(
        "growth-associations",
        "An N-SET of 1 KiB, by the associations that are busy: µs of CPU",
        "growth",
        {
            "1 association": "N-SET of 1 KiB, 1 association busy",
            **{one: f"N-SET of 1 KiB, {one} associations busy" for one in ("10", "100", "1000")},
        },
        SERVERS,
    ),
    Lines(
        "growth-modalities",
        "One report, every element read, by the modalities that report at a time: µs of CPU",
        "growth",
        {
            number: f"a report of 2 x 5, read, {number} at a time"
            for number in ("1", "4", "16", "64")
        },
        {name: column for name, column in SERVERS.items() if name != "canned bytes"},
    ),
]
# Text, what is others', what is nset's.
COLOURS = {"light": ("#1f2328", "#a8b1bb", "#0969da"), "dark": ("#d8dee6", "#5c6672", "#4c9aff")}
OTHERS = ("pynetdicom", "pydicom", "DCMTK, C++", "canned bytes")
DASHES = {"install()": "7 4", "DCMTK, C++": "7 4", "canned bytes": "2 4"}

WIDTH, NAMES, VALUES, LINE, TOP = 520, 120, 60, 30, 34  # pixels
PLOT, LEFT, APART = 190, 60, 15  # the height of lines, what is left of them, names from each other


def cell(result: dict[str, Any], row: str, column: str) -> float | None:
    """Return the number that begins the cell of the first table that has both."""
    for table in result["tables"]:
        for cells in table["rows"]:
            if cells[0] == row and column in table["head"]:
                text = cells[table["head"].index(column)]
                return float(text.split()[0]) if text else None
    raise ValueError(f"{results.FILE.name} has no {row!r}, {column!r}")


def svg(chart: Bars | Lines, result: dict[str, Any], colours: tuple[str, str, str]) -> str:
    """Return the chart in those colours."""
    ink, others, own = colours

    def colour(name: str) -> str:
        return others if name in OTHERS else own

    if isinstance(chart, Bars):
        drawn, height = bars(chart, result, colour), TOP + LINE * len(chart.cells)
    else:
        drawn, height = lines(chart, result, colour, ink), TOP + PLOT + LINE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}" role="img"'
            f' font-family="system-ui, sans-serif" font-size="14" fill="{ink}">',
            f"<title>{escape(chart.title)}</title>",
            f'<text x="0" y="16" font-size="13">{escape(chart.title)}</text>',
            *drawn,
            "</svg>",
            "",
        ]
    )


def bars(chart: Bars, result: dict[str, Any], colour: Callable[[str], str]) -> list[str]:
    """Return one below the other."""
    values = {name: cell(result, *at) or 0.0 for name, at in chart.cells.items()}
    drawn = []
    for number, (name, value) in enumerate(values.items()):
        y = TOP + LINE * number
        bar = max((WIDTH - NAMES - VALUES) * value / max(values.values()), 1.5)
        drawn += [
            f'<text x="{NAMES - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{NAMES}" y="{y + 2}" width="{bar:.1f}" height="20" rx="2"'
            f' fill="{colour(name)}"/>',
            f'<text x="{NAMES + bar + 6:.1f}" y="{y + 16}">{value:g}</text>',
        ]
    return drawn


def lines(
    chart: Lines, result: dict[str, Any], colour: Callable[[str], str], ink: str
) -> list[str]:
    """Return lines with their names at the right, above the rows' names."""
    bottom, right = TOP + PLOT, WIDTH - NAMES
    taken = {
        name: [cell(result, row, column) for row in chart.rows.values()]
        for name, column in chart.columns.items()
    }
    values = [value for line in taken.values() for value in line if value is not None]
    least, most = int(log10(min(values))), -int(-log10(max(values)) // 1)
    step = (right - LEFT) / (len(chart.rows) - 1)

    def y(value: float) -> float:
        return bottom - PLOT * (log10(value) - least) / (most - least)

    drawn = []
    for power in range(least, most + 1):
        at = y(10**power)
        drawn += [
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" font-size="12">'
            f"{10**power:,}</text>",
            f'<path d="M{LEFT} {at:.1f}H{right}" stroke="{ink}" stroke-opacity=".2"/>',
        ]
    for number, name in enumerate(chart.rows):
        drawn.append(
            f'<text x="{LEFT + step * number:.1f}" y="{bottom + 20}" text-anchor="middle"'
            f' font-size="12">{escape(name)}</text>'
        )
    ends = {}
    for name, line in taken.items():
        points = [(LEFT + step * number, y(value)) for number, value in enumerate(line) if value]
        ends[name] = points[-1]
        drawn.append(
            f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}" fill="none"'
            f' stroke="{colour(name)}" stroke-width="2" stroke-dasharray="{DASHES.get(name, "")}"/>'
        )
    below = bottom + APART
    for name, (x, at) in sorted(ends.items(), key=lambda end: -end[1][1]):
        below = min(at + 5, below - APART)
        drawn.append(f'<text x="{x + 8:.1f}" y="{below:.1f}">{escape(name)}</text>')
    return drawn


def files() -> dict[Path, str]:
    """Return each file's text."""
    measured = results.load()
    return {
        DOCS / "_static" / f"{chart.name}-{theme}.svg": svg(chart, measured[chart.marker], colours)
        for chart in CHARTS
        for theme, colours in COLOURS.items()
    }


def draw() -> None:
    """Write them."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    draw()
