"""Measures `nset mpps`: what a stored report takes, and what commits that reports share bring.

Usage: python benchmarks/mpps.py [--rounds N] [--reports N] [--sync-ms N] [--parts]
                                 [--without-dcmtk] [--record]
       python benchmarks/mpps.py serve DATABASE SERVER

A report is an association with one N-SET of 2 series x 5 images, which completes a step; the server
answers it when it is on the disk. --sync-ms stands for a slower disk: a virtual disk takes one
millisecond or so, a hard disk some ten. --parts says where the time goes, by servers that leave one
part after the other out. The second form is the server that is measured: `nset mpps` in one
process, which prints its port and ends with its standard input.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import acceptors
import dcmtk
import lists
import load
import psutil
import tables
from pynetdicom import evt

from nset import scp
from nset.mpps import server, writer
from nset.mpps.rules import DONE, Answer
from nset.mpps.steps import CREATE, Changes, Report
from nset.mpps.stores import open_store

ROOT = "1.2.826.0.1.3680043.8.498.7"
IMPLICIT = "1.2.840.10008.1.2"
AT_A_TIME = (1, 32)
WARM_UP = 100  # reports

NSET = "nset mpps"
ALONE = "nset mpps, a commit for each"
DCMTK = "DCMTK and an INSERT for each"
NORMAL = "the same, not on the disk"

# Servers that leave something out.
ANSWERED, SYNCED, MERGED, READ = "answered", "synced", "merged", "DCMTK, read"
OF_DCMTK = (READ, NORMAL, DCMTK)

PARTS = {
    ANSWERED: "connection, association, request and answer in `nset.scp`",
    SYNCED: "to the thread that writes, a page to the disk, and back",
    MERGED: "check, and merge with the step",
    NSET: "SQLite: read the step, write it and the report, commit",
    READ: "DCMTK: association, request, answer, each value read",
    NORMAL: "its INSERT",
    DCMTK: "to the disk",
}
"""What a server does that the one before does not; the first one of each kind does all it says."""


class Taken(NamedTuple):
    """Microseconds of the server's CPU for a report, reports a second, KiB written for one."""

    cpu: float
    rate: float
    written: float


def prepare(database: Path, number: int) -> None:
    """Create the steps that are to be completed."""
    step = lists.attribute_list()
    changes = lists.modification_list(2, 5)
    step.SpecificCharacterSet = changes.SpecificCharacterSet
    for element in changes:  # what is set must have been created
        if element.keyword not in step:
            setattr(step, element.keyword, None)
    data = lists.encoded(step)
    store = open_store(f"sqlite:///{database}", create=True)
    creating = writer.Writer(store)
    reports = [Report(CREATE, f"{ROOT}.{one}", IMPLICIT, data) for one in range(number)]
    for at in range(0, number, 1000):
        assert not any(answer.status for answer in creating.store(reports[at : at + 1000]))
    creating.close()


class Syncing(writer.Writer):
    """Stores nothing, and has a page on the disk for it."""

    def store(self, reports: list[Report], **_: Any) -> list[Answer]:
        """Answer, once it is there."""
        os.pwrite(self.file, bytes(4096), 0)
        os.fdatasync(self.file)
        return [DONE] * len(reports)


class Merging(Syncing):
    """Merges reports with steps in memory besides."""

    def store(self, reports: list[Report], **_: Any) -> list[Answer]:
        """Answer as the rules have it."""
        changes = Changes({report.uid: self.steps[report.uid] for report in reports})
        answers = [changes.apply(report, is_strict=False) for report in reports]
        super().store(reports)
        return answers


async def at_once(event: Any) -> tuple[int, None]:
    """Answer."""
    return 0, None


def serve(database: str, kind: str) -> None:
    """Run the server."""
    if kind == ALONE:
        writer._MAX_REPORTS = 1
    store = open_store(f"sqlite:///{database}")
    storing = {SYNCED: Syncing, MERGED: Merging}.get(kind, writer.Writer)(store)
    if kind in (SYNCED, MERGED):
        storing.file = os.open(f"{database}.page", os.O_RDWR | os.O_CREAT)
        storing.steps = {step.uid: step for step in store.find()}
    handlers = server.handlers(storing) if kind != ANSWERED else [(evt.EVT_N_SET, at_once)]
    ae = server.entity("NSET_MPPS", 500)
    running = scp.start_server(ae, ("127.0.0.1", 0), block=False, evt_handlers=handlers)
    acceptors.announce(running.server_address[1])
    threading.Event().wait()


def measure(command: list[str], requests: list[bytes], at_a_time: int) -> Taken:
    """Run a server, and report to it."""
    with load.running(command, is_apart=True) as running:
        load.report(running.port, requests[:WARM_UP], at_a_time)
        process = psutil.Process(running.pid)
        written, before = process.io_counters().write_chars, load.cpu_seconds(running.pid)
        begin = time.monotonic()
        load.report(running.port, requests[WARM_UP:], at_a_time)
        cpu, seconds = load.cpu_seconds(running.pid) - before, time.monotonic() - begin
        written = process.io_counters().write_chars - written
    number = len(requests) - WARM_UP
    return Taken(cpu / number * 1e6, number / seconds, written / number / 1024)


def command(kind: str, database: Path) -> list[str]:
    """What runs the server."""
    if kind == READ:
        return dcmtk.command("read")
    if kind in (DCMTK, NORMAL):
        return dcmtk.command("store", str(database), "FULL" if kind == DCMTK else "NORMAL")
    return [sys.executable, __file__, "serve", str(database), kind]


def slow_down(milliseconds: int, folder: str) -> None:
    """Have servers take longer to sync the disk."""
    library = f"{folder}/slow_sync.so"
    source = str(Path(__file__).with_name("slow_sync.c"))
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    os.environ["LD_PRELOAD"], os.environ["SYNC_MS"] = library, str(milliseconds)


def compared(
    taken: dict[tuple[str, int], list[Taken]], kinds: list[str], slow: str
) -> tuple[tables.Table, str]:
    """Return what each server takes, and the ratios."""
    lines = []
    for kind in kinds:
        line = [f"`{kind}`" if kind == NSET else kind]
        for number in AT_A_TIME:
            line.append(tables.spread([one.cpu for one in taken[kind, number]]))
            line.append(tables.spread([one.rate for one in taken[kind, number]]))
        lines.append(line)
    columns = [f"{what}, {n} at a time" for n in AT_A_TIME for what in ("µs of CPU", "reports/s")]
    pairs = zip(taken[NSET, 32], taken[ALONE, 32], strict=True)
    ratio = median(shared.rate / alone.rate for shared, alone in pairs)
    ratios = f"Of 32 modalities {ratio:.1f} times as many reports as with a commit for each"
    for number in AT_A_TIME if DCMTK in kinds else []:
        pairs = zip(taken[NSET, number], taken[DCMTK, number], strict=True)
        ratio = median(ours.cpu / theirs.cpu for ours, theirs in pairs)
        ratios += f"; {number} at a time {ratio:.2f} times DCMTK's CPU time"
    ratios += ", in the same round. Extremes are in brackets."
    return tables.Table([f"a stored report{slow}", *columns], lines), ratios


def in_parts(
    taken: dict[tuple[str, int], list[Taken]], kinds: list[str], slow: str
) -> tuple[tables.Table, str]:
    """Return what each part takes, and what is written."""
    lines, before = [], [0.0] * len(AT_A_TIME)
    for kind in kinds:
        if kind in (ANSWERED, READ):
            before = [0.0] * len(AT_A_TIME)
        now = [median(one.cpu for one in taken[kind, number]) for number in AT_A_TIME]
        parts = [total - earlier for total, earlier in zip(now, before, strict=True)]
        lines.append([PARTS[kind], *map(tables.short, parts)])
        if kind in (NSET, DCMTK):
            lines.append([f"all of it: {kind}", *map(tables.short, now)])
        before = now
    columns = [f"µs of CPU, {number} at a time" for number in AT_A_TIME]
    written = ", ".join(
        f"{kind} {tables.short(median(one.written for one in taken[kind, 1]))}"
        for kind in (NSET, DCMTK)
        if kind in kinds
    )
    text = f"Each syncs once for a report by itself. KiB written for one: {written}."
    return tables.Table([f"part of a stored report{slow}", *columns], lines), text


def main() -> None:
    """Take the rounds, print the table."""
    parser = tables.arguments(__doc__)
    parser.add_argument("--reports", type=int, default=2000, help="in a round")
    parser.add_argument("--sync-ms", type=int, default=0, help="that a slower disk takes to sync")
    parser.add_argument("--parts", action="store_true", help="where the time goes")
    dcmtk.add_option(parser)
    options = parser.parse_args()
    kinds = list(PARTS) if options.parts else [NSET, ALONE, DCMTK, NORMAL]
    if options.without_dcmtk:
        kinds = [kind for kind in kinds if kind not in OF_DCMTK]
    data = lists.encoded(lists.modification_list(2, 5))
    requests = [
        load.exchange(data_set=data, instance=f"{ROOT}.{number}")[0]
        for number in range(options.reports + WARM_UP)
    ]
    turns = [(kind, number) for number in AT_A_TIME for kind in kinds] * options.rounds
    taken: dict[tuple[str, int], list[Taken]] = {turn: [] for turn in turns}
    with tempfile.TemporaryDirectory() as folder:
        if options.sync_ms:
            slow_down(options.sync_ms, folder)
        for kind, number in tables.progress(turns, "measuring"):
            database = Path(folder) / f"{time.monotonic_ns()}.sqlite"
            if kind not in OF_DCMTK:
                prepare(database, len(requests))
            taken[kind, number].append(measure(command(kind, database), requests, number))
    os.environ.pop("LD_PRELOAD", None)
    slow = f", {options.sync_ms} ms more to sync" if options.sync_ms else ""
    table, ratios = (in_parts if options.parts else compared)(taken, kinds, slow)
    text = f"Medians of {options.rounds} rounds in turns, each with a new server and database."
    peers = {"uvloop": version("uvloop"), **dcmtk.versions(options)}
    tables.finish(
        "mpps" + ("-parts" if options.parts else "") + ("-slow" if options.sync_ms else ""),
        [table],
        [ratios, text],
        record=options.record,
        **peers,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], sys.argv[3])
    else:
        main()
