"""Measures `nset.dataset` against pydicom and DCMTK on the lists of performed procedure steps.

Usage: python benchmarks/data_sets.py [--rounds N] [--without-dcmtk] [--record]
"""

import subprocess
from collections.abc import Callable
from functools import partial
from statistics import median
from time import thread_time

import dcmtk
import lists
import tables
from pydicom import Dataset
from support import EXPLICIT, IMPLICIT, pydicom_decode, pydicom_encode

from nset import dataset

SYNTAXES = {"implicit": IMPLICIT, "explicit": EXPLICIT}
LISTS = {"2 x 5 images": (2, 5), "3 x 50 images": (3, 50)}
HEAD = ["", "pydicom, µs", "nset.dataset, µs", "ratio", "DCMTK, µs", "nset.dataset to DCMTK"]
NUMBER = 20  # times that a statement runs in a round
READ_ALL = "decode, read all"


def read_all(data_set: Dataset) -> None:
    """Look at the value of each element."""
    for element in data_set:
        value = element.value
        if element.VR == "SQ":
            for item in value:
                read_all(item)


def read_three(data_set: Dataset) -> None:
    """Look at three attributes by name."""
    _ = data_set.PerformedProcedureStepStatus
    _ = data_set.PerformedProcedureStepEndDate
    _ = data_set.PerformedProcedureStepEndTime


def main() -> None:
    """Take the rounds, print the table."""
    parser = tables.arguments(__doc__)
    dcmtk.add_option(parser)
    options = parser.parse_args()
    lines = []
    for list_name, (series, images) in LISTS.items():
        for syntax_name, syntax in SYNTAXES.items():
            made = lists.modification_list(series, images)
            for name, statements in _pairs(made, syntax).items():
                timers = [partial(timed, statement) for statement in statements]
                if name == READ_ALL and not options.without_dcmtk:
                    timers.append(partial(_timed_dcmtk, pydicom_encode(made, syntax), syntax_name))
                where = f"{name}: {list_name}, {syntax_name}"
                lines.append([where, *_measured(timers, options.rounds)])
    text = f"CPU time, medians of {options.rounds} alternating rounds."
    peers = dcmtk.versions(options)
    tables.finish("data-sets", [tables.Table(HEAD, lines)], [text], record=options.record, **peers)


def _pairs(made: Dataset, syntax: str) -> dict[str, tuple[Callable[[], object], ...]]:
    data = pydicom_encode(made, syntax)
    theirs, ours = pydicom_decode(data, syntax), dataset.decode(data, syntax)
    read_all(theirs)
    read_all(ours)
    assert ours == theirs
    assert dataset.encode(made, syntax) == dataset.encode(ours, syntax) == data
    return {
        "decode": (
            lambda: pydicom_decode(data, syntax),
            lambda: dataset.decode(data, syntax),
        ),
        READ_ALL: (
            lambda: read_all(pydicom_decode(data, syntax)),
            lambda: read_all(dataset.decode(data, syntax)),
        ),
        "decode, read three attributes": (
            lambda: read_three(pydicom_decode(data, syntax)),
            lambda: read_three(dataset.decode(data, syntax)),
        ),
        "encode what a program made": (
            lambda: pydicom_encode(made, syntax),
            lambda: dataset.encode(made, syntax),
        ),
        "encode what was decoded and read": (
            lambda: pydicom_encode(theirs, syntax),
            lambda: dataset.encode(ours, syntax),
        ),
    }


def timed(statement: Callable[[], object]) -> float:
    """Microseconds of CPU that it takes once."""
    begin = thread_time()
    for _ in range(NUMBER):
        statement()
    return (thread_time() - begin) / NUMBER * 1e6


def _timed_dcmtk(data: bytes, syntax_name: str) -> float:
    """The same of DCMTK that decodes these bytes and visits each value."""
    command = dcmtk.command("decode", syntax_name, str(NUMBER))
    return float(subprocess.check_output(command, input=data))


def _measured(timers: list[Callable[[], float]], rounds: int) -> list[str]:
    """Take turns: the cells of a line."""
    taken = [[timer() for timer in timers] for _ in range(rounds)]
    theirs, ours, *others = map(median, zip(*taken, strict=True))
    cells = [tables.short(theirs), tables.short(ours), f"{theirs / ours:.1f}x"]
    for peer in others:
        cells += [tables.short(peer), f"{ours / peer:.2f}x"]
    return cells + [""] * (len(HEAD) - 1 - len(cells))


if __name__ == "__main__":
    main()
