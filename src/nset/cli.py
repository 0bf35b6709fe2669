"""The command line: ``python -m nset``. Needs the extra ``nset[cli]``."""

import sys

import click

import nset


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
