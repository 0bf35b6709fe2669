"""Draws the charts of docs/: bars of what its tables say.

Usage: python benchmarks/charts.py

From the tables between the markers of docs/performance.md it makes docs/_static/NAME-light.svg and
NAME-dark.svg for each chart.
"""

import re
from html import escape
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"


class Chart(NamedTuple):
    """Bars of the cells of a row, or of a column."""

    name: str
    title: str
    marker: str
    """Of the table."""
    cells: dict[str, tuple[str, str]]
    """For each bar the row and the column that it shows."""


READ = "the same, every element read"
AT_ONCE = "CPU per N-SET, 8 at once, µs"
CHARTS = [
    Chart(
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
    Chart(
        "open",
        "One N-SET of 1 KiB, 8 associations that stay open: µs of the server's CPU",
        "servers",
        {
            "pynetdicom": (AT_ONCE, "pynetdicom"),
            "with install()": (AT_ONCE, "with nset"),
            "nset.scp": (AT_ONCE, "nset.scp"),
        },
    ),
    Chart(
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
]
# Text, bars of others, bars of nset.
COLOURS = {"light": ("#1f2328", "#a8b1bb", "#0969da"), "dark": ("#d8dee6", "#5c6672", "#4c9aff")}
OTHERS = ("pynetdicom", "DCMTK, C++", "canned bytes")

WIDTH, NAMES, VALUES, LINE, TOP = 520, 120, 60, 30, 34  # pixels


def cell(text: str, marker: str, row: str, column: str) -> float:
    """Return the number that begins the cell of the first table there that has both."""
    (between,) = re.findall(rf"<!-- {marker}: begin -->(.*?)<!-- {marker}: end -->", text, re.S)
    for table in re.findall(r"(?:^\|.*\n)+", between, re.M):
        head, _, *lines = ([c.strip() for c in line.split("|")] for line in table.splitlines())
        for line in lines:
            if line[1] == row and column in head:
                return float(line[head.index(column)].split()[0])
    raise ValueError(f"{PAGE.name} has no {row!r}, {column!r} between the markers of {marker!r}")


def svg(chart: Chart, text: str, colours: tuple[str, str, str]) -> str:
    """Return the chart in those colours."""
    ink, others, own = colours
    values = {name: cell(text, chart.marker, *at) for name, at in chart.cells.items()}
    height = TOP + LINE * len(values)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" font-family="system-ui, sans-serif" font-size="14"'
        f' fill="{ink}">',
        f"<title>{escape(chart.title)}</title>",
        f'<text x="0" y="16" font-size="13">{escape(chart.title)}</text>',
    ]
    for number, (name, value) in enumerate(values.items()):
        y = TOP + LINE * number
        bar = max((WIDTH - NAMES - VALUES) * value / max(values.values()), 1.5)
        fill = others if name in OTHERS else own
        lines += [
            f'<text x="{NAMES - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{NAMES}" y="{y + 2}" width="{bar:.1f}" height="20" rx="2" fill="{fill}"/>',
            f'<text x="{NAMES + bar + 6:.1f}" y="{y + 16}">{value:g}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def files() -> dict[Path, str]:
    """Return each file's text."""
    text = PAGE.read_text(encoding="utf-8")
    return {
        DOCS / "_static" / f"{chart.name}-{theme}.svg": svg(chart, text, colours)
        for chart in CHARTS
        for theme, colours in COLOURS.items()
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(path)
