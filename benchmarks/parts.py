"""Measures where the time of a whole report goes: the kernel, the loop, nset, the handler.

Usage: python benchmarks/parts.py [--rounds N] [--seconds S] [--without-dcmtk] [--record]

Parts are told apart by servers that leave one after the other out: canned bytes, a handler that
ignores the list, one that reads it. The kernel's is what it says of the server's process. What
decoding takes is measured in this process, and taken off what the handler needs.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

import acceptors
import data_sets
import dcmtk
import lists
import load
import psutil
import report
import tables
from support import IMPLICIT

from nset import dataset

IGNORED, READ = "N-SET of 2 series x 5 images, ignored", "the same, every element read"
PARTS = (
    "the kernel: connect, read, write, close",
    "the event loop, as for canned bytes",
    "association, request, answer",
    "decode the list",
    "make its elements and items",
    "visit them by `iterall`",
)
TURNS = [
    (report.ECHO, IGNORED),
    *((kind, row) for kind in ("async", report.DCMTK) for row in (IGNORED, READ)),
]


class Taken(NamedTuple):
    """Microseconds of the server's CPU for a report."""

    user: float
    kernel: float


def measured(kind: str, row: report.Row) -> Taken:
    """Take what a server needs."""
    with load.running(report.command(kind, row, ""), is_apart=True) as server:
        process = psutil.Process(server.pid)
        before = process.cpu_times()
        total = row.measure(server)
        after = process.cpu_times()
    user, kernel = after.user - before.user, after.system - before.system
    return Taken(total * user / (user + kernel), total * kernel / (user + kernel))


def in_process() -> list[float]:
    """Return the shares of decoding the list, making its elements, and `iterall`."""
    data = lists.encoded(lists.modification_list(2, 5))
    before = acceptors.read(dataset.decode(data, IMPLICIT))
    statements: list[Callable[[], object]] = [
        lambda: dataset.decode(data, IMPLICIT),
        lambda: acceptors.read(dataset.decode(data, IMPLICIT)),
        lambda: acceptors.read(before),
    ]
    rounds = [[data_sets.timed(statement) for statement in statements] for _ in range(101)]
    decode, both, again = map(median, zip(*rounds, strict=True))
    return [decode / both, (both - decode - again) / both, again / both]


def main() -> None:
    """Take the rounds, print the table."""
    parser = tables.arguments(__doc__)
    dcmtk.add_option(parser)
    options = parser.parse_args()
    rows = {row.name: row for row in report.reports(options.seconds)}
    kinds = [kind for kind in TURNS if kind[0] != report.DCMTK or not options.without_dcmtk]
    rounds: dict[tuple[str, str], list[Taken]] = {kind: [] for kind in kinds}
    for kind, name in tables.progress(kinds * options.rounds, "measuring"):
        rounds[kind, name].append(measured(kind, rows[name]))
    taken = {
        kind: Taken(*map(median, zip(*of_kind, strict=True))) for kind, of_kind in rounds.items()
    }
    peer, ignored, read = (
        taken[kind] for kind in ((report.ECHO, IGNORED), ("async", IGNORED), ("async", READ))
    )
    shares = [(read.user - ignored.user) * share for share in in_process()]
    ours = [read.kernel, peer.user, ignored.user - peer.user, *shares]
    lines = [[part, *cells(ours, number)] for number, part in enumerate(PARTS)]
    lines.append(["all", tables.short(sum(ours)), ""])
    head = ["one report, every element read", "`nset.scp`, µs", "share"]
    if not options.without_dcmtk:
        ignored, read = (taken[report.DCMTK, name] for name in (IGNORED, READ))
        theirs = [read.kernel, ignored.user, read.user - ignored.user]
        head += ["DCMTK, µs", "share"]
        for line, number in zip(lines, (0, None, 1, 2, None, None), strict=False):
            line += ["", ""] if number is None else cells(theirs, number)
        lines[-1] += [tables.short(sum(theirs)), ""]
    text = f"Medians of {options.rounds} rounds in turns, each with a new server."
    peers = {**dcmtk.versions(options), "uvloop": version("uvloop")}
    tables.finish("parts", [tables.Table(head, lines)], [text], record=options.record, **peers)


def cells(figures: Sequence[float], number: int) -> list[str]:
    """One of them, and which share of all it is."""
    return [tables.short(figures[number]), f"{figures[number] / sum(figures):.0%}"]


if __name__ == "__main__":
    main()
