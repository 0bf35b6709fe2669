"""Draws the charts of docs/: bars of what results.json says.

Usage: python benchmarks/charts.py

It makes docs/_static/NAME-light.svg and NAME-dark.svg for each chart.
"""

from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import results

DOCS = results.ROOT / "docs"


class Chart(NamedTuple):
    """Bars of the cells of a row, or of a column."""

    name: str
    title: str
    marker: str
    """Of the result."""
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


def cell(result: dict[str, Any], row: str, column: str) -> float:
    """Return the number that begins the cell of the first table that has both."""
    for table in result["parts"]:
        for cells in table["rows"] if isinstance(table, dict) else ():
            if cells[0] == row and column in table["head"]:
                return float(cells[table["head"].index(column)].split()[0])
    raise ValueError(f"{results.FILE.name} has no {row!r}, {column!r}")


def svg(chart: Chart, result: dict[str, Any], colours: tuple[str, str, str]) -> str:
    """Return the chart in those colours."""
    ink, others, own = colours
    values = {name: cell(result, *at) for name, at in chart.cells.items()}
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
