"""Tables of figures in Markdown, and a bar that shows how far a measurement is."""

import os
import platform
import textwrap
import time
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from statistics import median
from typing import Any, NamedTuple, TypeVar

import charts
import cpuinfo
import psutil
import results
from rich.console import Console
from rich.progress import track
from tabulate import tabulate

import nset

T = TypeVar("T")

BUSY = 0.1
"""The share of the machine that other programs took, from which on a result says so."""

_console = Console(stderr=True)
_begun = time.monotonic()


class Table(NamedTuple):
    """Cells; the first column has names."""

    head: list[str]
    rows: list[list[str]]


def arguments(doc: str | None) -> ArgumentParser:
    """What the programs take that measure by rounds."""
    parser = ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turns")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a round lasts")
    add_record(parser)
    return parser


def add_record(parser: ArgumentParser) -> None:
    """Also what `finish` is to do."""
    parser.add_argument(
        "--record", action="store_true", help="in results.json, and in the pages of its table"
    )


def progress(sequence: Sequence[T], description: str) -> Iterable[T]:
    """Go through it, with a bar on a terminal."""
    return track(
        sequence, description, console=_console, transient=True, disable=not _console.is_terminal
    )


def finish(
    marker: str, tables: Iterable[Table], texts: list[str], *, record: bool, **peers: str
) -> None:
    """Print what was measured; record it too, if so asked.

    Parameters
    ----------
    marker : str
        Of the result.
    tables : iterable of Table
        What was measured.
    texts : list of str
        Paragraphs that follow; the versions and the machine end the last one.
    record : bool
        Whether it takes the place of what results.json and the pages have.
    **peers : str
        Versions of what was measured beside nset.
    """
    if (others := _others()) >= BUSY:
        texts = [*texts[:-1], f"{texts[-1]} Others took {others:.0%} of the machine meanwhile."]
    python = platform.python_implementation()
    versions = {name: version(name) for name in ("pynetdicom", "pydicom")}
    result = {
        "tables": [table._asdict() for table in tables],
        "texts": texts,
        "versions": {
            "nset": nset.__version__,
            **versions,
            **peers,
            python: platform.python_version(),
        },
        "machine": f"{cpuinfo.get_cpu_info()['brand_raw']}, {platform.system()} "
        f"{platform.machine()}",
    }
    print(rendered(result))
    if record:
        results.record(marker, result)
        charts.draw()


def rendered(result: dict[str, Any]) -> str:
    """A result as the pages have it."""
    paragraphs = [textwrap.fill(text, 120) for text in results.paragraphs(result)]
    return "\n\n".join([*(markdown(**table) for table in result["tables"]), *paragraphs])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table that is legible as it is; the first column has names."""
    align = ["left", *["right"] * (len(head) - 1)]
    return tabulate(rows, head, tablefmt="pipe", colalign=align, disable_numparse=True)


def spread(values: Sequence[float]) -> str:
    """Their median and extremes."""
    return f"{short(median(values))} [{short(min(values))}-{short(max(values))}]"


def short(value: float) -> str:
    """With three digits or so."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _used() -> float:
    """Seconds of CPU that the machine has been busy, with those that its host took."""
    times = psutil.cpu_times()._asdict()
    idle = ("idle", "iowait", "guest", "guest_nice")  # guests are in `user` already
    return sum(seconds for name, seconds in times.items() if name not in idle)


def _others() -> float:
    """The share of the machine that neither this process took since it began nor its children."""
    elapsed = (time.monotonic() - _begun) * (os.cpu_count() or 1)
    own = sum(os.times()[:4])
    return max(0.0, _used() - _used_before - own) / elapsed


_used_before = _used()
