"""Prints a `Dump` as tables, with rich."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from io import StringIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nset._errors import tag_text
from nset.dump._associate import as_lines
from nset.dump._forms import COMMAND_SET
from nset.dump._result import (
    DataSetElement,
    Dump,
    DumpedElement,
    DumpedMessage,
    Fault,
    OtherPDU,
)
from nset.dump._values import printable, uid_name


def show(dump: Dump) -> None:
    """Print it to standard output; without colours or line breaks if that is not a terminal."""
    if sys.stdout.isatty():
        _print(dump, Console(highlight=False))
        return
    page = StringIO()
    # FORCE_COLOR and TERM=dumb would otherwise limit it to 80 columns.
    plain = Console(file=page, width=1000, color_system=None, highlight=False, force_terminal=False)
    console = Console(stderr=True)
    with console.status("listing") if sys.stderr.isatty() else nullcontext():
        _print(dump, plain)
    for line in page.getvalue().split("\n")[:-1]:
        print(line.rstrip())


def _print(dump: Dump, console: Console) -> None:
    if dump.streams:
        console.print(f"{dump.size} bytes in {len(dump.streams)} streams, from {dump.source}")
        _print_notes(dump.notes, console)
        for stream in dump.streams:
            console.print()
            name = printable(stream.name)
            said = f": {stream.size} bytes, read as: {stream.form}"
            console.print(Text.assemble((name, "bold underline"), said), soft_wrap=True)
            _print_stream(stream, console)
    else:
        source = f" from {dump.source}" if dump.source else ""
        console.print(f"{dump.size} bytes{source}, read as: {dump.form}")
        _print_stream(dump, console)
    count = dump.violation_count
    style = "red" if count else "green"
    console.print(Text(f"\nViolations of the standard: {count or 'none'}", style))


def _print_stream(dump: Dump, console: Console) -> None:
    _print_notes([f"bytes {a} to {b - 1} were not captured" for a, b in dump.missing], console)
    _print_notes(dump.notes, console)
    entries: list[DumpedMessage | OtherPDU] = [*dump.messages, *dump.other_pdus]
    for entry in sorted(entries, key=lambda entry: entry.input_offset):
        console.print()
        if isinstance(entry, OtherPDU):
            place = f"at byte {entry.input_offset}, {entry.length} bytes"
            console.print(Text.assemble((entry.name, "bold"), " ", place))
            for name, value in as_lines(entry.details):
                console.print(Text.assemble("  ", (name, "dim"), f": {value}"), soft_wrap=True)
            continue
        console.print(Text.assemble((entry.name, "bold"), " ", _summary(entry)), soft_wrap=True)
        if entry.elements:
            console.print(_table(entry.elements, has_two_offsets=dump.form != COMMAND_SET))
        if entry.data_set:
            console.print(Text(f"  data set, {_syntax(entry)}"), soft_wrap=True)
            console.print(_table(entry.data_set))
        _print_notes(entry.notes, console)
        _print_faults(entry.violations, console)
    if dump.violations:
        console.print("\n[bold]PDUs and PDVs[/]")
        _print_faults(dump.violations, console)


def _summary(message: DumpedMessage) -> str:
    parts = [f"at byte {message.input_offset}"]
    if message.context_id is not None:
        name = message.abstract_syntax and _uid(message.abstract_syntax)
        of = f" ({name})" if name else ""
        parts.append(f"presentation context {message.context_id}{of}")
    parts.append(f"command set of {message.command_set_bytes} bytes")
    if message.data_set_bytes:
        parts.append(f"data set of {message.data_set_bytes} bytes")
    elif message.data_set_announced is not None:
        parts.append(f"data set {'announced' if message.data_set_announced else 'none'}")
    return ", ".join(parts)


def _uid(value: str) -> str:
    return printable(uid_name(value) or value)


def _syntax(message: DumpedMessage) -> str:
    if message.transfer_syntax is None:
        return "not read"
    guessed = ", a guess: no A-ASSOCIATE-AC says so" if message.transfer_syntax_guessed else ""
    return f"{_uid(message.transfer_syntax)}{guessed}"


def _table(
    elements: Sequence[DumpedElement | DataSetElement], *, has_two_offsets: bool = True
) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  byte", justify="right", no_wrap=True)
    if has_two_offsets:
        table.add_column("in set", justify="right", no_wrap=True)
    for column in ("tag", "keyword", "VR"):
        table.add_column(column, no_wrap=True)
    table.add_column("value", overflow="fold")
    for element in elements:
        offsets = [str(element.input_offset), str(element.offset)][: 1 + has_two_offsets]
        tag = "> " * getattr(element, "depth", 0) + tag_text(element.tag)
        table.add_row(*offsets, tag, element.keyword, element.vr, Text(element.text))
    return table


def _print_notes(notes: list[str], console: Console) -> None:
    for note in notes:
        console.print(Text(f"  - {printable(note)}", "yellow"), soft_wrap=True)


def _print_faults(faults: list[Fault], console: Console) -> None:
    if faults:
        lines = [f"  ! {fault.text}" for fault in faults]
        console.print(Text("\n".join(lines), "red"), soft_wrap=True)
