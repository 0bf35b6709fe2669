"""Measures what several processes of `nset.scp.run` serve, beside one.

Usage: python benchmarks/processes.py [--most N] [--rounds N] [--seconds S] [--without-dcmtk]
                                      [--record]

The clients have no cores of their own, so their CPU time is left out: what N processes serve in a
second is what was served for each second of CPU time of the busiest of them. DCMTK's server has a
thread for each association, in one process: what it serves in a second of CPU time is a core's.
"""

import os
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import acceptors
import dcmtk
import lists
import load
import psutil
import report
import tables
from support import Peer

from nset.demo import MPPS

CLIENTS = 32
DCMTK = 0  # as a number of processes of nset
TARGET = 0.9  # of what so many processes would serve if they did not share anything


class Served(NamedTuple):
    """What was served, and CPU seconds of each process meanwhile."""

    number: int
    cpu: list[float]

    @property
    def per_second(self) -> float:
        return self.number / max(self.cpu)

    @property
    def microseconds(self) -> float:
        return sum(self.cpu) / self.number * 1e6


def served(server: load.Server, seconds: float, clients: list[Callable[[], None]]) -> Served:
    """Have each client go on for a while, in a thread of its own."""
    children = [child.pid for child in psutil.Process(server.pid).children()]
    processes = children or [server.pid]
    calls = [0] * len(clients)
    is_over = threading.Event()

    def ask(number: int) -> None:
        while not is_over.is_set():
            clients[number]()
            calls[number] += 1

    threads = [threading.Thread(target=ask, args=[number]) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    time.sleep(report.SETTLE)
    before, first = [load.cpu_seconds(pid) for pid in processes], sum(calls)
    time.sleep(seconds)
    cpu = [load.cpu_seconds(pid) - taken for pid, taken in zip(processes, before, strict=True)]
    number = sum(calls) - first
    is_over.set()
    for thread in threads:
        thread.join()
    return Served(number, cpu)


def reports(server: load.Server, seconds: float) -> Served:
    """Whole reports: connect, associate, N-SET, release."""
    message = report.n_set(lists.encoded(lists.modification_list(2, 5)))

    def one() -> None:
        with Peer(server.port, MPPS) as peer:
            report.ask(peer, message)
            load.release(peer)

    return served(server, seconds, [one] * CLIENTS)


def main() -> None:
    """Take the rounds, print the table."""
    parser = tables.arguments(__doc__)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--most", type=int, default=cores, help="processes; by default the cores")
    dcmtk.add_option(parser)
    options = parser.parse_args()
    numbers = [1 << power for power in range(options.most.bit_length())]
    if not options.without_dcmtk:
        numbers.append(DCMTK)
    taken: dict[int, list[Served]] = {number: [] for number in numbers}
    for number in tables.progress(numbers * options.rounds, "measuring"):
        processes = acceptors.command("processes", str(number))
        with load.running(dcmtk.command() if number == DCMTK else processes) as server:
            taken[number].append(reports(server, options.seconds))
    lines = []
    for number, rounds in taken.items():
        pairs = zip(rounds, taken[1], strict=True)
        ratio = median(several.per_second / one.per_second for several, one in pairs)
        mark = "" if number in (1, DCMTK) else " ✓" if ratio >= TARGET * number else " ✗"
        shares = [max(one.cpu) / sum(one.cpu) * 100 for one in rounds]
        name = f"{number} process{'es' * (number > 1)}"
        lines.append(
            [
                "DCMTK, on one core" if number == DCMTK else name,
                tables.spread([one.microseconds for one in rounds]),
                tables.spread(shares),
                tables.spread([one.per_second for one in rounds]),
                f"{ratio:.2f}x{mark}",
            ]
        )
    head = [
        f"{CLIENTS} clients, each a report after another",
        *("µs of CPU for each", "% of it in the busiest", "reports a second", "to one process"),
    ]
    text = (
        f"Medians [and extremes] of {options.rounds} rounds in turns, each with new servers; the "
        "ratio is of the same round."
    )
    peers = dcmtk.versions(options)
    tables.finish("processes", [tables.Table(head, lines)], [text], record=options.record, **peers)


if __name__ == "__main__":
    main()
