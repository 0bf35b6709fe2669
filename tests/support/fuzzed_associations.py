"""A whole association with a server of nset.scp, over a transport that records: no socket."""

import asyncio
import importlib
import logging
import struct
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

from associations import MPPS, completed
from compared_command_sets import elements_in
from implementations import loaded
from pynetdicom import AE, evt
from raw_peer import ABORT, COMMAND, LAST, P_DATA_TF, associate_rq
from service_requests import SYNTAXES
from services import CT, FIND

ASSOCIATE_RJ = 0x03
ECHOED = (0x00000002, 0x00001000)  # UIDs of a response are those of its request, good or bad
ENDS_SECONDS = 120  # for what takes milliseconds: a loaded machine is no fault

# Small, for short input to reach them.
PDU_BYTES, DATA_SET_BYTES, ASSOCIATION_BYTES = 0x800, 0x400, 0xC00
LIMITS = {
    "pdu_length": PDU_BYTES,
    "negotiation_length": 0x1000,
    "data_set_bytes": DATA_SET_BYTES,
    "association_bytes": ASSOCIATION_BYTES,
    "pending_requests": 2,
    "first_pdu_timeout": 3600.0,  # no timer is to have a part in it
}

PREFERRED = associate_rq(MPPS, CT, FIND, *SYNTAXES)


# -- The server -----------------------------------------------------------------------------------


class Running(NamedTuple):
    """A server with its loop, the package that it is of, and whether an `Association` was made."""

    nset: ModuleType
    loop: asyncio.AbstractEventLoop
    server: Any
    made: list[Any]


_running: dict[str, Running] = {}


async def _answer(event):
    await asyncio.sleep(0)
    return 0x0000, None


async def _set(event):
    return 0x0000, None


async def _succeed(event):
    return 0x0000


def _create(event):
    try:
        str(event.attribute_list)
    except Exception:
        return 0x0110, None
    return 0x0000, completed()


def _store(event):
    return 0x0000


def _find(event):
    yield 0x0000, None


HANDLERS = [
    (evt.EVT_C_ECHO, _succeed),
    (evt.EVT_C_STORE, _store),
    (evt.EVT_C_FIND, _find),
    (evt.EVT_N_CREATE, _create),
    (evt.EVT_N_DELETE, _succeed),
    (evt.EVT_N_SET, _set),
    *[(event, _answer) for event in (evt.EVT_N_GET, evt.EVT_N_ACTION, evt.EVT_N_EVENT_REPORT)],
]


def _server(name: str) -> Running:
    """The server on an implementation, which is there until `close_servers`."""
    if name not in _running:
        with loaded(name) as nset:
            importlib.import_module("nset.dump")
            from nset import scp  # of this copy

            ae = AE("FUZZED")
            ae.maximum_associations = 1000
            ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = None
            for syntax in (MPPS, CT, FIND, *SYNTAXES):
                ae.add_supported_context(syntax)
            loop = asyncio.new_event_loop()
            serving = scp.serve(
                *(ae, ("127.0.0.1", 0)), evt_handlers=HANDLERS, limits=scp.Limits(**LIMITS)
            )
            server = loop.run_until_complete(serving)
            made: list[Any] = []
            make = server.make_association
            server.make_association = lambda path: made.append(True) or make(path)
            _running[name] = Running(nset, loop, server, made)
    return _running[name]


def close_servers() -> None:
    while _running:
        _, (_, loop, server, _) = _running.popitem()
        loop.run_until_complete(server.close(0))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


# -- The connection -------------------------------------------------------------------------------


class Transport(asyncio.Transport):
    """Records what is sent, and closes the connection in the loop's next turn, as asyncio does."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._is_closing = self.is_lost = self.is_paused = self.has_sent_eof = False
        self.sent = bytearray()

    def write(self, data: Any) -> None:
        assert not self.has_sent_eof
        if not self._is_closing:
            self.sent += data

    def is_closing(self) -> bool:
        return self._is_closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_sent_eof = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._lose)

    abort = close

    def _lose(self) -> None:
        self.is_lost = True
        self._protocol.connection_lost(None)


def _was_unforeseen(record: logging.LogRecord) -> bool:
    """Whether it is of an exception where a job, or the server, has failed; others are of input.

    So are those of pynetdicom's own service classes, at which it aborts: it does not see before
    that a request is not for its SOP Class, as a C-FIND of one for C-MOVE, or a C-ECHO of printing.
    """
    if not record.exc_info or record.name not in ("pynetdicom.association", "nset"):
        return False
    *_, (frame, _) = traceback.walk_tb(record.exc_info[2])
    return not str(frame.f_globals["__name__"]).startswith("pynetdicom.service_class")


@contextmanager
def nothing_raised(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Fail for an exception that comes out of a callback, a thread or a destructor."""
    raised: list[Any] = []
    log = logging.Handler(logging.ERROR)
    log.emit = lambda record: raised.append(record.exc_info[1])  # type: ignore[method-assign]
    log.addFilter(_was_unforeseen)
    before = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda args: raised.append(args.exc_value)
    sys.unraisablehook = lambda args: raised.append(args.exc_value)
    loop.set_exception_handler(lambda _, context: raised.append(context))
    logging.getLogger().addHandler(log)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(log)
        threading.excepthook, sys.unraisablehook = before
        loop.set_exception_handler(None)
    for one in raised:
        if isinstance(one, BaseException):
            raise AssertionError(f"an exception has got out: {one!r}") from one
        raise AssertionError(one)


def _is_at_work(path: Any) -> bool:
    return (
        path.is_busy
        or path.upper_layer_is_busy
        or bool(path.pending)
        or (path.made is not None and path.made.is_working())
    )


async def _until(condition: Any, what: str) -> None:
    """Wait for it, and then for what the loop has been told meanwhile."""
    end = time.monotonic() + ENDS_SECONDS
    turns = 0
    while turns < 4:
        turns = turns + 1 if condition() else 0
        await asyncio.sleep(0 if turns else 0.0002)
        assert time.monotonic() < end, what


async def _call(function: Any, *args: Any) -> None:
    """Call it as a loop calls a protocol: not in a task."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def call() -> None:
        try:
            done.set_result(function(*args))
        except BaseException as exc:
            done.set_exception(exc)

    loop.call_soon(call)
    await done


async def _converse(running: Running, chunks: list[bytes], is_patient: bool) -> tuple[bytes, bool]:
    """Send it all; give what is sent back, and whether an `Association` was needed."""
    server = running.server
    running.made.clear()
    from nset.scp._dispatch import Dispatcher

    path = Dispatcher(server)
    transport = Transport(running.loop, path)
    path.address = ("192.0.2.1", 104)
    await _call(path.connection_made, transport)

    def is_quiet() -> bool:
        return transport.is_closing() or not _is_at_work(path)

    for chunk in chunks:
        if transport.is_paused:
            await _until(is_quiet, "it has come to an end with its work")
            if not transport.is_closing() and transport.is_paused:
                assert path.is_ending, "it reads no more, and does nothing"
                break
        if transport.is_closing():
            break
        await _call(path.data_received, chunk)
        most = ASSOCIATION_BYTES + PDU_BYTES + len(chunk)
        assert path.bytes_waiting <= most
        assert server.memory.waiting <= most
        if is_patient:
            await _until(is_quiet, "it has come to an end with its work")
        else:
            await asyncio.sleep(0)
    await _until(is_quiet, "it has come to an end with its work")
    needed = bool(running.made)
    transport.close()
    connections = server.connections
    await _until(lambda: path not in connections.associations, "the association is over")
    assert transport.is_lost
    assert not connections.connected
    assert not connections.silent
    assert server.memory.waiting == 0
    return bytes(transport.sent), needed


# -- What has to be true --------------------------------------------------------------------------


def _pdus(stream: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 6 <= len(stream):
        kind, length = struct.unpack_from(">BxI", stream, at)
        at += 6 + length
        if at > len(stream):
            return
        yield kind, stream[at - length : at]


def _pdvs(stream: bytes) -> Iterator[tuple[int, bytes]]:
    for kind, body in _pdus(stream):
        at = 0
        while kind == P_DATA_TF and at + 6 <= len(body):
            length, _, header = struct.unpack_from(">IBB", body, at)
            if length < 2 or at + 4 + length > len(body):
                return
            yield header, body[at + 6 : at + 4 + length]
            at += 4 + length


def _whole_messages(stream: bytes) -> tuple[Counter[int], int]:
    """The Message IDs of messages that have come whole, and how many may be anything."""
    found: Counter[int] = Counter()
    unknown = 0
    command, elements = b"", None
    for header, fragment in _pdvs(stream):
        is_last = header & LAST
        if header & COMMAND:
            command += fragment
            if not is_last:
                continue
            elements, command = elements_in(command), b""
            if elements is None:  # pynetdicom reads a value as far as it goes
                unknown += 1
                continue
            if elements.get(0x0800, b"\1\1")[:2] != b"\1\1":
                continue
        elif not is_last:
            continue
        if elements is not None:
            found[int.from_bytes(elements.get(0x0110, b"")[:2], "little")] += 1
        elements = None
    return found, unknown


def _check(running: Running, stream: bytes, sent: bytes) -> None:
    """Fail unless what was sent is well-formed, and acknowledges only what has come whole."""
    if not sent:
        return
    dumped = running.nset.dump.dump(sent)
    assert dumped.form == running.nset.dump.PDUS
    assert not dumped.violations
    assert not dumped.notes, dumped.notes
    kinds = [kind for kind, _ in _pdus(sent)]
    ends = [kind for kind in kinds if kind in (ABORT, ASSOCIATE_RJ)]
    # An end is the last: but a peer that goes on is told again (PS3.8 Table 9-10, AA-7).
    assert kinds[len(kinds) - len(ends) :] == ends
    assert set(ends[1:]) <= {ABORT}
    acknowledged: Counter[int] = Counter()
    for message in dumped.messages:
        assert not message.notes
        faults = [fault for fault in message.violations if fault.tag not in ECHOED]
        assert not faults, faults
        values = {element.tag: element.value for element in message.elements}
        if values[0x0900] == 0x0000:
            acknowledged[values[0x0120]] += 1
    whole, unknown = _whole_messages(stream)
    assert (acknowledged - whole).total() <= unknown


def associate(name: str, how: int, chop: int, stream: bytes) -> bytes | None:
    """Converse with a server of an implementation.

    Parameters
    ----------
    name : str
        The implementation.
    how : int
        Bit 0: behind a good A-ASSOCIATE-RQ. Bit 1: each part waits until the one before is done.
    chop : int
        The bytes come in parts of so many; all at once, where it is 0.
    stream : bytes
        What the peer sends.

    Returns
    -------
    bytes or None
        What is sent back, where no worker may have had a part in it.
    """
    chunks = [stream[at : at + chop] for at in range(0, len(stream), chop)] if chop else [stream]
    if how & 1:
        stream = PREFERRED + stream
        chunks.insert(0, PREFERRED)
    running = _server(name)
    with loaded(name), nothing_raised(running.loop):
        conversation = _converse(running, [chunk for chunk in chunks if chunk], bool(how & 2))
        sent, needed = running.loop.run_until_complete(conversation)
    _check(running, stream, sent)
    return None if needed else sent
