"""The command line: ``python -m nset``. Needs the extra ``nset[cli]``."""

import json
import sys

import click

import nset
from nset import dump as dumping


@click.group()
@click.version_option(nset.__version__, message=f"nset %(version)s ({nset.IMPLEMENTATION})")
def main() -> None:
    """DICOM N-SET for servers: pynetdicom's N_SET on a compiled core."""


@main.command()
def demo() -> None:
    """Have a modality report to a live server."""
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
    """List what captured messages say, and every violation of the standard.

    Takes a pcap or pcapng file, a log with PDUs, a hex dump, an array, hex digits, or the bytes
    of a stream of PDUs, PDVs or a command set: from a FILE, from standard input (-), or HEX
    itself. It sees which of them it has.

    Exits with 0 where there is no violation, with 1 where there are some, and with 2 where the
    input is none of these.
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
