"""Measures whole reports: connect, associate, one message, release, close.

Usage: python benchmarks/report.py [--growth] [--rounds N] [--seconds S] [--record]

Each server has a core of its own, and so have the clients. With --growth also what it takes when
lists, contexts, associations and modalities become more.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from io import BytesIO
from itertools import count, repeat, takewhile
from statistics import median
from typing import NamedTuple

import acceptors
import dcmtk
import lists
import load
import tables
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import dimse_messages, dimse_primitives
from pynetdicom.presentation import AllStoragePresentationContexts
from support import P_DATA_TF, Peer

from nset.demo import MPPS

TRANSFER_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

ECHO = "echo"
DCMTK = "dcmtk"
STOCK = ("pynetdicom", "installed")
"""Servers with two threads for each association."""

SERVERS = {
    "pynetdicom": "pynetdicom",
    "installed": "`install()`",
    "async": "`nset.scp`, async",
    DCMTK: "DCMTK, C++",
    ECHO: "canned, uvloop",
}

WARM_UP = 20  # reports
SETTLE = 0.3  # seconds; threads of the last association have ended by then
LEAST = 3  # reports, however long they take

SIZES = {0: "no list", 1 << 10: "1 KiB", 1 << 16: "64 KiB", 1 << 20: "1 MiB", 1 << 24: "16 MiB"}
CONTEXTS = (1, 3, 10, 30)
ASSOCIATIONS = (1, 10, 100, 1000)
MODALITIES = (1, 4, 16, 64)


class Message(NamedTuple):
    """A request of a modality, and the answer to it: PDUs, each for one write."""

    request: bytes
    answer: bytes


class Row(NamedTuple):
    """What is measured: the job of the handler, and how a server is asked for a while."""

    name: str
    job: str
    message: Message
    measure: Callable[[load.Server], float]
    servers: tuple[str, ...] = tuple(SERVERS)


NO_MESSAGE = Message(b"", b"")


def n_set(data_set: bytes | None) -> Message:
    """An N-SET with such a list, or without one."""
    return Message(*load.exchange(data_set=data_set))


def n_create(data_set: bytes) -> Message:
    """An N-CREATE with such a list."""
    create = dimse_primitives.N_CREATE()
    create.MessageID = create.MessageIDBeingRespondedTo = 7
    create.AffectedSOPClassUID, create.AffectedSOPInstanceUID = MPPS, load.INSTANCE
    create.Status = 0x0000
    answer = load.message_pdus(dimse_messages.N_CREATE_RSP(), create)
    create.AttributeList = BytesIO(data_set)
    return Message(load.message_pdus(dimse_messages.N_CREATE_RQ(), create), answer)


def proposal(contexts: int, *others: str) -> list[tuple[str, ...]]:
    """What a modality proposes: MPPS and the storage of objects, in three transfer syntaxes."""
    images = [context.abstract_syntax for context in AllStoragePresentationContexts]
    return [(uid, *TRANSFER_SYNTAXES, *others) for uid in (MPPS, *images[: contexts - 1])]


def ask(peer: Peer, message: Message, *, is_checked: bool = True) -> None:
    """Send the request, and receive the answer: success, if that is checked."""
    peer.send(message.request)
    answer = peer.receive()
    if (
        answer is None
        or answer.type != P_DATA_TF
        or (is_checked and load.SUCCESS not in answer.body)
    ):
        raise ValueError(f"the server answered {answer}")


def per_report(
    server: load.Server, seconds: float, message: Message = NO_MESSAGE, contexts: int = 1
) -> float:
    """Microseconds of the server's CPU for a report."""
    proposed = proposal(contexts)

    def report() -> None:
        with Peer(server.port, *proposed) as peer:
            if message.request:
                ask(peer, message)
            load.release(peer)

    return per_call(server, seconds, report)


def per_unseen(server: load.Server, seconds: float, contexts: int) -> float:
    """Microseconds of the server's CPU for an association, each of whose contexts is a new one."""
    numbers = count()

    def associate() -> None:
        with Peer(server.port, *proposal(contexts, f"1.2.{next(numbers)}")) as peer:
            load.release(peer)

    return per_call(server, seconds, associate)


def per_request(server: load.Server, seconds: float, message: Message, is_checked: bool) -> float:
    """Microseconds of the server's CPU for a request on an association that stays open."""
    with Peer(server.port, MPPS) as peer:
        return per_call(server, seconds, partial(ask, peer, message, is_checked=is_checked))


def per_report_of(modalities: int, server: load.Server, seconds: float, message: Message) -> float:
    """Microseconds of the server's CPU for a report, while so many modalities report."""

    def report(seconds: float) -> int:
        end = time.monotonic() + seconds
        requests = takewhile(lambda _: time.monotonic() < end, repeat(message.request))
        return load.report(server.port, requests, modalities)

    report(seconds / 5)
    time.sleep(SETTLE)
    before = load.cpu_seconds(server.pid)
    reports = report(seconds)
    time.sleep(SETTLE)
    return (load.cpu_seconds(server.pid) - before) / reports * 1e6


def per_call(server: load.Server, seconds: float, call: Callable[[], None]) -> float:
    """Microseconds of the server's CPU for each of the calls, one after the other."""
    end = time.monotonic() + seconds
    for _ in range(WARM_UP):
        call()
        if time.monotonic() > end:
            break
    time.sleep(SETTLE)
    calls, before, end = 0, load.cpu_seconds(server.pid), time.monotonic() + seconds
    while calls < LEAST or time.monotonic() < end:
        call()
        calls += 1
    time.sleep(SETTLE)
    return (load.cpu_seconds(server.pid) - before) / calls * 1e6


def reports(seconds: float) -> list[Row]:
    """The whole report."""
    create = n_create(lists.encoded(lists.attribute_list()))
    small = n_set(lists.encoded(lists.modification_list(2, 5)))
    large = n_set(lists.encoded(lists.modification_list(3, 50)))

    def row(name: str, job: str, message: Message, contexts: int = 1) -> Row:
        measure = partial(per_report, seconds=seconds, message=message, contexts=contexts)
        return Row(name, job, message, measure)

    return [
        row("associate and release, nothing else", "ignore", NO_MESSAGE),
        row("the same, 30 contexts proposed", "ignore", NO_MESSAGE, 30),
        row("N-CREATE, list ignored", "ignore", create),
        row("N-SET of 2 series x 5 images, ignored", "ignore", small),
        row("the same, every element read", "read", small),
        row("N-SET of 3 x 50, every element read", "read", large),
        row("2 x 5, read, written to SQLite", "store", small),
    ]


def growth(seconds: float) -> list[Row]:
    """What grows: the list, the contexts, the associations, the modalities that report."""
    rows = []
    for size, name in SIZES.items():
        message = n_set(bytes(size) if size else None)
        measure = partial(per_request, seconds=seconds, message=message, is_checked=size > 0)
        rows.append(Row(f"N-SET on an open association, {name}", "ignore", message, measure))
    for contexts in CONTEXTS:
        name = f"associate and release, {contexts} context{'s' * (contexts > 1)} proposed"
        measure = partial(per_report, seconds=seconds, contexts=contexts)
        rows.append(Row(name, "ignore", NO_MESSAGE, measure))
    name = f"the same, {CONTEXTS[-1]} that are new each time"
    measure = partial(per_unseen, seconds=seconds, contexts=CONTEXTS[-1])
    rows.append(Row(name, "ignore", NO_MESSAGE, measure))
    for associations in ASSOCIATIONS:
        measure = partial(load.cpu_per_request, associations=associations, seconds=seconds)
        servers = tuple(kind for kind in SERVERS if associations <= 100 or kind not in STOCK)
        name = f"N-SET of 1 KiB, {associations} association{'s' * (associations > 1)} busy"
        rows.append(Row(name, "ignore", n_set(bytes(1024)), measure, servers))
    message = n_set(lists.encoded(lists.modification_list(2, 5)))
    for modalities in MODALITIES:
        measure = partial(per_report_of, modalities, seconds=seconds, message=message)
        name = f"a report of 2 x 5, read, {modalities} at a time"
        rows.append(Row(name, "read", message, measure))
    return rows


def command(kind: str, row: Row, folder: str) -> list[str] | None:
    """What runs the server for the row, if that server can do it."""
    job = [row.job, *([f"{folder}/{time.monotonic_ns()}"] if row.job == "store" else [])]
    if kind not in row.servers:
        return None
    if kind == DCMTK:
        return dcmtk.command(*job)
    if kind == ECHO:
        canned = [str(len(row.message.request)), row.message.answer.hex()]
        return acceptors.command(kind, *canned) if row.job == "ignore" else None
    return acceptors.command(kind, *job)


def measured(rows: list[Row], kinds: list[str], rounds: int) -> list[list[str]]:
    """Take the rounds: the cells of the table."""
    taken: dict[str, dict[str, list[float]]] = {
        row.name: {kind: [] for kind in kinds} for row in rows
    }
    turns = [turn for row in rows for turn in [(row, kind) for kind in kinds] * rounds]
    with tempfile.TemporaryDirectory() as folder:
        for row, kind in tables.progress(turns, "measuring"):
            if (program := command(kind, row, folder)) is None:
                continue
            with load.running(program, is_apart=True) as server:
                taken[row.name][kind].append(row.measure(server))
    return [[name, *_cells(of_row)] for name, of_row in taken.items()]


def _cells(taken: dict[str, list[float]]) -> list[str]:
    cells = [tables.short(median(figures)) if figures else "" for figures in taken.values()]
    if DCMTK in taken:
        pairs = zip(taken["async"], taken[DCMTK], strict=True)
        cells.append(f"{median(ours / theirs for ours, theirs in pairs):.2f}x")
    return cells


def main() -> None:
    """Take the rounds, print the tables."""
    parser = tables.arguments(__doc__)
    parser.set_defaults(seconds=1.0)
    parser.add_argument("--growth", action="store_true", help="instead: how they grow")
    dcmtk.add_option(parser)
    options = parser.parse_args()

    kinds = [kind for kind in SERVERS if kind != DCMTK or not options.without_dcmtk]
    names = [SERVERS[kind] for kind in kinds]
    if DCMTK in kinds:
        names.append("`nset.scp` to DCMTK")
    load.allow_open_files(max(ASSOCIATIONS))
    head, rows, marker = (
        ("as it grows", growth, "growth") if options.growth else ("one report", reports, "report")
    )
    cells = measured(rows(options.seconds), kinds, options.rounds)
    table = tables.Table([f"{head}: µs of the server's CPU", *names], cells)
    text = (
        f"Medians of {options.rounds} rounds in turns, each with a new server; the ratio is of the "
        "same round."
    )
    peers = {"uvloop": version("uvloop"), **dcmtk.versions(options)}
    tables.finish(marker, [table], [text], record=options.record, **peers)


if __name__ == "__main__":
    main()
