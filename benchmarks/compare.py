"""Measures the rows and prints them as a table with their targets, or records one without.

Usage: python benchmarks/compare.py [--record]
"""

import os
from argparse import ArgumentParser
from collections.abc import Iterable
from functools import cache
from statistics import median

import tables
import timing
from rows import ROWS, Row

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


def table(rows: Iterable[Row], *, targets: bool) -> tables.Table:
    """The rows, measured."""
    return tables.Table(_head(targets), [_cells(row, targets) for row in rows])


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


def _duration(nanoseconds: float) -> str:
    return f"{nanoseconds:.0f} ns" if nanoseconds < 1000 else f"{nanoseconds / 1000:.1f} µs"


if __name__ == "__main__":
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    tables.add_record(parser)
    record = parser.parse_args().record
    for row in tables.progress(ROWS, "measuring"):
        measured(row)
    text = f"Medians of {TURNS} turns, and how many times as fast as pynetdicom."
    tables.finish("figures", [table(ROWS, targets=not record)], [text], record=record)
