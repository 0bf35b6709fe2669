"""The command line: ``nset``, or ``python -m nset``. Needs the extra ``nset[cli]``."""

import json
import sys

import click

import nset
from nset import dump as dumping
from nset.mpps.cli import mpps


@click.group()
@click.version_option(nset.__version__, message=f"nset %(version)s ({nset.IMPLEMENTATION})")
def main() -> None:
    """Fast DICOM N-SET for servers: an MPPS server, a demo, and a decoder for captures."""


main.add_command(mpps)


@main.command()
def demo() -> None:
    """Run a modality that reports a procedure step to a live server."""
    try:
        from nset.demo.show import run
    except ModuleNotFoundError as exc:
        if exc.name not in ("pynetdicom", "rich"):
            raise
        sys.exit(f"The demo needs {exc.name}: pip install 'nset[cli,pynetdicom]'")
    run()


@main.command()
@click.argument("source", metavar="FILE|-|HEX")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def dump(source: str, as_json: bool) -> None:
    """Decode captured messages, and list violations of the standard.

    The input is a pcap or pcapng file, a log with PDUs, a hex dump, an array, hex digits, or the
    bytes of PDUs, PDVs or a command set: from a FILE, from standard input (-), or HEX itself. The
    format is detected.

    The exit status is 0 without violations, 1 with violations, and 2 if the input has none of these
    formats.
    """
    try:
        dumped = dumping.dump(dumping.load(source))
    except (dumping.Undecodable, OSError) as exc:
        raise click.UsageError(str(exc)) from exc
    if as_json:
        click.echo(json.dumps(dumped.as_json(), indent=2))
    else:
        try:
            from nset.dump._show import show
        except ModuleNotFoundError as exc:
            if exc.name != "rich":
                raise
            raise click.UsageError("without --json it needs rich: pip install 'nset[cli]'") from exc
        show(dumped)
    sys.exit(1 if dumped.violation_count else 0)
