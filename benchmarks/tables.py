"""Tables of figures in Markdown, and a bar that shows how far a measurement is."""

import platform
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TypeVar

import cpuinfo
import results
from rich.console import Console
from rich.progress import track
from tabulate import tabulate

import nset

T = TypeVar("T")

_console = Console(stderr=True)


def arguments(doc: str | None, marker: str) -> ArgumentParser:
    """What the programs take that measure by rounds."""
    parser = ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turns")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a round lasts")
    parser.add_argument("file", nargs="*", type=Path, help=f"with the two markers of {marker!r}")
    return parser


def progress(sequence: Sequence[T], description: str) -> Iterable[T]:
    """Go through it, with a bar on a terminal."""
    return track(
        sequence, description, console=_console, transient=True, disable=not _console.is_terminal
    )


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """A table that is legible as it is; the first column has names."""
    align = ["left", *["right"] * (len(head) - 1)]
    return tabulate(lines, head, tablefmt="pipe", colalign=align, disable_numparse=True)


def spread(values: Sequence[float]) -> str:
    """Their median and extremes."""
    return f"{short(median(values))} [{short(min(values))}-{short(max(values))}]"


def short(value: float) -> str:
    """With three digits or so."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def machine(others: Sequence[str] = ()) -> str:
    """What it was measured with and on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    peers = [f"{name} {version(name)}" for name in ("pynetdicom", "pydicom")]
    processor = cpuinfo.get_cpu_info()["brand_raw"]
    return (
        f"{', '.join([f'nset {nset.__version__}', *peers, *others, python])}\n"
        f"on {processor}, {platform.system()} {platform.machine()}."
    )


def write(text: str, files: Iterable[Path], marker: str) -> None:
    """Record it, and put it between the two markers of each file; nothing, if there is none."""
    if files := list(files):
        results.record(marker, text)
        results.write(files)
