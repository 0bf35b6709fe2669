"""Times a statement on pynetdicom and on both implementations, in one process and by turns.

The statement stands in the timed code itself, many times over and with its operands in local
variables, so that no call and no loop is timed with it. The implementations take turns of about a
millisecond: what slows the machine down for a while slows all of them.
"""

import gc
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from statistics import median
from time import perf_counter_ns
from typing import Any

from pydicom.uid import UID
from support import loaded

import nset

IMPLEMENTATIONS = ("pynetdicom", "python", "compiled")

# A block of copies is short, so that few are interrupted, and the median of a turn is of one that
# is not.
_MAX_COPIES = 100
_BLOCK_NS = 100_000
_MIN_BLOCKS = 7
_TURN_NS = 1_000_000

_serial = count(1)


@dataclass(frozen=True)
class Operation:
    """A statement to be timed.

    Attributes
    ----------
    name : str
        What a table calls it.
    statement : str
        Python code on one line. It may use the names of `operands`, and ``unseen``: a UID of 54
        characters, another one at each execution.
    check : str
        An expression that is true after the statement was executed.
    pynetdicom : str, optional
        The statement for pynetdicom, where it is another one.
    setup : str
        Python code that is executed once beforehand, and gives the statement more names.
    """

    name: str
    statement: str
    check: str
    pynetdicom: str | None = None
    setup: str = ""


def load(implementation: str) -> Any:
    """``N_SET`` as one of `IMPLEMENTATIONS` has it, beside those that are loaded already.

    One that can't be loaded is an error.
    """
    if implementation == "pynetdicom":
        return importlib.import_module("pynetdicom.dimse_primitives").N_SET
    if implementation == nset.IMPLEMENTATION:
        return nset.N_SET  # a process can have the C extension once
    with loaded(implementation) as package:
        return package.N_SET


def operands(cls: Any) -> dict[str, Any]:
    """The names that a statement may use, where ``N_SET`` is that class.

    A valid request as ``primitive``, and values to set: ``sop_class`` and ``instance`` (str),
    ``uid`` (UID), ``stream`` (BytesIO).
    """
    primitive = cls()
    primitive.MessageID = 1
    primitive.RequestedSOPClassUID = "1.2.840.10008.3.1.2.3.3"
    primitive.RequestedSOPInstanceUID = _unseen_uid()
    primitive.ModificationList = BytesIO(bytes(64))
    return {
        "N_SET": cls,
        "primitive": primitive,
        "sop_class": "1.2.840.10008.3.1.2.3.3",
        "instance": _unseen_uid(),
        "uid": UID("1.2.840.10008.3.1.2.3.3"),
        "stream": BytesIO(bytes(64)),
    }


def measure(
    operation: Operation, classes: Mapping[str, Any], rounds: int = 25
) -> dict[str, list[float]]:
    """Nanoseconds that one statement took, turn by turn, for the ``N_SET`` of each implementation.

    They take turns, each so many.
    """
    turns = {name: _turn(operation, name, cls) for name, cls in classes.items()}
    times: dict[str, list[float]] = {name: [] for name in classes}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, turn in turns.items():
                times[name].append(turn())
    finally:
        if collecting:
            gc.enable()
    return times


def ratio(times: Mapping[str, list[float]], implementation: str) -> float:
    """How many times as fast as pynetdicom it is: the median of the ratios, round by round."""
    pairs = zip(times["pynetdicom"], times[implementation], strict=True)
    return median(stock / ours for stock, ours in pairs)


def _unseen_uid() -> str:
    return f"1.2.826.0.1.3680043.8.498.1{next(_serial):027d}"


def _turn(operation: Operation, implementation: str, cls: Any) -> Callable[[], float]:
    """Make the function that times a turn and gives the nanoseconds that one statement took."""
    statement = operation.statement
    if implementation == "pynetdicom" and operation.pynetdicom is not None:
        statement = operation.pynetdicom
    names = operands(cls)
    exec(operation.setup, {}, names)
    trial = {**names, "unseen": _unseen_uid()}
    exec(statement, trial)
    if not eval(operation.check, trial):
        raise AssertionError(f"{operation.name} by {implementation}: not {operation.check}")

    make_uid = _unseen_uid if "unseen" in statement else str  # making them takes time, too

    def timer(copies: int) -> Callable[[], int]:
        block = _block(statement, [*names], copies)
        return lambda: int(block(**names, unseen=[make_uid() for _ in range(copies)]))

    block = timer(_MAX_COPIES)
    block(), block()  # CPython adapts code to its operands
    copies = max(1, min(_MAX_COPIES, _BLOCK_NS * _MAX_COPIES // block()))
    block = timer(copies)
    block(), block()
    blocks = max(_MIN_BLOCKS, _TURN_NS // block())
    return lambda: median(block() for _ in range(blocks)) / copies


def _block(statement: str, names: list[str], copies: int) -> Any:
    """Make a function that executes the statement so many times and gives the nanoseconds."""
    uids = [f"unseen_{number}" for number in range(copies)]
    lines = [
        f"def block({', '.join(names)}, unseen):",
        f"    ({', '.join(uids)},) = unseen",
        "    start = clock()",
        *("    " + re.sub(r"\bunseen\b", uid, statement) for uid in uids),
        "    return clock() - start",
    ]
    namespace: dict[str, Any] = {"clock": perf_counter_ns}
    exec("\n".join(lines), namespace)
    return namespace["block"]
