"""Measures `nset.dataset` against pydicom on the lists of performed procedure steps.

Usage: python benchmarks/data_sets.py [--rounds N] [README.md]
"""

from collections.abc import Callable
from statistics import median
from time import thread_time

import lists
import tables
from pydicom import Dataset
from support import EXPLICIT, IMPLICIT, pydicom_decode, pydicom_encode

from nset import dataset

SYNTAXES = {"implicit": IMPLICIT, "explicit": EXPLICIT}
LISTS = {"2 x 5 images": (2, 5), "3 x 50 images": (3, 50)}
HEAD = ["", "pydicom, µs", "nset.dataset, µs", "ratio"]
NUMBER = 20  # times that a statement runs in a round


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
    options = tables.arguments(__doc__, "data-sets").parse_args()
    lines = []
    for list_name, (series, images) in LISTS.items():
        for syntax_name, syntax in SYNTAXES.items():
            pairs = _pairs(lists.modification_list(series, images), syntax)
            for name, pair in pairs.items():
                where = f"{name}: {list_name}, {syntax_name}"
                lines.append([where, *_measured(pair, options.rounds)])
    text = (
        f"{tables.markdown(HEAD, lines)}\n\n"
        f"CPU time, medians of {options.rounds} alternating rounds. {tables.machine()}"
    )
    print(text)
    tables.write(text, options.file, "data-sets")


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
        "decode, read all": (
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


def _measured(pair: tuple[Callable[[], object], ...], rounds: int) -> list[str]:
    taken: tuple[list[float], ...] = ([], [])
    for _ in range(rounds):
        for statement, times in zip(pair, taken, strict=True):
            begin = thread_time()
            for _ in range(NUMBER):
                statement()
            times.append((thread_time() - begin) / NUMBER * 1e6)
    theirs, ours = map(median, taken)
    return [tables.short(theirs), tables.short(ours), f"{theirs / ours:.1f}x"]


if __name__ == "__main__":
    main()
