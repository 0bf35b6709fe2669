"""Servers that are measured: pynetdicom's, `nset.scp` in each of its ways, canned bytes.

Usage: python benchmarks/acceptors.py KIND [ignore | read | store DATABASE | answer]
       python benchmarks/acceptors.py echo LENGTH ANSWER
       python benchmarks/acceptors.py processes NUMBER
Prints the port, and ends with its standard input. The handler ignores the list of a request, reads
it, or reads it and stores a row of it; with "answer" it answers requests of all services. Canned
bytes answer each request of a length.
"""

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import load
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import (
    BasicFilmSession,
    StorageCommitmentPushModel,
    UnifiedProcedureStepPush,
    Verification,
)
from support import P_DATA_TF, pdu

import nset.pynetdicom
from nset import scp
from nset.demo import MPPS

REPORTS = (evt.EVT_N_SET, evt.EVT_N_CREATE)
SERVICES = (
    *(*REPORTS, evt.EVT_C_ECHO, evt.EVT_N_GET, evt.EVT_N_ACTION, evt.EVT_N_DELETE),
    evt.EVT_N_EVENT_REPORT,
)


class Echo(asyncio.Protocol):
    """Sends canned bytes for each request, and only counts the received bytes.

    The first byte identifies the PDUs that begin and end an association.
    """

    request_length = 0
    answer = b""
    canned: ClassVar = {0x01: pdu(load.ASSOCIATE_AC, b""), 0x05: load.RELEASE_RP}

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._received = 0

    def data_received(self, data: bytes) -> None:
        if not self._received and data[0] != P_DATA_TF:
            self._transport.write(self.canned[data[0]])
            return
        self._received += len(data)
        while self._received >= self.request_length:
            self._received -= self.request_length
            self._transport.write(self.answer)


def entity() -> AE:
    """The AE of an MPPS SCP, with room for 2000 associations."""
    ae = AE("NSET_DEMO")
    ae.add_supported_context(MPPS)
    ae.maximum_associations = 2000
    return ae


async def succeed(event: Any) -> tuple[int, None]:
    return 0x0000, None


def plain(event: Any) -> tuple[int, None]:
    return 0x0000, None


def found() -> Dataset:
    """What an N-GET is answered by."""
    data_set = Dataset()
    data_set.PatientName, data_set.PatientID = "Found^One", "1"
    data_set.ProcedureStepState = "SCHEDULED"
    return data_set


FOUND = found()


def success(event: Any) -> Any:
    """The answer to a request of any service."""
    if event.event in (evt.EVT_C_ECHO, evt.EVT_N_DELETE):
        return 0x0000
    return 0x0000, FOUND if event.event is evt.EVT_N_GET else None


async def suspending(event: Any) -> tuple[int, None]:
    await asyncio.sleep(0)
    return 0x0000, None


def data_set_of(event: Any) -> Dataset:
    """The list of an N-CREATE or N-SET, each of whose elements has been read."""
    is_n_set = event.event is evt.EVT_N_SET
    return read(event.modification_list if is_n_set else event.attribute_list)


def read(data_set: Dataset) -> Dataset:
    """Read each element, and return it."""
    for element in data_set.iterall():
        element.value  # noqa: B018
    return data_set


def reading(event: Any) -> tuple[int, None]:
    data_set_of(event)
    return 0x0000, None


def storing(path: str) -> Callable[[Any], tuple[int, None]]:
    """A handler that commits a row for each report before it answers."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; "
        "CREATE TABLE steps (instance TEXT, status TEXT, ended TEXT, images INTEGER)"
    )

    def store(event: Any) -> tuple[int, None]:
        data_set = data_set_of(event)
        series = data_set.PerformedSeriesSequence
        row = (
            event.request.RequestedSOPInstanceUID,
            data_set.PerformedProcedureStepStatus,
            data_set.PerformedProcedureStepEndDate + data_set.PerformedProcedureStepEndTime,
            sum(len(one.ReferencedImageSequence) for one in series),
        )
        database.execute("INSERT INTO steps VALUES (?, ?, ?, ?)", row)
        return 0x0000, None

    return store


def in_loop(handler: Callable[[Any], tuple[int, None]]) -> Any:
    """The same as ``async`` handler."""

    async def handle(event: Any) -> tuple[int, None]:
        return handler(event)

    return handle


async def echo(request_length: int, answer: bytes) -> None:
    Echo.request_length, Echo.answer = request_length, answer
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def scp_on_asyncio() -> None:
    server = await scp.serve(entity(), ("127.0.0.1", 0), evt_handlers=[(evt.EVT_N_SET, succeed)])
    announce(server.server_address[1])
    await server.wait_closed()


def serve(
    start: Any, handler: Any, ae: AE | None = None, events: Any = REPORTS, **options: Any
) -> None:
    server = start(
        ae or entity(),
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(event, handler) for event in events],
        **options,
    )
    announce(server.server_address[1])
    threading.Event().wait()


def serve_in_processes(number: int) -> None:
    def started(processes: scp.Processes) -> None:
        announce(processes.server_address[1])

    handlers = [(event, in_loop(reading)) for event in REPORTS]
    scp.run(entity(), ("127.0.0.1", 0), number, evt_handlers=handlers, started=started)


def any_service() -> AE:
    """An AE for each of the services."""
    ae = entity()
    for syntax in (
        *(Verification, UnifiedProcedureStepPush, StorageCommitmentPushModel),
        BasicFilmSession,
    ):
        ae.add_supported_context(syntax)
    return ae


def archive() -> AE:
    """An AE that supports 128 contexts."""
    ae = entity()
    for context in AllStoragePresentationContexts[: 128 - len(ae.supported_contexts)]:
        ae.add_supported_context(context.abstract_syntax)
    return ae


def command(kind: str, *arguments: str) -> list[str]:
    """What runs such a server."""
    return [sys.executable, __file__, kind, *arguments]


def announce(port: int) -> None:
    print(port, flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()


def main(kind: str, job: str = "ignore", argument: str = "") -> None:
    if kind == "echo":
        import uvloop

        if job == "ignore":
            request, answer = load.exchange()
            uvloop.run(echo(len(request), answer))
        else:
            uvloop.run(echo(int(job), bytes.fromhex(argument)))
    elif kind == "asyncio":
        asyncio.run(scp_on_asyncio())
    elif kind == "archive":
        serve(scp.start_server, succeed, archive())
    elif kind == "processes":
        serve_in_processes(int(job))
    elif kind == "suspending":
        serve(scp.start_server, suspending)
    elif job == "answer":
        start = AE.start_server if kind == "pynetdicom" else scp.start_server
        options = {"inline": True} if kind == "inline" else {}
        handler = in_loop(success) if kind == "async" else success
        serve(start, handler, any_service(), SERVICES, **options)
    else:
        handler = storing(argument) if job == "store" else {"ignore": plain, "read": reading}[job]
        if kind == "async":
            serve(scp.start_server, succeed if job == "ignore" else in_loop(handler))
        elif kind in ("plain", "inline"):
            serve(scp.start_server, handler, inline=kind == "inline")
        else:
            if kind == "installed":
                nset.pynetdicom.install()
            serve(AE.start_server, handler)


if __name__ == "__main__":
    main(*sys.argv[1:])
