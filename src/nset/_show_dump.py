"""Prints a `Dump` as tables, by rich."""

import sys
from io import StringIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nset.dump import COMMAND_SET, Dump, DumpedMessage, Fault, OtherPDU, tag_text


def show(dump: Dump) -> None:
    """Print it to standard output; where that is no terminal, plain and in lines of any length.

    Parameters
    ----------
    dump : Dump
        What to print.
    """
    if sys.stdout.isatty():
        _print(dump, Console(highlight=False))
        return
    page = StringIO()
    _print(dump, Console(file=page, width=1000, color_system=None, highlight=False))
    for line in page.getvalue().split("\n")[:-1]:
        print(line.rstrip())


def _print(dump: Dump, console: Console) -> None:
    console.print(f"{dump.size} bytes, taken for: {dump.form}")
    entries: list[DumpedMessage | OtherPDU] = [*dump.messages, *dump.other_pdus]
    for entry in sorted(entries, key=lambda entry: entry.input_offset):
        console.print()
        if isinstance(entry, OtherPDU):
            place = f"at byte {entry.input_offset}, {entry.length} bytes: skipped"
            console.print(Text.assemble((entry.name, "bold"), " ", place))
            continue
        console.print(Text.assemble((entry.name, "bold"), " ", _summary(entry)))
        if entry.elements:
            console.print(_table(entry, dump.form != COMMAND_SET))
        _print_faults(entry.violations, console)
    if dump.violations:
        console.print("\n[bold]PDUs and PDVs[/]")
        _print_faults(dump.violations, console)
    count = dump.violation_count
    style = "red" if count else "green"
    console.print(Text(f"\nViolations of the standard: {count or 'none'}", style))


def _summary(message: DumpedMessage) -> str:
    parts = [f"at byte {message.input_offset}"]
    if message.context_id is not None:
        parts.append(f"presentation context {message.context_id}")
    parts.append(f"command set of {message.command_set_bytes} bytes")
    if message.data_set_bytes:
        parts.append(f"data set of {message.data_set_bytes} bytes")
    elif message.data_set_announced is not None:
        parts.append(f"data set {'announced' if message.data_set_announced else 'none'}")
    return ", ".join(parts)


def _table(message: DumpedMessage, has_two_offsets: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  byte", justify="right", no_wrap=True)
    if has_two_offsets:
        table.add_column("in set", justify="right", no_wrap=True)
    for column in ("tag", "keyword", "VR"):
        table.add_column(column, no_wrap=True)
    table.add_column("value", overflow="fold")
    for element in message.elements:
        offsets = [str(element.input_offset), str(element.offset)][: 1 + has_two_offsets]
        named = (tag_text(element.tag), element.keyword, element.vr)
        table.add_row(*offsets, *named, Text(element.text))
    return table


def _print_faults(faults: list[Fault], console: Console) -> None:
    if faults:
        lines = [f"  ! {fault.text}" for fault in faults]
        console.print(Text("\n".join(lines), "red"), soft_wrap=True)
