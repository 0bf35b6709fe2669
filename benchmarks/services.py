"""Measures each service of `nset.scp` on open associations, beside N-SET.

Usage: python benchmarks/services.py [--rounds N] [--seconds S] [--record]
"""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from statistics import median
from typing import Any, NamedTuple

import acceptors
import lists
import load
import tables
from pynetdicom import dimse_messages, dimse_primitives
from pynetdicom.sop_class import (
    BasicFilmSession,
    StorageCommitmentPushModel,
    UnifiedProcedureStepPush,
    Verification,
)

from nset.demo import MPPS

ASSOCIATIONS = 8
KINDS = {
    "pynetdicom": "pynetdicom",
    "async": "`nset.scp`, async handler",
    "inline": "inline handler",
    "plain": "plain handler",
}
N_SET = "N-SET"
REFUSED = "N-SET without a list, refused"


class Row(NamedTuple):
    """What is asked: the SOP Class, the PDUs of the request, and those of the answer to it."""

    syntax: str
    request: bytes
    answer: bytes


def n_set(data_set: bytes | None, status: int = 0x0000) -> Row:
    """An N-SET with such a list, or without one."""
    return Row(MPPS, *load.exchange(data_set=data_set, status=status))


def other(name: str, syntax: str, *, request: Any = None, answer: Any = None, **ids: int) -> Row:
    """A request of another service, with such data sets."""
    cls = getattr(dimse_primitives, name)
    asked, answered = cls(), cls()
    asked.MessageID = answered.MessageIDBeingRespondedTo = 7
    is_requested = hasattr(asked, "RequestedSOPClassUID")
    for part, uid in (("Class", syntax), ("Instance", load.INSTANCE)):
        keyword = f"SOP{part}UID"
        if part == "Class" or name != "C_ECHO":
            setattr(asked, f"{'Requested' if is_requested else 'Affected'}{keyword}", uid)
            setattr(answered, f"Affected{keyword}", uid)
    for keyword, value in ids.items():
        setattr(asked, keyword, value)
        setattr(answered, keyword, value)
    answered.Status = 0x0000
    for primitive, data_set in ((asked, request), (answered, answer)):
        if data_set is not None:
            keyword, value = data_set
            setattr(primitive, keyword, BytesIO(value))
    return Row(
        syntax,
        load.message_pdus(getattr(dimse_messages, f"{name}_RQ")(), asked),
        load.message_pdus(getattr(dimse_messages, f"{name}_RSP")(), answered),
    )


def rows() -> dict[str, Row]:
    """By their names in the table; the first one is what the others are compared with."""
    data = bytes(1024)
    found = lists.encoded(acceptors.FOUND)
    return {
        N_SET: n_set(data),
        REFUSED: n_set(None, 0x0212),
        "N-CREATE": other("N_CREATE", MPPS, request=("AttributeList", data)),
        "N-CREATE without a list": other("N_CREATE", MPPS),
        "N-GET, answered by 3 elements": other(
            "N_GET", UnifiedProcedureStepPush, answer=("AttributeList", found)
        ),
        "N-ACTION": other(
            *("N_ACTION", StorageCommitmentPushModel),
            request=("ActionInformation", data),
            ActionTypeID=1,
        ),
        "N-DELETE": other("N_DELETE", BasicFilmSession),
        "N-EVENT-REPORT": other(
            *("N_EVENT_REPORT", StorageCommitmentPushModel),
            request=("EventInformation", data),
            EventTypeID=1,
        ),
        "C-ECHO": other("C_ECHO", Verification),
    }


def measured(kinds: list[str], rounds: int, seconds: float) -> list[list[str]]:
    """Take the rounds: the cells of the table."""
    measure: dict[str, Callable[[load.Server], float]] = {
        name: partial(load.cpu_per_request, associations=ASSOCIATIONS, seconds=seconds, of=row)
        for name, row in rows().items()
    }
    taken: dict[str, dict[str, list[float]]] = {
        name: {kind: [] for kind in kinds} for name in measure
    }
    turns = [(kind, number) for number in range(rounds) for kind in kinds]
    for kind, _ in tables.progress(turns, "measuring"):
        with load.running(acceptors.command(kind, "answer"), is_apart=True) as server:
            for name, of_row in measure.items():
                if (name, kind) != (REFUSED, "pynetdicom"):  # which serves it
                    taken[name][kind].append(of_row(server))
    lines = []
    for name, of_row in taken.items():
        line = [name]
        for kind, figures in of_row.items():
            pairs = zip(figures, taken[N_SET][kind], strict=False)
            ratios = [one / n_set for one, n_set in pairs]
            cells = [tables.short(median(figures)), f"{median(ratios):.2f}x"] if ratios else []
            line += cells or ["", ""]
        lines.append(line)
    return lines


def main() -> None:
    """Take the rounds, print the table."""
    parser = tables.arguments(__doc__)
    parser.set_defaults(seconds=1.0)
    parser.add_argument("--without-pynetdicom", action="store_true")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if kind != "pynetdicom" or not options.without_pynetdicom]
    head = [f"{ASSOCIATIONS} open associations: µs of the server's CPU"]
    for kind in kinds:
        head += [KINDS[kind], "to N-SET"]
    table = tables.Table(head, measured(kinds, options.rounds, options.seconds))
    text = (
        f"Medians of {options.rounds} rounds in turns, each with a new server; the ratio is that "
        "to N-SET with the same server."
    )
    tables.finish("services", [table], [text], record=options.record)


if __name__ == "__main__":
    main()
