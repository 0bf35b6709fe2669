"""Measures the rows and prints them as a table; given a file, also puts it there, without targets.

Usage: python benchmarks/compare.py [README.md]
"""

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import median

import cpuinfo
from rows import ROWS, Row

from nset.demo import timing

TURNS = 101
NOISE = 0.03

IMPLEMENTATIONS = timing.IMPLEMENTATIONS
if os.environ.get("NSET_IMPLEMENTATION") == "python":
    IMPLEMENTATIONS = tuple(name for name in IMPLEMENTATIONS if name != "compiled")


@cache
def classes() -> dict[str, type]:
    """Each implementation's N_SET. One that can't be loaded is an error."""
    return {name: timing.load(name) for name in IMPLEMENTATIONS}


@cache
def measured(row: Row) -> dict[str, list[float]]:
    """Each implementation's nanoseconds per statement, turn by turn."""
    return timing.measure(row.operation, classes(), TURNS)


def table(rows: Iterable[Row], *, targets: bool) -> str:
    """The rows as a Markdown table, and what it was measured on."""
    text = markdown([_head(targets), *(_cells(row, targets) for row in rows)])
    return (
        f"{text}\n\nMedians of {TURNS} turns, and how many times as fast as pynetdicom. {machine()}"
    )


def markdown(lines: list[list[str]]) -> str:
    """A Markdown table that is legible as it is; the first line is its head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(line, widths) for line in [lines[0], rule, *lines[1:]])


def machine() -> str:
    """What it was measured with and on."""
    processor = cpuinfo.get_cpu_info()["brand_raw"]
    return f"{timing.software()}\non {processor}, {platform.system()} {platform.machine()}."


def _head(targets: bool) -> list[str]:
    head = ["", "pynetdicom"]
    for implementation in IMPLEMENTATIONS[1:]:
        head += [{"python": "pure"}.get(implementation, implementation), *["target"] * targets]
    return head


def _cells(row: Row, targets: bool) -> list[str]:
    times = measured(row)
    cells = [row.operation.name, _duration(median(times["pynetdicom"]))]
    for implementation in IMPLEMENTATIONS[1:]:
        duration = _duration(median(times[implementation]))
        ratio = timing.ratio(times, implementation)
        faster = f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.2g}"
        cells.append(f"{duration}, {faster}x")
        if targets:
            target = getattr(row, implementation)
            mark = "✓" if ratio >= target * (1 - NOISE) else "✗"
            cells.append(f"{mark} {target:g}x")
    return cells


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    texts = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(texts)} |"


def _duration(nanoseconds: float) -> str:
    return f"{nanoseconds:.0f} ns" if nanoseconds < 1000 else f"{nanoseconds / 1000:.1f} µs"


def write(file: Path, name: str, text: str) -> None:
    """Put a table between its two markers."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = file.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    file.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    print(table(ROWS, targets=True))
    for name in sys.argv[1:]:
        write(Path(name), "figures", table(ROWS, targets=False))
