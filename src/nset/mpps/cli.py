"""``nset mpps``: the command line of the MPPS server."""

import json
import logging
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from copy import copy
from datetime import datetime, timezone
from functools import partial
from typing import Any

import click

from nset.logs import JsonFormatter
from nset.mpps.addresses import host_and_port
from nset.mpps.printing import TextFormatter, printable, readable
from nset.mpps.rules import FINAL_STATES, IN_PROGRESS
from nset.mpps.steps import Step
from nset.mpps.store import Store, StoreError, Unavailable
from nset.mpps.stores import open_store

_LOGGER = logging.getLogger("nset.mpps")

_CELL_CHARACTERS = 64  # of a list, as a UID may have
_TABLE_WIDTH = 2000  # columns; more than cells that are all full

_store_option = click.option(
    "--store",
    "url",
    default="sqlite:///mpps.sqlite",
    envvar="NSET_MPPS_STORE",
    show_default=True,
    metavar="URL",
    help="Where reports are kept: sqlite:///FILE or postgresql://... ($NSET_MPPS_STORE).",
)


def _time(text: str) -> str:
    """Return a date, or a date and time, as the store has it."""
    with _naming("--since", ValueError):
        time = datetime.fromisoformat(text)
    if time.tzinfo is not None:
        time = time.astimezone(timezone.utc)
    return time.isoformat(timespec="microseconds")


_search_options = [
    click.option("--patient-id", metavar="ID"),
    click.option("--accession-number", metavar="NUMBER"),
    click.option("--study", "study_uid", metavar="UID"),
    click.option("--ae-title", metavar="TITLE", help="Of the station, or of the peer."),
    click.option("--status", type=click.Choice((IN_PROGRESS, *FINAL_STATES), case_sensitive=False)),
    click.option(
        "--since",
        callback=lambda _, __, text: text and _time(text),
        metavar="DATE",
        help="When the N-CREATE came: 2026-11-27T08:00, UTC.",
    ),
]


def _searched(command: Any) -> Any:
    """Add the options of a search."""
    for option in reversed(_search_options):
        command = option(command)
    return command


class _Group(click.Group):
    """A group that serves, unless a command is named."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        if not arguments or arguments[0] not in (*self.commands, "--help"):
            arguments = ["serve", *arguments]
        return super().parse_args(context, arguments)


@click.group(cls=_Group)
def mpps() -> None:
    """Run an SCP for Modality Performed Procedure Step, or look into its store.

    nset mpps [ADDRESS] runs it: see nset mpps serve --help.
    """


@mpps.command()
@click.argument("address", default=":11112", metavar="[[HOST]:PORT]")
@_store_option
@click.option("--ae-title", default="NSET_MPPS", show_default=True, help="The server's AE title.")
@click.option("--strict", is_flag=True, help="Excuse no deviation from Table F.7.2-1 of PS3.4.")
@click.option(
    "--processes", type=click.IntRange(1), default=1, show_default=True, help="Server processes."
)
@click.option(
    "--max-associations",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="At a time, of all processes.",
)
@click.option(
    "--max-data-set",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="MiB; a report of 1000 images has 0.1.",
)
@click.option("--tls-certificate", type=click.Path(exists=True), help="PEM file; enables TLS.")
@click.option("--tls-key", type=click.Path(exists=True), help="PEM file, if it is another one.")
@click.option(
    "--tls-ca", type=click.Path(exists=True), help="PEM file; clients need a certificate of it."
)
@click.option(
    "--proxy-protocol",
    "proxies",
    multiple=True,
    metavar="NETWORK",
    help="A load balancer that sends the PROXY protocol: its address or network. Repeatable.",
)
@click.option(
    "--notify",
    "notified",
    multiple=True,
    metavar="TITLE@HOST:PORT",
    help="An SCU of MPPS Notification, which gets an N-EVENT-REPORT of each report. Repeatable.",
)
@click.option(
    "--metrics",
    "metrics_at",
    metavar="[HOST:]PORT",
    help="Where /metrics, /healthz and /readyz are, by default at 127.0.0.1. Needs nset[metrics].",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
    default="INFO",
    show_default=True,
)
def serve(
    address: str,
    url: str,
    ae_title: str,
    strict: bool,
    processes: int,
    max_associations: int,
    max_data_set: int,
    tls_certificate: str | None,
    tls_key: str | None,
    tls_ca: str | None,
    proxies: tuple[str, ...],
    notified: tuple[str, ...],
    metrics_at: str | None,
    log_format: str,
    log_level: str,
) -> None:
    """Run the SCP at an address, by default at port 11112 of all interfaces.

    Where systemd has passed on a socket, at that one.

    It serves N-CREATE and N-SET of MPPS, N-GET of MPPS Retrieve, and C-ECHO. Each report is on the
    disk before it is answered. SIGTERM and Ctrl-C end it in good order.
    """
    try:
        from nset import scp
        from nset.mpps.notify import subscriber
        from nset.mpps.server import entity, writing
        from nset.scp import systemd

        if metrics_at is not None:
            from nset.scp import metrics
    except ModuleNotFoundError as exc:
        extra = {"pynetdicom": "mpps", "prometheus_client": "metrics"}.get(exc.name or "")
        if extra is None:
            raise
        raise click.ClickException(f"it needs {exc.name}: pip install 'nset[{extra}]'") from exc

    can_fork = hasattr(os, "fork")
    if not can_fork and (processes > 1 or metrics_at is not None):
        raise click.UsageError(
            f"{sys.platform} cannot fork processes, which --processes and --metrics need"
        )
    handler, text = logging.StreamHandler(), "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(text))
    logging.basicConfig(level=log_level.upper(), handlers=[handler])
    logging.captureWarnings(True)  # as of pydicom, for values of peers
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)  # nset's logger has each association
    where = _address(address, "", "ADDRESS")
    context = _tls(tls_certificate, tls_key, tls_ca)
    with _naming("--notify", ValueError):
        subscribers = tuple(map(subscriber, dict.fromkeys(notified)))
    with _naming("--ae-title", ValueError):
        ae, beside = entity(ae_title, max_associations), None
    with _opened(url, create=True) as store:
        handlers = partial(
            writing, store, is_strict=strict, subscribers=subscribers, ae_title=ae_title
        )
    limits = scp.Limits(data_set_bytes=max_data_set << 20)
    if metrics_at is not None:
        at = _address(metrics_at, "127.0.0.1", "--metrics")
        beside = partial(metrics.serve_http, at, is_ready=partial(_is_available, store))

    def started(processes: Any) -> None:
        _LOGGER.info("Serving as %s at %s:%s", ae_title, *processes.server_address[:2])
        try:
            systemd.notify()
        except OSError as exc:
            _LOGGER.warning("Can't tell systemd that the server has started: %s", exc)

    try:
        sock = systemd.listening_socket()
        if not can_fork:
            with handlers() as bound:
                _LOGGER.info("Serving as %s at %s", ae_title, address)
                scp.start_server(
                    *(ae, where),
                    ssl_context=context,
                    evt_handlers=bound,
                    limits=limits,
                    proxy_protocol=proxies,
                )
            return
        scp.run(
            *(ae, where if sock is None else None, processes, context, handlers),
            limits=limits,
            sock=sock,
            proxy_protocol=proxies,
            maximum_associations=max_associations,
            metrics=beside is not None,
            started=started,
            beside=beside,
        )
    except (OSError, ValueError) as exc:
        raise click.ClickException(str(exc)) from exc


@contextmanager
def _naming(option: str, *kinds: type[Exception]) -> Iterator[None]:
    """Have the command's error name an option, where these exceptions are raised."""
    try:
        yield
    except kinds as exc:
        raise click.BadParameter(str(exc), param_hint=option) from exc


def _tls(certificate: str | None, key: str | None, ca: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key or ca:
            raise click.UsageError("TLS needs --tls-certificate")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _naming("--tls-certificate", OSError):  # as is ssl.SSLError
        context.load_cert_chain(certificate, key)
    if ca is not None:
        with _naming("--tls-ca", OSError):
            context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _address(text: str, default: str, name: str) -> tuple[str, int]:
    with _naming(name, ValueError):
        host, port = host_and_port(text)
    return host or default, port


def _is_available(store: Store) -> bool:
    """Return whether the store can be used; it may be that of another thread."""
    try:
        with closing(copy(store)) as own:
            own.check(create=False)
    except (StoreError, Unavailable):
        return False
    return True


@mpps.command(name="list")
@_store_option
@_searched
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N")
def list_steps(url: str, limit: int, **conditions: str | None) -> None:
    """List steps, the newest first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    columns = ("status", "patient ID", "accession no.", "station", "modality", "started", "ended")
    for column in (*columns, "SOP Instance UID"):
        table.add_column(column, no_wrap=True)
    with _opened(url) as store:
        for step in _found(store, limit, conditions):
            numbers = "\\".join(item.accession_number for item in store.scheduled(step.uid))
            texts = (
                *(step.status, step.patient_id, numbers, step.station_ae_title, step.modality),
                *(step.started, step.ended, step.uid),
            )
            table.add_row(*map(_short, texts))
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, _TABLE_WIDTH)  # a UID is to be copied whole
    console.print(table if table.row_count else "There are no such steps.")


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _CELL_CHARACTERS else f"{text[: _CELL_CHARACTERS - 1]}…"


@mpps.command()
@click.argument("uid")
@_store_option
def show(uid: str, url: str) -> None:
    """Print a step: its requests, and its attributes as they are now."""
    with _opened(url) as store:
        step, messages = store.get(uid), store.messages(uid)
    if step is None:
        raise click.ClickException(f"There is no step {uid}.")
    lines = [f"{uid}: {step.status}"]
    lines += [
        f"{number}. {report.service}, {report.received}, {report.calling} at {report.peer} to "
        f"{report.called}, {len(report.data)} bytes in {report.transfer_syntax}"
        for _, number, report in messages
    ]
    lines += str(readable(step.data_set())).split("\n")
    click.echo("\n".join(map(printable, lines)))


@mpps.command()
@_store_option
@_searched
@click.option("--json", "as_json", is_flag=True, required=True, help="One JSON object a line.")
def export(url: str, as_json: bool, **conditions: str | None) -> None:
    """Print all steps, or those searched for, with their attributes in DICOM's JSON model."""
    with _opened(url) as store:
        for step in _found(store, None, conditions):
            columns = {k: v for k, v in vars(step).items() if not isinstance(v, bytes)}
            columns["attributes"] = readable(step.data_set()).to_json_dict()
            click.echo(json.dumps(columns))


@contextmanager
def _opened(url: str, *, create: bool = False) -> Iterator[Store]:
    """Open a store, and close it; its errors are the command's."""
    try:
        with closing(open_store(url, create=create)) as store:
            yield store
    except (StoreError, Unavailable, UnicodeEncodeError) as exc:  # arguments may be any bytes
        raise click.ClickException(str(exc)) from exc


def _found(store: Store, limit: int | None, conditions: dict[str, str | None]) -> Iterator[Step]:
    given = {name: value for name, value in conditions.items() if value is not None}
    return store.find(limit, **given)
