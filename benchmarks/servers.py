"""Measures a pynetdicom server without nset and with it; given a file, also puts the table there.

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
HEAD = ["", "pynetdicom", "with nset", "ratio"]


def main() -> None:
    """Take the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turns")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a round lasts")
    parser.add_argument("file", nargs="*", type=Path, help="with the two markers in it")
    options = parser.parse_args()

    def cpu(associations: int) -> Callable[[bool], float]:
        def measure(with_nset: bool) -> float:
            with load.server(with_nset=with_nset) as server:
                return load.cpu_per_request(server, associations, options.seconds)

        return measure

    def idle(with_nset: bool) -> float:
        with load.server(with_nset=with_nset) as server:
            return load.idle_cpu(server, IDLE, options.seconds)

    def round_trip(with_nset: bool) -> float:
        with load.server(with_nset=with_nset) as server:
            return load.round_trip(server, with_nset=with_nset)

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


def _cells(measure: Callable[[bool], float], rounds: int) -> list[str]:
    taken = [(measure(False), measure(True)) for _ in range(rounds)]
    ratio = median(stock / ours for stock, ours in taken)
    return [*(_spread(column) for column in zip(*taken, strict=True)), f"{ratio:.1f}x"]


def _spread(values: tuple[float, ...]) -> str:
    return f"{_short(median(values))} [{_short(min(values))}-{_short(max(values))}]"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


if __name__ == "__main__":
    main()
