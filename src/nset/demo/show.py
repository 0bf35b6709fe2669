"""Runs the demo and prints it."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any, NoReturn

from pydicom import DataElement
from pynetdicom import AE
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

import nset
from nset import N_SET, scp, status
from nset.demo import clock
from nset.demo.scp import Steps, serve

REQUESTS = (
    "N-CREATE, the step is IN PROGRESS",
    "N-SET, the step is COMPLETED",
    "N-SET, the same step is DISCONTINUED",
)
EXPECTED = (0x0000, 0x0000, 0x0110)
TIMEOUT = 120  # seconds
LABELS = {
    "pynetdicom": "pynetdicom",
    "python": "nset, pure Python",
    "compiled": "nset, C extension",
}
SERVERS = {
    clock.STOCK: "pynetdicom",
    clock.INSTALLED: "pynetdicom with nset",
    clock.SCP: "nset.scp",
}
SHOWN = (
    "PatientName",
    "PerformedStationAETitle",
    "PerformedProcedureStepStatus",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime",
    "PerformedSeriesSequence",
)

_console = Console(highlight=False)


def run() -> None:
    """Run the demo: a modality reports to two servers; the times of both implementations."""
    peers = [f"{name} {version(name)}" for name in ("pynetdicom", "pydicom")]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    _heading(", ".join([f"nset {nset.__version__}", *peers, python]))
    _show_implementation()
    _show_reports("a pynetdicom server with nset", AE.start_server)
    _show_refused()
    _show_times()
    _show_reports("nset.scp, the event-driven server", scp.start_server)
    _show_servers()


def _show_reports(to: str, start_server: Callable[..., Any]) -> None:
    """Show the reports of a modality to a server, and what the server has stored."""
    steps = Steps()
    with serve(steps, start_server) as port:
        _heading(f"A modality reports to {to}, 127.0.0.1:{port}")
        answers = _report(port)
    _show_exchange(steps, answers)
    _show_stored(steps)


def _report(port: int) -> list[dict[str, Any]]:
    """Run the modality in a second process, and return the responses that it got."""
    command = [sys.executable, "-m", "nset.demo.scu", str(port)]
    try:
        scu = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        _fail(f"the modality was not done after {TIMEOUT} s")
    if scu.returncode != 0:
        _fail(f"the modality says: {scu.stderr.strip()}")
    answers = [json.loads(line) for line in scu.stdout.splitlines()]
    if [answer["Status"] for answer in answers] != list(EXPECTED):
        _fail(f"the answers should have been {EXPECTED}, and were {answers}")
    return answers


def _show_implementation() -> None:
    if nset.IMPLEMENTATION == "compiled":
        _print("[green]nset uses its C extension[/], nset._core.")
        return
    _print("[yellow]nset uses its pure-Python fallback[/], not its C extension.")
    if importlib.util.find_spec("nset._core") is None:
        _print(
            "nset was installed without the extension, as it is without a C compiler. Everything "
            "works the same, but slower:\nthe tables below show how much. With a compiler: "
            "NSET_IMPLEMENTATION=compiled make demo"
        )
    else:
        _print(f"NSET_IMPLEMENTATION={os.environ.get('NSET_IMPLEMENTATION')} selects it.")


def _show_exchange(steps: Steps, answers: list[dict[str, Any]]) -> None:
    """Show each request that the server received, and the response that the modality received."""
    for text, (request, _), answer in zip(REQUESTS, steps.received, answers, strict=True):
        _print(f"\n[bold]{text}[/]")
        if text.startswith("N-SET"):
            if type(request) is not N_SET:
                _fail(f"the server received a {type(request)} instead of nset's N_SET")
            core = type(request).__base__
            _print(f"  received  {escape(repr(request))}")
            _print(f"            an nset.N_SET on {core.__module__}")
        code = answer["Status"]
        colour = "green" if code == 0x0000 else "yellow"
        _print(f"  answered  [{colour}]0x{code:04X} {status.category(code)}[/]")
        if "ErrorID" in answer:
            _print(f"            Error ID 0x{answer['ErrorID']:04X}: {answer['ErrorComment']}")


def _show_stored(steps: Steps) -> None:
    """Show the step that the server has stored."""
    (step,) = steps.stored.values()
    if step.PerformedProcedureStepStatus != "COMPLETED":
        _fail(f"the stored step is {step.PerformedProcedureStepStatus}")
    _heading("What the server has stored")
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("attribute", "value", "came with"):
        table.add_column(column)
    for element in step:
        if element.keyword in SHOWN:
            message = "N-SET" if element.tag in steps.received[1].data_set else "N-CREATE"
            table.add_row(element.keyword, escape(_describe(element)), message)
    _console.print(table)


def _describe(element: DataElement) -> str:
    if element.VR != "SQ":
        return str(element.value)
    return "; ".join(
        f"{series.SeriesDescription}: {len(series.ReferencedImageSequence)} images"
        for series in element.value
    )


def _show_refused() -> None:
    """Show the exceptions of the primitive for invalid values."""
    _heading("What N_SET refuses at assignment")
    for attribute, value in (
        ("RequestedSOPInstanceUID", "1.2.840.10008." + 51 * "9"),
        ("Status", 0x10000),
    ):
        _print(f"  {attribute} = {value!r}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom warns of the UID beforehand
                setattr(N_SET(), attribute, value)
        except ValueError as exc:
            _print(f"  [yellow]ValueError: {escape(str(exc))}[/]")
        else:
            _fail(f"N_SET accepted {value!r} as its {attribute}")


def _show_times() -> None:
    """Show how long it takes to build and validate a request."""
    _heading(f"The time to build and validate a request, best of {clock.REPEATS}")
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("")
    table.add_column("one request", justify="right")
    table.add_column("", justify="right")
    stock = 0.0
    for implementation, label in _track(LABELS):
        if implementation == "compiled" and importlib.util.find_spec("nset._core") is None:
            table.add_row(label, "not built", "")
            continue
        seconds = clock.build_time(implementation)
        faster = f"{stock / seconds:.1f} times as fast" if stock else ""
        stock = stock or seconds
        table.add_row(label, f"{seconds * 1e6:.2f} µs", faster)
    _console.print(table)


def _show_servers() -> None:
    """Show the CPU time of an N-SET on pynetdicom's server, the same with nset, and `nset.scp`."""
    _heading(
        f"The same servers over TCP: {clock.ASSOCIATIONS} associations, and one request at a time"
    )
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("")
    for column in ("CPU per N-SET", "", "send_n_set", ""):
        table.add_column(column, justify="right")
    stock: clock.Cost | None = None
    for kind, label in _track(SERVERS):
        cost = clock.cost(kind)
        table.add_row(
            label,
            f"{cost.cpu * 1e6:.0f} µs",
            f"{stock.cpu / cost.cpu:.1f}x less" if stock else "",
            f"{cost.round_trip * 1e3:.1f} ms",
            f"{stock.round_trip / cost.round_trip:.1f}x shorter" if stock else "",
        )
        stock = stock or cost
    _console.print(table)


def _track(labels: dict[str, str]) -> Iterable[tuple[str, str]]:
    """Yield the labels, with a progress bar on a terminal."""
    return track(
        labels.items(),
        "measuring",
        console=_console,
        transient=True,
        disable=not _console.is_terminal,
    )


def _heading(text: str) -> None:
    _console.print(f"\n[bold cyan]{text}[/]", soft_wrap=True)


def _print(text: str) -> None:
    _console.print(text, soft_wrap=True)


def _fail(reason: str) -> NoReturn:
    sys.exit(f"The exchange failed: {reason}")
