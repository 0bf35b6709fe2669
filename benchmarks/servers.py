"""Measures pynetdicom's server, the same with nset, and nset's own; puts the table in a file, too.

Usage: python benchmarks/servers.py [--rounds N] [--seconds S] [README.md]
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import compare

from nset.demo import load

ASSOCIATIONS = (1, 8, 32)
IDLE = 8
HEAD = ["", "pynetdicom", "with nset", "", "nset.scp", ""]


def main() -> None:
    """Take the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turns")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a round lasts")
    parser.add_argument("file", nargs="*", type=Path, help="with the two markers in it")
    options = parser.parse_args()

    def cpu(associations: int) -> Callable[[str], float]:
        def measure(kind: str) -> float:
            with load.server(kind) as server:
                return load.cpu_per_request(server, associations, options.seconds)

        return measure

    def idle(kind: str) -> float:
        with load.server(kind) as server:
            return load.idle_cpu(server, IDLE, options.seconds)

    def round_trip(kind: str) -> float:
        with load.server(kind) as server:
            return load.round_trip(server, kind)

    lines = [
        [f"CPU per N-SET, {count} at once, µs", *_cells(cpu(count), options.rounds)]
        for count in ASSOCIATIONS
    ]
    lines.append([f"{IDLE} idle associations, % of a core", *_cells(idle, options.rounds)])
    lines.append(["round trip of `send_n_set`, ms", *_cells(round_trip, options.rounds)])
    text = (
        f"{compare.markdown([HEAD, *lines])}\n\n"
        f"Medians [and extremes] of {options.rounds} alternating rounds. {compare.machine()}"
    )
    print(text)
    for file in options.file:
        compare.write(file, "servers", text)


def _cells(measure: Callable[[str], float], rounds: int) -> list[str]:
    taken = [[measure(kind) for kind in load.KINDS] for _ in range(rounds)]
    cells = []
    for number, column in enumerate(zip(*taken, strict=True)):
        cells.append(_spread(column))
        if number:
            ratios = [row[0] / row[number] for row in taken if row[number]]
            cells.append(f"{median(ratios):.1f}x" if ratios else "")
    return cells


def _spread(values: tuple[float, ...]) -> str:
    return f"{_short(median(values))} [{_short(min(values))}-{_short(max(values))}]"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


if __name__ == "__main__":
    main()
