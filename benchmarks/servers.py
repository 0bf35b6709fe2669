"""Measures pynetdicom's server, the same with nset, and nset's own.

Usage: python benchmarks/servers.py [--rounds N] [--seconds S] [--record]
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import acceptors
import lists
import load
import tables

from nset.demo import MPPS

KINDS = {"pynetdicom": "pynetdicom", "installed": "with nset", "async": "nset.scp"}
ASSOCIATIONS = (1, 8, 32)
IDLE = 8

REQUESTOR = """
import sys
from nset.demo import clock

print(clock.round_trips(sys.argv[1], int(sys.argv[2]), 50)[0])
"""


READ = f"CPU per N-SET of 2 x 5, read, {IDLE} at once, µs"


def round_trip(server: load.Server, kind: str) -> float:
    """Milliseconds of ``send_n_set``; nset is installed in the requestor as it is in the server."""
    return _printed("-c", REQUESTOR, kind, str(server.port)) * 1000


def requestor_cpu(server: load.Server, kind: str) -> float:
    """Microseconds of the requestor's CPU for ``send_n_set``."""
    program = Path(__file__).with_name("requestor.py")
    return _printed(str(program), kind, str(server.port))


def _printed(*arguments: str) -> float:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=load.TIMEOUT
    )
    return float(done.stdout)


def main() -> None:
    """Take the rounds, print the table."""
    options = tables.arguments(__doc__).parse_args()

    list_of_2_x_5 = MPPS, *load.exchange(data_set=lists.encoded(lists.modification_list(2, 5)))

    def cpu(server: load.Server, kind: str, associations: int) -> float:
        return load.cpu_per_request(server, associations, options.seconds)

    def read(server: load.Server, kind: str) -> float:
        return load.cpu_per_request(server, IDLE, options.seconds, list_of_2_x_5)

    def idle(server: load.Server, kind: str) -> float:
        return load.idle(server, IDLE, options.seconds, 0).cpu

    rows: dict[str, Callable[[load.Server, str], float]] = {
        f"CPU per N-SET, {count} at once, µs": partial(cpu, associations=count)
        for count in ASSOCIATIONS
    }
    rows[READ] = read
    rows[f"{IDLE} idle associations, % of a core"] = idle
    rows["round trip of `send_n_set`, ms"] = round_trip
    rows["the requestor's CPU for it, a list of 2 x 5, µs"] = requestor_cpu

    taken: dict[str, list[list[float]]] = {row: [] for row in rows}
    for row in tables.progress([row for row in rows for _ in range(options.rounds)], "measuring"):
        taken[row].append([])
        for kind in KINDS:
            job = "read" if row == READ else "ignore"
            with load.running(acceptors.command(kind, job)) as server:
                taken[row][-1].append(rows[row](server, kind))

    stock, *others = KINDS.values()
    head = ["", stock, *(cell for name in others for cell in (name, ""))]
    table = tables.Table(head, [[row, *_cells(rounds)] for row, rounds in taken.items()])
    text = f"Medians [and extremes] of {options.rounds} alternating rounds."
    tables.finish("servers", [table], [text], record=options.record)


def _cells(rounds: list[list[float]]) -> list[str]:
    cells = []
    for number, column in enumerate(zip(*rounds, strict=True)):
        cells.append(tables.spread(column))
        if number:
            ratios = [one[0] / one[number] for one in rounds if one[number]]
            cells.append(f"{median(ratios):.1f}x" if ratios else "")
    return cells


if __name__ == "__main__":
    main()
